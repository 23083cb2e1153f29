import numpy
import pytest
from numpy.testing import assert_array_equal
from thinc.api import Adam, Linear, chain

from ..frameworks import FROM_OUTSIDE, IDS, marks
from .conftest import modules_of
from .helpers import assert_close, linear, normal, take_gradients, thinc_layout, train


@pytest.fixture(
    params=[
        pytest.param(IDS, marks=marks(*IDS), id="all"),
        # None of those needs the others; it is beside itself.
        *(pytest.param([name] * 2, marks=marks(name), id=name) for name in FROM_OUTSIDE),
    ]
)
def frameworks(request):
    """Whose layers are in one model, and behind them one of Thinc's."""
    return request.param


def parameters(frameworks):
    """Those of a layer of each, each a number wider than the one below, and of Thinc's."""
    widths = [*range(4, 5 + len(frameworks)), 3]
    return [
        (normal(nO, nI, seed=i) * numpy.float32(0.5), normal(nO, seed=i + 10))
        for i, (nO, nI) in enumerate(zip(widths[1:], widths))
    ]


def build(frameworks):
    *wrapped, (W, b) = parameters(frameworks)
    layers = []
    for framework, drawn in zip(frameworks, wrapped):
        fw = modules_of(framework)
        layers.append(fw.Wrapper(fw.linear(*drawn)))
    native = Linear(*W.shape)
    model = chain(*layers, native)
    model.initialize(normal(2, 4))
    for name, value in (("W", W), ("b", b)):
        native.set_param(name, value.copy())
    return model


def test_one_model_of_all_frameworks_computes_like_float64(frameworks):
    model, X, dY = build(frameworks), normal(5, 4), normal(5, 3, seed=1)
    Y, backprop = model.begin_update(X)
    inputs = [X.astype("float64")]
    for W, b in parameters(frameworks):
        inputs.append(linear(inputs[-1], W, b))
    assert_close(Y, inputs[-1])
    dX = backprop(dY)
    d_output, expected = dY.astype("float64"), []
    for (W, _), layer_input in zip(reversed(parameters(frameworks)), reversed(inputs[:-1])):
        expected.append((d_output.T @ layer_input, d_output.sum(0)))
        d_output = d_output @ W
    assert_close(dX, d_output)
    taken = take_gradients(model)
    assert len(taken) == 2 * len(model.layers)
    for layer, (dW, db) in zip(model.layers, reversed(expected)):
        shim = layer.shims[0] if layer.shims else None
        names = modules_of(shim.framework).LINEAR if shim else ("W", "b")
        keys = [shim.key(name) if shim else (layer.id, name) for name in names]
        assert_close(thinc_layout(names[0], taken[keys[0]]), dW)
        assert_close(taken[keys[1]], db)


def test_it_is_trained_saved_and_loaded(frameworks, tmp_path):
    model, X = build(frameworks), normal(5, 4)
    before = model.predict(X)
    optimizer = Adam(0.01, use_averages=True)
    train(model, optimizer)
    trained = model.predict(X)
    assert numpy.abs(trained - before).max() > 1e-2
    model.to_disk(tmp_path / "model")
    other = build(frameworks).from_disk(tmp_path / "model")
    assert_array_equal(other.predict(X), trained)
    assert_array_equal(model.copy().predict(X), trained)
    with model.use_params(optimizer.averages):
        assert numpy.abs(model.predict(X) - trained).max() > 1e-4
    assert_array_equal(model.predict(X), trained)
