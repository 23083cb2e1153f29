"""Keras's layers that hold more than variables: what follows from these, and what they found in
data."""

import pickle

import numpy
import pytest
from numpy.testing import assert_array_equal
from spacy_frameworks.wrappers import TensorFlowWrapper, resize_wrapper

from ..helpers import assert_close, normal

pytestmark = pytest.mark.tensorflow

X = 3 * normal(20, 4) + 5
IDS = numpy.random.default_rng(0).integers(0, 9, size=(20, 4))


def sequential(*layers, dtype="float32"):
    import keras

    return keras.Sequential([keras.Input((4,), dtype=dtype), *layers, keras.layers.Dense(3)])


def normalization(X):
    import keras

    layer = keras.layers.Normalization()
    layer.adapt(X)
    return sequential(layer)


def own_layer(X):
    """As Keras's documentation has it: what follows is computed when the layer was loaded."""
    import keras

    @keras.saving.register_keras_serializable("tests")
    class Shift(keras.layers.Layer):
        def build(self, shape):
            self.mean = self.add_weight(shape=shape[1:], trainable=False)
            self.shift = None

        def load_own_variables(self, store):
            super().load_own_variables(store)
            self.shift = -self.mean.value

        def call(self, X):
            return X if self.shift is None else X + self.shift

    layer = Shift()
    layer.build((None, 4))
    layer.load_own_variables({"0": X.mean(axis=0)})
    return sequential(layer)


def discretization(X):
    import keras

    layer = keras.layers.Discretization(num_bins=4, output_mode="multi_hot")
    layer.adapt(X)
    return sequential(layer)


def lookup(ids):
    import keras

    layer = keras.layers.IntegerLookup(output_mode="multi_hot")
    layer.adapt(ids)
    return sequential(layer, dtype="int64")


def weighted_lookup(ids):
    import keras

    layer = keras.layers.IntegerLookup(output_mode="tf_idf")
    layer.adapt(ids)
    return sequential(layer, dtype="int64")


def given_lookup(ids):
    import keras

    values = sorted(map(int, set(ids.flat)))
    layer = keras.layers.IntegerLookup(vocabulary=values, output_mode="multi_hot")
    return sequential(layer, dtype="int64")


def quantized(X):
    import keras

    module = sequential(keras.layers.Dense(4))
    module(X)
    for layer in module.layers:
        layer.quantize("int8")
    return module


DERIVED = [normalization, own_layer]
ADAPTED = [discretization, lookup, weighted_lookup]
OTHERS = [quantized, given_lookup]


def data_of(build):
    return IDS if "lookup" in build.__name__ else X


@pytest.mark.parametrize("build", [*DERIVED, *ADAPTED, *OTHERS])
def test_copies_and_pickles_predict_the_same(build):
    data = data_of(build)
    model = TensorFlowWrapper(build(data))
    expected = model.predict(data)
    assert_array_equal(model.copy().predict(data), expected)
    assert_array_equal(pickle.loads(pickle.dumps(model)).predict(data), expected)


@pytest.mark.parametrize("build", DERIVED)
def test_saved_weights_predict_the_same_in_a_model_that_has_predicted(build):
    model, other = TensorFlowWrapper(build(X)), TensorFlowWrapper(build(2 * X - 7))
    expected = model.predict(X)
    other.begin_update(X)
    assert numpy.abs(other.predict(X) - expected).max() > 0.1
    other.from_bytes(model.to_bytes())
    assert_array_equal(other.predict(X), expected)
    assert_close(other.begin_update(X)[0], expected)


@pytest.mark.parametrize("build", ADAPTED)
def test_saved_weights_are_refused_by_a_model_that_was_adapted_to_other_data(build):
    data = data_of(build)
    model, same = (TensorFlowWrapper(build(data)) for _ in range(2))
    assert_array_equal(same.from_bytes(model.to_bytes()).predict(data), model.predict(data))
    other = TensorFlowWrapper(build(2 * data))
    expected = other.predict(data)
    with pytest.raises(ValueError, match=r"'layers.0' was adapted to other data.*`vocabulary`"):
        other.shims[0].from_bytes(model.shims[0].to_bytes())
    assert_array_equal(other.predict(data), expected)


def test_a_grown_model_normalizes_as_before():
    import keras

    def build(nO, nI):
        return keras.Sequential([keras.Input((nI,)), normalized, keras.layers.Dense(nO)])

    normalized = keras.layers.Normalization()
    model = TensorFlowWrapper(build, nO=3, nI=4)
    model.initialize()
    normalized.adapt(X)
    expected = model.predict(X)
    normalized = keras.layers.Normalization()
    assert_close(resize_wrapper(model, 5).predict(X)[:, :3], expected)


def test_what_a_layer_saves_beside_its_variables_is_an_error_and_not_lost():
    import keras

    @keras.saving.register_keras_serializable("tests")
    class Table(keras.layers.Layer):
        def save_own_variables(self, store):
            store["table"] = numpy.ones(7)

        def load_own_variables(self, store):
            self.table = store["table"]

        def call(self, X):
            return X

    model = TensorFlowWrapper(sequential(Table()))
    model.predict(X)
    for lose in (model.copy, model.to_bytes, lambda: pickle.dumps(model)):
        with pytest.raises(ValueError, match=r"'layers.0' saves 'table' .*add_weight"):
            lose()


def test_models_of_strings_are_loaded():
    import keras

    def words():
        layers = keras.layers
        return keras.Sequential(
            [
                layers.StringLookup(vocabulary=["a", "b"]),
                layers.Embedding(3, 4),
                layers.Flatten(),
                layers.Dense(2),
            ]
        )

    X = numpy.array([["a"], ["b"], ["c"]], dtype=object)
    model, fresh, called = (TensorFlowWrapper(words()) for _ in range(3))
    expected = model.predict(X)
    called.predict(X)
    for other in (fresh, called):
        other.from_bytes(model.to_bytes())
        assert_array_equal(other.predict(X), expected)
