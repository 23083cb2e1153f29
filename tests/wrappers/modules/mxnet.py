"""What users write in Gluon. Weights come in Thinc's layout, (nO, nI)."""

from __future__ import annotations

from spacy_frameworks.wrappers import MXNetRNNWrapper as RNNWrapper
from spacy_frameworks.wrappers import MXNetWrapper as Wrapper
from spacy_frameworks.wrappers import mxnet2xp as tensor2xp
from spacy_frameworks.wrappers import xp2mxnet as xp2tensor

import mxnet as mx  # isort: skip
from mxnet.gluon import Block, HybridBlock, nn, rnn  # isort: skip

__all__ = ["RNNWrapper", "Wrapper", "tensor2xp", "xp2tensor"]

ID = "mxnet"
CPU = mx.cpu()
# What differs between frameworks, and no test can find out by itself.
BIDIRECTIONAL = False
RUNS_AFTER_FORK = True
# What is said of gradients for what was computed from the outputs afterwards. None if the pass goes
# on along it.
OTHER_TENSOR = "not in a computational graph"
# How often a module's Python code runs for 20 passes of growing size, forward and back, and as
# many predictions: twice for each, and once to create the parameters.
MOST_CALLS = 5
# MXNet has no function that tells. Its products are its OpenBLAS's.
PRINT_THREADS = """
import ctypes
from pathlib import Path
from spacy_frameworks.wrappers.framework import require
mx = require("mxnet")
mx.nd.dot(mx.nd.ones((600, 600)), mx.nd.ones((600, 600))).asnumpy()
library = ctypes.CDLL(str(Path(mx.__file__).parent / "libopenblas.so.0"))
print(library.openblas_get_num_threads())
"""
LINEAR = ("weight", "bias")
STATISTICS = ("running_mean", "running_var")
CALLS = []


def thread_state():
    """What the framework has set for this thread, and wrappers change for a pass."""
    return mx.autograd.is_recording(), mx.autograd.is_training()


def _constant(values):
    return mx.init.Constant(mx.nd.array(values, dtype=values.dtype))


def linear(W, b, **kwargs):
    layer = nn.Dense(
        W.shape[0],
        in_units=W.shape[1],
        dtype=W.dtype.name,
        weight_initializer=_constant(W),
        bias_initializer=_constant(b),
        **kwargs,
    )
    layer.initialize()
    return layer


def sequential(W1, b1, W2, b2):
    module = nn.HybridSequential()
    module.add(linear(W1, b1, activation="relu"), linear(W2, b2))
    return module


def activated(W, b):
    """Its gradient is computed from its output."""
    return linear(W, b, activation="tanh")


class TwoLayer(HybridBlock):
    def __init__(self, hidden, output):
        super().__init__()
        self.hidden, self.output = hidden, output

    def hybrid_forward(self, F, X):
        return self.output(F.relu(self.hidden(X)))


def subclassed(W1, b1, W2, b2):
    return TwoLayer(linear(W1, b1), linear(W2, b2))


def block(W1, b1, W2, b2):
    """One that cannot be hybridized."""
    module = nn.Sequential()
    module.add(linear(W1, b1, activation="relu"), linear(W2, b2))
    return module


class Root(TwoLayer):
    def hybrid_forward(self, F, X):
        return self.output(F.sqrt(self.hidden(X)))


def root(W1, b1, W2, b2):
    """The root of 0 has no gradient."""
    return Root(linear(W1, b1), linear(W2, b2))


IN_SEQUENCE = ("0.weight", "0.bias", "1.weight", "1.bias")
TWO_LAYER = {
    "sequential": (sequential, IN_SEQUENCE),
    "subclassed": (subclassed, ("hidden.weight", "hidden.bias", "output.weight", "output.bias")),
    "block": (block, IN_SEQUENCE),
}


def tied(W, b):
    hidden = nn.Dense(W.shape[0], in_units=W.shape[1])
    output = nn.Dense(W.shape[0], in_units=W.shape[1], params=hidden.params)
    hidden.initialize()
    hidden.weight.set_data(mx.nd.array(W))
    hidden.bias.set_data(mx.nd.array(b))
    return TwoLayer(hidden, output)


TIED = ("hidden.weight", "hidden.bias")


def frozen(W1, b1, W2, b2):
    module = subclassed(W1, b1, W2, b2)
    module.hidden.collect_params().setattr("grad_req", "null")
    return module


FROZEN = ("hidden.weight", "hidden.bias")


class Unused(HybridBlock):
    def __init__(self, layer, width):
        super().__init__()
        self.layer = layer
        self.unused = self.params.get("unused", shape=(width,), init="ones")
        self.unused.initialize()

    def hybrid_forward(self, F, X, unused):
        return self.layer(X)


def unused(W, b):
    return Unused(linear(W, b), 2)


class Scalar(HybridBlock):
    def __init__(self, value):
        super().__init__()
        self.scale = self.params.get("scale", shape=(1,), init=mx.init.Constant(value))
        self.scale.initialize()

    def hybrid_forward(self, F, X, scale):
        return F.broadcast_mul(X, scale)


def scalar(value):
    return Scalar(value)


def batch_norm(width):
    layer = nn.BatchNorm(in_channels=width)
    layer.initialize()
    return layer


def dropout(rate):
    return nn.Dropout(rate)


def _in_sequence(container, *layers):
    module = container()
    module.add(*layers)
    return module


def with_dropout(module, rate):
    return _in_sequence(nn.HybridSequential, module, nn.Dropout(rate))


def dropouts(rate):
    """Modules whose outputs are dropped, in each way in which they may be put together."""
    inner = _in_sequence(nn.HybridSequential, nn.Dropout(rate))
    return {
        "alone": nn.Dropout(rate),
        "sequential": _in_sequence(nn.HybridSequential, nn.Dense(4), nn.Dropout(rate)),
        "nested": _in_sequence(nn.HybridSequential, nn.Dense(4), inner),
        "block": _in_sequence(nn.Sequential, nn.Dense(4, in_units=4), nn.Dropout(rate)),
        "block of hybrid ones": _in_sequence(
            nn.Sequential,
            nn.Dense(4, in_units=4),
            _in_sequence(nn.HybridSequential, nn.Dropout(rate)),
        ),
    }


class MaskedMean(HybridBlock):
    def __init__(self, nO, nI):
        super().__init__()
        self.layer = nn.Dense(nO, in_units=nI, flatten=False)

    def hybrid_forward(self, F, X, is_token):
        mask = F.expand_dims(F.cast(is_token, "float32"), 2)
        total = F.sum(F.broadcast_mul(X, mask), axis=1, keepdims=True)
        mean = F.broadcast_div(total, F.sum(mask, axis=1, keepdims=True))
        return self.layer(F.broadcast_add(F.tanh(X), mean))


def masked_mean(nO, nI):
    """Takes (batch, time, nI) and a mask that is true for tokens, or 1."""
    return MaskedMean(nO, nI)


class SelfAttention(HybridBlock):
    def __init__(self, width):
        super().__init__()
        with self.name_scope():
            self.qkv = nn.Dense(3 * width, in_units=width, flatten=False)

    def hybrid_forward(self, F, X, is_padding):
        Q, K, V = F.split(self.qkv(X), 3, axis=2)
        scores = F.broadcast_sub(
            F.batch_dot(Q, K, transpose_b=True), F.expand_dims(is_padding, 1) * 1e9
        )
        return X + F.batch_dot(F.softmax(scores, axis=2), V)


def attention(width):
    """A module for (batch, time, width) and a mask, and the arguments of with_mask for it."""
    return SelfAttention(width), (), {"padding": True, "dtype": "float32"}


class MaskAlone(HybridBlock):
    def hybrid_forward(self, F, X, mask):
        return mask * 1.0


def mask_alone():
    return MaskAlone()


class Pair(HybridBlock):
    def hybrid_forward(self, F, X):
        return X, X


def not_recurrent(width):
    return Pair()


class TwoInputs(HybridBlock):
    def __init__(self, W1, W2):
        super().__init__()
        self.W1 = self.params.get("W1", shape=W1.shape, init=_constant(W1))
        self.W2 = self.params.get("W2", shape=W2.shape, init=_constant(W2))
        self.initialize()

    def hybrid_forward(self, F, first, second, W1, W2):
        return F.dot(first, W1, transpose_b=True) + F.dot(second, W2, transpose_b=True)


def two_inputs(W1, W2):
    return TwoInputs(W1, W2)


class FirstOfTwo(HybridBlock):
    def hybrid_forward(self, F, first, second):
        return first * 3.0


def first_of_two():
    return FirstOfTwo()


class Nested(TwoInputs):
    def hybrid_forward(self, F, X, W1, W2):
        first, second = (F.dot(X, W, transpose_b=True) for W in (W1, W2))
        return first, (second, X * 2.0)


def nested_tuple(W1, W2):
    return Nested(W1, W2)


class NestedDict(Block):
    """Gluon's hybrid blocks return no dicts."""

    def __init__(self, nested):
        super().__init__()
        self.nested = nested

    def forward(self, X):
        first, rest = self.nested(X)
        return {"first": first, "rest": rest}


def nested_dict(W1, W2):
    return NestedDict(Nested(W1, W2))


class ScaledEmbedding(HybridBlock):
    def __init__(self, E):
        super().__init__()
        self.embedding = nn.Embedding(*E.shape, weight_initializer=_constant(E))
        self.initialize()

    def hybrid_forward(self, F, ids, scale):
        return F.broadcast_mul(self.embedding(ids), scale)


def scaled_embedding(E):
    return ScaledEmbedding(E)


def recurrent(nO, nI, bidirectional=False, dtype="float32"):
    return rnn.LSTM(nO, input_size=nI, bidirectional=bidirectional, dtype=dtype)


def lazy(nO):
    module = nn.HybridSequential()
    module.add(nn.Dense(nO, activation="relu"), nn.Dense(nO))
    return module


def builder(nO, nI):
    module = nn.HybridSequential()
    module.add(nn.Dense(5, in_units=nI, activation="relu"), nn.Dense(nO, in_units=5))
    return module


def lazy_builder(nO, nI):
    return _in_sequence(nn.HybridSequential, nn.Dense(5, activation="relu"), nn.Dense(nO))


class Counting(HybridBlock):
    def hybrid_forward(self, F, X):
        CALLS.append(F.__name__)
        return X * 2.0


def counting():
    return Counting()
