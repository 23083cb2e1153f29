"""Networks as they are in every framework: their sizes, and their parameters in Thinc's layout."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Callable, Dict, List, NamedTuple, Tuple, Type

import numpy
from thinc.api import Model, NumpyOps, glorot_uniform_init, zero_init
from thinc.backends import Ops
from thinc.types import FloatsXd


def ones_init(ops: Ops, shape: Tuple[int, ...]) -> FloatsXd:
    """What Thinc's LayerNorm starts its scale with."""
    return ops.xp.ones(shape, dtype="f")


def gates_init(ops: Ops, shape: Tuple[int, ...]) -> FloatsXd:
    """Glorot's uniform distribution for each of an LSTM's four gates by itself."""
    rows, nI = shape
    gates = [glorot_uniform_init(ops, (rows // 4, nI)) for _ in range(4)]
    return ops.xp.concatenate(gates)


def forget_init(ops: Ops, shape: Tuple[int, ...]) -> FloatsXd:
    """Zeros, and ones for the forget gate, so that an LSTM starts with its memory open
    (https://proceedings.mlr.press/v37/jozefowicz15.pdf)."""
    b = ops.alloc(shape)
    nH = shape[0] // 4
    b[nH : 2 * nH] = 1
    return b


# The order of an LSTM's gates: input, forget, cell, output.
GATES = "ifco"

# What a layer normalization adds to the variance; it is that of Thinc's.
EPSILON = 1e-8


class Parameter(NamedTuple):
    """One parameter of a network.

    layer: The path of its layer, the same in every framework, as in "hidden.0".
    kind: The kind of the layer, which decides how a framework stores it: "linear", "norm" or
        "lstm".
    name: Thinc's name: "W" of shape (nO, nI), or (nO, nP, nI) of a maxout layer, and "b" of a
        linear layer, "G" and "b" of a norm. Of an LSTM with nH units per direction "W" of shape
        (4 * nH, nI), "U" of shape (4 * nH, nH) for the last output, and "b", each with "_forward"
        or "_backward" behind it; the order of the gates is `GATES`.
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
class Network:
    """What the descriptions share. What builds one in a framework has the name of its class."""

    def parameters(self, nO: int, nI: int) -> List[Parameter]:
        """All parameters, in the order in which they are drawn.

        Raises ValueError if there is no such network from nI to nO columns.
        """
        raise NotImplementedError

    def dropout_widths(self, nO: int) -> List[int]:
        """The widths of the activations that dropout is applied to, in the order of the layers."""
        raise NotImplementedError

    def describe(self) -> Dict[str, Any]:
        """JSON values that `from_description` understands."""
        return {"name": type(self).__name__, **asdict(self)}

    def _expect(self, **at_least: int) -> None:
        for argument, least in at_least.items():
            if getattr(self, argument) < least:
                raise ValueError(
                    f"Expected {argument} of at least {least}, got {argument}="
                    f"{getattr(self, argument)}."
                )


class SequenceNetwork(Network):
    """A network that maps sequences of rows to sequences, so that the rows of one depend on each
    other. Each sequence's output is independent of what shares the batch."""

    def _expect_residual(self, nO: int, nI: int) -> None:
        if nO != nI:
            raise ValueError(
                f"The layers of a {type(self).__name__} add to their input, so its output is as "
                f"wide as its input: got nO={nO} and nI={nI}."
            )


@dataclass(frozen=True)
class FeedForward(Network):
    """Hidden layers, each linear, ReLU, layer normalization if asked for, and dropout; then a
    linear layer.

    hidden_width (int): Units of each hidden layer.
    depth (int): Number of hidden layers.
    normalize (bool): Whether the hidden layers have layer normalization.
    activate_output (bool): Whether ReLU and dropout follow the last layer too.
    """

    hidden_width: int
    depth: int = 1
    normalize: bool = False
    activate_output: bool = False

    def __post_init__(self) -> None:
        self._expect(hidden_width=1, depth=0)

    def parameters(self, nO: int, nI: int) -> List[Parameter]:
        parameters = []
        for i in range(self.depth):
            parameters += _linear(f"hidden.{i}", self.hidden_width, nI)
            nI = self.hidden_width
            if self.normalize:
                parameters += _norm(f"norm.{i}", nI)
        return parameters + _linear("out", nO, nI)

    def dropout_widths(self, nO: int) -> List[int]:
        return [self.hidden_width] * self.depth + [nO] * self.activate_output


@dataclass(frozen=True)
class WindowEncoder(SequenceNetwork):
    """Layers that each look at a token and its neighbours, as spaCy's MaxoutWindowEncoder does:
    the window's vectors side by side, maxout, layer normalization, dropout, and the layer's input
    added. Neighbours outside of the sequence are zeros.

    window_size (int): Neighbours on each side.
    depth (int): Number of layers; the output sees `depth * window_size` tokens to each side.
    maxout_pieces (int): Linear pieces of each unit, of which the largest counts.
    """

    window_size: int = 1
    depth: int = 4
    maxout_pieces: int = 3

    def __post_init__(self) -> None:
        self._expect(window_size=1, depth=1, maxout_pieces=1)

    def parameters(self, nO: int, nI: int) -> List[Parameter]:
        self._expect_residual(nO, nI)
        shape = (nO, self.maxout_pieces, nI * (2 * self.window_size + 1))
        parameters = []
        for i in range(self.depth):
            parameters += [
                Parameter(f"windows.{i}", "linear", "W", shape, glorot_uniform_init),
                Parameter(f"windows.{i}", "linear", "b", shape[:2], zero_init),
                *_norm(f"norms.{i}", nO),
            ]
        return parameters

    def dropout_widths(self, nO: int) -> List[int]:
        return [nO] * self.depth


@dataclass(frozen=True)
class BiLSTMEncoder(SequenceNetwork):
    """Layers of an LSTM from left to right and one from right to left, half of the output each,
    and dropout. Both start from zero states.

    depth (int): Number of layers.
    """

    depth: int = 1

    def __post_init__(self) -> None:
        self._expect(depth=1)

    def parameters(self, nO: int, nI: int) -> List[Parameter]:
        if nO % 2:
            raise ValueError(
                f"Half of a BiLSTMEncoder's width is each direction's, so it has to be even: got "
                f"{nO}."
            )
        parameters = []
        for i in range(self.depth):
            for direction in ("forward", "backward"):
                for name, shape, init in (
                    ("W", (2 * nO, nI), gates_init),
                    ("U", (2 * nO, nO // 2), gates_init),
                    ("b", (2 * nO,), forget_init),
                ):
                    name = f"{name}_{direction}"
                    parameters.append(Parameter(f"lstm.{i}", "lstm", name, shape, init))
            nI = nO
        return parameters

    def dropout_widths(self, nO: int) -> List[int]:
        return [nO] * self.depth


@dataclass(frozen=True)
class TransformerEncoder(SequenceNetwork):
    """Blocks of multi-head attention and of a feed-forward layer, each behind a layer
    normalization and added to its input (https://arxiv.org/abs/2002.04745), and a normalization
    at the end. Queries, keys and values have no biases.

    It sees no order; `add_positions` goes before it.

    hidden_width (int): Units of the hidden layer of each block.
    depth (int): Number of blocks.
    heads (int): Number of attention heads, which share the width.
    """

    hidden_width: int
    depth: int = 2
    heads: int = 4

    def __post_init__(self) -> None:
        self._expect(hidden_width=1, depth=1, heads=1)

    def parameters(self, nO: int, nI: int) -> List[Parameter]:
        self._expect_residual(nO, nI)
        if nO % self.heads:
            raise ValueError(
                f"The heads of a TransformerEncoder share its width evenly, but {self.heads} heads "
                f"do not divide {nO}."
            )
        parameters = []
        for i in range(self.depth):
            block = f"blocks.{i}"
            qkv = Parameter(f"{block}.qkv", "linear", "W", (3 * nO, nO), glorot_uniform_init)
            parameters += [
                *_norm(f"{block}.attention_norm", nO),
                qkv,
                *_linear(f"{block}.attended", nO, nO),
                *_norm(f"{block}.hidden_norm", nO),
                *_linear(f"{block}.hidden", self.hidden_width, nO),
                *_linear(f"{block}.out", nO, self.hidden_width),
            ]
        return parameters + _norm("norm", nO)

    def dropout_widths(self, nO: int) -> List[int]:
        return [nO, self.hidden_width, nO] * self.depth


NETWORKS: Dict[str, Type[Network]] = {
    network.__name__: network
    for network in (FeedForward, WindowEncoder, BiLSTMEncoder, TransformerEncoder)
}


def from_description(description: Dict[str, Any]) -> Network:
    """The network of a description."""
    sizes = {key: value for key, value in description.items() if key != "name"}
    return NETWORKS[description["name"]](**sizes)


def description_of(model: Model) -> Network:
    """The network that a model from `build_network` has."""
    # Where there is a shim, its own: Thinc loads attributes before the shim is asked, and it may
    # refuse the file.
    return from_description(
        model.shims[0].cfg["network"] if model.shims else model.attrs["network"]
    )


def draw(network: Network, nO: int, nI: int) -> Dict[str, numpy.ndarray]:
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
