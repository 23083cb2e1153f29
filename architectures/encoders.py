"""Encoders: sublayers from vectors per token to vectors per token, for `spacy.Tok2Vec.v2`, and by
that for any component."""

from __future__ import annotations

from typing import List, Optional

from thinc.api import Model, chain, with_array
from thinc.types import Floats2d

from .networks import (
    BiLSTMEncoder,
    FeedForward,
    TransformerEncoder,
    WindowEncoder,
    build_network,
)
from .per_framework import short_forms
from .sequences import add_positions, in_groups

Encoder = Model[List[Floats2d], List[Floats2d]]


def build_feed_forward(
    framework: str,
    width: int = 96,
    hidden_width: Optional[int] = None,
    depth: int = 1,
    normalize: bool = True,
    dropout: float = 0.2,
) -> Encoder:
    """Each token by itself: hidden layers, and a linear one.

    framework (str): "PyTorch", "TensorFlow", "MXNet", "JAX" or "Thinc", in upper or lower case.
    width (int): Width of the vectors that come in and go out.
    hidden_width (int): Units of each hidden layer; `width` if None.
    depth (int): Number of hidden layers: linear, ReLU, layer normalization if asked for, dropout.
    normalize (bool): Layer normalization in the hidden layers.
    dropout (float): Rate of dropout. `spacy train` overrides it by `[training] dropout`.
    RETURNS (Model): From a list of arrays (tokens, width) to a list of the same shapes.

    Raises ValueError if there is no such framework, or on sizes that make no network; ImportError
    if the framework is not installed.
    """
    network = FeedForward(width if hidden_width is None else hidden_width, depth, normalize)
    return with_array(build_network(framework, network, dropout, width, width))


def build_window_encoder(
    framework: str,
    width: int = 96,
    window_size: int = 1,
    depth: int = 4,
    maxout_pieces: int = 3,
    dropout: float = 0.2,
) -> Encoder:
    """Each token with its neighbours, layer by layer, as in spaCy's MaxoutWindowEncoder.

    framework (str): "PyTorch", "TensorFlow", "MXNet", "JAX" or "Thinc", in upper or lower case.
    width (int): Width of the vectors that come in and go out.
    window_size (int): Neighbours on each side that a layer sees.
    depth (int): Number of layers.
    maxout_pieces (int): Linear pieces of each unit, of which the largest counts.
    dropout (float): Rate of dropout. `spacy train` overrides it by `[training] dropout`.
    RETURNS (Model): From a list of arrays (tokens, width) to a list of the same shapes.

    Raises ValueError if there is no such framework, or on sizes that make no network; ImportError
    if the framework is not installed.
    """
    network = WindowEncoder(window_size, depth, maxout_pieces)
    return in_groups(build_network(framework, network, dropout, width, width))


def build_bilstm_encoder(
    framework: str,
    width: int = 96,
    depth: int = 1,
    dropout: float = 0.2,
) -> Encoder:
    """Layers of an LSTM from left to right and one from right to left.

    framework (str): "PyTorch", "TensorFlow", "MXNet", "JAX" or "Thinc", in upper or lower case.
    width (int): Width of the vectors that come in and go out, half of it each direction's.
    depth (int): Number of layers.
    dropout (float): Rate of dropout, after each layer. `spacy train` overrides it by
        `[training] dropout`.
    RETURNS (Model): From a list of arrays (tokens, width) to a list of the same shapes.

    Raises ValueError if there is no such framework, the width is odd, or on sizes that make no
    network; ImportError if the framework is not installed.
    """
    return in_groups(build_network(framework, BiLSTMEncoder(depth), dropout, width, width))


def build_transformer_encoder(
    framework: str,
    width: int = 96,
    depth: int = 2,
    heads: int = 4,
    hidden_width: Optional[int] = None,
    dropout: float = 0.2,
    max_length: Optional[int] = 512,
) -> Encoder:
    """Each token with all others of its doc, by attention, with sines for positions.

    framework (str): "PyTorch", "TensorFlow", "MXNet", "JAX" or "Thinc", in upper or lower case.
    width (int): Width of the vectors that come in and go out.
    depth (int): Number of blocks of attention and a feed-forward layer.
    heads (int): Number of attention heads, which share the width evenly.
    hidden_width (int): Units of the feed-forward layers; four times the width if None.
    dropout (float): Rate of dropout. `spacy train` overrides it by `[training] dropout`.
    max_length (int): Tokens that can see each other. A longer doc is cut into equal parts, because
        time and memory of attention grow with the square of the length. None never cuts.
    RETURNS (Model): From a list of arrays (tokens, width) to a list of the same shapes.

    Raises ValueError if there is no such framework, the heads do not divide the width, or on sizes
    that make no network; ImportError if the framework is not installed.
    """
    network = TransformerEncoder(4 * width if hidden_width is None else hidden_width, depth, heads)
    model = build_network(framework, network, dropout, width, width)
    return in_groups(chain(add_positions(width), model), max_length)


__getattr__ = short_forms(__name__)
