"""The commands `spacy frameworks ...`, a group in spaCy's own command line.

spaCy loads `group` at each of its commands, so importing this imports nothing that takes time.
"""

from .group import group

__all__ = ["group"]
