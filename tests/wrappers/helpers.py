"""Data, float64 references, and views of a wrapper from outside."""

from __future__ import annotations

import numpy
from numpy.testing import assert_allclose


def normal(*shape, seed=0, dtype="float32"):
    return numpy.random.default_rng(seed).normal(size=shape).astype(dtype)


def weights(nO=3, nI=4, nH=5, dtype="float32"):
    """(W1, b1, W2, b2) of a network of two layers."""
    shapes = ((nH, nI), (nH,), (nO, nH), (nO,))
    return [normal(*shape, seed=i + 10, dtype=dtype) for i, shape in enumerate(shapes)]


def assert_close(came, expected, tolerance=1e-5):
    """Equal within a part of the largest value, as float32 of any order of summation is."""
    expected = numpy.asarray(expected)
    assert came.shape == expected.shape
    scale = numpy.abs(expected).max() if expected.size else 1.0
    assert_allclose(came, expected, rtol=0, atol=tolerance * max(scale, 1e-30))


def linear(X, W, b):
    return X.astype("float64") @ W.T.astype("float64") + b


def two_layer(X, W1, b1, W2, b2):
    return linear(numpy.maximum(linear(X, W1, b1), 0), W2, b2)


def two_layer_gradients(X, dY, W1, b1, W2, b2):
    """(dX, [dW1, db1, dW2, db2]) in float64."""
    X, dY, W1, b1, W2 = (array.astype("float64") for array in (X, dY, W1, b1, W2))
    hidden = linear(X, W1, b1)
    d_hidden = (dY @ W2) * (hidden > 0)
    gradients = [d_hidden.T @ X, d_hidden.sum(0), dY.T @ numpy.maximum(hidden, 0), dY.sum(0)]
    return d_hidden @ W1, gradients


def thinc_layout(name, array):
    """Keras holds (nI, nO), everybody else (nO, nI)."""
    return array.T if name.endswith("kernel") else array


def values(model):
    """The parameters by name, as a copy."""
    shim = model.shims[0]
    return {
        name: shim.module.get_value(handle).copy()
        for name, handle in shim.module.parameters().items()
    }


def take_gradients(model):
    """What an optimizer is handed, by key: what was added up since the last update."""
    taken = {}

    def optimizer(key, value, gradient):
        assert key not in taken
        taken[key] = gradient.copy()
        return value, gradient

    model.finish_update(optimizer)
    return taken


def gradients_of(model, names):
    """The gradients in Thinc's layout, in the order of the names; nothing else may have one."""
    shim = model.shims[0]
    taken = take_gradients(model)
    assert set(taken) == {(shim.id, f"{shim.framework}:{name}") for name in names}
    return [thinc_layout(name, taken[shim.key(name)]) for name in names]


def train(model, optimizer, steps=5, seed=0, rows=8, nI=4):
    """Steps towards a fixed linear target, on other rows each time."""
    target = normal(nI, model.predict(normal(2, nI)).shape[1], seed=99)
    for step in range(steps):
        X = normal(rows + step, nI, seed=seed + step)
        Y, backprop = model.begin_update(X)
        backprop((Y - X @ target) / len(X))
        model.finish_update(optimizer)
        optimizer.step_schedules()
