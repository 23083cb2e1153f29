"""The networks in Gluon's layers."""

from __future__ import annotations

from typing import Any

from mxnet.gluon import nn

from . import description

# (kind of layer, Thinc's name) -> (Gluon's name, whether it is stored transposed)
LAYOUT = {
    ("linear", "W"): ("weight", False),
    ("linear", "b"): ("bias", False),
    ("norm", "G"): ("gamma", False),
    ("norm", "b"): ("beta", False),
}


class FeedForward(nn.HybridBlock):
    def __init__(self, network: description.FeedForward, nO: int, nI: int):
        super().__init__()
        width = network.hidden_width
        widths = [nI, *[width] * network.depth]
        norms = network.depth if network.normalize else 0
        with self.name_scope():
            self.hidden = nn.HybridSequential()
            self.hidden.add(*(nn.Dense(width, in_units=i) for i in widths[:-1]))
            # Thinc's LayerNorm adds 1e-8 to the variance.
            self.norm = nn.HybridSequential()
            self.norm.add(*(nn.LayerNorm(epsilon=1e-8, in_channels=width) for _ in range(norms)))
            self.out = nn.Dense(nO, in_units=widths[-1])
        self.activate_output = network.activate_output

    def hybrid_forward(self, F: Any, X: Any, *masks: Any) -> Any:
        """masks: One dropout mask per hidden layer (and for the output, if activated), or none."""
        for i, layer in enumerate(self.hidden):
            X = F.relu(layer(X))
            if len(self.norm):
                X = self.norm[i](X)
            if masks:
                X = X * masks[i]
        X = self.out(X)
        if self.activate_output:
            X = F.relu(X)
            if masks:
                X = X * masks[-1]
        return X


def feed_forward(network: description.FeedForward, nO: int, nI: int) -> Any:
    return FeedForward(network, nO, nI)
