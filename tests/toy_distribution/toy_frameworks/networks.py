"""The networks of spacy-frameworks in the toy library's layers; those that it has."""

from __future__ import annotations

from typing import Any

import autograd.numpy as np
import toy
from spacy_frameworks.architectures.networks import description
from spacy_frameworks.architectures.networks.arrangement import rows

ARRANGEMENTS = {"FeedForward": rows}

# (kind of layer, Thinc's name) -> (the library's name, whether it is stored transposed)
LAYOUT = {
    ("linear", "W"): ("W", False),
    ("linear", "b"): ("b", False),
    ("norm", "G"): ("G", False),
    ("norm", "b"): ("b", False),
}


class FeedForward(toy.Module):
    def __init__(self, network: description.FeedForward, nO: int, nI: int):
        width = network.hidden_width
        widths = [nI, *[width] * network.depth]
        self.hidden = [toy.Linear(width, i) for i in widths[:-1]]
        norms = network.depth if network.normalize else 0
        self.norm = [toy.LayerNorm(width, description.EPSILON) for _ in range(norms)]
        self.out = toy.Linear(nO, widths[-1])
        self.activate_output = network.activate_output

    def forward(self, X: Any, *masks: Any) -> Any:
        """masks: One dropout mask per hidden layer (and for the output, if activated), or none."""
        for i, layer in enumerate(self.hidden):
            X = np.maximum(layer(X), 0)
            if self.norm:
                X = self.norm[i](X)
            if masks:
                X = X * masks[i]
        X = self.out(X)
        if self.activate_output:
            X = np.maximum(X, 0)
            if masks:
                X = X * masks[-1]
        return X
