"""The networks in Thinc's layers. The layers are named by their paths in the description."""

from __future__ import annotations

from typing import Callable, List, Optional, Tuple

from thinc.api import Dropout, LayerNorm, Linear, Model, Relu, chain
from thinc.types import Floats2d

from ...wrappers.wrapper import forward_no_rows, has_no_rows
from .description import FeedForward


def feed_forward(
    network: FeedForward, nO: Optional[int], nI: Optional[int], dropout: float
) -> Model[Floats2d, Floats2d]:
    layers: List[Model] = []
    for i in range(network.depth):
        layers.append(_named(f"hidden.{i}", Relu(network.hidden_width, nI)))
        nI = network.hidden_width
        if network.normalize:
            layers.append(_named(f"norm.{i}", LayerNorm(nI)))
        layers.append(Dropout(dropout))
    if network.activate_output:
        layers += [_named("out", Relu(nO, nI)), Dropout(dropout)]
    else:
        layers.append(_named("out", Linear(nO, nI)))
    layer = chain(*layers) if len(layers) > 1 else layers[0]
    return _with_any_rows(layer)


def _with_any_rows(layer: Model[Floats2d, Floats2d]) -> Model[Floats2d, Floats2d]:
    """Thinc's layers refuse the shape (0, 0), which `with_array` makes of an empty batch."""
    dims = {name: layer.maybe_get_dim(name) for name in ("nO", "nI")}
    return Model(f"network({layer.name})", _forward, init=_init, layers=[layer], dims=dims)


def _forward(model: Model, X: Floats2d, is_train: bool) -> Tuple[Floats2d, Callable]:
    return forward_no_rows(model, X) if has_no_rows(X) else model.layers[0](X, is_train)


def _init(model: Model, X: Optional[Floats2d] = None, Y: Optional[Floats2d] = None) -> None:
    layer = model.layers[0]
    # As `chain` does: a layer whose nO was given is not asked to take it from the data.
    layer.initialize(X, Y if layer.has_dim("nO") is None else None)
    for name in ("nO", "nI"):
        model.set_dim(name, layer.get_dim(name))


def _named(name: str, layer: Model) -> Model:
    layer.name = name
    return layer
