"""The commands `spacy frameworks ...`, a group in spaCy's own command line.

spaCy loads it at each of its commands, so importing it imports nothing that takes time.
"""

from thinc import compat

from .group import frameworks

if compat.has_cupy_gpu:
    # `spacy train --gpu-id` has Thinc choose an allocator before the config is read, and is to find
    # the framework's own.
    from .. import wrappers  # noqa: F401

__all__ = ["frameworks"]
