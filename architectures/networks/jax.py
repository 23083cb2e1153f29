"""The networks as functions of JAX. Their parameters are in a dict, by the keys of the description,
and in Thinc's layout."""

from __future__ import annotations

from functools import partial
from typing import Any, Callable, Dict, Tuple

import jax
import jax.numpy as jnp
import numpy

from . import description
from .arrangement import Arrangement, Shape, blocks, rows, spaced, time_first
from .description import EPSILON, Network

# (kind of layer, Thinc's name) -> (the name here, whether it is stored transposed)
LAYOUT = {
    ("linear", "W"): ("W", False),
    ("linear", "b"): ("b", False),
    ("norm", "G"): ("G", False),
    ("norm", "b"): ("b", False),
    ("lstm", "W_forward"): ("W_forward", False),
    ("lstm", "U_forward"): ("U_forward", False),
    ("lstm", "b_forward"): ("b_forward", False),
    ("lstm", "W_backward"): ("W_backward", False),
    ("lstm", "U_backward"): ("U_backward", False),
    ("lstm", "b_backward"): ("b_backward", False),
}

# The order of an LSTM's gates: input, forget, cell, output.
GATES = "ifco"


def fit(shape: Shape) -> Shape:
    """JAX compiles a network for each shape, so there are few: powers of two, from 64 rows up, and
    from 32 sequences and steps."""
    least = 64 if len(shape) == 1 else 32
    return tuple(_power_of_two(size, least) for size in shape)


def one_block(network: Any, lengths: numpy.ndarray) -> Arrangement:
    """One block for all sequences, of few shapes: it has four times as many places as there are
    rows, and steps in powers of two from 64 up. So a number of rows and of steps are one shape. Of
    many short sequences among long ones, that is, where four times are too few, there are more
    rows.
    """
    nT = _power_of_two(int(lengths.max(initial=0)), 64)
    enough = max(int(lengths.sum()), int(numpy.count_nonzero(lengths)) * nT // 4)
    size = _power_of_two(enough, 256)
    shapes = {1: (size,), 2: (4 * size // nT, nT)}
    return blocks(network, lengths, lambda shape: shapes[len(shape)], most=1)


def _power_of_two(size: int, least: int) -> int:
    return max(least, 1 << (size - 1).bit_length())


ARRANGEMENTS = {
    "FeedForward": partial(rows, fit=fit),
    "WindowEncoder": partial(spaced, fit=fit),
    "BiLSTMEncoder": partial(time_first, fit=fit),
    "TransformerEncoder": one_block,
}

Params = Dict[str, jax.Array]
Model = Tuple[Callable, Params]


def FeedForward(network: description.FeedForward, nO: int, nI: int) -> Model:
    return _model(_FeedForward(network), network, nO, nI)


def WindowEncoder(network: description.WindowEncoder, nO: int, nI: int) -> Model:
    return _model(_WindowEncoder(network), network, nO, nI)


def BiLSTMEncoder(network: description.BiLSTMEncoder, nO: int, nI: int) -> Model:
    return _model(_BiLSTMEncoder(network), network, nO, nI)


def TransformerEncoder(network: description.TransformerEncoder, nO: int, nI: int) -> Model:
    return _model(_TransformerEncoder(network), network, nO, nI)


def _model(function: Callable, network: Network, nO: int, nI: int) -> Model:
    return function, {p.key: jnp.zeros(p.shape, "float32") for p in network.parameters(nO, nI)}


class _Function:
    # Rows come as many as they shall be: what arranges them fills them up.
    fills_rows = False

    def __init__(self, network: Any):
        self.network = network


class _FeedForward(_Function):
    def __call__(self, params: Params, X: jax.Array, *masks: jax.Array) -> jax.Array:
        """masks: One dropout mask per hidden layer (and for the output, if activated), or none."""
        for i in range(self.network.depth):
            X = jax.nn.relu(_linear(params, f"hidden.{i}", X))
            if self.network.normalize:
                X = _norm(params, f"norm.{i}", X)
            if masks:
                X = X * masks[i]
        X = _linear(params, "out", X)
        if self.network.activate_output:
            X = jax.nn.relu(X)
            if masks:
                X = X * masks[-1]
        return X


class _WindowEncoder(_Function):
    def __call__(
        self, params: Params, X: jax.Array, is_row: jax.Array, *masks: jax.Array
    ) -> jax.Array:
        """X, is_row: As `spaced` arranges them. masks: Dropout's, one for each layer, or none."""
        nW, rows = self.network.window_size, len(is_row)
        for i in range(self.network.depth):
            W, b = params[f"windows.{i}.W"], params[f"windows.{i}.b"]
            around = jnp.concatenate([X[j : j + rows] for j in range(2 * nW + 1)], axis=1)
            # With the pieces apart, whole rows are compared at once.
            pieces = [around @ W[:, j].T + b[:, j] for j in range(self.network.maxout_pieces)]
            Y = pieces[0]
            for piece in pieces[1:]:
                Y = jnp.maximum(Y, piece)
            # A dropout mask is zero in the gaps, too.
            Y = _norm(params, f"norms.{i}", Y) * (masks[i] if masks else is_row)
            X = X + jnp.pad(Y, ((nW, nW), (0, 0)))
        return X


class _BiLSTMEncoder(_Function):
    def __call__(
        self, params: Params, X: jax.Array, lengths: jax.Array, *masks: jax.Array
    ) -> jax.Array:
        """X, lengths: As `time_first` arranges them. masks: Dropout's, one for each layer, or
        none."""
        steps = jnp.arange(len(X))[:, None]
        # For each step, the one that takes its place from right to left.
        backward = jnp.where(steps < lengths, lengths - 1 - steps, steps)[:, :, None]
        for i in range(self.network.depth):
            X = _bilstm(params, f"lstm.{i}", X, backward)
            if masks:
                X = X * masks[i]
        return X


def _bilstm(params: Params, layer: str, X: jax.Array, backward: jax.Array) -> jax.Array:
    """Both directions at once, side by side in the first dimension of what is below."""
    directions = ("forward", "backward")
    W, U, b = (jnp.stack([params[f"{layer}.{name}_{d}"] for d in directions]) for name in "WUb")
    both = jnp.stack([X, jnp.take_along_axis(X, backward, axis=0)], axis=1)
    inputs = jnp.einsum("tdbi,dgi->tdbg", both, W) + b[:, None]

    def step(state: Tuple[Any, Any], gates: Any) -> Tuple[Any, Any]:
        H, C = state
        gates = gates + jnp.einsum("dbh,dgh->dbg", H, U)
        i, f, c, o = jnp.split(gates, 4, axis=2)
        C = jax.nn.sigmoid(f) * C + jax.nn.sigmoid(i) * jnp.tanh(c)
        H = jax.nn.sigmoid(o) * jnp.tanh(C)
        return (H, C), H

    start = jnp.zeros((2, X.shape[1], U.shape[2]), X.dtype)
    _, H = jax.lax.scan(step, (start, start), inputs)
    ahead, back = H[:, 0], jnp.take_along_axis(H[:, 1], backward, axis=0)
    return jnp.concatenate([ahead, back], axis=2)


class _TransformerEncoder(_Function):
    def __call__(
        self, params: Params, X: jax.Array, places: jax.Array, block: jax.Array, *masks: jax.Array
    ) -> jax.Array:
        """X, places, block: As `blocks` arranges them, of which there is one. masks: Dropout's,
        three for each of the transformer's blocks, or none."""
        for i in range(self.network.depth):
            X = self.block(params, f"blocks.{i}", X, places, block, masks[3 * i : 3 * i + 3])
        return _norm(params, "norm", X)

    def block(
        self, params: Params, name: str, X: Any, places: Any, block: Any, masks: Any
    ) -> jax.Array:
        qkv = _norm(params, f"{name}.attention_norm", X) @ params[f"{name}.qkv.W"].T
        Y = _linear(params, f"{name}.attended", self.attend(qkv, places, block))
        X = X + (Y * masks[0] if masks else Y)
        hidden = _linear(params, f"{name}.hidden", _norm(params, f"{name}.hidden_norm", X))
        hidden = jax.nn.relu(hidden)
        Y = _linear(params, f"{name}.out", hidden * masks[1] if masks else hidden)
        return X + (Y * masks[2] if masks else Y)

    def attend(self, qkv: jax.Array, places: jax.Array, block: jax.Array) -> jax.Array:
        heads, width = self.network.heads, qkv.shape[1] // 3 // self.network.heads
        padded = qkv[jnp.maximum(block, 0)].reshape((*block.shape, 3, heads, width))
        Q, K, V = jnp.moveaxis(padded, 2, 0)
        scores = jnp.einsum("bqhw,bkhw->bhqk", Q * width**-0.5, K)
        scores = jnp.where(block[:, None, None] < 0, jnp.finfo(scores.dtype).min, scores)
        Y = jnp.einsum("bhqk,bkhw->bqhw", jax.nn.softmax(scores), V)
        return Y.reshape((-1, heads * width))[places]


def _linear(params: Params, layer: str, X: jax.Array) -> jax.Array:
    return X @ params[f"{layer}.W"].T + params[f"{layer}.b"]


def _norm(params: Params, layer: str, X: jax.Array) -> jax.Array:
    Xhat = X - X.mean(axis=-1, keepdims=True)
    variance = (Xhat * Xhat).mean(axis=-1, keepdims=True)
    return Xhat * jax.lax.rsqrt(variance + EPSILON) * params[f"{layer}.G"] + params[f"{layer}.b"]
