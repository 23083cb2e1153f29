"""Recurrent Gluon blocks on padded sequences."""

from __future__ import annotations

from typing import Any

import mxnet as mx

from ..mask import check_sequence


class PaddedRNN(mx.gluon.HybridBlock):
    """Runs a recurrent Gluon layer on data that has time first.

    rnn: A one-directional `gluon.rnn.LSTM`, `GRU` or `RNN` with layout "TNC". The bidirectional
        kernels let padding into the backward direction, so they are refused.
    """

    def __init__(self, rnn: mx.gluon.HybridBlock, **kwargs: Any):
        super().__init__(**kwargs)
        if getattr(rnn, "_dir", 1) == 2:
            raise ValueError(
                "MXNet's bidirectional kernels let padding into the backward direction. Use two "
                "one-directional layers, the second one on data reversed with SequenceReverse."
            )
        if getattr(rnn, "_layout", "TNC") != "TNC":
            raise ValueError(
                f"The layer has layout {rnn._layout!r}, but Thinc's Padded has time first. "
                "Build it with layout='TNC'."
            )
        with self.name_scope():
            self.rnn = rnn

    def hybrid_forward(self, F: Any, X: Any, lengths: Any) -> Any:
        # Padding comes after the end of a sequence, so nothing of it flows into what is read.
        lengths = F.cast(lengths, "float32")
        Y = self.rnn(X)
        is_tensor = isinstance(Y, (mx.nd.NDArray, mx.sym.Symbol))
        check_sequence(self.rnn, Y, is_tensor, "one array of shape (time, batch, nO)")
        return F.SequenceMask(Y, sequence_length=lengths, use_sequence_length=True)
