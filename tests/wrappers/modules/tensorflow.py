"""What users write in Keras and TensorFlow. Weights come in Thinc's layout, (nO, nI)."""

from __future__ import annotations

import keras
import numpy
import tensorflow as tf
from spacy_frameworks.wrappers import TensorFlowRNNWrapper as RNNWrapper
from spacy_frameworks.wrappers import TensorFlowWrapper as Wrapper
from spacy_frameworks.wrappers import keras_subclass
from spacy_frameworks.wrappers import tensorflow2xp as tensor2xp
from spacy_frameworks.wrappers import xp2tensorflow as xp2tensor

__all__ = ["RNNWrapper", "Wrapper", "tensor2xp", "xp2tensor"]

ID = "tensorflow"
CPU = "/CPU:0"
# What differs between frameworks, and no test can find out by itself.
BIDIRECTIONAL = True
RUNS_AFTER_FORK = False
# What is said of gradients for what was computed from the outputs afterwards. None if the pass goes
# on along it.
OTHER_TENSOR = r"tensors that the model returned.*of shape \(5, 3\)"
# How often a module's Python code runs for 20 passes of growing size, forward and back, and as
# many predictions: twice for each, and once to create the parameters.
MOST_CALLS = 5
# TensorFlow tells only what Python has set, not what it took from the environment. Its workers have
# names.
PRINT_THREADS = """
from pathlib import Path
import tensorflow as tf
tf.matmul(tf.ones((600, 600)), tf.ones((600, 600))).numpy()
names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
print(names.count("tf_Compute"))
"""
LINEAR = ("kernel", "bias")
STATISTICS = ("moving_mean", "moving_variance")
CALLS = []


def thread_state():
    """What the framework has set for this thread, and wrappers change for a pass."""
    one = tf.constant(1.0)
    with tf.GradientTape() as tape:
        tape.watch(one)
        two = one * 2
    records = tape.gradient(two, one) is not None
    return tf.__internal__.eager_context.get_device_name(), records


def linear(W, b):
    layer = keras.layers.Dense(W.shape[0], dtype=W.dtype.name)
    layer.build((None, W.shape[1]))
    layer.set_weights([W.T, b])
    return layer


def sequential(W1, b1, W2, b2):
    layers = [
        keras.Input((W1.shape[1],)),
        keras.layers.Dense(W1.shape[0], activation="relu"),
        keras.layers.Dense(W2.shape[0]),
    ]
    module = keras.Sequential(layers)
    module.set_weights([W1.T, b1, W2.T, b2])
    return module


def activated(W, b):
    """Its gradient is computed from its output."""
    layers = [keras.Input((W.shape[1],)), keras.layers.Dense(W.shape[0], activation="tanh")]
    module = keras.Sequential(layers)
    module.set_weights([W.T, b])
    return module


def functional(W1, b1, W2, b2):
    X = keras.Input((W1.shape[1],))
    hidden = keras.layers.Dense(W1.shape[0], activation="relu")(X)
    module = keras.Model(X, keras.layers.Dense(W2.shape[0])(hidden))
    module.set_weights([W1.T, b1, W2.T, b2])
    return module


def root(W1, b1, W2, b2):
    """The root of 0 has no gradient."""
    layers = [keras.Input((W1.shape[1],)), keras.layers.Dense(W1.shape[0], activation=tf.sqrt)]
    module = keras.Sequential([*layers, keras.layers.Dense(W2.shape[0])])
    module.set_weights([W1.T, b1, W2.T, b2])
    return module


@keras.saving.register_keras_serializable("tests")
class TwoLayer(keras.Model):
    def __init__(self, hidden, output, **kwargs):
        super().__init__(**kwargs)
        self.hidden = keras.layers.Dense(hidden, activation="relu")
        self.out = keras.layers.Dense(output)

    def call(self, X):
        return self.out(self.hidden(X))

    def get_config(self):
        return {"hidden": self.hidden.units, "output": self.out.units}


class PlainTwoLayer(keras.Model):
    """As people write it: without keywords for Keras, config, or decorator."""

    def __init__(self, hidden, output):
        super().__init__()
        self.hidden = keras.layers.Dense(hidden, activation="relu")
        self.out = {"last": [output]}

    def call(self, X):
        return self.out["last"][0](self.hidden(X))


def plain(W1, b1, W2, b2):
    module = PlainTwoLayer(W1.shape[0], keras.layers.Dense(W2.shape[0]))
    module(tf.zeros((1, W1.shape[1])))
    module.set_weights([W1.T, b1, W2.T, b2])
    return module


@keras_subclass("scaled", numpy.zeros((1, 4)), numpy.zeros((1, 3)), (4,))
class Scaled(keras.Model):
    """Decorated as Thinc's wrapper demands it."""

    def __init__(self, scale):
        super().__init__()
        self.scale, self.layer = scale, keras.layers.Dense(3)

    def call(self, X):
        return self.layer(X) * self.scale


class ScaledTwice(Scaled):
    """Not decorated itself, and with an argument of its own."""

    def __init__(self, half):
        super().__init__(half * 2)


class PlainScale(keras.layers.Layer):
    """A layer with a variable, a function and an array of its own."""

    def __init__(self, by):
        super().__init__()
        self.by, self.function = by, tf.nn.relu

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones")

    def call(self, X):
        return self.function(X) * self.scale * self.by


def plain_within():
    return keras.Sequential(
        [keras.Input((4,)), PlainScale(numpy.arange(4.0)), PlainTwoLayer(5, keras.layers.Dense(3))]
    )


def subclassed(W1, b1, W2, b2):
    module = TwoLayer(W1.shape[0], W2.shape[0])
    module(tf.zeros((1, W1.shape[1])))
    module.set_weights([W1.T, b1, W2.T, b2])
    return module


def nested(W1, b1, W2, b2):
    """A Sequential inside of a Sequential, as in transfer learning."""
    inner = keras.Sequential(
        [keras.Input((W1.shape[1],)), keras.layers.Dense(W1.shape[0], activation="relu")]
    )
    module = keras.Sequential([keras.Input((W1.shape[1],)), inner, keras.layers.Dense(W2.shape[0])])
    module.set_weights([W1.T, b1, W2.T, b2])
    return module


class TwoLayerModule(tf.Module):
    def __init__(self, W1, b1, W2, b2):
        super().__init__()
        self.W1, self.b1 = tf.Variable(W1), tf.Variable(b1)
        self.output = [tf.Variable(W2), tf.Variable(b2)]

    def __call__(self, X):
        hidden = tf.nn.relu(tf.matmul(X, self.W1, transpose_b=True) + self.b1)
        return tf.matmul(hidden, self.output[0], transpose_b=True) + self.output[1]


def tf_module(W1, b1, W2, b2):
    return TwoLayerModule(W1, b1, W2, b2)


IN_LAYERS = ("layers.0.kernel", "layers.0.bias", "layers.1.kernel", "layers.1.bias")
TWO_LAYER = {
    "sequential": (sequential, IN_LAYERS),
    "functional": (
        functional,
        ("layers.1.kernel", "layers.1.bias", "layers.2.kernel", "layers.2.bias"),
    ),
    "subclassed": (subclassed, ("hidden.kernel", "hidden.bias", "out.kernel", "out.bias")),
    "nested": (nested, ("layers.0.layers.0.kernel", "layers.0.layers.0.bias", *IN_LAYERS[2:])),
    "tf_module": (tf_module, ("W1", "b1", "output.0", "output.1")),
}


@keras.saving.register_keras_serializable("tests")
class Tied(keras.Model):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.hidden = self.out = keras.layers.Dense(units)

    def call(self, X):
        return self.out(tf.nn.relu(self.hidden(X)))

    def get_config(self):
        return {"units": self.hidden.units}


def tied(W, b):
    module = Tied(W.shape[0])
    module(tf.zeros((1, W.shape[1])))
    module.set_weights([W.T, b])
    return module


TIED = ("hidden.kernel", "hidden.bias")


def frozen(W1, b1, W2, b2):
    module = sequential(W1, b1, W2, b2)
    module.layers[0].trainable = False
    return module


FROZEN = ("layers.0.kernel", "layers.0.bias")


class Unused(tf.Module):
    def __init__(self, layer, width):
        super().__init__()
        self.layer = layer
        self.unused = tf.Variable(tf.ones(width))

    def __call__(self, X):
        return self.layer(X)


class Linear(tf.Module):
    def __init__(self, W, b):
        super().__init__()
        self.W, self.b = tf.Variable(W), tf.Variable(b)

    def __call__(self, X):
        return tf.matmul(X, self.W, transpose_b=True) + self.b


def unused(W, b):
    return Unused(Linear(W, b), 2)


class Scalar(tf.Module):
    def __init__(self, value):
        super().__init__()
        self.scale = tf.Variable(value)

    def __call__(self, X):
        return X * self.scale


def scalar(value):
    return Scalar(value)


def batch_norm(width):
    return keras.Sequential([keras.Input((width,)), keras.layers.BatchNormalization()])


def dropout(rate):
    return keras.layers.Dropout(rate)


def with_dropout(module, rate):
    layers = [keras.Input((module.kernel.shape[0],)), module, keras.layers.Dropout(rate)]
    return keras.Sequential(layers)


def dropouts(rate):
    """Modules whose outputs are dropped, in each way in which they may be put together."""
    dense, X = keras.layers.Dense(4), keras.Input((4,))
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(rate)])
    return {
        "alone": keras.layers.Dropout(rate),
        "sequential": keras.Sequential([keras.Input((4,)), dense, keras.layers.Dropout(rate)]),
        "nested": keras.Sequential([keras.Input((4,)), keras.layers.Dense(4), inner]),
        "functional": keras.Model(X, keras.layers.Dropout(rate)(keras.layers.Dense(4)(X))),
        "made at the first call": keras.Sequential(
            [keras.layers.Dense(4), keras.layers.Dropout(rate)]
        ),
    }


@keras.saving.register_keras_serializable("tests")
class Attention(keras.Model):
    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        self.attention = keras.layers.MultiHeadAttention(2, 2, dropout=rate)

    def call(self, X, training=False):
        return self.attention(X, X, training=training)

    def get_config(self):
        return {"rate": self.attention.dropout}


def dropouts_within(rate):
    """Modules for (batch, time, 4) that drop something out on the way to their output."""
    return {
        "recurrent": keras.layers.LSTM(4, return_sequences=True, dropout=rate),
        "attention": Attention(rate),
    }


@keras.saving.register_keras_serializable("tests")
class MaskedMean(keras.Model):
    def __init__(self, nO, **kwargs):
        super().__init__(**kwargs)
        self.layer = keras.layers.Dense(nO)

    def call(self, X, is_token):
        mask = tf.cast(is_token, "float32")[:, :, None]
        mean = tf.reduce_sum(X * mask, 1, keepdims=True) / tf.reduce_sum(mask, 1, keepdims=True)
        return self.layer(tf.tanh(X) + mean)

    def get_config(self):
        return {"nO": self.layer.units}


def masked_mean(nO, nI):
    """Takes (batch, time, nI) and a mask that is true for tokens, or 1."""
    return MaskedMean(nO)


@keras.saving.register_keras_serializable("tests")
class SelfAttention(keras.Model):
    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.attend = keras.layers.MultiHeadAttention(2, width // 2)
        self.norm = keras.layers.LayerNormalization()

    def call(self, X, is_token):
        return self.norm(X + self.attend(X, X, attention_mask=is_token[:, None, :]))

    def get_config(self):
        return {"width": self.width}


def attention(width):
    """A module for (batch, time, width) and a mask, and the arguments of with_mask for it."""
    return SelfAttention(width), ("is_token",), {}


class MaskAlone(tf.Module):
    def __call__(self, X, mask):
        return mask


def mask_alone():
    return MaskAlone()


class Pair(keras.layers.Layer):
    def call(self, X, mask=None):
        return X, X


def not_recurrent(width):
    return Pair()


class TwoInputs(tf.Module):
    def __init__(self, W1, W2):
        super().__init__()
        self.W1, self.W2 = tf.Variable(W1), tf.Variable(W2)

    def __call__(self, first, second):
        return tf.matmul(first, self.W1, transpose_b=True) + tf.matmul(
            second, self.W2, transpose_b=True
        )


def two_inputs(W1, W2):
    return TwoInputs(W1, W2)


class FirstOfTwo(tf.Module):
    def __call__(self, first, second):
        return first * 3.0


def first_of_two():
    return FirstOfTwo()


class Nested(TwoInputs):
    def __call__(self, X):
        first, second = (tf.matmul(X, W, transpose_b=True) for W in (self.W1, self.W2))
        return first, (second, X * 2.0)


def nested_tuple(W1, W2):
    return Nested(W1, W2)


class NestedDict(Nested):
    def __call__(self, X):
        first, rest = super().__call__(X)
        return {"first": first, "rest": rest}


def nested_dict(W1, W2):
    return NestedDict(W1, W2)


class ScaledEmbedding(tf.Module):
    def __init__(self, E):
        super().__init__()
        self.E = tf.Variable(E)

    def __call__(self, ids, scale):
        return tf.gather(self.E, ids) * scale


def scaled_embedding(E):
    return ScaledEmbedding(E)


def recurrent(nO, nI, bidirectional=False, dtype="float32"):
    layer = keras.layers.LSTM(nO, return_sequences=True, dtype=dtype)
    return keras.layers.Bidirectional(layer) if bidirectional else layer


def lazy(nO):
    return keras.Sequential([keras.layers.Dense(nO, activation="relu"), keras.layers.Dense(nO)])


def builder(nO, nI):
    return keras.Sequential(
        [keras.Input((nI,)), keras.layers.Dense(5, activation="relu"), keras.layers.Dense(nO)]
    )


def lazy_builder(nO, nI):
    return keras.Sequential([keras.layers.Dense(5, activation="relu"), keras.layers.Dense(nO)])


class Counting(tf.Module):
    def __call__(self, X):
        CALLS.append(X.shape)
        return X * 2.0


def counting():
    return Counting()
