"""Interchangeable spaCy architectures in each framework and in Thinc.

They are registered by entry points, so that configs find them without an import here.
"""

from .encoders import (
    build_bilstm_encoder,
    build_feed_forward,
    build_transformer_encoder,
    build_window_encoder,
)
from .layers import logistic_output, mean_per_doc, softmax_output
from .networks import (
    BiLSTMEncoder,
    FeedForward,
    TransformerEncoder,
    WindowEncoder,
    build_network,
    get_parameters,
    set_parameters,
)
from .relations import EntityPairs, build_relation_model
from .swap import swap_config, swap_framework
from .tagger import build_tagger
from .textcat import build_textcat, resize_output
from .words import UniqueTokens

__all__ = [
    "BiLSTMEncoder",
    "EntityPairs",
    "FeedForward",
    "TransformerEncoder",
    "UniqueTokens",
    "WindowEncoder",
    "build_bilstm_encoder",
    "build_feed_forward",
    "build_network",
    "build_relation_model",
    "build_tagger",
    "build_textcat",
    "build_transformer_encoder",
    "build_window_encoder",
    "get_parameters",
    "logistic_output",
    "mean_per_doc",
    "resize_output",
    "set_parameters",
    "softmax_output",
    "swap_config",
    "swap_framework",
]
