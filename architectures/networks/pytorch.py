"""The networks in PyTorch's layers."""

from __future__ import annotations

from typing import Any, Optional, Tuple

import torch
from torch import nn
from torch.nn.functional import pad, scaled_dot_product_attention

from ...wrappers.kernels import keep_few_kernels
from ...wrappers.layers import APART
from ...wrappers.pytorch.linear import linear
from . import description
from .arrangement import blocks, blocks_and_masks, rows, spaced, time_first
from .description import EPSILON

ARRANGEMENTS = {
    "FeedForward": rows,
    "WindowEncoder": spaced,
    "BiLSTMEncoder": time_first,
    "TransformerEncoder": blocks,
}

# (kind of layer, Thinc's name) -> (PyTorch's name, whether it is stored transposed)
LAYOUT = {
    ("linear", "W"): ("weight", False),
    ("linear", "b"): ("bias", False),
    ("norm", "G"): ("weight", False),
    ("norm", "b"): ("bias", False),
    ("lstm", "W_forward"): ("ahead.weight_ih_l0", False),
    ("lstm", "U_forward"): ("ahead.weight_hh_l0", False),
    ("lstm", "b_forward"): ("ahead.bias_ih_l0", False),
    ("lstm", "W_backward"): ("back.weight_ih_l0", False),
    ("lstm", "U_backward"): ("back.weight_hh_l0", False),
    ("lstm", "b_backward"): ("back.bias_ih_l0", False),
}
# The order of an LSTM's gates: input, forget, cell, output.
GATES = "ifco"


class Linear(nn.Linear):
    """PyTorch's layer on the kernel that is the fastest on this processor."""

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return linear(X, self.weight, self.bias)


Blocks = Tuple[torch.Tensor, ...]


class FeedForward(nn.Module):
    def __init__(self, network: description.FeedForward, nO: int, nI: int):
        super().__init__()
        width = network.hidden_width
        widths = [nI, *[width] * network.depth]
        self.hidden = nn.ModuleList(Linear(i, width) for i in widths[:-1])
        norms = network.depth if network.normalize else 0
        self.norm = nn.ModuleList(nn.LayerNorm(width, EPSILON) for _ in range(norms))
        self.out = Linear(widths[-1], nO)
        self.activate_output = network.activate_output
        # Whatever torch.set_default_dtype says, here and in the other networks.
        self.float()

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
        self.windows = nn.ModuleList(Linear(window, nO * self.pieces) for _ in range(network.depth))
        self.norms = nn.ModuleList(nn.LayerNorm(nO, EPSILON) for _ in range(network.depth))
        self.float()

    def forward(self, X: torch.Tensor, is_row: torch.Tensor, *masks: torch.Tensor) -> torch.Tensor:
        """X, is_row: As `spaced` arranges them. masks: Dropout's, one for each layer, or none."""
        nW, rows = self.size, len(is_row)
        for i, (window, norm) in enumerate(zip(self.windows, self.norms)):
            around = torch.cat([X[j : j + rows] for j in range(2 * nW + 1)], dim=1)
            # A dropout mask is zero in the gaps, too.
            Y = norm(_maxout(window, around, self.pieces)) * (masks[i] if masks else is_row)
            X = X + pad(Y, (0, 0, nW, nW))
        return X


def _maxout(layer: nn.Linear, X: torch.Tensor, pieces: int) -> torch.Tensor:
    """The largest of each unit's pieces. They are side by side in the parameters. With the pieces
    apart, whole rows are compared at once, but the parameters have to be copied."""
    if len(X) < APART:
        return layer(X).unflatten(1, (-1, pieces)).amax(dim=2)
    W = layer.weight.unflatten(0, (-1, pieces)).transpose(0, 1)
    b = layer.bias.unflatten(0, (-1, pieces)).t()
    return linear(X, W.flatten(0, 1), b.flatten()).unflatten(1, b.shape).amax(dim=1)


class BiLSTM(nn.Module):
    """Two layers of one direction. PyTorch's bidirectional one would start in the padding, unless
    the sequences are packed, which keeps it from using the fused kernel."""

    def __init__(self, nO: int, nI: int):
        super().__init__()
        self.ahead, self.back = nn.LSTM(nI, nO // 2), nn.LSTM(nI, nO // 2)
        for layer in (self.ahead, self.back):
            # PyTorch has two biases for each gate, of which one is enough.
            nn.init.zeros_(layer.bias_hh_l0).requires_grad_(False)

    def forward(self, X: torch.Tensor, reverse: torch.Tensor) -> torch.Tensor:
        """X: Time first. reverse: For each row of all steps, the one that takes its place from
        right to left."""
        backward, _ = self.back(_rows(X, reverse))
        return torch.cat([self.ahead(X)[0], _rows(backward, reverse)], dim=2)


def _rows(X: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    # A tenth of the time that take_along_dim takes, which looks up each number.
    return X.flatten(0, 1).index_select(0, rows).view(X.shape)


class BiLSTMEncoder(nn.Module):
    def __init__(self, network: description.BiLSTMEncoder, nO: int, nI: int):
        super().__init__()
        # PyTorch's LSTM is oneDNN's, compiled for each number of sequences and of steps.
        keep_few_kernels()
        widths = [nI, *[nO] * (network.depth - 1)]
        self.lstm = nn.ModuleList(BiLSTM(nO, width) for width in widths)
        self.float()

    def forward(self, X: torch.Tensor, lengths: torch.Tensor, *masks: torch.Tensor) -> torch.Tensor:
        """X, lengths: As `time_first` arranges them. masks: Dropout's, one for each layer, or
        none."""
        nT, nB = X.shape[:2]
        steps, last = torch.arange(nT, device=X.device)[:, None], lengths - 1
        reverse = torch.where(steps <= last, last - steps, steps)
        reverse = (reverse * nB + torch.arange(nB, device=X.device)).flatten()
        for i, layer in enumerate(self.lstm):
            X = layer(X, reverse)
            if masks:
                X = X * masks[i]
        return X


class TransformerBlock(nn.Module):
    def __init__(self, network: description.TransformerEncoder, width: int):
        super().__init__()
        self.heads = network.heads
        self.attention_norm = nn.LayerNorm(width, EPSILON)
        self.qkv = Linear(width, 3 * width, bias=False)
        self.attended = Linear(width, width)
        self.hidden_norm = nn.LayerNorm(width, EPSILON)
        self.hidden = Linear(width, network.hidden_width)
        self.out = Linear(network.hidden_width, width)

    def forward(
        self, X: torch.Tensor, places: torch.Tensor, blocks: Blocks, masks: Blocks
    ) -> torch.Tensor:
        attended = _attend(self.qkv(self.attention_norm(X)), places, blocks, self.heads)
        Y = self.attended(attended)
        X = X + (Y * masks[0] if masks else Y)
        hidden = torch.relu(self.hidden(self.hidden_norm(X)))
        Y = self.out(hidden * masks[1] if masks else hidden)
        return X + (Y * masks[2] if masks else Y)


def _attend(qkv: torch.Tensor, places: torch.Tensor, blocks: Blocks, heads: int) -> torch.Tensor:
    """Each sequence to itself. qkv: Rows. places, blocks: As `arrangement.blocks` gives them."""
    attended = []
    for block, padded in zip(blocks, IntoBlocks.apply(qkv, places, *blocks)):
        Q, K, V = padded.view(*block.shape, 3, heads, -1).permute(2, 0, 3, 1, 4)
        Y = scaled_dot_product_attention(Q, K, V, attn_mask=(block >= 0)[:, None, None])
        attended.append(Y.transpose(1, 2).flatten(2).flatten(0, 1))
    return torch.cat(attended).index_select(0, places)


class IntoBlocks(torch.autograd.Function):
    """Rows to the places of each block; every row is in one. Padding is filled with some row, whose
    gradient nobody wants: that way back takes half of the time of PyTorch's own, which adds up."""

    @staticmethod
    def forward(
        ctx: Any, rows: torch.Tensor, places: torch.Tensor, *blocks: torch.Tensor
    ) -> Blocks:
        ctx.save_for_backward(places)
        return tuple(rows.index_select(0, block.clamp(min=0).flatten()) for block in blocks)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Tuple[Optional[torch.Tensor], ...]:
        (places,) = ctx.saved_tensors
        return (torch.cat(gradients).index_select(0, places), None, *(None for _ in gradients))


class TransformerEncoder(nn.Module):
    def __init__(self, network: description.TransformerEncoder, nO: int, nI: int):
        super().__init__()
        self.blocks = nn.ModuleList(TransformerBlock(network, nO) for _ in range(network.depth))
        self.norm = nn.LayerNorm(nO, EPSILON)
        self.float()

    def forward(self, X: torch.Tensor, places: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        """X, places: As `blocks` arranges them. rest: The blocks, and dropout's masks, three for
        each of the transformer's, or none."""
        blocks, masks = blocks_and_masks(rest, 3 * len(self.blocks))
        for i, layer in enumerate(self.blocks):
            X = layer(X, places, blocks, masks[3 * i : 3 * i + 3])
        return self.norm(X)
