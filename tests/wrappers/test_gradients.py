import gc

import numpy
import pytest
from numpy.testing import assert_array_equal
from thinc.api import chain

from .helpers import (
    assert_close,
    gradients_of,
    normal,
    take_gradients,
    thinc_layout,
    two_layer_gradients,
    values,
    weights,
)
from .helpers import two_layer as two_layer_output


def test_outputs_and_gradients_are_those_of_float64(two_layer):
    fw, build, names = two_layer
    params, X, dY = weights(), normal(7, 4), normal(7, 3, seed=1)
    model = fw.Wrapper(build(*params))
    assert_close(model.predict(X), two_layer_output(X, *params))
    Y, backprop = model.begin_update(X)
    assert_close(Y, two_layer_output(X, *params))
    dX, expected = two_layer_gradients(X, dY, *params)
    assert_close(backprop(dY), dX)
    for gradient, reference in zip(gradients_of(model, names), expected):
        assert_close(gradient, reference)


def test_float64_modules_compute_in_float64(fw):
    W, b, X, dY = (normal(*shape, dtype="float64") for shape in ((3, 4), (3,), (5, 4), (5, 3)))
    model = fw.Wrapper(fw.linear(W, b))
    Y, backprop = model.begin_update(X)
    assert_close(Y, X @ W.T + b, 1e-14)
    assert_close(backprop(dY), dY @ W, 1e-14)
    for gradient, expected in zip(gradients_of(model, fw.LINEAR), (dY.T @ X, dY.sum(0))):
        assert gradient.dtype == "float32"
        assert_close(gradient, expected, 1e-6)


def test_gradients_add_up_until_finish_update(two_layer):
    fw, build, names = two_layer
    params = weights()
    model = fw.Wrapper(build(*params))
    total = [0.0] * 4
    for seed in range(3):
        X, dY = normal(5 + seed, 4, seed=seed), normal(5 + seed, 3, seed=seed + 5)
        model.begin_update(X)[1](dY)
        model.predict(X)
        _, gradients = two_layer_gradients(X, dY, *params)
        total = [so_far + gradient for so_far, gradient in zip(total, gradients)]
    for gradient, expected in zip(gradients_of(model, names), total):
        assert_close(gradient, expected)
    assert take_gradients(model) == {}


def test_a_pass_is_backpropagated_once(fw):
    X, dY = normal(6, 4), normal(6, 3, seed=1)
    model = fw.Wrapper(fw.linear(*weights(nH=3)[:2]))
    _, backprop = model.begin_update(X)
    with pytest.raises(ValueError, match="shape"):
        backprop(dY[:, :2])
    backprop(dY)
    with pytest.raises(RuntimeError, match="backpropagated already"):
        backprop(dY)
    assert_close(gradients_of(model, fw.LINEAR)[0], dY.T.astype("float64") @ X)


def test_a_later_backprop_leaves_earlier_input_gradients_alone(fw):
    X, dY = normal(6, 4), normal(6, 3, seed=1)
    model = fw.Wrapper(fw.linear(*weights(nH=3)[:2]))
    _, backprop = model.begin_update(X)
    first = backprop(dY)
    kept = first.copy()
    model.begin_update(X)[1](dY * 7)
    assert_array_equal(first, kept)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_passes_are_open_at_once_and_close_in_any_order(fw, order):
    build, names = fw.TWO_LAYER["subclassed"]
    params = weights()
    model = fw.Wrapper(build(*params))
    batches = [(normal(3 + i, 4, seed=i), normal(3 + i, 3, seed=i + 5)) for i in range(3)]
    backprops = []
    for X, _ in batches:
        backprops.append(model.begin_update(X)[1])
        model.predict(X[:2])
    total = [0.0] * 4
    for i in order:
        X, dY = batches[i]
        dX, gradients = two_layer_gradients(X, dY, *params)
        assert_close(backprops[i](dY), dX)
        model.predict(X)
        total = [so_far + gradient for so_far, gradient in zip(total, gradients)]
    for gradient, expected in zip(gradients_of(model, names), total):
        assert_close(gradient, expected)


def test_passes_that_are_never_closed_leave_nothing_behind(fw):
    params, X, dY = weights(), normal(5, 4), normal(5, 3, seed=1)
    model = fw.Wrapper(fw.sequential(*params))
    for _ in range(3):
        model.begin_update(X)
    gc.collect()
    assert take_gradients(model) == {}
    _, backprop = model.begin_update(X)
    model.begin_update(X)
    backprop(dY)
    _, expected = two_layer_gradients(X, dY, *params)
    for gradient, reference in zip(gradients_of(model, fw.TWO_LAYER["sequential"][1]), expected):
        assert_close(gradient, reference)


def test_a_wrapper_may_be_used_twice_in_one_model(fw):
    W, b, X = normal(4, 4), normal(4, seed=1), normal(6, 4, seed=2)
    dY = normal(6, 4, seed=3)
    layer = fw.Wrapper(fw.linear(W, b))
    Y, backprop = chain(layer, layer).begin_update(X)
    H = X.astype("float64") @ W.T + b
    assert_close(Y, H @ W.T + b)
    dH = dY.astype("float64") @ W
    assert_close(backprop(dY), dH @ W)
    dW, db = gradients_of(layer, fw.LINEAR)
    assert_close(dW, dY.T @ H + dH.T @ X)
    assert_close(db, dY.sum(0) + dH.sum(0))


def test_tied_parameters_get_the_sum_once(fw):
    W, b, X = normal(4, 4), normal(4, seed=1), normal(6, 4, seed=2)
    dY = normal(6, 4, seed=3)
    model = fw.Wrapper(fw.tied(W, b))
    Y, backprop = model.begin_update(X)
    assert_close(Y, two_layer_output(X, W, b, W, b))
    dX, (dW1, db1, dW2, db2) = two_layer_gradients(X, dY, W, b, W, b)
    assert_close(backprop(dY), dX)
    dW, db = gradients_of(model, fw.TIED)
    assert_close(dW, dW1 + dW2)
    assert_close(db, db1 + db2)


def test_frozen_parameters_get_no_gradient_and_stay(fw):
    params, X, dY = weights(), normal(5, 4), normal(5, 3, seed=1)
    model = fw.Wrapper(fw.frozen(*params))
    _, backprop = model.begin_update(X)
    dX, (_, _, dW2, db2) = two_layer_gradients(X, dY, *params)
    assert_close(backprop(dY), dX)
    trained = [name for name in values(model) if name not in fw.FROZEN]
    gradients = gradients_of(model, trained)
    assert_close(gradients[0], dW2)
    assert_close(gradients[1], db2)


def test_passes_through_frozen_parameters_may_be_open_at_once(fw):
    params, dY = weights(), normal(5, 3, seed=1)
    model = fw.Wrapper(fw.frozen(*params))
    batches = [normal(5, 4, seed=seed) for seed in range(3)]
    backprops = [model.begin_update(X)[1] for X in batches]
    for X, backprop in reversed(list(zip(batches, backprops))):
        assert_close(backprop(dY), two_layer_gradients(X, dY, *params)[0])


def test_unused_parameters_get_no_update(fw):
    W, b, X, dY = normal(3, 4), normal(3), normal(5, 4, seed=2), normal(5, 3, seed=1)
    model = fw.Wrapper(fw.unused(W, b))
    _, backprop = model.begin_update(X)
    assert_close(backprop(dY), dY.astype("float64") @ W)
    taken = {name: gradient for (_, name), gradient in take_gradients(model).items()}
    assert len(taken) in (2, 3)
    assert_close(taken.pop(f"{fw.ID}:unused", numpy.zeros(2)), numpy.zeros(2))
    expected = [dY.T.astype("float64") @ X, dY.sum(0)]
    for (name, gradient), reference in zip(sorted(taken.items(), key=_by_ndim), expected):
        assert_close(thinc_layout(name, gradient), reference)


def _by_ndim(item):
    return -item[1].ndim


def test_scalar_parameters_reach_the_optimizer_as_one_dimension(fw):
    X, dY = normal(5, 4), normal(5, 4, seed=1)
    model = fw.Wrapper(fw.scalar(1.5))
    Y, backprop = model.begin_update(X)
    assert_close(Y, X * 1.5)
    assert_close(backprop(dY), dY * 1.5)
    shape = values(model)["scale"].shape

    def optimizer(key, value, gradient):
        assert key == (model.shims[0].id, f"{fw.ID}:scale")
        assert value.shape == gradient.shape == (1,)
        assert value.dtype == gradient.dtype == "float32"
        assert value.flags.writeable
        assert_close(gradient, [(X * dY).sum(dtype="float64")])
        value += 0.25
        return value, gradient

    model.finish_update(optimizer)
    assert_close(model.predict(X), X * 1.75)
    assert values(model)["scale"].shape == shape


def test_training_and_prediction_differ_where_the_module_says_so(fw):
    X = numpy.ones((50, 40), dtype="float32")
    model = fw.Wrapper(fw.dropout(0.5))
    assert_array_equal(model.predict(X), X)
    Y, backprop = model.begin_update(X)
    assert_array_equal(numpy.unique(Y), [0.0, 2.0])
    assert 0.4 < (Y == 0).mean() < 0.6
    assert_array_equal(model.predict(X), X)
    assert_array_equal(backprop(X), Y)


def test_batch_norm_uses_the_batch_in_training_and_its_statistics_in_prediction(fw):
    X = normal(20, 3) * 2 + 5
    model = fw.Wrapper(fw.batch_norm(3))
    before = model.predict(X)
    Y, backprop = model.begin_update(X)
    X64 = X.astype("float64")
    assert_close(Y, (X64 - X64.mean(0)) / X64.std(0), 1e-3)
    backprop(Y)
    assert_close(before, X64, 1e-3)
    assert numpy.abs(model.predict(X) - before).max() > 1e-2


# MXNet


@pytest.mark.mxnet
@pytest.mark.parametrize("grad_req", ["write", "add"])
def test_sparse_gradients_of_gluons_embeddings_are_made_dense(grad_req):
    from mxnet.gluon import nn

    from .modules import mxnet as fw

    module = nn.Embedding(7, 3, sparse_grad=True)
    module.initialize()
    module.weight.grad_req = grad_req
    model, ids, dY = fw.Wrapper(module), numpy.array([1, 2, 2], "int32"), normal(3, 3)
    for _ in range(2):
        model.begin_update(ids)[1](dY)
    expected = numpy.zeros((7, 3))
    numpy.add.at(expected, ids, 2.0 * dY)
    assert_close(gradients_of(model, ["weight"])[0], expected)


@pytest.mark.mxnet
def test_parameters_of_mxnet_that_are_stored_sparsely_are_refused():
    from mxnet.gluon import contrib

    from .modules import mxnet as fw

    module = contrib.nn.SparseEmbedding(7, 3)
    with pytest.raises(ValueError, match=r"'weight' .*stype='row_sparse'.*sparse_grad=False"):
        fw.Wrapper(module)
