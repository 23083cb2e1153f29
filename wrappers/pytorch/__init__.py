"""PyTorch in Thinc models."""

from .arrays import tensor2xp as torch2xp
from .arrays import xp2tensor as xp2torch
from .wrapper import PyTorchRNNWrapper, PyTorchWrapper

__all__ = ["PyTorchRNNWrapper", "PyTorchWrapper", "torch2xp", "xp2torch"]
