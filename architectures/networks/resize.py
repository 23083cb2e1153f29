"""A network with more outputs."""

from __future__ import annotations

from typing import Any, Callable

import numpy
from thinc.api import Model

from ...wrappers.framework import THINC
from ...wrappers.resize import resize_wrapper
from .build import build_network
from .description import description_of
from .parameters import get_parameters, initialize_with


def resize_network(
    model: Model[Any, Any], new_nO: int, fill: Callable[[Any], float]
) -> Model[Any, Any]:
    """A copy of a feed-forward network with more outputs, on the same ops and device, under new
    ids, so that an optimizer that knows the old one takes it for a new one.

    fill: From the biases of the output layer to those of the new outputs, whose weights are zero.
    """
    if model.shims:
        return resize_wrapper(model, new_nO, fill)
    parameters = get_parameters(model)
    W, b = parameters["out.W"], parameters["out.b"]
    more = new_nO - len(b)
    parameters["out.W"] = numpy.pad(W, ((0, more), (0, 0)))
    parameters["out.b"] = numpy.pad(b, (0, more), constant_values=fill(b))
    rates = [node.attrs["dropout_rate"] for node in model.walk() if "dropout_rate" in node.attrs]
    resized = build_network(
        THINC.id, description_of(model), max(rates, default=0.0), new_nO, model.get_dim("nI")
    )
    # Not the current ones, which are others in another thread or outside of a `with` block.
    for node in resized.walk():
        node.ops = model.ops
    initialize_with(resized, parameters)
    return resized
