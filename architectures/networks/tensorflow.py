"""The networks in Keras's layers."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from . import description
from .arrangement import blocks, blocks_and_masks, rows, spaced, time_first
from .description import EPSILON

ARRANGEMENTS = {
    "FeedForward": rows,
    "WindowEncoder": spaced,
    "BiLSTMEncoder": time_first,
    "TransformerEncoder": blocks,
}

# (kind of layer, Thinc's name) -> (Keras's name, whether it is stored transposed)
LAYOUT = {
    ("linear", "W"): ("kernel", True),
    ("linear", "b"): ("bias", False),
    ("norm", "G"): ("gamma", False),
    ("norm", "b"): ("beta", False),
    ("lstm", "W_forward"): ("ahead.kernel", True),
    ("lstm", "U_forward"): ("ahead.recurrent_kernel", True),
    ("lstm", "b_forward"): ("ahead.bias", False),
    ("lstm", "W_backward"): ("back.kernel", True),
    ("lstm", "U_backward"): ("back.recurrent_kernel", True),
    ("lstm", "b_backward"): ("back.bias", False),
}
# The order of an LSTM's gates: input, cell, forget, output.
GATES = "icfo"

# What the layers compute in, whatever Keras's policy says.
FLOAT = "float32"


class FeedForward(keras.Model):
    def __init__(self, network: description.FeedForward, nO: int, nI: int):
        super().__init__(dtype=FLOAT)
        width = network.hidden_width
        widths = [nI, *[width] * network.depth]
        self.hidden = [_dense(width, nI) for nI in widths[:-1]]
        norms = network.depth if network.normalize else 0
        self.norm = [_norm(width) for _ in range(norms)]
        self.out = _dense(nO, widths[-1])
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


class WindowEncoder(keras.Model):
    def __init__(self, network: description.WindowEncoder, nO: int, nI: int):
        super().__init__(dtype=FLOAT)
        self.size, self.pieces, self.width = network.window_size, network.maxout_pieces, nO
        window = nI * (2 * self.size + 1)
        self.windows = [_dense(nO * self.pieces, window) for _ in range(network.depth)]
        self.norms = [_norm(nO) for _ in range(network.depth)]
        self.built = True

    def call(self, X: tf.Tensor, is_row: tf.Tensor, *masks: tf.Tensor) -> tf.Tensor:
        """X, is_row: As `spaced` arranges them. masks: Dropout's, one for each layer, or none."""
        nW, rows = self.size, tf.shape(is_row)[0]
        for i, (window, norm) in enumerate(zip(self.windows, self.norms)):
            around = tf.concat([X[j : j + rows] for j in range(2 * nW + 1)], axis=1)
            pieces = tf.reshape(window(around), (rows, self.width, self.pieces))
            # A dropout mask is zero in the gaps, too.
            Y = norm(tf.reduce_max(pieces, axis=2)) * (masks[i] if masks else is_row)
            X = X + tf.pad(Y, ((nW, nW), (0, 0)))
        return X


class LSTM(keras.Layer):
    """TensorFlow's LSTM kernel; Keras has a fused one on GPUs only. Not BlockLSTMV2, whose gradient
    is wrong: it is registered with that of this kernel, which has another order of gates."""

    def __init__(self, nH: int, nI: int):
        super().__init__(dtype=FLOAT)
        self.kernel = self.add_weight(shape=(nI, 4 * nH))
        self.recurrent_kernel = self.add_weight(shape=(nH, 4 * nH))
        self.bias = self.add_weight(shape=(4 * nH,))
        self.built = True

    def call(self, X: tf.Tensor) -> tf.Tensor:
        """X: Time first."""
        nT, nB, nH = tf.shape(X)[0], tf.shape(X)[1], self.recurrent_kernel.shape[0]
        state, unused = tf.zeros((nB, nH)), tf.zeros(nH)
        return tf.raw_ops.BlockLSTM(
            seq_len_max=tf.cast(nT, tf.int64),
            x=X,
            cs_prev=state,
            h_prev=state,
            w=tf.concat([self.kernel, self.recurrent_kernel], axis=0),
            wci=unused,
            wcf=unused,
            wco=unused,
            b=self.bias,
            forget_bias=0.0,
            cell_clip=-1.0,
            use_peephole=False,
        ).h


class BiLSTM(keras.Layer):
    def __init__(self, nO: int, nI: int):
        super().__init__(dtype=FLOAT)
        self.ahead, self.back = LSTM(nO // 2, nI), LSTM(nO // 2, nI)
        self.built = True

    def call(self, X: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """X: Time first."""
        backward = tf.reverse_sequence(X, lengths, seq_axis=0, batch_axis=1)
        backward = tf.reverse_sequence(self.back(backward), lengths, seq_axis=0, batch_axis=1)
        return tf.concat([self.ahead(X), backward], axis=2)


class BiLSTMEncoder(keras.Model):
    def __init__(self, network: description.BiLSTMEncoder, nO: int, nI: int):
        super().__init__(dtype=FLOAT)
        self.lstm = [BiLSTM(nO, width) for width in [nI, *[nO] * (network.depth - 1)]]
        self.built = True

    def call(self, X: tf.Tensor, lengths: tf.Tensor, *masks: tf.Tensor) -> tf.Tensor:
        """X, lengths: As `time_first` arranges them. masks: Dropout's, one for each layer, or
        none."""
        for i, layer in enumerate(self.lstm):
            X = layer(X, lengths)
            if masks:
                X = X * masks[i]
        return X


class TransformerBlock(keras.Layer):
    def __init__(self, network: description.TransformerEncoder, width: int):
        super().__init__(dtype=FLOAT)
        self.heads = network.heads
        self.attention_norm = _norm(width)
        self.qkv = _dense(3 * width, width, use_bias=False)
        self.attended = _dense(width, width)
        self.hidden_norm = _norm(width)
        self.hidden = _dense(network.hidden_width, width)
        self.out = _dense(width, network.hidden_width)
        self.built = True

    def call(self, X: tf.Tensor, places: tf.Tensor, blocks: Any, masks: Any) -> tf.Tensor:
        Y = self.attended(self.attend(self.qkv(self.attention_norm(X)), places, blocks))
        X = X + (Y * masks[0] if masks else Y)
        hidden = tf.nn.relu(self.hidden(self.hidden_norm(X)))
        Y = self.out(hidden * masks[1] if masks else hidden)
        return X + (Y * masks[2] if masks else Y)

    def attend(self, qkv: tf.Tensor, places: tf.Tensor, blocks: Any) -> tf.Tensor:
        attended, width = [], qkv.shape[1] // 3
        for block in blocks:
            nB, nT = tf.unstack(tf.shape(block))
            padded = tf.gather(qkv, tf.maximum(block, 0))
            padded = tf.reshape(padded, (nB, nT, 3, self.heads, width // self.heads))
            Q, K, V = tf.unstack(tf.transpose(padded, (2, 0, 3, 1, 4)))
            scores = tf.matmul(Q * (width // self.heads) ** -0.5, K, transpose_b=True)
            bias = tf.where(block < 0, qkv.dtype.min, 0.0)
            Y = tf.matmul(tf.nn.softmax(scores + bias[:, None, None]), V)
            attended.append(tf.reshape(tf.transpose(Y, (0, 2, 1, 3)), (nB * nT, width)))
        return tf.gather(tf.concat(attended, axis=0), places)


class TransformerEncoder(keras.Model):
    def __init__(self, network: description.TransformerEncoder, nO: int, nI: int):
        super().__init__(dtype=FLOAT)
        self.blocks = [TransformerBlock(network, nO) for _ in range(network.depth)]
        self.norm = _norm(nO)
        self.built = True

    def call(self, X: tf.Tensor, places: tf.Tensor, *rest: tf.Tensor) -> tf.Tensor:
        """X, places: As `blocks` arranges them. rest: The blocks, and dropout's masks, three for
        each of the transformer's, or none."""
        blocks, masks = blocks_and_masks(rest, 3 * len(self.blocks))
        for i, layer in enumerate(self.blocks):
            X = layer(X, places, blocks, masks[3 * i : 3 * i + 3])
        return self.norm(X)


def _norm(width: int) -> Any:
    return _built(keras.layers.LayerNormalization(epsilon=EPSILON, dtype=FLOAT), width)


def _dense(nO: int, nI: int, use_bias: bool = True) -> Any:
    return _built(keras.layers.Dense(nO, use_bias=use_bias, dtype=FLOAT), nI)


def _built(layer: Any, nI: int) -> Any:
    layer.build((None, nI))
    return layer
