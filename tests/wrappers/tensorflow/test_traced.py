"""The halves of a trace go back as the tape does."""

import numpy
import pytest
from numpy.testing import assert_array_equal
from spacy_frameworks.wrappers import TensorFlowWrapper
from thinc.types import ArgsKwargs

from ..helpers import assert_close, normal

pytestmark = pytest.mark.tensorflow


def network():
    import keras

    @keras.saving.register_keras_serializable()
    class Words(keras.Model):
        """Looks ids up, leaves one variable alone, and takes its arguments by name too."""

        def __init__(self):
            super().__init__()
            self.embed = keras.layers.Embedding(10, 4)
            self.dense = keras.layers.Dense(3, activation="relu")
            self.unused = self.add_weight(shape=(2,), initializer="ones")
            self.frozen = keras.layers.Dense(4, trainable=False)

        def call(self, ids, factor, *, scale, training=False):
            return self.dense(self.frozen(self.embed(ids)) * factor + scale)

    keras.utils.set_random_seed(0)
    model = Words()
    ids, factor = numpy.arange(5), normal(5, 4)
    model(ids, factor, scale=factor[:, :1])
    return model


def gradients(model, inputs, dY):
    shim = model.shims[0]
    Y, backprop = model.begin_update(inputs)
    dX = backprop(dY)
    named = {
        name: shim.module.get_gradient(handle) for name, handle in shim.module.parameters().items()
    }
    for handle in shim.module.parameters().values():
        shim.module.set_gradient(handle, None)
    return Y, dX, named


def test_gradients_are_those_of_the_tape(monkeypatch):
    from spacy_frameworks.wrappers.tensorflow import traced

    model = TensorFlowWrapper(network())
    rows = normal(6, 4, seed=1)
    inputs = ArgsKwargs((numpy.arange(6), rows), {"scale": rows[:, :1].copy()})
    dY = normal(6, 3, seed=2)
    Y, dX, named = gradients(model, inputs, dY)
    monkeypatch.setattr(traced._Trace, "goes_back", lambda self: False)
    tapes_Y, tapes_dX, tapes = gradients(model, inputs, dY)
    assert_close(Y, tapes_Y)
    assert dX.args[0] is None and tapes_dX.args[0] is None
    assert_close(dX.args[1], tapes_dX.args[1])
    assert_close(dX.kwargs["scale"], tapes_dX.kwargs["scale"])
    assert abs(dX.args[1]).max() > 0 and abs(dX.kwargs["scale"]).max() > 0
    assert set(named) == set(tapes)
    found = {name for name, gradient in named.items() if gradient is not None}
    assert found == {"embed.embeddings", "dense.kernel", "dense.bias"}
    assert found == {name for name, gradient in tapes.items() if gradient is not None}
    for name in found:
        assert_close(named[name], tapes[name])


def test_one_tensor_in_two_places_gets_both_gradients():
    import tensorflow as tf
    from spacy_frameworks.wrappers.tensorflow.traced import TracedNetwork

    traced = TracedNetwork(lambda args, kwargs: 2 * args[0] + 3 * args[1])
    x = tf.ones((4, 2))
    Y, get_gradients = traced.begin_update(ArgsKwargs((x, x), {}), [x])
    (dX,) = get_gradients([Y], [tf.ones((4, 2))])
    assert_array_equal(dX.numpy(), numpy.full((4, 2), 5.0))
    # Without a gradient for the output, there is none for what it depends on.
    _, get_gradients = traced.begin_update(ArgsKwargs((x, x), {}), [x])
    assert get_gradients([], []) == [None]


def test_traces_are_told_apart():
    """By dtype, rank, number and names of inputs, and by values that are no tensors."""
    import tensorflow as tf
    from spacy_frameworks.wrappers.tensorflow.traced import TracedNetwork

    def run(args, kwargs):
        total = tf.add_n([tf.cast(tf.reduce_sum(x), tf.float64) for x in args if x is not None])
        return total * kwargs.get("factor", 1) + sum(kwargs.get(name, 0) for name in ("a", "b"))

    traced = TracedNetwork(run)
    ones = tf.ones((2, 3))
    one, two = tf.constant(1.0, tf.float64), tf.constant(2.0, tf.float64)
    calls = [
        (((ones,), {}), 6),
        (((tf.ones((5, 3)),), {}), 15),
        (((tf.ones((5, 3), tf.float64),), {}), 15),
        (((tf.ones(4),), {}), 4),
        (((ones, tf.ones((2, 3))), {}), 12),
        (((ones, None), {}), 6),
        (((ones,), {"factor": 2}), 12),
        (((ones,), {"factor": 3}), 18),
        (((ones,), {"b": two, "a": one}), 9),
        (((ones,), {"b": two, "factor": 0}), 2),
    ]
    for (args, kwargs), expected in [*calls, *reversed(calls)]:
        inputs = ArgsKwargs(args, kwargs)
        assert float(traced(inputs)) == expected
        Y, get_gradients = traced.begin_update(inputs, list(args[:1]))
        (gradient,) = get_gradients([Y], [one])
        assert float(Y) == expected
        assert_array_equal(gradient, numpy.full(args[0].shape, kwargs.get("factor", 1)))
