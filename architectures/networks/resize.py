"""A network with more outputs."""

from __future__ import annotations

from typing import Any, Callable

import numpy
from thinc.api import Model

from ...wrappers.framework import THINC
from ...wrappers.wrapper import get_shim
from .build import build_network
from .description import description_of
from .parameters import get_parameters, initialize_with


def resize_network(
    model: Model[Any, Any], new_nO: int, fill: Callable[[numpy.ndarray], float]
) -> Model[Any, Any]:
    """A copy of a feed-forward network with more outputs, under new ids, so that an optimizer
    that knows the old one takes it for a new one.

    fill: From the biases of the output layer to those of the new outputs, whose weights are zero.
    """
    parameters = get_parameters(model)
    W, b = parameters["out.W"], parameters["out.b"]
    more = new_nO - len(b)
    parameters["out.W"] = numpy.pad(W, ((0, more), (0, 0)))
    parameters["out.b"] = numpy.pad(b, (0, more), constant_values=fill(b))
    framework = get_shim(model).framework if model.shims else THINC.id
    rates = [node.attrs["dropout_rate"] for node in model.walk() if "dropout_rate" in node.attrs]
    resized = build_network(
        framework, description_of(model), max(rates, default=0.0), new_nO, model.get_dim("nI")
    )
    initialize_with(resized, parameters)
    return resized
