import copy
import multiprocessing
import pickle

import numpy
import pytest
from numpy.testing import assert_array_equal
from thinc.api import SGD, chain

from .helpers import assert_close, gradients_of, normal, take_gradients, train, values, weights

COPIES = {
    "copy": lambda model: model.copy(),
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
}


@pytest.fixture(params=COPIES)
def copied(request):
    return COPIES[request.param]


def step(model):
    # Of one shape, since TensorFlow traces each function once more for the second.
    X = normal(5, 4, seed=70)
    Y, backprop = model.begin_update(X)
    backprop(Y)
    model.finish_update(SGD(0.05))


def assert_independent(model, twin):
    """Training one leaves the other as it was, in both directions."""
    X = normal(5, 4, seed=70)
    before = model.predict(X)
    assert_array_equal(twin.predict(X), before)
    step(twin)
    assert_array_equal(model.predict(X), before)
    assert numpy.abs(twin.predict(X) - before).max() > 1e-5
    trained = twin.predict(X)
    step(model)
    assert_array_equal(twin.predict(X), trained)


def test_copies_have_their_own_parameters(two_layer, copied):
    fw, build, names = two_layer
    model = fw.Wrapper(build(*weights()))
    # With traced functions and hybridized graphs of several shapes in it.
    train(model, SGD(0.1), steps=2)
    twin = copied(model)
    assert list(values(twin)) == list(names)
    assert_independent(model, twin)


def test_copies_of_a_module_that_was_never_called(two_layer, copied):
    fw, build, _ = two_layer
    model = fw.Wrapper(build(*weights()))
    assert_independent(model, copied(model))


def test_copies_of_a_lazy_module_that_was_called(fw, copied):
    model = fw.Wrapper(fw.lazy(3))
    model.predict(normal(2, 4))
    assert_independent(model, copied(model))


def test_copies_of_a_lazy_module_before_its_first_call(fw, copied):
    model = fw.Wrapper(fw.lazy(3))
    twin = copied(model)
    assert twin.predict(normal(2, 5)).shape == (2, 3)
    assert model.predict(normal(2, 4)).shape == (2, 3)


def test_copies_of_a_builder(fw, copied):
    waiting = fw.Wrapper(fw.builder)
    twin = copied(waiting)
    waiting.initialize(normal(2, 4), normal(2, 3))
    assert not twin.shims[0].is_built
    twin.initialize(normal(2, 6), normal(2, 2))
    assert (twin.get_dim("nO"), twin.get_dim("nI")) == (2, 6)
    assert_independent(waiting, copied(waiting))


def test_copies_of_a_copy(fw, copied):
    model = copied(copied(fw.Wrapper(fw.sequential(*weights()))))
    assert_independent(model, copied(model))


def test_a_copy_has_an_id_of_its_own(fw):
    model = fw.Wrapper(fw.linear(normal(3, 4), normal(3)))
    ids = [model.shims[0].id, model.copy().shims[0].id, fw.Wrapper(fw.builder).shims[0].id]
    assert len(set(ids)) == 3


def test_an_unpickled_shim_keeps_its_id(fw):
    model = fw.Wrapper(fw.linear(normal(3, 4), normal(3)))
    assert pickle.loads(pickle.dumps(model)).shims[0].id == model.shims[0].id


def test_deepcopies_have_their_own_parameters(fw):
    model = fw.Wrapper(fw.sequential(*weights()))
    step(model)
    twin = copy.deepcopy(model)
    assert_independent(model, twin)


def test_copies_carry_the_gradients(two_layer):
    fw, build, names = two_layer
    model, X, dY = fw.Wrapper(build(*weights())), normal(5, 4), normal(5, 3, seed=1)
    model.begin_update(X)[1](dY)
    twin = model.copy()
    model.begin_update(X)[1](dY)
    once, twice = gradients_of(twin, names), gradients_of(model, names)
    for one, two in zip(once, twice):
        assert_close(two, 2 * one)
    # Still wired up: what comes next adds up in the copy too.
    twin.begin_update(X)[1](dY)
    for one, again in zip(once, gradients_of(twin, names)):
        assert_close(again, one)


def test_a_copy_can_be_made_while_a_pass_is_open(fw, copied):
    W, X, dY = normal(3, 4), normal(5, 4), normal(5, 3, seed=1)
    model = fw.Wrapper(fw.linear(W, normal(3)))
    _, backprop = model.begin_update(X)
    twin = copied(model)
    assert_close(backprop(dY), dY.astype("float64") @ W)
    assert take_gradients(twin) == {}
    assert_close(gradients_of(model, fw.LINEAR)[1], dY.sum(0))


def test_frozen_parameters_are_frozen_in_copies(fw, copied):
    twin = copied(fw.Wrapper(fw.frozen(*weights())))
    before = values(twin)
    step(twin)
    for name, value in values(twin).items():
        assert numpy.array_equal(value, before[name]) == (name in fw.FROZEN)


def test_tied_parameters_are_tied_in_copies(fw, copied):
    twin = copied(fw.Wrapper(fw.tied(normal(4, 4), normal(4))))
    assert list(values(twin)) == list(fw.TIED)
    X, dY = normal(5, 4), normal(5, 4, seed=1)
    model = fw.Wrapper(fw.tied(normal(4, 4), normal(4)))
    assert_array_equal(twin.begin_update(X)[1](dY), model.begin_update(X)[1](dY))
    for one, other in zip(gradients_of(twin, fw.TIED), gradients_of(model, fw.TIED)):
        assert_array_equal(one, other)


def test_training_a_copy_goes_on_like_the_original(fw):
    model = fw.Wrapper(fw.sequential(*weights()))
    train(model, SGD(0.1))
    twin = model.copy()
    for each in (model, twin):
        train(each, SGD(0.1), seed=20)
    for one, other in zip(values(model).values(), values(twin).values()):
        assert_array_equal(one, other)


def test_to_cpu_keeps_everything(two_layer):
    fw, build, names = two_layer
    model, X = fw.Wrapper(build(*weights())), normal(5, 4)
    step(model)
    before, Y = values(model), model.predict(X)
    model.to_cpu()
    assert_array_equal(model.predict(X), Y)
    for name in names:
        assert_array_equal(values(model)[name], before[name])
    step(model)
    assert numpy.abs(model.predict(X) - Y).max() > 1e-5


def test_an_explicit_device_is_used_whatever_thincs_ops_are(fw, copied, cupy_ops):
    """Without one, a module would go to the GPU here."""
    model = fw.Wrapper(fw.linear(normal(3, 4), normal(3)), device=fw.CPU)
    twin = copied(model)
    for each in (model, twin):
        assert each.shims[0].device == fw.CPU
    assert_independent(model, twin)


# The other frameworks pickle for other processes as they do else.
@pytest.mark.mxnet
def test_an_mxnet_model_goes_to_a_process_that_is_started_afresh():
    from .modules import mxnet as fw

    model, X = fw.Wrapper(fw.sequential(*weights())), normal(5, 4)
    train(model, SGD(0.1), steps=2)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        came = pool.apply_async(model.predict, (X,)).get(100)
    assert_array_equal(came, model.predict(X))


def test_copies_of_whole_models(fw, copied):
    model = chain(fw.Wrapper(fw.sequential(*weights(nO=5))), fw.Wrapper(fw.linear(*weights()[2:])))
    assert_independent(model, copied(model))
