"""The networks in Keras's layers."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from . import description

# (kind of layer, Thinc's name) -> (Keras's name, whether it is stored transposed)
LAYOUT = {
    ("linear", "W"): ("kernel", True),
    ("linear", "b"): ("bias", False),
    ("norm", "G"): ("gamma", False),
    ("norm", "b"): ("beta", False),
}


class FeedForward(keras.Model):
    def __init__(self, network: description.FeedForward, nO: int, nI: int):
        super().__init__()
        width = network.hidden_width
        widths = [nI, *[width] * network.depth]
        self.hidden = [_built(keras.layers.Dense(width), nI) for nI in widths[:-1]]
        # Thinc's LayerNorm adds 1e-8 to the variance.
        norms = network.depth if network.normalize else 0
        self.norm = [
            _built(keras.layers.LayerNormalization(epsilon=1e-8), width) for _ in range(norms)
        ]
        self.out = _built(keras.layers.Dense(nO), widths[-1])
        self.activate_output = network.activate_output
        self.built = True

    def call(self, X: tf.Tensor, *masks: tf.Tensor) -> tf.Tensor:
        """masks: One dropout mask per hidden layer (and for the output, if activated), or none."""
        for i, layer in enumerate(self.hidden):
            X = tf.nn.relu(layer(X))
            if self.norm:
                X = self.norm[i](X)
            if masks:
                X = X * masks[i]
        X = self.out(X)
        if self.activate_output:
            X = tf.nn.relu(X)
            if masks:
                X = X * masks[-1]
        return X


def feed_forward(network: description.FeedForward, nO: int, nI: int) -> Any:
    return FeedForward(network, nO, nI)


def _built(layer: Any, nI: int) -> Any:
    layer.build((None, nI))
    return layer
