"""Networks described once, and built in each framework from its own layers."""

from .build import build_network
from .description import BiLSTMEncoder, FeedForward, TransformerEncoder, WindowEncoder
from .parameters import convert_network, get_parameters, set_parameters
from .resize import resize_network

__all__ = [
    "BiLSTMEncoder",
    "FeedForward",
    "TransformerEncoder",
    "WindowEncoder",
    "build_network",
    "convert_network",
    "get_parameters",
    "resize_network",
    "set_parameters",
]
