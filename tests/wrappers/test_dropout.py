"""Dropout in an own module under Thinc's rate."""

import copy
import pickle

import numpy
import pytest
from numpy.testing import assert_array_equal
from spacy_frameworks.wrappers import get_framework
from spacy_frameworks.wrappers.module import KEPT_RATES
from thinc.api import SGD, Model, Relu, chain, set_dropout_rate

from ..frameworks import ways
from .conftest import modules_of
from .helpers import assert_close, normal, train, weights

X = normal(40, 4)


@pytest.fixture(params=ways("dropouts"))
def build(request):
    """From the module's own rate, and the wrapper's, to a wrapper."""
    framework, kind = request.param
    fw = modules_of(framework)
    return lambda own, dropout: fw.Wrapper(fw.dropouts(own)[kind], dropout=dropout)


def changed(model, rows=X):
    """The part of the output that training changes."""
    Y, _ = model.begin_update(rows)
    return float((numpy.abs(Y - model.predict(rows)) > 1e-4).mean())


@pytest.mark.parametrize("own", [0.0, 0.5])
def test_the_rate_is_applied_in_training_and_can_be_changed_back_and_forth(build, own):
    model = build(own, 0.0)
    assert model.attrs["dropout_rate"] == 0
    assert changed(model) == 0
    for _ in range(2):
        set_dropout_rate(model, 0.999)
        assert changed(model) > 0.9
        set_dropout_rate(model, 0)
        assert changed(model) == 0


def test_a_rate_drops_so_many_and_makes_up_for_them(fw):
    ones = numpy.ones((100, 100), dtype="float32")
    for rate in (0.25, 0.75):
        Y, backprop = fw.Wrapper(fw.dropout(0.5), dropout=rate).begin_update(ones)
        assert abs((Y == 0).mean() - rate) < 0.03
        assert_close(Y[Y != 0], numpy.full((Y != 0).sum(), 1 / (1 - rate)))
        # The gradient has gone through the same mask.
        assert_close(backprop(ones), Y)


def test_each_pass_goes_back_at_its_own_rate(fw):
    model, ones = fw.Wrapper(fw.dropout(0.5), dropout=0.0), numpy.ones((50, 4), "float32")
    passes = []
    for rate in (0.0, 0.5, 0.0, 0.9):
        set_dropout_rate(model, rate)
        passes.append(model.begin_update(ones))
    for Y, backprop in reversed(passes):
        assert_close(backprop(ones), Y)


def test_predictions_are_without_dropout(build):
    model = build(0.5, 0.9)
    expected = model.predict(X)
    model.begin_update(X)
    assert_close(model.predict(X), expected)
    set_dropout_rate(model, 0)
    assert_close(model.begin_update(X)[0], expected)


@pytest.mark.parametrize("where", ways("dropouts_within"))
def test_layers_that_drop_out_within_follow_too(where):
    framework, kind = where
    fw = modules_of(framework)
    rows = normal(5, 6, 4)
    for own in (0.0, 0.5):
        model = fw.Wrapper(fw.dropouts_within(own)[kind], dropout=0.0)
        assert changed(model, rows) == 0
        set_dropout_rate(model, 0.9)
        assert changed(model, rows) > 0.3
        set_dropout_rate(model, 0)
        assert changed(model, rows) == 0


RECURRENT = """
import numpy
from spacy_frameworks.wrappers import MXNetWrapper
from thinc.api import set_dropout_rate
import mxnet as mx

module = mx.gluon.rnn.LSTM(4, input_size=4, num_layers=2)
module.initialize(mx.init.Normal(1.0))
model = MXNetWrapper(module, dropout=0.9)
X = numpy.random.default_rng(0).normal(size=(5, 6, 4)).astype("float32")
for rate in (0.9, 0.0, 0.9):
    set_dropout_rate(model, rate)
    print(numpy.abs(model.begin_update(X)[0] - model.predict(X)).max() > 0.1)
"""


@pytest.mark.mxnet
def test_mxnets_recurrent_layers_follow_on_the_kernel_that_drops_out(run_python):
    # That of oneDNN, which is taken on CPU, does not.
    printed = run_python(RECURRENT, env={"MXNET_USE_MKLDNN_RNN": "0"})
    assert printed.split() == ["True", "False", "True"]


def test_without_it_the_module_keeps_its_own_rate(fw):
    model = fw.Wrapper(fw.dropout(0.999))
    assert "dropout_rate" not in model.attrs
    set_dropout_rate(model, 0)
    assert changed(model) > 0.9


COPIES = {
    "copy": Model.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_copies_follow_a_rate_of_their_own(build, copied):
    model = build(0.5, 0.999)
    changed(model)
    twin = copied(model)
    assert_close(twin.predict(X), model.predict(X))
    set_dropout_rate(twin, 0)
    assert (changed(twin), changed(model) > 0.9) == (0, True)
    set_dropout_rate(twin, 0.999)
    assert changed(twin) > 0.9


def test_bytes_hold_the_same_as_without(fw):
    def saved(**kwargs):
        module = fw.linear(normal(4, 4), normal(4))
        model = fw.Wrapper(fw.with_dropout(module, 0.5), **kwargs)
        model.initialize(X)
        return model

    plain, governed = saved(), saved(dropout=0.1)
    assert plain.shims[0].to_bytes() == governed.shims[0].to_bytes()
    set_dropout_rate(governed, 0.999)
    changed(governed)
    assert plain.shims[0].to_bytes() == governed.shims[0].to_bytes()
    twin = saved(dropout=0.0).from_bytes(governed.to_bytes())
    assert_array_equal(twin.predict(X), plain.predict(X))
    assert changed(twin) > 0.9


def test_a_rate_for_what_a_builder_builds(fw):
    def builder(nO, nI):
        return fw.with_dropout(fw.linear(normal(nO, nI), normal(nO)), 0.5)

    model = chain(Relu(4), fw.Wrapper(builder, dropout=0.999))
    model.initialize(X, normal(40, 3))
    assert changed(model) > 0.9
    set_dropout_rate(model, 0)
    assert changed(model) == 0


def test_training_with_a_rate_that_changes_at_every_step(fw):
    model = fw.Wrapper(fw.with_dropout(fw.linear(normal(3, 4), normal(3)), 0.5), dropout=0.1)
    for step in range(2 * KEPT_RATES):
        set_dropout_rate(model, 0.05 * step)
        train(model, SGD(0.01), steps=1, seed=step)
    assert changed(model) > 0.2
    kept = getattr(model.shims[0].module, "_training", None) or getattr(
        model.shims[0].module, "_traces", {}
    )
    assert len(kept) <= KEPT_RATES


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5, float("nan")])
def test_what_is_no_rate_is_refused(fw, rate):
    with pytest.raises(ValueError, match=rf"at least 0 and less than 1, got {rate}"):
        fw.Wrapper(fw.dropout(0.5), dropout=rate)
    model = set_dropout_rate(fw.Wrapper(fw.dropout(0.5), dropout=0.5), rate)
    with pytest.raises(ValueError, match=rf"at least 0 and less than 1, got {rate}"):
        model.begin_update(X)


def test_a_module_in_which_nothing_drops_out_is_refused(fw):
    token = get_framework(fw.ID).token
    message = f"drops out. Add a dropout layer of {token}.*leave `dropout` out"
    with pytest.raises(ValueError, match=message):
        fw.Wrapper(fw.sequential(*weights()), dropout=0.2)
    waiting = fw.Wrapper(fw.builder, dropout=0.2)
    with pytest.raises(ValueError, match=message):
        waiting.initialize(X, normal(40, 3))
    # What makes its layers when it is called is known by then.
    with pytest.raises(ValueError, match=message):
        fw.Wrapper(fw.lazy(3), dropout=0.2).predict(X)
