import functools
import sys

import numpy
import pytest
from numpy.testing import assert_array_equal
from spacy_frameworks.wrappers import get_framework
from thinc.api import SGD, Linear, chain, list2padded, list2ragged, with_array

from ..frameworks import ALL_IDS, ring
from .conftest import modules_of
from .helpers import assert_close, gradients_of, normal, take_gradients, train, values, weights

X = normal(5, 4)


def test_a_class_is_no_module(fw):
    module = fw.sequential(*weights())
    with pytest.raises(ValueError, match=rf"a model of {get_framework(fw.ID).token}.*\(nO, nI\)"):
        fw.Wrapper(type(module))


@pytest.mark.parametrize("given", [Linear(3, 4), "network", None, 3])
def test_neither_is_a_thinc_model_or_a_value(fw, given):
    with pytest.raises(ValueError, match=f"got {type(given).__name__}"):
        fw.Wrapper(given)


PAIRS = ring(ALL_IDS)


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_a_builder_of_another_framework_is_refused(one, other):
    model = modules_of(one).Wrapper(modules_of(other).builder)
    token = get_framework(one).token
    with pytest.raises(ValueError, match=f"returned .*Sequential, expected a model of {token}"):
        model.initialize(X, normal(5, 3))


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exceptions have no notes yet")
def test_an_error_in_a_builder_says_how_it_was_called(fw):
    def apply(params, X):
        return X @ params["W"]

    with pytest.raises(TypeError, match="subscriptable") as caught:
        fw.Wrapper(apply).initialize(X, normal(5, 3))
    (note,) = caught.value.__notes__
    assert "builds a model" in note and "apply(3, 4)" in note


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_bytes_of_another_framework_are_refused(one, other):
    model, foreign = (
        modules_of(fw).Wrapper(modules_of(fw).linear(normal(3, 4), normal(3)))
        for fw in (one, other)
    )
    before = model.to_bytes()
    with pytest.raises(ValueError, match=f"weights of {get_framework(one).token}.*{other}"):
        model.shims[0].from_bytes(foreign.shims[0].to_bytes())
    assert model.to_bytes() == before


DOCS = [normal(4, 4), normal(2, 4), normal(3, 4)]


@pytest.mark.parametrize("is_train", [True, False])
def test_docs_that_no_with_array_flattens_are_named(fw, is_train):
    model = fw.Wrapper(fw.sequential(*weights()))
    with pytest.raises(ValueError, match=r"list of 3, of which each is an argument.*with_array"):
        model(DOCS, is_train)
    for convert in (list2ragged(), list2padded()):
        X = convert.predict(DOCS)
        with pytest.raises(ValueError, match=rf"handed a {type(X).__name__}.*with_array"):
            model(X, is_train)
    assert [len(Y) for Y in with_array(model).predict(DOCS)] == [4, 2, 3]


def test_an_input_of_another_width_than_the_module_was_made_for_is_named(fw):
    model = fw.Wrapper(fw.builder)
    model.initialize(X, normal(5, 3))
    with pytest.raises(ValueError, match="for an input of width 4, but got one of width 6"):
        model.predict(normal(5, 6))


def test_a_recurrent_module_is_given_nothing_but_padded(recurrent_fw):
    model = recurrent_fw.RNNWrapper(recurrent_fw.recurrent(4, 4))
    for X in (DOCS, DOCS[0]):
        with pytest.raises(ValueError, match=rf"a Padded, got a {type(X).__name__}.*with_padded"):
            model.predict(X)


@pytest.mark.parametrize("is_train", [True, False])
def test_nan_in_the_input_is_named_with_its_row(fw, is_train):
    model = fw.Wrapper(fw.sequential(*weights()))
    bad = X.copy()
    bad[2, 1] = bad[4, 0] = numpy.nan
    for batch in (bad, (bad,), [bad]):
        with pytest.raises(ValueError, match="NaN in 2 of its 5 rows, first in row 2"):
            model(batch, is_train=is_train)


def test_nan_in_a_subclass_of_numpys_is_noticed(fw):
    model, X = fw.Wrapper(fw.scalar(2.0)), normal(5, 4)
    assert_array_equal(model.predict(X.view(numpy.matrix)), X * 2)
    X[2, 1] = numpy.nan
    for array in (X.view(numpy.matrix), numpy.ma.masked_invalid(X)):
        with pytest.raises(ValueError, match="NaN in 1 of its 5 rows, first in row 2"):
            model.predict(array)


def test_infinity_is_no_nan(fw):
    big = X.copy()
    big[0, 0], big[1, 0] = numpy.inf, -numpy.inf
    with numpy.errstate(invalid="ignore"):
        Y = fw.Wrapper(fw.sequential(*weights())).predict(big)
    assert numpy.isfinite(Y[2:]).all()


@pytest.mark.parametrize("shape", [(5, 2), (4, 3), (5,), (1, 3), (5, 1)])
def test_a_gradient_of_another_shape_is_refused(fw, shape):
    model = fw.Wrapper(fw.sequential(*weights()))
    _, backprop = model.begin_update(X)
    with pytest.raises(ValueError, match=r"gradient .* has shape .*output has shape") as error:
        backprop(numpy.zeros(shape, dtype="float32"))
    assert str(shape) in str(error.value)
    assert "(5, 3)" in str(error.value)
    assert take_gradients(model) == {}


def test_nan_in_a_gradient_is_named_with_its_row_before_anything_changes(fw):
    model = chain(Linear(4, 4), fw.Wrapper(fw.sequential(*weights()), model_name="mine"))
    model.initialize(X)
    before = model.to_bytes()
    Y, backprop = model.begin_update(X)
    bad = Y.copy()
    bad[2, 1] = bad[4, 0] = numpy.nan
    expected = (
        "'mine' has NaN in 2 of its 5 rows.*handed a gradient that has NaN in 2 of its 5 rows"
    )
    with pytest.raises(ValueError, match=f"{expected}, first in row 2"):
        backprop(bad)
    # What a loop that goes on would do.
    model.finish_update(SGD(0.1))
    assert model.to_bytes() == before


@pytest.mark.parametrize("value", [numpy.inf, -numpy.inf])
def test_a_gradient_that_is_not_finite_does_not_reach_the_optimizer(fw, value):
    def optimizer(key, value, gradient):
        raise AssertionError(f"It was called with {key}.")

    model = fw.Wrapper(fw.linear(normal(3, 4), normal(3)), model_name="mine")
    before = values(model)
    Y, backprop = model.begin_update(X)
    dY = Y.copy()
    dY[3, 2] = value
    backprop(dY)
    expected = rf"'{fw.LINEAR[1]}'\] of 'mine'.* are not finite.* in \d+ of its"
    with pytest.raises(ValueError, match=expected):
        model.finish_update(optimizer)
    assert_values(model, before)
    # What comes next is as if this had not been.
    fresh = fw.Wrapper(fw.linear(normal(3, 4), normal(3)))
    for each in (model, fresh):
        train(each, SGD(0.1), steps=1)
    assert_values(model, values(fresh))


def assert_values(model, expected):
    for one, other in zip(values(model).values(), expected.values()):
        assert_array_equal(one, other)


@pytest.mark.filterwarnings("ignore:(divide by zero|invalid value):RuntimeWarning")
def test_nan_that_comes_up_in_a_module_is_its_own(fw):
    """Layers of Thinc's would take it from there."""
    W1, b1, W2, b2 = weights()
    model = chain(Linear(4, 4), fw.Wrapper(fw.root(0 * W1, 0 * b1, W2, b2), model_name="mine"))
    model.initialize(X)
    for value, what in ((1, "a finite gradient"), (numpy.inf, "a gradient with infinity in it")):
        Y, backprop = model.begin_update(X)
        dY = numpy.ones_like(Y) * numpy.float32(value)
        expected = f"input of 'mine' has NaN in 5 of its 5 rows, .* was handed {what}"
        with pytest.raises(ValueError, match=expected):
            backprop(dY)
        assert take_gradients(model.layers[1]) == {}
        assert not model.layers[0].has_grad("W")


def test_large_gradients_are_no_infinite_ones(fw):
    """Their sum overflows."""
    model = fw.Wrapper(fw.linear(normal(3, 4), normal(3)))
    Y, backprop = model.begin_update(X)
    backprop(numpy.full_like(Y, 5e37))
    with numpy.errstate(over="ignore"):
        _, d_bias = gradients_of(model, fw.LINEAR)
    assert_close(d_bias, numpy.full(3, 5 * 5e37))


def test_a_prediction_cannot_be_backpropagated(fw):
    model = chain(Linear(4, 4), fw.Wrapper(fw.sequential(*weights())))
    model.initialize(X)
    Y, backprop = model(X, is_train=False)
    with pytest.raises(RuntimeError, match=r"prediction.*begin_update\(\)"):
        backprop(Y)


def test_errors_of_the_module_come_through_and_leave_the_model_usable(fw):
    model = fw.Wrapper(fw.sequential(*weights()))
    expected = model.predict(X)
    with pytest.raises(Exception) as error:  # noqa: PT011 (each framework has its own)
        model.begin_update(normal(5, 7))
    # It may go with this width, for all that is known, and fail for another reason.
    assert "width" not in str(error.value)
    assert error.value.__cause__ is None or "The module of" not in str(error.value)
    assert_array_equal(model.predict(X), expected)
    Y, backprop = model.begin_update(X)
    assert backprop(Y).shape == X.shape


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_a_module_of_another_framework_is_refused_by_the_name_of_its_wrapper(one, other):
    foreign, token = modules_of(other), get_framework(other).token
    modules = [foreign.linear(normal(3, 4), normal(3)), foreign.counting(), foreign.lazy(3)]
    for module in modules:
        with pytest.raises(ValueError, match=f"a model of {token}: wrap it with {token}Wrapper"):
            modules_of(one).Wrapper(module)


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_what_a_builder_of_another_framework_returns_is_named_with_its_wrapper(one, other):
    model = modules_of(one).Wrapper(modules_of(other).builder, nO=3, nI=4)
    with pytest.raises(ValueError, match=f"wrap it with {get_framework(other).token}Wrapper"):
        model.initialize()


class Builders:
    """Functions that can be called with (nO, nI), and such that cannot."""

    def method(self, nO, nI):
        raise NotImplementedError

    def of_one(self, nO):
        raise NotImplementedError

    def __call__(self, nO, nI, depth=1):
        raise NotImplementedError


CANNOT_BUILD = {
    "lambda": lambda: None,
    "one argument": Builders().of_one,
    "three arguments": lambda nO, nI, depth: None,
    "keywords": lambda *, nO, nI: None,
}
CAN_BUILD = {
    "method": Builders().method,
    "object": Builders(),
    "partial": functools.partial(lambda depth, nO, nI: None, 2),
    "any arguments": lambda *args: None,
    # Tells no signature.
    "builtin": max,
}


@pytest.mark.parametrize("given", CANNOT_BUILD.values(), ids=CANNOT_BUILD)
def test_a_function_that_cannot_take_the_dims_builds_nothing(fw, given):
    with pytest.raises(ValueError, match=r"a function \(nO, nI\) that builds the module.*itself"):
        fw.Wrapper(given)


@pytest.mark.parametrize("given", CAN_BUILD.values(), ids=CAN_BUILD)
def test_whatever_can_take_the_dims_may_build(fw, given):
    assert not fw.Wrapper(given).shims[0].is_built


# MXNet


def _dense_in_float16():
    """MXNet has no such kernel for CPUs, which is found out on a thread of its own."""
    from mxnet.gluon import nn

    return nn.Dense(3, dtype="float16")


def _reads_no_outputs(model, X_outputs, is_train):
    return model.ops.alloc2f(5, 3), None


@pytest.mark.mxnet
@pytest.mark.parametrize("arguments", [{}, {"convert_outputs": _reads_no_outputs}])
@pytest.mark.parametrize("is_train", [True, False])
def test_an_error_on_a_thread_of_mxnets_is_one_of_the_pass_that_made_it(is_train, arguments):
    from .modules import mxnet as fw

    good, bad = fw.Wrapper(fw.sequential(*weights())), fw.Wrapper(_dense_in_float16(), **arguments)
    expected = good.predict(X)
    for _ in range(2):
        with pytest.raises(Exception, match="float16 fully connected layer"):
            bad(X.astype("float16"), is_train=is_train)
    # Operators share four pieces of memory, of which the failed one had some.
    for _ in range(8):
        assert_array_equal(good.predict(X), expected)
