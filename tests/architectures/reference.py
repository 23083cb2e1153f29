"""The networks in float64 by their formulas, one sequence at a time; gradients by autograd."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Tuple

import autograd.numpy as np
import numpy
from autograd import make_vjp
from spacy_frameworks.architectures import (
    BiLSTMEncoder,
    FeedForward,
    TransformerEncoder,
    WindowEncoder,
)

Arrays = Dict[str, numpy.ndarray]


def reference(
    network: Any, params: Arrays, Xs: List[numpy.ndarray], dYs: List[numpy.ndarray]
) -> Tuple[numpy.ndarray, numpy.ndarray, Arrays]:
    """Output and input gradient, as the rows of all sequences, and the parameters' gradients.

    params: As `get_parameters` gives them.
    """
    forward = FORWARD[type(network)]

    def run(params: Arrays, Xs: List[numpy.ndarray]) -> numpy.ndarray:
        return np.concatenate([forward(network, params, X) for X in Xs])

    params = {key: value.astype("float64") for key, value in params.items()}
    backprop, Y = make_vjp(run, (0, 1))(params, [X.astype("float64") for X in Xs if len(X)])
    gradients, dXs = backprop(numpy.concatenate(dYs).astype("float64"))
    return Y, numpy.concatenate(dXs), gradients


def feed_forward(network: FeedForward, params: Arrays, X: numpy.ndarray) -> numpy.ndarray:
    for i in range(network.depth):
        X = relu(linear(params, f"hidden.{i}", X))
        if network.normalize:
            X = norm(params, f"norm.{i}", X)
    Y = linear(params, "out", X)
    return relu(Y) if network.activate_output else Y


def window_encoder(network: WindowEncoder, params: Arrays, X: numpy.ndarray) -> numpy.ndarray:
    nW = network.window_size
    for i in range(network.depth):
        outside = np.zeros((nW, X.shape[1]))
        around = np.concatenate([outside, X, outside])
        windows = np.stack([around[t : t + 2 * nW + 1].flatten() for t in range(len(X))])
        W, b = params[f"windows.{i}.W"], params[f"windows.{i}.b"]
        pieces = np.einsum("opi,ti->top", W, windows) + b
        X = X + norm(params, f"norms.{i}", np.max(pieces, axis=2))
    return X


def bilstm_encoder(network: BiLSTMEncoder, params: Arrays, X: numpy.ndarray) -> numpy.ndarray:
    for i in range(network.depth):
        forward = lstm(params, i, "forward", X)
        backward = lstm(params, i, "backward", X[::-1])[::-1]
        X = np.concatenate([forward, backward], axis=1)
    return X


def lstm(params: Arrays, layer: int, direction: str, X: numpy.ndarray) -> numpy.ndarray:
    W, U, b = (params[f"lstm.{layer}.{name}_{direction}"] for name in "WUb")
    nH = U.shape[1]
    h = c = np.zeros(nH)
    states = []
    for x in X:
        i, f, g, o = np.reshape(W @ x + U @ h + b, (4, nH))
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        states.append(h)
    return np.stack(states)


def transformer_encoder(
    network: TransformerEncoder, params: Arrays, X: numpy.ndarray
) -> numpy.ndarray:
    for i in range(network.depth):
        block = f"blocks.{i}"
        qkv = norm(params, f"{block}.attention_norm", X) @ params[f"{block}.qkv.W"].T
        heads = [
            softmax(Q @ K.T / np.sqrt(Q.shape[1])) @ V
            for Q, K, V in zip(*(np.split(part, network.heads, 1) for part in np.split(qkv, 3, 1)))
        ]
        X = X + linear(params, f"{block}.attended", np.concatenate(heads, axis=1))
        hidden = relu(linear(params, f"{block}.hidden", norm(params, f"{block}.hidden_norm", X)))
        X = X + linear(params, f"{block}.out", hidden)
    return norm(params, "norm", X)


FORWARD: Dict[type, Callable] = {
    FeedForward: feed_forward,
    WindowEncoder: window_encoder,
    BiLSTMEncoder: bilstm_encoder,
    TransformerEncoder: transformer_encoder,
}


def linear(params: Arrays, layer: str, X: numpy.ndarray) -> numpy.ndarray:
    return X @ params[f"{layer}.W"].T + params[f"{layer}.b"]


def norm(params: Arrays, layer: str, X: numpy.ndarray) -> numpy.ndarray:
    centred = X - np.mean(X, axis=1, keepdims=True)
    variance = np.mean(centred**2, axis=1, keepdims=True)
    return centred / np.sqrt(variance + 1e-8) * params[f"{layer}.G"] + params[f"{layer}.b"]


def relu(X: numpy.ndarray) -> numpy.ndarray:
    return np.maximum(X, 0)


def sigmoid(X: numpy.ndarray) -> numpy.ndarray:
    return 1 / (1 + np.exp(-X))


def softmax(X: numpy.ndarray) -> numpy.ndarray:
    exp = np.exp(X - np.max(X, axis=1, keepdims=True))
    return exp / np.sum(exp, axis=1, keepdims=True)
