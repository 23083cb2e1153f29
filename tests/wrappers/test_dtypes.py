"""Rows of another dtype than the module's parameters."""

import numpy
import pytest
from thinc.api import SGD
from thinc.types import ArgsKwargs

from .helpers import assert_close, gradients_of, normal, train, two_layer, weights

X, DY = normal(5, 4, dtype="float64"), normal(5, 3, seed=1)
W1, W2 = normal(3, 4, seed=1), normal(3, 2, seed=2)


@pytest.mark.parametrize("dtype", ["float64", "float16", ">f4", ">f8"])
def test_floats_are_cast_for_the_module_and_their_gradients_back(two_layer_module, dtype):
    model, rows = two_layer_module, X.astype(dtype)
    expected = model.predict(rows.astype("float32"))
    dX = model.begin_update(rows.astype("float32"))[1](DY)
    # The first time the parameters' dtype is looked up, then it is known.
    for _ in range(2):
        Y, backprop = model.begin_update(rows)
        assert Y.dtype == model.predict(rows).dtype == "float32"
        assert_close(Y, expected)
        back = backprop(DY)
        assert back.dtype == ("float32" if dtype == "float16" else dtype)
        assert_close(back, dX)


@pytest.fixture
def two_layer_module(two_layer):
    fw, build, _ = two_layer
    return fw.Wrapper(build(*weights()))


def test_a_module_in_float64_is_given_float64(fw):
    W, b = normal(3, 4, dtype="float64"), normal(3, dtype="float64")
    model = fw.Wrapper(fw.linear(W, b))
    for dtype in ("float64", "float32"):
        rows = X.astype(dtype)
        Y, backprop = model.begin_update(rows)
        assert Y.dtype == "float64"
        # As exact as only float64 is.
        assert_close(Y, rows @ W.T + b, tolerance=1e-14)
        dX = backprop(DY.astype(dtype))
        assert dX.dtype == dtype
        assert_close(dX, DY @ W, tolerance=1e-6)
    assert_close(gradients_of(model, fw.LINEAR)[1], 2 * DY.sum(0))


def test_initialize_and_training_take_float64(fw):
    model = fw.Wrapper(fw.builder)
    model.initialize(X, DY.astype("float64"))
    train(model, SGD(0.1))
    assert model.predict(X).dtype == "float32"


def test_each_of_several_inputs_has_its_own_dtype(fw):
    first, second = normal(5, 4, dtype="float64"), normal(5, 2)
    model = fw.Wrapper(fw.two_inputs(W1, W2))
    for inputs in ((first, second), ArgsKwargs((first,), {"second": second})):
        Y, backprop = model.begin_update(inputs)
        assert_close(Y, first @ W1.T + second @ W2.T)
        dX = backprop(DY)
        d_first, d_second = dX if isinstance(dX, tuple) else (*dX.args, *dX.kwargs.values())
        assert (d_first.dtype, d_second.dtype) == ("float64", "float32")
        assert_close(d_first, DY @ W1)
        assert_close(d_second, DY @ W2)


def test_the_callers_rows_stay_as_they_are(fw):
    model, rows = fw.Wrapper(fw.sequential(*weights())), X.copy()
    model.begin_update(rows)[1](DY)
    assert rows.dtype == "float64"
    assert (rows == X).all()


def test_integers_reach_a_module_that_looks_rows_up(fw):
    E, scale = normal(7, 4), normal(5, 1, dtype="float64")
    ids = numpy.array([0, 3, 6, 3, 1])
    Y, backprop = fw.Wrapper(fw.scaled_embedding(E)).begin_update((ids, scale))
    assert_close(Y, E[ids] * scale)
    d_ids, d_scale = backprop(Y)
    assert d_ids is None
    assert d_scale.dtype == "float64"


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
def test_a_module_that_fails_on_integers_says_which_came(fw, dtype):
    model = fw.Wrapper(fw.two_inputs(W1, W2))
    first, second = numpy.ones((5, 4), dtype), normal(5, 2)
    for run in (model.predict, model.begin_update):
        with pytest.raises(ValueError, match=rf"dtype {dtype}\. .*astype\(\"float32\"\)") as error:
            run((first, second))
        assert error.value.__cause__ is not None
    # And may be used on.
    floats = first.astype("float32")
    assert_close(model.predict((floats, second)), floats @ W1.T + second @ W2.T)


def test_what_fails_on_floats_fails_as_it_does(fw):
    model = fw.Wrapper(fw.two_inputs(W1, W2))
    with pytest.raises(Exception) as error:  # noqa: PT011 (each framework has its own)
        model.predict((normal(5, 3), normal(5, 2)))
    assert not {"astype()", "with_array()"} & set(str(error.value).split())
    assert "The module of" not in str(error.value)


@pytest.mark.pytorch
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_parameters_of_16_bits_leave_the_rows_as_they_are(dtype):
    import torch
    from spacy_frameworks.wrappers import PyTorchWrapper

    seen = []

    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.W = torch.nn.Parameter(torch.ones(4, dtype=getattr(torch, dtype)))

        def forward(self, X):
            seen.append(str(X.dtype))
            return X * self.W

    model = PyTorchWrapper(Module())
    for rows in (X, X.astype("float32")):
        model.predict(rows)
    assert seen == ["torch.float64", "torch.float32"]


@pytest.mark.pytorch
def test_parameters_of_several_dtypes_leave_the_rows_as_they_are():
    import torch
    from spacy_frameworks.wrappers import PyTorchWrapper

    layers = [torch.nn.Linear(4, 4).double(), torch.nn.Linear(4, 3)]

    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.ModuleList(layers)

        def forward(self, X):
            return self.layers[1](self.layers[0](X).float())

    assert PyTorchWrapper(Module()).predict(X).shape == (5, 3)


def test_two_layers_in_float64_are_those_of_the_reference(fw):
    drawn = weights()
    assert_close(fw.Wrapper(fw.sequential(*drawn)).predict(X), two_layer(X, *drawn))


@pytest.mark.parametrize("shape", [(), (0,), (0, 4), (3, 0, 2), (2, 3)])
def test_float16_of_any_shape_comes_back_as_float32(fw, shape):
    came = fw.tensor2xp(fw.xp2tensor(numpy.full(shape, 0.5, dtype="float16")))
    assert (came.shape, came.dtype) == (shape, "float32")
    assert (came == 0.5).all()
