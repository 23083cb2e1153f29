"""MXNet in Thinc models."""

from .arrays import tensor2xp as mxnet2xp
from .arrays import xp2tensor as xp2mxnet
from .wrapper import MXNetRNNWrapper, MXNetWrapper

__all__ = ["MXNetRNNWrapper", "MXNetWrapper", "mxnet2xp", "xp2mxnet"]
