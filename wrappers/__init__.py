"""PyTorch, TensorFlow and MXNet models as Thinc models that behave like native ones.

Importing this imports no framework (PyTorch aside where Thinc itself imports it); that happens
when something of a framework is built.
"""

from . import allocator as _allocator
from . import patches as _patches
from .allocator import current_gpu_allocator, set_gpu_allocator
from .framework import FRAMEWORKS, Framework, get_framework, is_installed
from .mask import with_mask
from .mxnet.arrays import tensor2xp as mxnet2xp
from .mxnet.arrays import xp2tensor as xp2mxnet
from .mxnet.wrapper import MXNetRNNWrapper, MXNetWrapper
from .ops import set_framework_ops, undo_framework, use_framework_ops
from .pytorch.arrays import tensor2xp as torch2xp
from .pytorch.arrays import xp2tensor as xp2torch
from .pytorch.wrapper import PyTorchRNNWrapper, PyTorchWrapper
from .resize import resize_wrapper
from .tensorflow.arrays import tensor2xp as tensorflow2xp
from .tensorflow.arrays import xp2tensor as xp2tensorflow
from .tensorflow.wrapper import TensorFlowRNNWrapper, TensorFlowWrapper, keras_subclass

# Thinc and spaCy share the GPU's memory by our allocators.
_allocator.install()
# Thinc's functions choose ours, and `import mxnet` works on today's NumPy and Python, as long as
# the process lives. All other changes are entered and left.
_patches.Held().enter(*_patches.ALLOCATORS, *_patches.MXNET)

__all__ = [
    "FRAMEWORKS",
    "Framework",
    "MXNetRNNWrapper",
    "MXNetWrapper",
    "PyTorchRNNWrapper",
    "PyTorchWrapper",
    "TensorFlowRNNWrapper",
    "TensorFlowWrapper",
    "current_gpu_allocator",
    "get_framework",
    "is_installed",
    "keras_subclass",
    "mxnet2xp",
    "resize_wrapper",
    "set_framework_ops",
    "set_gpu_allocator",
    "tensorflow2xp",
    "torch2xp",
    "undo_framework",
    "use_framework_ops",
    "with_mask",
    "xp2mxnet",
    "xp2tensorflow",
    "xp2torch",
]
