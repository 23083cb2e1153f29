"""What trains and runs pipelines faster: the hook for whole pipelines, and the corpus reader.

They are registered by entry points, so that configs find them without an import here.
"""

from .callbacks import use_framework
from .corpus import create_corpus

__all__ = ["create_corpus", "use_framework"]
