"""What users write in JAX, Flax and Equinox. Weights come in Thinc's layout, (nO, nI)."""

from __future__ import annotations

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy
from flax import nnx
from spacy_frameworks.wrappers import JAXRNNWrapper as RNNWrapper
from spacy_frameworks.wrappers import JAXWrapper as Wrapper
from spacy_frameworks.wrappers import jax2xp as tensor2xp
from spacy_frameworks.wrappers import xp2jax

__all__ = ["RNNWrapper", "Wrapper", "tensor2xp", "xp2tensor"]

ID = "jax"
CPU = "cpu:0"
# What differs between frameworks, and no test can find out by itself.
BIDIRECTIONAL = True
RUNS_AFTER_FORK = False
# What is said of gradients for what was computed from the outputs afterwards. None if the pass goes
# on along it.
OTHER_TENSOR = r"tensors that the model returned.*of shape \(5, 3\)"
# How often a module's Python code runs for 20 passes of growing size, forward and back, and as
# many predictions: each filled up and, to find out that this may be done, once as it is.
MOST_CALLS = 4
PRINT_THREADS = """
from pathlib import Path
import jax
jax.numpy.ones((600, 600)).dot(jax.numpy.ones((600, 600))).block_until_ready()
names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
print(names.count("tf_XLAEigen"))
"""
LINEAR = ("kernel", "bias")
STATISTICS = ("mean", "var")
CALLS = []


def thread_state():
    """What the framework has set for this thread, and wrappers change for a pass: nothing."""
    return jax.config.jax_debug_nans, jax.config.jax_enable_x64


def _rngs():
    return nnx.Rngs(0)


def _has_64_bits(array):
    """Have JAX do as well, as whoever wants it has to; conftest.py undoes it."""
    if array.dtype.itemsize == 8:
        jax.config.update("jax_enable_x64", True)


def xp2tensor(array):
    _has_64_bits(array)
    return xp2jax(array)


def linear(W, b):
    _has_64_bits(W)
    nO, nI = W.shape
    layer = nnx.Linear(nI, nO, param_dtype=W.dtype, rngs=_rngs())
    layer.kernel, layer.bias = nnx.Param(jnp.array(W.T)), nnx.Param(jnp.array(b))
    return layer


def sequential(W1, b1, W2, b2):
    return nnx.Sequential(linear(W1, b1), nnx.relu, linear(W2, b2))


def activated(W, b):
    """Its gradient is computed from its output."""
    return nnx.Sequential(linear(W, b), nnx.tanh)


class TwoLayer(nnx.Module):
    def __init__(self, hidden, out):
        self.hidden, self.out = hidden, out

    def __call__(self, X):
        return self.out(nnx.relu(self.hidden(X)))


def subclassed(W1, b1, W2, b2):
    return TwoLayer(linear(W1, b1), linear(W2, b2))


def root(W1, b1, W2, b2):
    """The root of 0 has no gradient."""
    return nnx.Sequential(linear(W1, b1), jnp.sqrt, linear(W2, b2))


def _equinox_linear(W, b):
    nO, nI = W.shape
    layer = eqx.nn.Linear(nI, nO, key=jax.random.key(0))
    return eqx.tree_at(lambda it: (it.weight, it.bias), layer, (jnp.array(W), jnp.array(b)))


def equinox(W1, b1, W2, b2):
    layers = [_equinox_linear(W1, b1), eqx.nn.Lambda(jax.nn.relu), _equinox_linear(W2, b2)]
    return eqx.nn.Sequential(layers)


def two_layer(params, X):
    hidden = jax.nn.relu(X @ params["W1"].T + params["b1"])
    W2, b2 = params["out"]
    return hidden @ W2.T + b2


def function(W1, b1, W2, b2):
    arrays = [jnp.array(array) for array in (W1, b1, W2, b2)]
    return two_layer, {"W1": arrays[0], "b1": arrays[1], "out": arrays[2:]}


TWO_LAYER = {
    "sequential": (
        sequential,
        ("layers.0.kernel", "layers.0.bias", "layers.2.kernel", "layers.2.bias"),
    ),
    "subclassed": (subclassed, ("hidden.kernel", "hidden.bias", "out.kernel", "out.bias")),
    "equinox": (
        equinox,
        ("layers.0.weight", "layers.0.bias", "layers.2.weight", "layers.2.bias"),
    ),
    "function": (function, ("W1", "b1", "out.0", "out.1")),
}


def tied(W, b):
    layer = linear(W, b)
    return TwoLayer(layer, layer)


TIED = ("hidden.kernel", "hidden.bias")


class Frozen(nnx.Variable):
    """What is no `nnx.Param` is not trained."""


def frozen(W1, b1, W2, b2):
    module = subclassed(W1, b1, W2, b2)
    for name in ("kernel", "bias"):
        setattr(module.hidden, name, Frozen(getattr(module.hidden, name)[...]))
    return module


FROZEN = ("hidden.kernel", "hidden.bias")


class Unused(nnx.Module):
    def __init__(self, layer, width):
        self.layer = layer
        self.unused = nnx.Param(jnp.ones(width))

    def __call__(self, X):
        return self.layer(X)


def unused(W, b):
    return Unused(linear(W, b), 2)


def scalar(value):
    return lambda params, X: X * params["scale"], {"scale": value}


def batch_norm(width):
    return nnx.BatchNorm(width, rngs=_rngs())


def dropout(rate):
    return nnx.Dropout(rate, rngs=_rngs())


def with_dropout(module, rate):
    return nnx.Sequential(module, dropout(rate))


def dropouts(rate):
    """Modules whose outputs are dropped, in each way in which they may be put together."""
    layer = nnx.Linear(4, 4, rngs=_rngs())
    inner = eqx.nn.Sequential([eqx.nn.Dropout(rate)])
    return {
        "alone": dropout(rate),
        "sequential": nnx.Sequential(layer, dropout(rate)),
        "nested": nnx.Sequential(layer, nnx.Sequential(dropout(rate))),
        "equinox": eqx.nn.Sequential([eqx.nn.Linear(4, 4, key=jax.random.key(0)), inner]),
    }


class Attention(nnx.Module):
    def __init__(self, rate):
        # One that has no rate keeps no random numbers.
        self.attention = nnx.MultiHeadAttention(
            2, 4, dropout_rate=rate or 0.5, decode=False, broadcast_dropout=False, rngs=_rngs()
        )

    def __call__(self, X):
        return self.attention(X)


def dropouts_within(rate):
    """Modules for (batch, time, 4) that drop something out on the way to their output."""
    return {
        "attention": Attention(rate),
        "equinox": _EquinoxAttention(rate),
    }


class _EquinoxAttention(eqx.Module):
    attention: eqx.nn.MultiheadAttention

    def __init__(self, rate):
        self.attention = eqx.nn.MultiheadAttention(2, 4, dropout_p=rate, key=jax.random.key(0))

    def __call__(self, X, *, key=None):
        return self.attention(X, X, X, key=key)


class MaskedMean(nnx.Module):
    def __init__(self, nO, nI):
        self.layer = nnx.Linear(nI, nO, rngs=_rngs())

    def __call__(self, X, is_token):
        mask = is_token.astype("float32")[:, :, None]
        mean = (X * mask).sum(1, keepdims=True) / mask.sum(1, keepdims=True)
        return self.layer(jnp.tanh(X) + mean)


def masked_mean(nO, nI):
    """Takes (batch, time, nI) and a mask that is true for tokens, or 1."""
    return MaskedMean(nO, nI)


class SelfAttention(nnx.Module):
    def __init__(self, width):
        self.attend = nnx.MultiHeadAttention(2, width, decode=False, rngs=_rngs())
        self.norm = nnx.LayerNorm(width, rngs=_rngs())

    def __call__(self, X, is_token):
        return self.norm(X + self.attend(X, mask=is_token[:, None, None, :]))


def attention(width):
    """A module for (batch, time, width) and a mask, and the arguments of with_mask for it."""
    return SelfAttention(width), ("is_token",), {}


def mask_alone():
    return lambda params, X, mask: mask, {}


class Pair(nnx.Module):
    def __call__(self, X, lengths):
        return X, X


def not_recurrent(width):
    return Pair()


def two_inputs(W1, W2):
    def apply(params, first, second):
        # Otherwise integers become floats.
        with jax.numpy_dtype_promotion("strict"):
            return first @ params["W1"].T + second @ params["W2"].T

    return apply, {"W1": jnp.array(W1), "W2": jnp.array(W2)}


def first_of_two():
    return lambda params, first, second: first * 3.0, {}


def nested_tuple(W1, W2):
    def apply(params, X):
        return X @ params["W1"].T, (X @ params["W2"].T, X * 2.0)

    return apply, {"W1": jnp.array(W1), "W2": jnp.array(W2)}


def nested_dict(W1, W2):
    apply, params = nested_tuple(W1, W2)
    return lambda params, X: dict(zip(("first", "rest"), apply(params, X))), params


class ScaledEmbedding(nnx.Module):
    def __init__(self, E):
        self.E = nnx.Param(jnp.array(E))

    def __call__(self, ids, scale):
        return self.E[...][ids] * scale


def scaled_embedding(E):
    return ScaledEmbedding(E)


def recurrent(nO, nI, bidirectional=False, dtype="float32"):
    _has_64_bits(numpy.empty(0, dtype))
    cells = [
        nnx.LSTMCell(nI, nO, param_dtype=dtype, rngs=_rngs())
        for _ in range(2 if bidirectional else 1)
    ]
    layers = [nnx.RNN(cell) for cell in cells]
    return nnx.Bidirectional(*layers, rngs=_rngs()) if bidirectional else layers[0]


class Lazy(nnx.Module):
    """Makes its layers when it is first called."""

    def __init__(self, *widths):
        self.widths, self.rngs = widths, _rngs()

    def __call__(self, X):
        if not hasattr(self, "layers"):
            widths = (X.shape[1], *self.widths)
            layers = [nnx.Linear(*pair, rngs=self.rngs) for pair in itertools.pairwise(widths)]
            self.layers = nnx.Sequential(*layers)
        return self.layers(X)


def lazy(nO):
    return Lazy(nO, nO)


def builder(nO, nI):
    return nnx.Sequential(
        nnx.Linear(nI, 5, rngs=_rngs()), nnx.relu, nnx.Linear(5, nO, rngs=_rngs())
    )


def lazy_builder(nO, nI):
    return Lazy(5, nO)


class Counting(nnx.Module):
    def __call__(self, X):
        CALLS.append(X.shape)
        return X * 2.0


def counting():
    return Counting()
