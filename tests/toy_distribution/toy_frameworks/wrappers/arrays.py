"""Arrays to the toy library's tensors and back."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Optional

import numpy
from spacy_frameworks.wrappers.arrays import numbers
from thinc.api import Ops
from thinc.types import ArrayXd

if TYPE_CHECKING:
    import toy


def is_tensor(obj: Any) -> bool:
    """Whether this is a tensor of the library; does not import it."""
    toy = sys.modules.get("toy")
    return toy is not None and isinstance(obj, toy.Tensor)


def xp2tensor(
    xp_tensor: ArrayXd, requires_grad: bool = False, device: Optional[str] = None
) -> toy.Tensor:
    """A NumPy array as a tensor, which shares its memory: nothing is written there."""
    import toy

    return toy.Tensor(numbers(xp_tensor), requires_grad)


def tensor2xp(toy_tensor: toy.Tensor, *, ops: Optional[Ops] = None) -> ArrayXd:
    """A tensor as an array of the caller's own: what is written there, nobody else reads. Float16
    becomes float32."""
    array = numpy.array(toy_tensor.values)
    is_half = array.dtype == numpy.float16
    return array.astype("float32") if is_half else array  # type: ignore[return-value]


def cast_like(tensor: toy.Tensor, other: toy.Tensor) -> toy.Tensor:
    """The tensor in the dtype of another one."""
    return type(tensor)(tensor.values.astype(other.values.dtype, copy=False))


def zeros_like(tensor: toy.Tensor) -> toy.Tensor:
    """Zeros of the same shape and dtype."""
    return type(tensor)(numpy.zeros_like(tensor.values))


def takes_gradient(tensor: toy.Tensor) -> bool:
    """Whether a tensor that a network is called with gets a gradient."""
    return tensor.requires_grad
