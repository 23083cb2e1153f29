"""PyTorch computes on the caller's memory, and nobody notices."""

import contextlib

import numpy
import pytest
import torch
from numpy.testing import assert_array_equal
from spacy_frameworks.wrappers import PyTorchWrapper, torch2xp, xp2torch
from spacy_frameworks.wrappers.tree import leaves
from thinc.api import SGD
from thinc.types import ArgsKwargs
from thinc.util import is_xp_array
from torch import nn

from ..helpers import assert_close, normal, take_gradients, weights

pytestmark = pytest.mark.pytorch


class WritesAtOnce(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, X):
        X += 1
        return X * self.scale


class WritesIntoView(WritesAtOnce):
    def forward(self, X):
        X.flatten()[:4].zero_()
        return X * self.scale


WRITES = {
    "ReLU": lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 3)),
    "ReLU alone": lambda: nn.ReLU(inplace=True),
    "sum": WritesAtOnce,
    "view": WritesIntoView,
}


@pytest.mark.parametrize("make", WRITES.values(), ids=WRITES)
def test_a_module_may_write_into_its_input(make):
    module = make()
    model, X = PyTorchWrapper(module), normal(5, 4)
    leaf = torch.tensor(X, requires_grad=True)
    expected = module(leaf.clone())
    dY = normal(*expected.shape, seed=1)
    expected.backward(torch.tensor(dY))
    module.zero_grad()
    # In both modes, and once it is known that it writes, too.
    for _ in range(2):
        assert_array_equal(model.predict(X), expected.detach().numpy())
        Y, backprop = model.begin_update(X)
        assert_array_equal(Y, expected.detach().numpy())
        assert_array_equal(backprop(dY), leaf.grad.numpy())
        assert_array_equal(X, normal(5, 4))


def test_so_may_one_behind_converters_of_ones_own():
    def convert_inputs(model, X, is_train):
        tensor = xp2torch(X, requires_grad=is_train)
        return ArgsKwargs((tensor,), {}), lambda dX: torch2xp(dX.args[0])

    model, X = PyTorchWrapper(WritesAtOnce(), convert_inputs=convert_inputs), normal(5, 4)
    assert_array_equal(model.predict(X), normal(5, 4) + 1)
    Y, backprop = model.begin_update(X)
    assert_array_equal(backprop(Y), Y)
    assert_array_equal(X, normal(5, 4))


def test_integers_may_be_written_too():
    class Clamped(nn.Module):
        def forward(self, ids):
            return ids.clamp_(max=2).float()[:, None]

    model, ids = PyTorchWrapper(Clamped()), numpy.arange(5)
    for is_train in (True, False):
        Y, _ = model(ids, is_train=is_train)
        assert_array_equal(Y[:, 0], [0, 1, 2, 2, 2])
    assert_array_equal(ids, numpy.arange(5))


@pytest.mark.parametrize("mode", [contextlib.nullcontext, torch.inference_mode])
def test_who_begins_to_write_later_is_told_so_once(mode):
    class WritesIntoLong(nn.Module):
        def forward(self, X):
            return X.mul_(2) if len(X) > 3 else X * 2

    model, X = PyTorchWrapper(WritesIntoLong()), normal(5, 4)
    words = r"WritesIntoLong has written into its input.*clone\(\)"
    with mode():
        model.predict(X[:2])
        with pytest.raises(RuntimeError, match=words):
            model.predict(X.copy())
        assert_array_equal(model.predict(X), X * 2)
    assert_array_equal(X, normal(5, 4))


def test_in_inference_mode_the_input_is_copied_in_the_first_pass_alone():
    class Seen(nn.Module):
        def forward(self, X):
            places.append(X.data_ptr())
            return X * 2

    places: list = []
    model, X = PyTorchWrapper(Seen()), normal(5, 4)
    with torch.inference_mode():
        for _ in range(3):
            assert_array_equal(model.predict(X), X * 2)
    assert places[0] != X.ctypes.data and places[1:] == [X.ctypes.data] * 2


def test_tensors_that_a_converter_makes_in_inference_mode_are_copied():
    def convert_inputs(model, X, is_train):
        return ArgsKwargs((torch.from_numpy(X),), {}), None

    model, X = PyTorchWrapper(WritesAtOnce(), convert_inputs=convert_inputs), normal(5, 4)
    with torch.inference_mode():
        for _ in range(2):
            assert_array_equal(model.predict(X), normal(5, 4) + 1)
    assert_array_equal(X, normal(5, 4))


def test_in_inference_mode_a_module_may_write_too():
    model, X = PyTorchWrapper(WritesAtOnce()), normal(5, 4)
    with torch.inference_mode():
        for _ in range(2):
            assert_array_equal(model.predict(X), normal(5, 4) + 1)
    assert_array_equal(X, normal(5, 4))


class Hidden(nn.Module):
    """Returns what its second output is computed from."""

    def __init__(self):
        super().__init__()
        self.hidden, self.out = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, X):
        hidden = self.hidden(X)
        return hidden, self.out(hidden)


def test_one_of_several_outputs_may_be_written_into():
    model, X, dY = PyTorchWrapper(Hidden()), normal(6, 4), normal(6, 3, seed=1)
    expected = model.begin_update(X)[1]((None, dY))
    gradients = take_gradients(model)
    (hidden, _), backprop = model.begin_update(X)
    hidden[:] = 0
    assert_array_equal(backprop((None, dY)), expected)
    for one, other in zip(take_gradients(model).values(), gradients.values()):
        assert_array_equal(one, other)


class Position(nn.Module):
    """Adds a parameter, and does so by views alone."""

    def __init__(self):
        super().__init__()
        self.position = nn.Parameter(torch.zeros(20))

    def forward(self, X):
        return X.reshape(1, 20) + self.position.view(1, 20)


@pytest.mark.parametrize("behind", [nn.Identity(), nn.Linear(20, 20)])
def test_gradients_share_no_memory(behind):
    model, X, dY = PyTorchWrapper(nn.Sequential(Position(), behind)), normal(5, 4), normal(1, 20)
    given = dY.copy()
    dX = model.begin_update(X)[1](given)
    expected = dX.copy()
    given += 1
    dX += 1
    (gradient, *_) = take_gradients(model).values()
    assert_array_equal(gradient.reshape(5, 4), expected)
    assert_array_equal(given, dY + 1)


class Table(nn.Module):
    """Gives what it holds, or a part of it."""

    def __init__(self, part):
        super().__init__()
        self.part, self.inner = part, nn.Linear(4, 3)
        self.inner.register_buffer("table", torch.tensor(normal(9, 3)), persistent=False)
        # Others that a module may hold.
        self.inner.register_buffer("sparse", torch.eye(3).to_sparse(), persistent=False)

    def forward(self, X):
        return self.part(self.inner, len(X))


PARTS = {
    "rows": lambda inner, n: inner.table[:n],
    "later rows": lambda inner, n: inner.table[2 : 2 + n],
    "buffer": lambda inner, n: inner.table,
    "data": lambda inner, n: inner.table.data,
    "parameter": lambda inner, n: inner.weight,
    "detached": lambda inner, n: inner.weight.detach().T,
    "nested": lambda inner, n: (inner.weight[:2], {"table": [inner.table[:n]]}),
}


@pytest.mark.parametrize("is_train", [False, True], ids=["predict", "train"])
@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_who_writes_into_an_output_does_not_change_the_model(part, is_train):
    module, X = Table(part), normal(5, 4)
    model = PyTorchWrapper(module)

    def check():
        expected = [tensor.clone() for tensor in (module.inner.table, module.inner.weight)]
        Y, _ = model(X, is_train=is_train)
        for array in leaves(is_xp_array, Y):
            array += 1
        assert_array_equal(module.inner.table, expected[0])
        assert_array_equal(module.inner.weight.detach(), expected[1].detach())

    check()
    # The user's, who puts another one in its place.
    module.inner.table = torch.zeros((9, 3))
    module.inner.weight = nn.Parameter(torch.ones((3, 4)))
    check()


def test_what_is_safe_is_shared():
    """A prediction is copied nowhere, nor is the output of a linear layer in training."""
    X, (W, b, *_) = normal(5, 4), weights()
    layer = nn.Linear(4, 5)
    layer.weight, layer.bias = nn.Parameter(torch.tensor(W)), nn.Parameter(torch.tensor(b))
    outputs = []
    layer.register_forward_hook(lambda module, inputs, output: outputs.append((inputs[0], output)))
    model = PyTorchWrapper(layer)
    for is_train in (True, False):
        model(X, is_train=is_train)
        Y, _ = model(X, is_train=is_train)
        given, returned = outputs[-1]
        assert given.data_ptr() == X.ctypes.data
        assert returned.data_ptr() == Y.ctypes.data


def test_training_with_an_activation_last_goes_as_in_pytorch():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 3), nn.Sigmoid())
    model, X = PyTorchWrapper(module), normal(8, 4)
    for _ in range(3):
        leaf = torch.tensor(X)
        Y = module(leaf)
        (expected,) = torch.autograd.grad((Y * Y / 2).sum(), module[0].weight)
        Y, backprop = model.begin_update(X)
        dY = Y.copy()
        Y[:] = numpy.nan
        backprop(dY)
        assert_close(module[0].weight.grad.numpy(), expected.numpy())
        model.finish_update(SGD(0.1))
