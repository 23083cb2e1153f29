"""A linear layer on the fastest of PyTorch's kernels."""

from __future__ import annotations

from typing import Any, Optional, Tuple

import torch

from .processor import ONEDNN_PRODUCTS, is_faster_on_onednn


def onednn_linear(X: torch.Tensor, W: torch.Tensor, b: Optional[torch.Tensor]) -> torch.Tensor:
    """X times W transposed, plus b, by oneDNN; records no gradients."""
    return torch.ops.mkldnn._linear_pointwise(X, W, b, "none", [], "")


def linear(X: torch.Tensor, W: torch.Tensor, b: Optional[torch.Tensor]) -> torch.Tensor:
    """X times W transposed, plus b, of any number of dimensions of X, with gradients."""
    is_plain = X.dtype == W.dtype == torch.float32 and X.device.type == "cpu"
    if is_plain and X.numel() * len(W) >= ONEDNN_PRODUCTS and is_faster_on_onednn():
        return OneDNNLinear.apply(X, W, b)
    return torch.nn.functional.linear(X, W, b)


class OneDNNLinear(torch.autograd.Function):
    """The linear layer by oneDNN, there and back."""

    @staticmethod
    def forward(
        ctx: Any, X: torch.Tensor, W: torch.Tensor, b: Optional[torch.Tensor]
    ) -> torch.Tensor:
        ctx.save_for_backward(X, W)
        return onednn_linear(X, W, b)

    @staticmethod
    def backward(ctx: Any, *dYs: torch.Tensor) -> Tuple[Optional[torch.Tensor], ...]:
        (dY,), (X, W) = dYs, ctx.saved_tensors
        wants_X, wants_W, wants_b = ctx.needs_input_grad
        rows = dY.flatten(0, -2)
        dX = onednn_linear(dY, W.t(), None) if wants_X else None
        dW = onednn_linear(rows.t(), X.flatten(0, -2).t(), None) if wants_W else None
        return dX, dW, rows.sum(dim=0) if wants_b else None
