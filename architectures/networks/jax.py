"""The networks as functions of JAX. Their parameters are in a dict, by the keys of the description,
and in Thinc's layout."""

from __future__ import annotations

from functools import partial
from typing import Any, Callable, Dict, Tuple

import jax
import jax.numpy as jnp
import numpy

from . import description
from .arrangement import Arrangement, Fit, Shape, lanes, rows, spaced
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
    """JAX compiles a network for each shape, so there are few: powers of two, from 64 rows up."""
    return tuple(max(64, _power_of_two(size)) for size in shape)


def fit_lanes(shape: Shape) -> Shape:
    """The same for lanes, of which there are so many that they have at least 256 places."""
    count, nT = shape
    return max(256 // nT, _few(count)), nT


def few_lanes(network: Any, lengths: numpy.ndarray, fit: Fit = fit_lanes) -> Arrangement:
    """Lanes of few lengths: for few rows from 64 places up, for more from 128 up."""
    least = 64 if lengths.sum() <= 128 else 128
    return lanes(network, lengths, fit, max(least, _few(int(lengths.max(initial=0)))))


def _few(size: int) -> int:
    """The next power of two from a size on, or three quarters of it where that is enough."""
    power = _power_of_two(size)
    return power * 3 // 4 if size <= power * 3 // 4 else power


def _power_of_two(size: int) -> int:
    """The next one from a size on."""
    return 1 << max(0, size - 1).bit_length()


ARRANGEMENTS = {
    "FeedForward": partial(rows, fit=fit),
    "WindowEncoder": partial(spaced, fit=fit),
    "BiLSTMEncoder": few_lanes,
    "TransformerEncoder": few_lanes,
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
        self, params: Params, X: jax.Array, sequences: jax.Array, *masks: jax.Array
    ) -> jax.Array:
        """X, sequences: As `lanes` arranges them. masks: Dropout's, one for each layer, or none."""
        # Time first, and the second direction sees all lanes from right to left.
        X, sequences = X.swapaxes(0, 1), sequences.T
        goes_on = jnp.pad(sequences[1:] == sequences[:-1], ((1, 1), (0, 0)))
        goes_on = jnp.stack([goes_on[:-1], goes_on[:0:-1]], axis=1)[..., None].astype(X.dtype)
        for i in range(self.network.depth):
            X = _bilstm(params, f"lstm.{i}", X, goes_on)
            if masks:
                X = X * masks[i].swapaxes(0, 1)
        return X.swapaxes(0, 1)


def _bilstm(params: Params, layer: str, X: jax.Array, goes_on: jax.Array) -> jax.Array:
    """Both directions at once, side by side in the second dimension of what is below.

    goes_on: Whether a place and the one before it are of the same sequence; (nT, 2, nB, 1).
    """
    W, U, b = (
        [params[f"{layer}.{name}_{direction}"] for direction in ("forward", "backward")]
        for name in "WUb"
    )
    gates = [(_rows(X) @ W[i].T + b[i]).reshape((*X.shape[:2], -1)) for i in (0, 1)]
    inputs = jnp.stack([gates[0], gates[1][::-1]], axis=1)
    recurrent, nH = jnp.stack(U), U[0].shape[1]
    # A sigmoid is made of the hyperbolic tangent of half as much. One function for all gates, in
    # which only the cell's stays as it is, takes half of the time.
    half = jnp.repeat(jnp.array([0.5, 0.5, 1, 0.5], X.dtype), nH)

    def step(state: Tuple[Any, Any], now: Tuple[Any, Any]) -> Tuple[Any, Any]:
        gates, goes_on = now
        H, C = (of_last * goes_on for of_last in state)
        gates = half * (gates + jnp.einsum("dbh,dgh->dbg", H, recurrent))
        i, f, c, o = jnp.split(half * jnp.tanh(gates) + (1 - half), 4, axis=2)
        C = f * C + i * c
        H = o * jnp.tanh(C)
        return (H, C), H

    start = jnp.zeros((2, X.shape[1], nH), X.dtype)
    _, H = jax.lax.scan(step, (start, start), (inputs, goes_on))
    return jnp.concatenate([H[:, 0], H[::-1, 1]], axis=2)


class _TransformerEncoder(_Function):
    def __call__(
        self, params: Params, X: jax.Array, sequences: jax.Array, *masks: jax.Array
    ) -> jax.Array:
        """X, sequences: As `lanes` arranges them. masks: Dropout's, three for each of the
        transformer's blocks, or none."""
        are_together = sequences[:, None, :, None] == sequences[:, None, None, :]
        bias = jnp.where(are_together, 0, -1e30).astype(X.dtype)
        rows, masks = _rows(X), tuple(map(_rows, masks))
        for i in range(self.network.depth):
            rows = self.block(params, f"blocks.{i}", rows, bias, masks[3 * i : 3 * i + 3])
        return _norm(params, "norm", rows).reshape(X.shape)

    def block(self, params: Params, name: str, X: Any, bias: Any, masks: Any) -> jax.Array:
        qkv = _norm(params, f"{name}.attention_norm", X) @ params[f"{name}.qkv.W"].T
        Y = _linear(params, f"{name}.attended", self.attend(qkv, bias))
        X = X + (Y * masks[0] if masks else Y)
        hidden = _linear(params, f"{name}.hidden", _norm(params, f"{name}.hidden_norm", X))
        hidden = jax.nn.relu(hidden)
        Y = _linear(params, f"{name}.out", hidden * masks[1] if masks else hidden)
        return X + (Y * masks[2] if masks else Y)

    def attend(self, qkv: jax.Array, bias: jax.Array) -> jax.Array:
        nB, _, nT, _ = bias.shape
        Q, K, V = jnp.moveaxis(qkv.reshape((nB, nT, 3, self.network.heads, -1)), 2, 0)
        return _rows(_attention(Q * Q.shape[-1] ** -0.5, K, V, bias).reshape((nB, nT, -1)))


@jax.custom_vjp
def _attention(Q: jax.Array, K: jax.Array, V: jax.Array, bias: jax.Array) -> jax.Array:
    """The means of values, weighted by the softmax of scores.

    Q, K, V: Queries, keys and values; (nB, nT, heads, width). bias: Is added to scores;
        (nB, 1, nT, nT).
    """
    return _attention_forward(Q, K, V, bias)[0]


def _attention_forward(Q: Any, K: Any, V: Any, bias: Any) -> Tuple[jax.Array, Any]:
    by_head = [array.swapaxes(1, 2) for array in (Q, K, V)]
    scores = by_head[0] @ by_head[1].swapaxes(2, 3)
    weights = jnp.exp(scores - (scores + bias).max(axis=-1, keepdims=True) + bias)
    # Outputs are divided by the sums of weights, since there are fewer of them than weights.
    share = 1 / weights.sum(axis=-1, keepdims=True)
    Y = (weights @ by_head[2] * share).swapaxes(1, 2)
    return Y, (Q, K, V, weights, share.swapaxes(1, 2), Y)


def _attention_backward(residuals: Any, dY: jax.Array) -> Tuple[Any, Any, Any, None]:
    # JAX would find the same, but takes a third longer for it.
    Q, K, V, weights, share, Y = residuals
    dY = dY * share
    means = (dY * Y).sum(axis=-1).swapaxes(1, 2)[..., None]
    d_scores = weights * (jnp.einsum("bqhw,bkhw->bhqk", dY, V) - means)
    dQ = jnp.einsum("bhqk,bkhw->bqhw", d_scores, K)
    dK = jnp.einsum("bhqk,bqhw->bkhw", d_scores, Q)
    return dQ, dK, jnp.einsum("bhqk,bqhw->bkhw", weights, dY), None


_attention.defvjp(_attention_forward, _attention_backward)


def _rows(X: jax.Array) -> jax.Array:
    """Of an array of three dimensions, whose products are slower."""
    return X.reshape((-1, X.shape[-1]))


def _linear(params: Params, layer: str, X: jax.Array) -> jax.Array:
    return X @ params[f"{layer}.W"].T + params[f"{layer}.b"]


def _norm(params: Params, layer: str, X: jax.Array) -> jax.Array:
    Xhat = X - X.mean(axis=-1, keepdims=True)
    variance = (Xhat * Xhat).mean(axis=-1, keepdims=True)
    return Xhat * jax.lax.rsqrt(variance + EPSILON) * params[f"{layer}.G"] + params[f"{layer}.b"]
