"""Keras models whose constructors' arguments nobody knows are copied and pickled all the same."""

import copy
import pickle

import numpy
import pytest
from numpy.testing import assert_array_equal
from spacy_frameworks.wrappers import TensorFlowWrapper
from thinc.api import SGD

from ..helpers import normal, train, values, weights

pytestmark = pytest.mark.tensorflow

COPIES = {
    "copy": lambda model: model.copy(),
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("name", ["plain", "plain_within"])
def test_plain_subclasses_are_copied_and_pickled(name, copied):
    from ..modules import tensorflow as fw

    module = fw.plain(*weights()) if name == "plain" else fw.plain_within()
    model, X = TensorFlowWrapper(module), normal(5, 4)
    train(model, SGD(0.01), steps=2)
    twin = copied(model)
    expected = model.predict(X)
    assert_array_equal(twin.predict(X), expected)
    assert type(twin.shims[0]._model) is type(module)
    assert list(values(twin)) == list(values(model))
    # Neither has anything of the other.
    train(twin, SGD(0.01), steps=2)
    assert_array_equal(model.predict(X), expected)
    assert numpy.abs(twin.predict(X) - expected).max() > 1e-5
    assert_array_equal(copied(twin).predict(X), twin.predict(X))


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("name", ["Scaled", "ScaledTwice"])
def test_decorated_classes_and_their_subclasses_are_copied(name, copied):
    from ..modules import tensorflow as fw

    model, X = TensorFlowWrapper(getattr(fw, name)(3.0)), normal(5, 4)
    expected = model.predict(X)
    twin = copied(copied(model))
    assert_array_equal(twin.predict(X), expected)
    assert type(twin.shims[0]._model) is getattr(fw, name)


def test_a_layer_in_two_places_is_one_in_the_copy():
    import keras

    class Twice(keras.Model):
        def __init__(self, layer):
            super().__init__()
            self.first, self.layers_again = layer, [layer]
            self.frozen = keras.layers.Dense(4, trainable=False)

        def call(self, X):
            return self.layers_again[0](self.frozen(self.first(X)))

    model = TensorFlowWrapper(Twice(keras.layers.Dense(4)))
    model.predict(normal(5, 4))
    twin = model.copy()
    assert list(values(twin)) == ["first.kernel", "first.bias", "frozen.kernel", "frozen.bias"]
    assert twin.shims[0]._model.first is twin.shims[0]._model.layers_again[0]
    before = values(twin)
    train(twin, SGD(0.1), steps=1)
    changed = {name for name, value in values(twin).items() if (value != before[name]).any()}
    assert changed == {"first.kernel", "first.bias"}


@pytest.mark.parametrize("is_listed", [False, True])
def test_what_cannot_be_copied_says_why_and_what_to_do(is_listed):
    import keras

    class Closed(keras.Model):
        def __init__(self, layer):
            super().__init__()
            self.layer, layers = layer, [layer]
            self.function = (lambda X: layers[0](X) * 2) if is_listed else lambda X: layer(X) * 2

        def call(self, X):
            return self.function(X)

    model = TensorFlowWrapper(Closed(keras.layers.Dense(3)))
    expected = model.predict(normal(5, 4))
    words = r"function \(nO, nI\) .*get_config\(\).*keras_subclass"
    with pytest.raises(ValueError, match=f"which a copy would share.*{words}"):
        model.copy()
    with pytest.raises(ValueError, match=f"Closed cannot be made.*{words}"):
        pickle.dumps(model)
    # Bytes need no recipe.
    other = TensorFlowWrapper(Closed(keras.layers.Dense(3))).from_bytes(model.to_bytes())
    assert_array_equal(other.predict(normal(5, 4)), expected)


def test_a_function_may_use_what_is_not_there_yet():
    import keras

    class Doubled(keras.Model):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer
            self.function = lambda X: X * 2 if len(X.shape) else later
            if layer is None:
                later = 1

        def call(self, X):
            return self.function(self.layer(X))

    model, X = TensorFlowWrapper(Doubled(keras.layers.Dense(3))), normal(5, 4)
    expected = model.predict(X)
    assert_array_equal(model.copy().predict(X), expected)
