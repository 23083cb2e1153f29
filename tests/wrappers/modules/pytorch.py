"""What users write in PyTorch. Weights come in Thinc's layout, (nO, nI)."""

from __future__ import annotations

import torch
from spacy_frameworks.wrappers import PyTorchRNNWrapper as RNNWrapper
from spacy_frameworks.wrappers import PyTorchWrapper as Wrapper
from spacy_frameworks.wrappers import torch2xp as tensor2xp
from spacy_frameworks.wrappers import xp2torch as xp2tensor

__all__ = ["RNNWrapper", "Wrapper", "tensor2xp", "xp2tensor"]

ID = "pytorch"
CPU = torch.device("cpu")
# What differs between frameworks, and no test can find out by itself.
BIDIRECTIONAL = True
RUNS_AFTER_FORK = True
# What is said of gradients for what was computed from the outputs afterwards. None if the pass goes
# on along it.
OTHER_TENSOR = None
# How often a module's Python code runs for 20 passes of growing size, forward and back, and as
# many predictions.
MOST_CALLS = 40
PRINT_THREADS = """
import torch
torch.ones((600, 600)) @ torch.ones((600, 600))
print(torch.get_num_threads())
"""
LINEAR = ("weight", "bias")
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
CALLS = []


def _parameter(values):
    return torch.nn.Parameter(torch.tensor(values))


def thread_state():
    """What the framework has set for this thread, and wrappers change for a pass."""
    before_2_4 = not hasattr(torch, "get_autocast_dtype")
    autocast = torch.is_autocast_cpu_enabled() if before_2_4 else torch.is_autocast_enabled("cpu")
    return torch.is_grad_enabled(), torch.get_num_threads(), autocast


def linear(W, b):
    layer = torch.nn.Linear(W.shape[1], W.shape[0])
    layer.weight, layer.bias = _parameter(W), _parameter(b)
    return layer


def sequential(W1, b1, W2, b2):
    return torch.nn.Sequential(linear(W1, b1), torch.nn.ReLU(), linear(W2, b2))


def activated(W, b):
    """Its gradient is computed from its output."""
    return torch.nn.Sequential(linear(W, b), torch.nn.Tanh())


class TwoLayer(torch.nn.Module):
    def __init__(self, hidden, output):
        super().__init__()
        self.hidden, self.output = hidden, output

    def forward(self, X):
        return self.output(torch.relu(self.hidden(X)))


def subclassed(W1, b1, W2, b2):
    return TwoLayer(linear(W1, b1), linear(W2, b2))


TWO_LAYER = {
    "sequential": (sequential, ("0.weight", "0.bias", "2.weight", "2.bias")),
    "subclassed": (subclassed, ("hidden.weight", "hidden.bias", "output.weight", "output.bias")),
}


def tied(W, b):
    layer = linear(W, b)
    return TwoLayer(layer, layer)


TIED = ("hidden.weight", "hidden.bias")


def frozen(W1, b1, W2, b2):
    module = subclassed(W1, b1, W2, b2)
    module.hidden.requires_grad_(False)
    return module


FROZEN = ("hidden.weight", "hidden.bias")


class Root(TwoLayer):
    def forward(self, X):
        return self.output(torch.sqrt(self.hidden(X)))


def root(W1, b1, W2, b2):
    """The root of 0 has no gradient."""
    return Root(linear(W1, b1), linear(W2, b2))


class Unused(torch.nn.Module):
    def __init__(self, layer, width):
        super().__init__()
        self.layer = layer
        self.unused = torch.nn.Parameter(torch.ones(width))

    def forward(self, X):
        return self.layer(X)


def unused(W, b):
    return Unused(linear(W, b), 2)


class Scalar(torch.nn.Module):
    def __init__(self, value):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(value))

    def forward(self, X):
        return X * self.scale


def scalar(value):
    return Scalar(value)


def batch_norm(width):
    return torch.nn.BatchNorm1d(width)


def dropout(rate):
    return torch.nn.Dropout(rate)


def with_dropout(module, rate):
    return torch.nn.Sequential(module, torch.nn.Dropout(rate))


def dropouts(rate):
    """Modules whose outputs are dropped, in each way in which they may be put together."""
    linear = torch.nn.Linear(4, 4)
    return {
        "alone": torch.nn.Dropout(rate),
        "sequential": torch.nn.Sequential(linear, torch.nn.Dropout(rate)),
        "nested": torch.nn.Sequential(linear, torch.nn.Sequential(torch.nn.AlphaDropout(rate))),
    }


class Recurrent(torch.nn.Module):
    def __init__(self, rnn):
        super().__init__()
        self.rnn = rnn

    def forward(self, X):
        return self.rnn(X)[0]


class Attention(torch.nn.Module):
    def __init__(self, rate):
        super().__init__()
        self.attention = torch.nn.MultiheadAttention(4, 2, dropout=rate, batch_first=True)

    def forward(self, X):
        return self.attention(X, X, X)[0]


def dropouts_within(rate):
    """Modules for (batch, time, 4) that drop something out on the way to their output."""
    return {
        "recurrent": Recurrent(torch.nn.LSTM(4, 4, num_layers=2, dropout=rate)),
        "attention": Attention(rate),
    }


class MaskedMean(torch.nn.Module):
    def __init__(self, nO, nI):
        super().__init__()
        self.layer = torch.nn.Linear(nI, nO)

    def forward(self, X, is_token):
        mask = is_token.float()[:, :, None]
        mean = (X * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True)
        return self.layer(torch.tanh(X) + mean)


def masked_mean(nO, nI):
    """Takes (batch, time, nI) and a mask that is true for tokens, or 1."""
    return MaskedMean(nO, nI)


def attention(width):
    """A module for (batch, time, width) and a mask, and the arguments of with_mask for it."""
    layer = torch.nn.TransformerEncoderLayer(width, 2, 16, dropout=0.0, batch_first=True)
    return torch.nn.TransformerEncoder(layer, 2), ("src_key_padding_mask",), {"padding": True}


class MaskAlone(torch.nn.Module):
    def forward(self, X, mask):
        return mask


def mask_alone():
    return MaskAlone()


def not_recurrent(width):
    layer = torch.nn.TransformerEncoderLayer(width, 2, 16)
    return torch.nn.TransformerEncoder(layer, 1)


class TwoInputs(torch.nn.Module):
    def __init__(self, W1, W2):
        super().__init__()
        self.W1, self.W2 = _parameter(W1), _parameter(W2)

    def forward(self, first, second):
        return first @ self.W1.T + second @ self.W2.T


def two_inputs(W1, W2):
    return TwoInputs(W1, W2)


class FirstOfTwo(torch.nn.Module):
    def forward(self, first, second):
        return first * 3.0


def first_of_two():
    return FirstOfTwo()


class Nested(TwoInputs):
    def forward(self, X):
        return X @ self.W1.T, (X @ self.W2.T, X * 2.0)


def nested_tuple(W1, W2):
    return Nested(W1, W2)


class NestedDict(TwoInputs):
    def forward(self, X):
        return {"first": X @ self.W1.T, "rest": (X @ self.W2.T, X * 2.0)}


def nested_dict(W1, W2):
    return NestedDict(W1, W2)


class ScaledEmbedding(torch.nn.Module):
    def __init__(self, E):
        super().__init__()
        self.embedding = torch.nn.Embedding.from_pretrained(torch.tensor(E), freeze=False)

    def forward(self, ids, scale):
        return self.embedding(ids) * scale


def scaled_embedding(E):
    return ScaledEmbedding(E)


def recurrent(nO, nI, bidirectional=False, dtype="float32"):
    return torch.nn.LSTM(nI, nO, bidirectional=bidirectional, dtype=getattr(torch, dtype))


def lazy(nO):
    return torch.nn.Sequential(torch.nn.LazyLinear(nO), torch.nn.ReLU(), torch.nn.LazyLinear(nO))


def builder(nO, nI):
    return torch.nn.Sequential(torch.nn.Linear(nI, 5), torch.nn.ReLU(), torch.nn.Linear(5, nO))


def lazy_builder(nO, nI):
    return torch.nn.Sequential(torch.nn.LazyLinear(5), torch.nn.ReLU(), torch.nn.LazyLinear(nO))


class Counting(torch.nn.Module):
    def forward(self, X):
        CALLS.append(X.shape)
        return X * 2.0


def counting():
    return Counting()
