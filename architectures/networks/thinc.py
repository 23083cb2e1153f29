"""The networks in Thinc's layers. The layers are named by their paths in the description."""

from __future__ import annotations

from typing import List, Optional

from thinc.api import Dropout, LayerNorm, Linear, Model, Relu, chain
from thinc.types import Floats2d

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
    return chain(*layers) if len(layers) > 1 else layers[0]  # type: ignore[misc]


def _named(name: str, layer: Model) -> Model:
    layer.name = name
    return layer
