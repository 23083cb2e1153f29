"""Arrays to PyTorch's tensors and back."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Optional

from thinc.api import NumpyOps, Ops
from thinc.compat import cupy
from thinc.types import ArrayXd
from thinc.util import get_torch_default_device, is_cupy_array

from ..arrays import numbers

if TYPE_CHECKING:
    import torch


def is_tensor(obj: Any) -> bool:
    """Whether this is a tensor of PyTorch; does not import it."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(obj, torch.Tensor)


def xp2tensor(
    xp_tensor: ArrayXd, requires_grad: bool = False, device: Optional[torch.device] = None
) -> torch.Tensor:
    """A NumPy or CuPy array as a tensor, sharing its memory where that is safe.

    device (torch.device): Where the tensor shall be. If None, it follows Thinc's ops.
    """
    import torch

    if torch.is_inference_mode_enabled():
        # Tensors that are made in it do not count how often they are written, which tells whether
        # a module writes into its input.
        with torch.inference_mode(False):
            return xp2tensor(xp_tensor, requires_grad, device)
    # PyTorch knows no negative strides and no read-only memory.
    if is_cupy_array(xp_tensor):
        tensor = torch.from_dlpack(xp_tensor if _goes_forward(xp_tensor) else xp_tensor.copy())
    else:
        array = numbers(xp_tensor)
        shared = array.flags.writeable and _goes_forward(array)
        tensor = torch.from_numpy(array if shared else array.copy())
    tensor = tensor.to(device if device is not None else get_torch_default_device())
    return tensor.requires_grad_() if requires_grad else tensor


def _goes_forward(array: Any) -> bool:
    return min(array.strides, default=0) >= 0


def tensor2xp(torch_tensor: torch.Tensor, *, ops: Optional[Ops] = None) -> ArrayXd:
    """A tensor as an array, sharing its memory where that is safe; 16-bit floats become float32.

    The output of a pass that is recorded is copied: its gradient may be computed from it, and
    Thinc's layers may write into an array. Who knows better hands over `tensor.detach()`.

    ops (Ops): Decides between NumPy and CuPy. If None, the tensor's device does.
    """
    tensor = torch_tensor.detach()
    if tensor.is_floating_point() and tensor.element_size() < 4:
        tensor = tensor.float()
    elif torch_tensor.grad_fn is not None:
        tensor = tensor.clone()
    if not tensor.is_cuda:
        array = tensor.cpu().numpy()
        return array if ops is None or isinstance(ops, NumpyOps) else cupy.asarray(array)
    elif isinstance(ops, NumpyOps):
        return tensor.cpu().numpy()
    else:
        return cupy.from_dlpack(tensor)


def cast_like(tensor: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The tensor in the dtype of another one."""
    return tensor.to(other.dtype)


def zeros_like(tensor: torch.Tensor) -> torch.Tensor:
    """Zeros of the same shape and dtype."""
    import torch

    return torch.zeros_like(tensor)


def takes_gradient(tensor: torch.Tensor) -> bool:
    """Whether a tensor that a network is called with gets a gradient."""
    return tensor.requires_grad
