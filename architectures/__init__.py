"""Interchangeable spaCy architectures in PyTorch, TensorFlow, MXNet and Thinc.

They are registered by entry points, so that configs find them without an import here.
"""

from .networks import FeedForward, build_network, get_parameters, set_parameters
from .swap import swap_config, swap_framework
from .tagger import build_tagger
from .textcat import build_textcat

__all__ = [
    "FeedForward",
    "build_network",
    "build_tagger",
    "build_textcat",
    "get_parameters",
    "set_parameters",
    "swap_config",
    "swap_framework",
]
