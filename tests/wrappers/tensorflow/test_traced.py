"""The halves of a trace go forth and back as TensorFlow's own functions and tape do."""

import numpy
import pytest
from numpy.testing import assert_array_equal
from spacy_frameworks.wrappers import TensorFlowWrapper
from thinc.api import SGD
from thinc.types import ArgsKwargs

from ..helpers import assert_close, normal, train, values, weights

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


def passes(model, inputs, dY):
    """Output, its prediction, and all gradients of one step, which changes nothing."""
    module = model.shims[0].module
    Y, backprop = model.begin_update(inputs)
    dX = backprop(dY)
    named = {name: module.get_gradient(handle) for name, handle in module.parameters().items()}
    for handle in module.parameters().values():
        module.set_gradient(handle, None)
    return model.predict(inputs), Y, dX, named


# What TensorFlow has not documented, and may not have in another version.
BACKWARD = {"_delayed_rewrite_functions"}
ALL = {*BACKWARD, "inference_fn.call_flat", "function_type.pack_output"}


@pytest.fixture
def without(monkeypatch):
    """A function by which names are missing in TensorFlow from now on. No other name may be looked
    up than those that are known here."""
    from spacy_frameworks.wrappers.tensorflow import traced

    found, missing = traced.look_up, set()

    def look_up(function, path):
        assert path in ALL
        return None if path in missing else found(function, path)

    monkeypatch.setattr(traced, "look_up", look_up)
    return missing.update


@pytest.mark.parametrize("missing", [BACKWARD, ALL], ids=["backward", "all"])
def test_predictions_and_gradients_are_those_of_tensorflows_own_way(missing, without, monkeypatch):
    from spacy_frameworks.wrappers.tensorflow import traced

    module, rows = network(), normal(6, 4, seed=1)
    inputs = ArgsKwargs((numpy.arange(6), rows), {"scale": rows[:, :1].copy()})
    dY = normal(6, 3, seed=2)
    predicted, Y, dX, named = passes(TensorFlowWrapper(module), inputs, dY)
    without(missing)
    # What is missing cannot be called.
    monkeypatch.delattr(traced._Trace, "begin_update")
    if missing == ALL:
        monkeypatch.delattr(traced._Trace, "__call__")
    own_predicted, own_Y, own_dX, own = passes(TensorFlowWrapper(module), inputs, dY)
    assert_close(predicted, own_predicted)
    assert_close(Y, own_Y)
    assert dX.args[0] is None and own_dX.args[0] is None
    assert_close(dX.args[1], own_dX.args[1])
    assert_close(dX.kwargs["scale"], own_dX.kwargs["scale"])
    assert abs(dX.args[1]).max() > 0 and abs(dX.kwargs["scale"]).max() > 0
    assert set(named) == set(own)
    found = {name for name, gradient in named.items() if gradient is not None}
    assert found == {"embed.embeddings", "dense.kernel", "dense.bias"}
    assert found == {name for name, gradient in own.items() if gradient is not None}
    for name in found:
        assert_close(named[name], own[name])


def test_a_model_learns_without_the_names_as_with_them(without):
    from ..modules import tensorflow as fw

    models = [TensorFlowWrapper(fw.sequential(*weights())) for _ in range(2)]
    train(models[0], SGD(0.1))
    without(ALL)
    train(models[1], SGD(0.1))
    for one, other in zip(*(values(model).values() for model in models)):
        assert_close(one, other)
    X = normal(7, 4, seed=50)
    assert_close(*(model.predict(X) for model in models))


EITHER_WAY = pytest.mark.parametrize("missing", [set(), BACKWARD, ALL], ids=["none", "back", "all"])


@EITHER_WAY
def test_one_tensor_in_two_places_gets_both_gradients(missing, without):
    import tensorflow as tf
    from spacy_frameworks.wrappers.tensorflow.traced import TracedNetwork

    without(missing)
    traced = TracedNetwork(lambda args, kwargs: 2 * args[0] + 3 * args[1])
    x = tf.ones((4, 2))
    Y, get_gradients = traced.begin_update(ArgsKwargs((x, x), {}), [x])
    (dX,) = get_gradients([Y], [tf.ones((4, 2))])
    assert_array_equal(dX.numpy(), numpy.full((4, 2), 5.0))
    # Without a gradient for the output, there is none for what it depends on.
    _, get_gradients = traced.begin_update(ArgsKwargs((x, x), {}), [x])
    assert get_gradients([], []) == [None]


@EITHER_WAY
def test_traces_are_told_apart(missing, without):
    """By dtype, rank, number and names of inputs, and by values that are no tensors."""
    import tensorflow as tf
    from spacy_frameworks.wrappers.tensorflow.traced import TracedNetwork

    without(missing)

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
