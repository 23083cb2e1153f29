"""Recurrent PyTorch modules on padded sequences."""

from __future__ import annotations

from typing import cast

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ..mask import check_sequence


class PaddedRNN(torch.nn.Module):
    """Runs a recurrent module so that padding has no influence.

    rnn: An `nn.LSTM`, `nn.GRU` or `nn.RNN` (time first, as is their default), or any module that
        takes (data, None) and returns (output, states).
    """

    def __init__(self, rnn: torch.nn.Module):
        super().__init__()
        if getattr(rnn, "batch_first", False):
            raise ValueError(
                f"{type(rnn).__name__} has batch_first=True, but Thinc's Padded has time first. "
                "Build it with batch_first=False."
            )
        self.rnn = rnn

    def forward(self, X: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        if not isinstance(self.rnn, torch.nn.RNNBase):
            result = self.rnn(X, None)
            is_pair = isinstance(result, (tuple, list)) and torch.is_tensor(result[0])
            check_sequence(self.rnn, result, is_pair, "(output, states)")
            return cast(torch.Tensor, result[0])
        # Without packing, the backward direction would start in the padding.
        packed, _ = self.rnn(pack_padded_sequence(X, lengths.cpu()))
        return pad_packed_sequence(packed, total_length=X.shape[0])[0]
