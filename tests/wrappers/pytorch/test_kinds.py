"""Modules of kinds that PyTorch treats in ways of their own: scripted, parametrized, quantized."""

import contextlib
import io
import pickle

import numpy
import pytest
import torch
from numpy.testing import assert_array_equal
from spacy_frameworks.wrappers import PyTorchWrapper
from thinc.api import SGD
from torch import nn
from torch.nn.utils import parametrizations

from ..helpers import normal, take_gradients, train, values

pytestmark = [
    pytest.mark.pytorch,
    # Both still work, and people have modules of them.
    pytest.mark.filterwarnings("ignore:.*(torch.jit|torch.ao.quantization).*:DeprecationWarning"),
]

X = normal(5, 4)


class TwoLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.out = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, X):
        return self.out(torch.relu(self.hidden(X)))


class Around(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner, self.scale = inner, nn.Parameter(torch.ones(()))

    def forward(self, X):
        return self.inner(X) * self.scale


def scripted(is_frozen=False):
    module = TwoLayer()
    module.hidden.requires_grad_(not is_frozen)
    return torch.jit.script(module)


def normed():
    if not hasattr(parametrizations, "weight_norm"):
        pytest.skip("PyTorch has it since 2.1")
    return parametrizations.weight_norm(nn.Linear(4, 3))


KINDS = {
    "scripted": scripted,
    "frozen": lambda: scripted(is_frozen=True),
    "traced": lambda: torch.jit.trace(TwoLayer(), torch.ones((2, 4))),
    "scripted inside": lambda: Around(scripted()),
    "weight norm": normed,
    "spectral norm": lambda: parametrizations.spectral_norm(nn.Linear(4, 3)),
    "orthogonal": lambda: parametrizations.orthogonal(nn.Linear(4, 3)),
    "two of them": lambda: parametrizations.spectral_norm(normed()),
    "parametrized inside": lambda: nn.Sequential(nn.Linear(4, 4), normed()),
}
COPIES = {
    "copy": lambda model: model.copy(),
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
}


@pytest.fixture(params=KINDS)
def make(request):
    return KINDS[request.param]


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_copies_learn_as_the_original_does_and_alone(make, copied):
    torch.manual_seed(0)
    model = PyTorchWrapper(make())
    train(model, SGD(0.1), steps=1)
    twin = copied(copied(model))
    before, Y = values(model), model.predict(X)
    assert_array_equal(twin.predict(X), Y)
    train(twin, SGD(0.1), steps=2)
    assert take_gradients(model) == {}
    for name, value in values(model).items():
        assert_array_equal(value, before[name])
    train(model, SGD(0.1), steps=2)
    assert list(values(twin)) == list(before)
    assert not numpy.array_equal(model.predict(X), Y)
    assert_array_equal(twin.predict(X), model.predict(X))
    for one, other in zip(model.shims[0]._model.parameters(), twin.shims[0]._model.parameters()):
        assert one.requires_grad == other.requires_grad


def test_their_bytes_hold_all_of_them(make):
    model, other = PyTorchWrapper(make()), PyTorchWrapper(make())
    assert not numpy.array_equal(model.predict(X), other.predict(X))
    other.shims[0].from_bytes(model.shims[0].to_bytes())
    assert_array_equal(other.predict(X), model.predict(X))


def quantized():
    return torch.ao.quantization.quantize_dynamic(TwoLayer(), {nn.Linear}, dtype=torch.qint8)


def state_of(module):
    buffer = io.BytesIO()
    torch.save(module.state_dict(), buffer)
    return buffer.getvalue()


def with_state(module, data, device):
    module.load_state_dict(torch.load(io.BytesIO(data), weights_only=False))
    return module


def test_packed_weights_are_no_parameters_and_not_lost_silently():
    model = PyTorchWrapper(quantized())
    expected = model.predict(X)
    with pytest.raises(ValueError, match=r"hidden._packed_params.*serialize_model"):
        model.to_bytes()
    with pytest.raises(ValueError, match=r"hidden._packed_params.*deserialize_model"):
        # What was saved before this was noticed.
        model.shims[0].from_bytes(PyTorchWrapper(nn.ReLU()).shims[0].to_bytes())
    for copied in COPIES.values():
        assert_array_equal(copied(model).predict(X), expected)
    models = [
        PyTorchWrapper(quantized(), serialize_model=state_of, deserialize_model=with_state)
        for _ in range(2)
    ]
    models[1].from_bytes(models[0].to_bytes())
    assert_array_equal(models[0].predict(X), models[1].predict(X))


class Renamed(TwoLayer):
    """Its values have a second name in what PyTorch saves, as that of older checkpoints."""

    def state_dict(self, *args, **kwargs):
        state = super().state_dict(*args, **kwargs)
        return {**state, **{f"model.{name}": value.detach() for name, value in state.items()}}


def test_other_names_of_the_same_values_are_no_further_state():
    model, other = PyTorchWrapper(Renamed()), PyTorchWrapper(Renamed())
    other.from_bytes(model.to_bytes())
    assert_array_equal(other.predict(X), model.predict(X))


def test_a_layer_that_the_user_has_frozen_stays_so_in_the_first_pass():
    module = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3))
    module[0].eval()
    PyTorchWrapper(module).begin_update(X)
    assert module.training and not module[0].training


@pytest.mark.parametrize("where", ["pass", "backprop", "update", "all"])
def test_training_in_inference_mode_is_training(where):
    """PyTorch records nothing in it, without a word."""

    def context(part):
        return torch.inference_mode(where in (part, "all"))

    def gradients(context):
        module = TwoLayer()
        module.load_state_dict(state)
        model = PyTorchWrapper(module)
        for _ in range(2):
            with context("pass"):
                Y, backprop = model.begin_update(X)
            with context("backprop"):
                dX = backprop(Y)
            # What was added up in it may be added to outside of it.
            dX = model.begin_update(X)[1](Y)
            with context("update"):
                model.finish_update(SGD(0.1))
        return dX, values(model)

    state = TwoLayer().state_dict()
    (dX, found), (expected_dX, expected) = gradients(context), gradients(contextlib.nullcontext)
    assert_array_equal(dX, expected_dX)
    for name, value in found.items():
        assert not numpy.array_equal(value, state[name])
        assert_array_equal(value, expected[name])


def test_a_complex_parameter_is_not_made_a_real_one():
    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.out, self.turn = nn.Linear(4, 3), nn.Parameter(torch.tensor([1 + 2j, 3 + 4j, 1j]))

        def forward(self, X):
            return (self.out(X) * self.turn).imag

    model = PyTorchWrapper(Turned())
    before = values(model)
    Y, backprop = model.begin_update(X)
    backprop(Y)
    with pytest.raises(ValueError, match=r"'turn' is of dtype complex64.*two parameters"):
        model.finish_update(SGD(0.1))
    assert take_gradients(model) == {}
    for name, value in values(model).items():
        assert_array_equal(value, before[name])
    # One that is not trained may be there.
    model.shims[0]._model.turn.requires_grad_(False)
    train(model, SGD(0.1), steps=2)
    assert_array_equal(values(model)["turn"], before["turn"])
    assert not numpy.array_equal(values(model)["out.weight"], before["out.weight"])


def test_an_error_leaves_the_threads_that_another_pass_has_set():
    before = torch.get_num_threads()
    model = PyTorchWrapper(nn.Linear(4, 3))
    try:
        torch.set_num_threads(3)
        convert = model.attrs["convert_inputs"]

        def convert_inputs(*args):
            # Another thread's pass begins, and goes on.
            torch.set_num_threads(2)
            raise KeyError("of the user's")

        model.attrs["convert_inputs"] = convert_inputs
        with pytest.raises(KeyError):
            model.predict(X)
        assert torch.get_num_threads() == 2
        model.attrs["convert_inputs"] = convert
    finally:
        torch.set_num_threads(before)
