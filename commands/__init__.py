"""The commands `spacy frameworks ...`, a group in spaCy's own command line.

spaCy loads it at each of its commands, so importing it imports nothing that takes time.
"""

from .group import frameworks

__all__ = ["frameworks"]
