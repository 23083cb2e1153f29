import numpy
from numpy.testing import assert_array_equal
from thinc.api import Adam, Linear, chain

from ..frameworks import IDS, marks
from .conftest import modules_of
from .helpers import assert_close, linear, normal, take_gradients, thinc_layout, train

pytestmark = marks(*IDS)

# A layer of each framework, and one of Thinc's, each a number wider than the one below.
WIDTHS = [*range(4, 5 + len(IDS)), 3]
SIZES = list(zip(WIDTHS[1:], WIDTHS))


def parameters():
    return [
        (normal(*shape, seed=i) * numpy.float32(0.5), normal(shape[0], seed=i + 10))
        for i, shape in enumerate(SIZES)
    ]


def build():
    layers = []
    for framework, (W, b) in zip(IDS, parameters()):
        fw = modules_of(framework)
        layers.append(fw.Wrapper(fw.linear(W, b)))
    native = Linear(*SIZES[-1])
    model = chain(*layers, native)
    model.initialize(normal(2, 4))
    for name, value in zip("Wb", parameters()[-1]):
        native.set_param(name, value.copy())
    return model


def test_one_model_of_all_frameworks_computes_like_float64():
    model, X, dY = build(), normal(5, 4), normal(5, 3, seed=1)
    Y, backprop = model.begin_update(X)
    inputs = [X.astype("float64")]
    for W, b in parameters():
        inputs.append(linear(inputs[-1], W, b))
    assert_close(Y, inputs[-1])
    dX = backprop(dY)
    d_output, expected = dY.astype("float64"), []
    for (W, _), layer_input in zip(reversed(parameters()), reversed(inputs[:-1])):
        expected.append((d_output.T @ layer_input, d_output.sum(0)))
        d_output = d_output @ W
    assert_close(dX, d_output)
    taken = take_gradients(model)
    assert len(taken) == 2 * len(SIZES)
    for layer, (dW, db) in zip(model.layers, reversed(expected)):
        shim = layer.shims[0] if layer.shims else None
        names = modules_of(shim.framework).LINEAR if shim else ("W", "b")
        keys = [shim.key(name) if shim else (layer.id, name) for name in names]
        assert_close(thinc_layout(names[0], taken[keys[0]]), dW)
        assert_close(taken[keys[1]], db)


def test_it_is_trained_saved_and_loaded(tmp_path):
    model, X = build(), normal(5, 4)
    before = model.predict(X)
    optimizer = Adam(0.01, use_averages=True)
    train(model, optimizer)
    trained = model.predict(X)
    assert numpy.abs(trained - before).max() > 1e-2
    model.to_disk(tmp_path / "model")
    other = build().from_disk(tmp_path / "model")
    assert_array_equal(other.predict(X), trained)
    assert_array_equal(model.copy().predict(X), trained)
    with model.use_params(optimizer.averages):
        assert numpy.abs(model.predict(X) - trained).max() > 1e-4
    assert_array_equal(model.predict(X), trained)
