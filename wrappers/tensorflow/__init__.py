"""TensorFlow in Thinc models."""

from .arrays import tensor2xp as tensorflow2xp
from .arrays import xp2tensor as xp2tensorflow
from .wrapper import TensorFlowRNNWrapper, TensorFlowWrapper, keras_subclass

__all__ = [
    "TensorFlowRNNWrapper",
    "TensorFlowWrapper",
    "keras_subclass",
    "tensorflow2xp",
    "xp2tensorflow",
]
