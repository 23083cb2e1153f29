"""What users write in the toy library of `tests/toy_distribution`. Weights come in Thinc's layout,
(nO, nI)."""

from __future__ import annotations

import autograd.numpy as np
import toy
from toy_frameworks.wrappers import ToyWrapper as Wrapper
from toy_frameworks.wrappers import toy2xp as tensor2xp
from toy_frameworks.wrappers import xp2toy as xp2tensor

__all__ = ["Wrapper", "tensor2xp", "xp2tensor"]

ID = "toy"
CPU = "cpu"
# What differs between frameworks, and no test can find out by itself.
RUNS_AFTER_FORK = True
# What is said of gradients for what was computed from the outputs afterwards. None if the pass goes
# on along it.
OTHER_TENSOR = r"tensors that the model returned.*of shape \(5, 3\)"
# How often a module's Python code runs for 20 passes of growing size, forward and back, and as
# many predictions.
MOST_CALLS = 40
PRINT_THREADS = """
import numpy
from threadpoolctl import threadpool_info
numpy.ones((600, 600)) @ numpy.ones((600, 600))
print(*{pool["num_threads"] for pool in threadpool_info() if "numpy" in pool["filepath"]})
"""
LINEAR = ("W", "b")
STATISTICS = ("running_mean", "running_variance")
CALLS = []


def thread_state():
    """What the framework has set for this thread, and wrappers change for a pass."""
    return toy.is_training()


def linear(W, b):
    return toy.Linear(*W.shape, W, b)


def sequential(W1, b1, W2, b2):
    return toy.Sequential(linear(W1, b1), toy.ReLU(), linear(W2, b2))


class Tanh(toy.Module):
    def forward(self, X):
        return np.tanh(X)


def activated(W, b):
    """Its gradient is computed from its output."""
    return toy.Sequential(linear(W, b), Tanh())


class TwoLayer(toy.Module):
    def __init__(self, hidden, output):
        self.hidden, self.output = hidden, output

    def forward(self, X):
        return self.output(np.maximum(self.hidden(X), 0))


def subclassed(W1, b1, W2, b2):
    return TwoLayer(linear(W1, b1), linear(W2, b2))


class Root(TwoLayer):
    def forward(self, X):
        return self.output(np.sqrt(self.hidden(X)))


def root(W1, b1, W2, b2):
    """The root of 0 has no gradient."""
    return Root(linear(W1, b1), linear(W2, b2))


TWO_LAYER = {
    "sequential": (sequential, ("layers.0.W", "layers.0.b", "layers.2.W", "layers.2.b")),
    "subclassed": (subclassed, ("hidden.W", "hidden.b", "output.W", "output.b")),
}


def tied(W, b):
    layer = linear(W, b)
    return TwoLayer(layer, layer)


TIED = ("hidden.W", "hidden.b")


def frozen(W1, b1, W2, b2):
    module = subclassed(W1, b1, W2, b2)
    for parameter in module.hidden.named_parameters().values():
        parameter.trainable = False
    return module


FROZEN = ("hidden.W", "hidden.b")


class Unused(toy.Module):
    def __init__(self, layer, width):
        self.layer = layer
        self.unused = toy.Parameter(np.ones(width, "float32"))

    def forward(self, X):
        return self.layer(X)


def unused(W, b):
    return Unused(linear(W, b), 2)


class Scalar(toy.Module):
    def __init__(self, value):
        self.scale = toy.Parameter(value)

    def forward(self, X):
        return X * self.scale.values


def scalar(value):
    return Scalar(value)


def batch_norm(width):
    return toy.BatchNorm(width)


def dropout(rate):
    return toy.Dropout(rate)


def with_dropout(module, rate):
    return toy.Sequential(module, toy.Dropout(rate))


def dropouts(rate):
    """Modules whose outputs are dropped, in each way in which they may be put together."""
    linear = toy.Linear(4, 4)
    return {
        "alone": toy.Dropout(rate),
        "sequential": toy.Sequential(linear, toy.Dropout(rate)),
        "nested": toy.Sequential(linear, toy.Sequential(toy.Dropout(rate))),
    }


class MaskedMean(toy.Module):
    def __init__(self, nO, nI):
        self.layer = toy.Linear(nO, nI)

    def forward(self, X, is_token):
        mask = is_token[:, :, None]
        mean = np.sum(X * mask, axis=1, keepdims=True) / np.sum(mask, axis=1, keepdims=True)
        return self.layer(np.tanh(X) + mean)


def masked_mean(nO, nI):
    """Takes (batch, time, nI) and a mask that is true for tokens, or 1."""
    return MaskedMean(nO, nI)


class SelfAttention(toy.Module):
    def __init__(self, width):
        self.qkv = toy.Linear(3 * width, width)

    def forward(self, X, is_padding):
        Q, K, V = np.split(self.qkv(X), 3, axis=2)
        scores = np.matmul(Q, np.transpose(K, (0, 2, 1))) - is_padding[:, None] * 1e9
        return X + np.matmul(toy.softmax(scores), V)


def attention(width):
    """A module for (batch, time, width) and a mask, and the arguments of with_mask for it."""
    return SelfAttention(width), (), {"padding": True, "dtype": "float32"}


class MaskAlone(toy.Module):
    def forward(self, X, mask):
        return mask


def mask_alone():
    return MaskAlone()


class TwoInputs(toy.Module):
    def __init__(self, W1, W2):
        self.W1, self.W2 = toy.Parameter(W1), toy.Parameter(W2)

    def forward(self, first, second):
        return toy.dot(first, self.W1.values.T) + toy.dot(second, self.W2.values.T)


def two_inputs(W1, W2):
    return TwoInputs(W1, W2)


class FirstOfTwo(toy.Module):
    def forward(self, first, second):
        return first * 3.0


def first_of_two():
    return FirstOfTwo()


class Nested(TwoInputs):
    def forward(self, X):
        first, second = (toy.dot(X, W.values.T) for W in (self.W1, self.W2))
        return first, (second, X * 2.0)


def nested_tuple(W1, W2):
    return Nested(W1, W2)


class NestedDict(Nested):
    def forward(self, X):
        first, rest = super().forward(X)
        return {"first": first, "rest": rest}


def nested_dict(W1, W2):
    return NestedDict(W1, W2)


class ScaledEmbedding(toy.Module):
    def __init__(self, E):
        self.embedding = toy.Embedding(E)

    def forward(self, ids, scale):
        return self.embedding(ids) * scale


def scaled_embedding(E):
    return ScaledEmbedding(E)


def lazy(nO):
    return toy.Sequential(toy.LazyLinear(nO), toy.ReLU(), toy.LazyLinear(nO))


def builder(nO, nI):
    return toy.Sequential(toy.Linear(5, nI), toy.ReLU(), toy.Linear(nO, 5))


def lazy_builder(nO, nI):
    return toy.Sequential(toy.LazyLinear(5), toy.ReLU(), toy.LazyLinear(nO))


class Counting(toy.Module):
    def forward(self, X):
        CALLS.append(X.shape)
        return X * 2.0


def counting():
    return Counting()
