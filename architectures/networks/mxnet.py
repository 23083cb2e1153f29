"""The networks in Gluon's layers."""

from __future__ import annotations

from typing import Any

from mxnet.gluon import nn, rnn

from ...wrappers.kernels import keep_few_kernels
from . import description
from .arrangement import blocks, blocks_and_masks, rows, spaced, time_first
from .description import EPSILON

# MXNet compiles kernels for each number of rows. This file is imported to build a network.
keep_few_kernels()

ARRANGEMENTS = {
    "FeedForward": rows,
    "WindowEncoder": spaced,
    "BiLSTMEncoder": time_first,
    "TransformerEncoder": blocks,
}

# (kind of layer, Thinc's name) -> (Gluon's name, whether it is stored transposed)
LAYOUT = {
    ("linear", "W"): ("weight", False),
    ("linear", "b"): ("bias", False),
    ("norm", "G"): ("gamma", False),
    ("norm", "b"): ("beta", False),
    ("lstm", "W_forward"): ("ahead._unfused.0.i2h_weight", False),
    ("lstm", "U_forward"): ("ahead._unfused.0.h2h_weight", False),
    ("lstm", "b_forward"): ("ahead._unfused.0.i2h_bias", False),
    ("lstm", "W_backward"): ("back._unfused.0.i2h_weight", False),
    ("lstm", "U_backward"): ("back._unfused.0.h2h_weight", False),
    ("lstm", "b_backward"): ("back._unfused.0.i2h_bias", False),
}
# The order of an LSTM's gates: input, forget, cell, output.
GATES = "ifco"


class FeedForward(nn.HybridBlock):
    def __init__(self, network: description.FeedForward, nO: int, nI: int):
        super().__init__()
        width = network.hidden_width
        widths = [nI, *[width] * network.depth]
        norms = network.depth if network.normalize else 0
        with self.name_scope():
            self.hidden = nn.HybridSequential()
            self.hidden.add(*(nn.Dense(width, in_units=i) for i in widths[:-1]))
            self.norm = nn.HybridSequential()
            self.norm.add(*(_norm(width) for _ in range(norms)))
            self.out = nn.Dense(nO, in_units=widths[-1])
        self.activate_output = network.activate_output

    def hybrid_forward(self, F: Any, X: Any, *masks: Any) -> Any:
        """masks: One dropout mask per hidden layer (and for the output, if activated), or none."""
        for i, layer in enumerate(self.hidden):
            X = F.relu(layer(X))
            if len(self.norm):
                X = self.norm[i](X, bool(masks))
            if masks:
                X = X * masks[i]
        X = self.out(X)
        if self.activate_output:
            X = F.relu(X)
            if masks:
                X = X * masks[-1]
        return X


class WindowEncoder(nn.HybridBlock):
    def __init__(self, network: description.WindowEncoder, nO: int, nI: int):
        super().__init__()
        self.size, self.pieces = network.window_size, network.maxout_pieces
        window = nI * (2 * self.size + 1)
        with self.name_scope():
            self.windows = nn.HybridSequential()
            self.norms = nn.HybridSequential()
            for _ in range(network.depth):
                self.windows.add(nn.Dense(nO * self.pieces, in_units=window))
                self.norms.add(_norm(nO))

    def hybrid_forward(self, F: Any, X: Any, is_row: Any, *masks: Any) -> Any:
        """X, is_row: As `spaced` arranges them. masks: Dropout's, one for each layer, or none."""
        nW = self.size
        before = F.slice_axis(X, axis=0, begin=0, end=nW)
        after = F.slice_axis(X, axis=0, begin=-nW, end=None)
        for i, (window, norm) in enumerate(zip(self.windows, self.norms)):
            neighbours = [
                F.slice_axis(X, axis=0, begin=j, end=j - 2 * nW or None) for j in range(2 * nW + 1)
            ]
            # Not concat(dim=1), whose backward kernel of oneDNN leaks a kilobyte for each of them.
            pieces = window(F.stack(*neighbours, axis=1)).reshape((0, -1, self.pieces))
            Y = norm(_maxout(F, pieces, self.pieces), bool(masks))
            # A dropout mask is zero in the gaps, too.
            Y = Y * masks[i] if masks else F.broadcast_mul(Y, is_row)
            # The gaps at both ends, which are zeros.
            X = X + F.concat(before, Y, after, dim=0)
        return X


def _maxout(F: Any, X: Any, pieces: int) -> Any:
    """The largest of each unit's pieces, in the last dimension. Not F.max, which takes longer, and
    gives each piece the whole gradient where several are the largest."""
    Y, *others = (F.slice_axis(X, axis=2, begin=i, end=i + 1) for i in range(pieces))
    for piece in others:
        Y = F.maximum(Y, piece)
    return Y.reshape((0, -1))


class BiLSTM(nn.HybridBlock):
    """Two layers of one direction. MXNet's own bidirectional kernel lets padding into the
    backward direction."""

    def __init__(self, nO: int, nI: int):
        super().__init__()
        with self.name_scope():
            self.ahead = rnn.LSTM(nO // 2, input_size=nI)
            self.back = rnn.LSTM(nO // 2, input_size=nI)
        for layer in (self.ahead, self.back):
            # Gluon has two biases for each gate, of which one is enough; this one stays zero.
            layer.l0_h2h_bias.grad_req = "null"

    def hybrid_forward(self, F: Any, X: Any, lengths: Any) -> Any:
        """X: Time first."""
        backward = F.SequenceReverse(X, lengths, use_sequence_length=True)
        backward = F.SequenceReverse(self.back(backward), lengths, use_sequence_length=True)
        return F.concat(self.ahead(X), backward, dim=2)


class BiLSTMEncoder(nn.HybridBlock):
    def __init__(self, network: description.BiLSTMEncoder, nO: int, nI: int):
        super().__init__()
        with self.name_scope():
            self.lstm = nn.HybridSequential()
            self.lstm.add(*(BiLSTM(nO, width) for width in [nI, *[nO] * (network.depth - 1)]))

    def hybrid_forward(self, F: Any, X: Any, lengths: Any, *masks: Any) -> Any:
        """X, lengths: As `time_first` arranges them. masks: Dropout's, one for each layer, or
        none."""
        for i, layer in enumerate(self.lstm):
            X = layer(X, lengths)
            if masks:
                X = X * masks[i]
        return X


class TransformerBlock(nn.HybridBlock):
    def __init__(self, network: description.TransformerEncoder, width: int):
        super().__init__()
        self.heads, self.scale = network.heads, (width // network.heads) ** -0.5
        hidden_width = network.hidden_width
        with self.name_scope():
            self.attention_norm = _norm(width)
            self.qkv = nn.Dense(3 * width, in_units=width, use_bias=False, flatten=False)
            self.attended = nn.Dense(width, in_units=width, flatten=False)
            self.hidden_norm = _norm(width)
            self.hidden = nn.Dense(hidden_width, in_units=width, flatten=False)
            self.out = nn.Dense(width, in_units=hidden_width, flatten=False)

    def hybrid_forward(self, F: Any, X: Any, places: Any, blocks: Any, masks: Any) -> Any:
        Y = self.attended(
            self.attend(F, self.qkv(self.attention_norm(X, bool(masks))), places, blocks)
        )
        X = X + (Y * masks[0] if masks else Y)
        hidden = F.relu(self.hidden(self.hidden_norm(X, bool(masks))))
        Y = self.out(hidden * masks[1] if masks else hidden)
        return X + (Y * masks[2] if masks else Y)

    def attend(self, F: Any, qkv: Any, places: Any, blocks: Any) -> Any:
        attended = []
        for block in blocks:
            # Sequences and heads become one dimension, over which batch_dot runs.
            padded = F.take(qkv, F.relu(block)).reshape((0, 0, 3, self.heads, -1))
            padded = padded.transpose((2, 0, 3, 1, 4)).reshape((0, -3, 0, 0))
            Q, K, V = (F.squeeze(part, axis=0) for part in F.split(padded, 3, axis=0))
            # To leave padding out, one more column: the fastest way to add a number to each score.
            bias = F.repeat((block < 0) * -1e30, repeats=self.heads, axis=0)
            bias = F.expand_dims(bias.astype("float32"), axis=2)
            Q, K = F.concat(Q * self.scale, F.ones_like(bias), dim=2), F.concat(K, bias, dim=2)
            Y = F.batch_dot(F.softmax(F.batch_dot(Q, K, transpose_b=True)), V)
            Y = Y.reshape((-4, -1, self.heads, 0, 0)).transpose((0, 2, 1, 3))
            attended.append(Y.reshape((-3, -3)))
        return F.take(F.concat(*attended, dim=0), places)


class TransformerEncoder(nn.HybridBlock):
    def __init__(self, network: description.TransformerEncoder, nO: int, nI: int):
        super().__init__()
        with self.name_scope():
            self.blocks = nn.HybridSequential()
            self.blocks.add(*(TransformerBlock(network, nO) for _ in range(network.depth)))
            self.norm = _norm(nO)

    def hybrid_forward(self, F: Any, X: Any, places: Any, *rest: Any) -> Any:
        """X, places: As `blocks` arranges them. rest: The blocks, and dropout's masks, three for
        each of the transformer's, or none."""
        blocks, masks = blocks_and_masks(rest, 3 * len(self.blocks))
        for i, layer in enumerate(self.blocks):
            X = layer(X, places, blocks, masks[3 * i : 3 * i + 3])
        return self.norm(X, bool(masks))


class Norm(nn.LayerNorm):
    """Gluon's layer, whose kernel takes ten times as long to go back as it takes forward."""

    def hybrid_forward(self, F: Any, X: Any, is_trained: bool, gamma: Any, beta: Any) -> Any:
        """is_trained: Compute the same by products of matrices, which go back twice as fast, and
        take longer forward."""
        if not is_trained:
            return super().hybrid_forward(F, X, gamma, beta)
        # The width, which a symbol does not know.
        width = self.gamma.shape[0]
        centre = F.BlockGrad(F.diag(F.ones_like(gamma)) - 1 / width)
        centred = F.FullyConnected(X, centre, no_bias=True, num_hidden=width)
        normed = F.L2Normalization(centred, eps=width * EPSILON)
        return F.FullyConnected(normed, F.diag(gamma) * width**0.5, beta, num_hidden=width)


def _norm(width: int) -> Norm:
    return Norm(epsilon=EPSILON, in_channels=width)
