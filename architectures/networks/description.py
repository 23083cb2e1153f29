"""Networks as they are in every framework: their sizes, and their parameters in Thinc's layout."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

import numpy
from thinc.api import NumpyOps, glorot_uniform_init, zero_init
from thinc.backends import Ops
from thinc.types import FloatsXd


def ones_init(ops: Ops, shape: Tuple[int, ...]) -> FloatsXd:
    """What Thinc's LayerNorm starts its scale with."""
    return ops.xp.ones(shape, dtype="f")


class Parameter(NamedTuple):
    """One parameter of a network.

    layer: The path of its layer, the same in every framework, as in "hidden.0".
    kind: The kind of the layer, which decides how a framework stores it: "linear" or "norm".
    name: Thinc's name: "W" of shape (nO, nI) and "b" of a linear layer, "G" and "b" of a norm.
    """

    layer: str
    kind: str
    name: str
    shape: Tuple[int, ...]
    init: Callable[[Ops, Tuple[int, ...]], FloatsXd]

    @property
    def key(self) -> str:
        return f"{self.layer}.{self.name}"


@dataclass(frozen=True)
class FeedForward:
    """Hidden layers, each linear, ReLU, layer normalization if asked for, and dropout; then a
    linear layer.

    hidden_width: Units of each hidden layer.
    depth: Number of hidden layers.
    normalize: Whether the hidden layers have layer normalization.
    activate_output: Whether ReLU and dropout follow the last layer too.
    """

    hidden_width: int
    depth: int = 1
    normalize: bool = False
    activate_output: bool = False

    def __post_init__(self) -> None:
        if self.hidden_width < 1 or self.depth < 0:
            raise ValueError(
                "Expected hidden_width of at least 1 and depth of at least 0, got "
                f"hidden_width={self.hidden_width} and depth={self.depth}."
            )

    def parameters(self, nO: int, nI: int) -> List[Parameter]:
        """All parameters, in the order in which they are drawn."""
        parameters = []
        for i in range(self.depth):
            parameters += _linear(f"hidden.{i}", self.hidden_width, nI)
            nI = self.hidden_width
            if self.normalize:
                parameters += _norm(f"norm.{i}", nI)
        return parameters + _linear("out", nO, nI)

    def dropout_widths(self, nO: int) -> List[int]:
        """The widths of the activations that dropout is applied to, in the order of the layers."""
        return [self.hidden_width] * self.depth + [nO] * self.activate_output

    def describe(self) -> Dict[str, Any]:
        """JSON values that `from_description` understands."""
        return {"name": "feed_forward", **asdict(self)}


def from_description(description: Dict[str, Any]) -> FeedForward:
    """The network of a description."""
    sizes = {key: value for key, value in description.items() if key != "name"}
    return FeedForward(**sizes)


def draw(network: FeedForward, nO: int, nI: int) -> Dict[str, numpy.ndarray]:
    """Starting values by `Parameter.key`, from NumPy's global generator, as Thinc's layers draw
    theirs: one seed, one start, in every framework."""
    ops = NumpyOps()
    return {p.key: numpy.asarray(p.init(ops, p.shape)) for p in network.parameters(nO, nI)}


def _linear(layer: str, nO: int, nI: int) -> List[Parameter]:
    return [
        Parameter(layer, "linear", "W", (nO, nI), glorot_uniform_init),
        Parameter(layer, "linear", "b", (nO,), zero_init),
    ]


def _norm(layer: str, nO: int) -> List[Parameter]:
    return [
        Parameter(layer, "norm", "G", (nO,), ones_init),
        Parameter(layer, "norm", "b", (nO,), zero_init),
    ]
