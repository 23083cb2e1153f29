"""The networks in PyTorch's layers."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import pad, scaled_dot_product_attention
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from . import description

# (kind of layer, Thinc's name) -> (PyTorch's name, whether it is stored transposed)
LAYOUT = {
    ("linear", "W"): ("weight", False),
    ("linear", "b"): ("bias", False),
    ("norm", "G"): ("weight", False),
    ("norm", "b"): ("bias", False),
    ("lstm", "W_forward"): ("weight_ih_l0", False),
    ("lstm", "U_forward"): ("weight_hh_l0", False),
    ("lstm", "b_forward"): ("bias_ih_l0", False),
    ("lstm", "W_backward"): ("weight_ih_l0_reverse", False),
    ("lstm", "U_backward"): ("weight_hh_l0_reverse", False),
    ("lstm", "b_backward"): ("bias_ih_l0_reverse", False),
}
# The order of an LSTM's gates: input, forget, cell, output.
GATES = "ifco"
# Thinc's LayerNorm adds this to the variance.
EPSILON = 1e-8


class FeedForward(nn.Module):
    def __init__(self, network: description.FeedForward, nO: int, nI: int):
        super().__init__()
        width = network.hidden_width
        widths = [nI, *[width] * network.depth]
        self.hidden = nn.ModuleList(nn.Linear(i, width) for i in widths[:-1])
        norms = network.depth if network.normalize else 0
        self.norm = nn.ModuleList(nn.LayerNorm(width, EPSILON) for _ in range(norms))
        self.out = nn.Linear(widths[-1], nO)
        self.activate_output = network.activate_output

    def forward(self, X: torch.Tensor, *masks: torch.Tensor) -> torch.Tensor:
        """masks: One dropout mask per hidden layer (and for the output, if activated), or none."""
        for i, layer in enumerate(self.hidden):
            X = torch.relu(layer(X))
            if self.norm:
                X = self.norm[i](X)
            if masks:
                X = X * masks[i]
        X = self.out(X)
        if self.activate_output:
            X = torch.relu(X)
            if masks:
                X = X * masks[-1]
        return X


class WindowEncoder(nn.Module):
    def __init__(self, network: description.WindowEncoder, nO: int, nI: int):
        super().__init__()
        self.size, self.pieces = network.window_size, network.maxout_pieces
        window = nI * (2 * self.size + 1)
        self.windows = nn.ModuleList(
            nn.Linear(window, nO * self.pieces) for _ in range(network.depth)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(nO, EPSILON) for _ in range(network.depth))

    def forward(self, X: torch.Tensor, mask: torch.Tensor, *masks: torch.Tensor) -> torch.Tensor:
        """X: Rows with gaps of `window_size` zeros between the sequences and at both ends.
        mask: 1 for a row, 0 in the gaps. masks: Dropout's, one for each layer, or none."""
        nW, rows = self.size, len(X) - 2 * self.size
        is_row = mask[nW : nW + rows, None]
        for i, (window, norm) in enumerate(zip(self.windows, self.norms)):
            around = torch.cat([X[j : j + rows] for j in range(2 * nW + 1)], dim=1)
            Y = norm(window(around).unflatten(1, (-1, self.pieces)).amax(dim=2)) * is_row
            Y = pad(Y, (0, 0, nW, nW))
            X = X + (Y * masks[i] if masks else Y)
        return X


class BiLSTMEncoder(nn.Module):
    def __init__(self, network: description.BiLSTMEncoder, nO: int, nI: int):
        super().__init__()
        widths = [nI, *[nO] * (network.depth - 1)]
        self.lstm = nn.ModuleList(
            nn.LSTM(width, nO // 2, batch_first=True, bidirectional=True) for width in widths
        )
        for layer in self.lstm:
            # PyTorch has two biases for each gate, of which one is enough.
            for unused in (layer.bias_hh_l0, layer.bias_hh_l0_reverse):
                nn.init.zeros_(unused).requires_grad_(False)

    def forward(self, X: torch.Tensor, mask: torch.Tensor, *masks: torch.Tensor) -> torch.Tensor:
        """X: Padded sequences, batch first. mask: 1 where there is a row, 0 for padding.
        masks: Dropout's, one for each layer, or none."""
        lengths = mask.sum(dim=1).to("cpu", torch.int64)
        for i, layer in enumerate(self.lstm):
            packed = pack_padded_sequence(X, lengths, batch_first=True, enforce_sorted=False)
            X, _ = pad_packed_sequence(layer(packed)[0], batch_first=True)
            if masks:
                X = X * masks[i]
        return X


class TransformerBlock(nn.Module):
    def __init__(self, network: description.TransformerEncoder, width: int):
        super().__init__()
        self.heads = network.heads
        self.attention_norm = nn.LayerNorm(width, EPSILON)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.attended = nn.Linear(width, width)
        self.hidden_norm = nn.LayerNorm(width, EPSILON)
        self.hidden = nn.Linear(width, network.hidden_width)
        self.out = nn.Linear(network.hidden_width, width)

    def forward(self, X: torch.Tensor, is_key: torch.Tensor, *masks: torch.Tensor) -> torch.Tensor:
        qkv = self.qkv(self.attention_norm(X)).unflatten(2, (3, self.heads, -1))
        Q, K, V = qkv.permute(2, 0, 3, 1, 4)
        attended = scaled_dot_product_attention(Q, K, V, attn_mask=is_key)
        Y = self.attended(attended.transpose(1, 2).flatten(2))
        X = X + (Y * masks[0] if masks else Y)
        hidden = torch.relu(self.hidden(self.hidden_norm(X)))
        Y = self.out(hidden * masks[1] if masks else hidden)
        return X + (Y * masks[2] if masks else Y)


class TransformerEncoder(nn.Module):
    def __init__(self, network: description.TransformerEncoder, nO: int, nI: int):
        super().__init__()
        self.blocks = nn.ModuleList(TransformerBlock(network, nO) for _ in range(network.depth))
        self.norm = nn.LayerNorm(nO, EPSILON)

    def forward(self, X: torch.Tensor, mask: torch.Tensor, *masks: torch.Tensor) -> torch.Tensor:
        """X: Padded sequences, batch first. mask: 1 where there is a row, 0 for padding.
        masks: Dropout's, three for each block, or none."""
        is_key = mask.bool()[:, None, None]
        for i, block in enumerate(self.blocks):
            X = block(X, is_key, *masks[3 * i : 3 * i + 3])
        return self.norm(X)
