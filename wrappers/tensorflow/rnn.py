"""Recurrent Keras layers on padded sequences."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from ..mask import check_sequence


class PaddedRNN(keras.Model):
    """Runs a recurrent Keras layer, which has batches first, on data that has time first.

    rnn: A layer such as `keras.layers.LSTM` or `Bidirectional`, with return_sequences=True.
        Padding is masked.
    """

    def __init__(self, rnn: Any, **kwargs: Any):
        super().__init__(**kwargs)
        if not getattr(rnn, "return_sequences", True):
            raise ValueError(
                f"{type(rnn).__name__} has return_sequences=False, but a Padded has an output for "
                "each step. Build it with return_sequences=True."
            )
        self.rnn = rnn

    def call(self, X: tf.Tensor, lengths: tf.Tensor, training: bool = False) -> tf.Tensor:
        mask = tf.sequence_mask(lengths, tf.shape(X)[0])
        Y = self.rnn(tf.transpose(X, (1, 0, 2)), mask=mask, training=training)
        is_tensor = tf.is_tensor(Y) and Y.shape.rank == 3
        check_sequence(self.rnn, Y, is_tensor, "one tensor of shape (batch, time, nO)")
        return tf.transpose(Y, (1, 0, 2))

    def get_config(self) -> Any:
        return {"rnn": keras.saving.serialize_keras_object(self.rnn)}

    @classmethod
    def from_config(cls, config: Any) -> PaddedRNN:
        return cls(keras.saving.deserialize_keras_object(config["rnn"]))
