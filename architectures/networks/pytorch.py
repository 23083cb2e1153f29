"""The networks in PyTorch's layers."""

from __future__ import annotations

import torch
from torch import nn

from . import description

# (kind of layer, Thinc's name) -> (PyTorch's name, whether it is stored transposed)
LAYOUT = {
    ("linear", "W"): ("weight", False),
    ("linear", "b"): ("bias", False),
    ("norm", "G"): ("weight", False),
    ("norm", "b"): ("bias", False),
}


class FeedForward(nn.Module):
    def __init__(self, network: description.FeedForward, nO: int, nI: int):
        super().__init__()
        width = network.hidden_width
        widths = [nI, *[width] * network.depth]
        self.hidden = nn.ModuleList(nn.Linear(i, width) for i in widths[:-1])
        # Thinc's LayerNorm adds 1e-8 to the variance.
        norms = network.depth if network.normalize else 0
        self.norm = nn.ModuleList(nn.LayerNorm(width, eps=1e-8) for _ in range(norms))
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


def feed_forward(network: description.FeedForward, nO: int, nI: int) -> nn.Module:
    return FeedForward(network, nO, nI)
