"""The networks in Thinc's layers, and those of ours that Thinc lacks. The layers are named by their
paths in the description."""

from __future__ import annotations

from typing import Any, Callable, List, Optional, Tuple

from thinc.api import (
    Dropout,
    LayerNorm,
    Linear,
    Maxout,
    Model,
    Relu,
    chain,
    expand_window,
    residual,
    with_array,
)
from thinc.types import Floats2d, Ragged

from ...wrappers.wrapper import forward_no_rows, has_no_rows
from . import description
from .bilstm import bilstm
from .inputs import check_input
from .self_attention import self_attention


def FeedForward(
    network: description.FeedForward, nO: Optional[int], nI: Optional[int], dropout: float
) -> Model[Floats2d, Floats2d]:
    layers: List[Model] = []
    width = nI
    for i in range(network.depth):
        layers.append(_named(f"hidden.{i}", Relu(network.hidden_width, width)))
        width = network.hidden_width
        if network.normalize:
            layers.append(_named(f"norm.{i}", LayerNorm(width)))
        layers.append(Dropout(dropout))
    if network.activate_output:
        layers += [_named("out", Relu(nO, width)), Dropout(dropout)]
    else:
        layers.append(_named("out", Linear(nO, width)))
    return _in_order(layers, nO, nI)


def WindowEncoder(
    network: description.WindowEncoder, nO: int, nI: int, dropout: float
) -> Model[Ragged, Ragged]:
    nW, nP = network.window_size, network.maxout_pieces
    layers: List[Model] = []
    for i in range(network.depth):
        maxout = _named(f"windows.{i}", Maxout(nO, nI * (2 * nW + 1), nP))
        norm = _named(f"norms.{i}", LayerNorm(nO))
        unit: Model = with_array(chain(maxout, norm, Dropout(dropout)))
        layers.append(residual(chain(expand_window(nW), unit)))
    return _in_order(layers, nO, nI)


def BiLSTMEncoder(
    network: description.BiLSTMEncoder, nO: int, nI: int, dropout: float
) -> Model[Ragged, Ragged]:
    layers: List[Model] = []
    width = nI
    for i in range(network.depth):
        layers += [_named(f"lstm.{i}", bilstm(nO, width)), with_array(Dropout(dropout))]
        width = nO
    return _in_order(layers, nO, nI)


def TransformerEncoder(
    network: description.TransformerEncoder, nO: int, nI: int, dropout: float
) -> Model[Ragged, Ragged]:
    layers: List[Model] = []
    for i in range(network.depth):
        block, nH = f"blocks.{i}", network.hidden_width
        attention = chain(
            with_array(_named(f"{block}.attention_norm", LayerNorm(nO))),
            _named(f"{block}.qkv", self_attention(nO, network.heads)),
            with_array(chain(_named(f"{block}.attended", Linear(nO, nO)), Dropout(dropout))),
        )
        feed_forward = chain(
            _named(f"{block}.hidden_norm", LayerNorm(nO)),
            _named(f"{block}.hidden", Relu(nH, nO)),
            Dropout(dropout),
            _named(f"{block}.out", Linear(nO, nH)),
            Dropout(dropout),
        )
        layers += [residual(attention), residual(with_array(feed_forward))]
    return _in_order([*layers, with_array(_named("norm", LayerNorm(nO)))], nO, nI)


def _in_order(layers: List[Model], nO: Optional[int], nI: Optional[int]) -> Model:
    """A network of these layers, which also takes a batch without rows: Thinc's layers refuse
    the shape (0, 0), which `with_array` makes of one."""
    layer = chain(*layers) if len(layers) > 1 else layers[0]
    dims = {"nO": nO, "nI": nI}
    return Model("network", _forward, init=_init, layers=[layer], dims=dims)


def _forward(model: Model, X: Any, is_train: bool) -> Tuple[Any, Callable]:
    if has_no_rows(X):
        return forward_no_rows(model, X)
    X, cast_back = check_input(model, X)
    Y, backprop = model.layers[0](X, is_train)
    return Y, lambda dY: cast_back(backprop(dY))


def _init(model: Model, X: Optional[Floats2d] = None, Y: Optional[Floats2d] = None) -> None:
    layer = model.layers[0]
    # As `chain` does: a layer whose nO was given is not asked to take it from the data.
    layer.initialize(X, Y if layer.has_dim("nO") is None else None)
    for name in ("nO", "nI"):
        model.set_dim(name, layer.get_dim(name))


def _named(name: str, layer: Model) -> Model:
    layer.name = name
    return layer
