"""Arrays to JAX's and back."""

from __future__ import annotations

import math
import sys
from typing import Any, Optional

import numpy
from thinc.api import CupyOps, NumpyOps, Ops, get_current_ops
from thinc.compat import cupy
from thinc.types import ArrayXd
from thinc.util import is_cupy_array

from ..arrays import from_dlpack, numbers, to_dlpack
from ..framework import require

# In bytes. Memory that begins at a multiple of it is taken as it is on CPU, other is copied.
ALIGNMENT = 64


def is_tensor(obj: Any) -> bool:
    """Whether this is an array that JAX computes with: its own, or NumPy's. Does not import it."""
    if isinstance(obj, numpy.ndarray):
        return True
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(obj, jax.Array)


def xp2tensor(xp_tensor: ArrayXd, requires_grad: bool = False, device: Optional[str] = None) -> Any:
    """A NumPy or CuPy array as a `jax.Array`.

    The memory is copied: JAX takes for granted that its arrays never change.

    requires_grad (bool): JAX's arrays have no such mark.
    device (str): Where the array shall be, such as "cpu:0" or "gpu:0". If None, it follows Thinc's
        ops.

    Raises ValueError on integers of 64 bits that JAX, which has 32 unless the user has chosen
    otherwise, would cut off.
    """
    if "jax" not in sys.modules:
        require("jax")
    import jax

    place = find_device(device if device is not None else default_device())
    if is_cupy_array(xp_tensor):
        return jax.device_put(jax.dlpack.from_dlpack(_Capsule(xp_tensor)), place)
    array = numbers(xp_tensor)
    check_integers(array)
    return jax.device_put(copied(array, array.dtype), place)


def tensor2xp(jax_tensor: Any, *, ops: Optional[Ops] = None) -> ArrayXd:
    """A `jax.Array` as an array; 16-bit floats become float32.

    The memory is copied: JAX's arrays are not to be written, and those of Thinc's layers are.

    ops (Ops): Decides between NumPy and CuPy. If None, the array's device does.
    """
    is_narrow = is_float(jax_tensor) and jax_tensor.dtype.itemsize < 4
    tensor = jax_tensor.astype("float32") if is_narrow else jax_tensor
    if not is_on_cpu(tensor) and not isinstance(ops, NumpyOps):
        return from_dlpack(tensor)
    array: Any = numpy.array(tensor)
    return array if ops is None or isinstance(ops, NumpyOps) else cupy.asarray(array)


class _Capsule:
    """Hands a CuPy array to JAX, which asks for the device too."""

    def __init__(self, array: Any):
        self._array = array

    def __dlpack__(self, **_: Any) -> Any:
        return to_dlpack(self._array)

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()


def cast_like(tensor: Any, other: Any) -> Any:
    """The array in the dtype of another one."""
    return tensor if tensor.dtype == other.dtype else tensor.astype(other.dtype)


def zeros_like(tensor: Any) -> Any:
    """Zeros of the same shape and dtype."""
    if isinstance(tensor, numpy.ndarray):
        return numpy.zeros_like(tensor)
    from jax import numpy as jnp

    return jnp.zeros_like(tensor)


def takes_gradient(tensor: Any) -> bool:
    """Whether an array that a network is called with gets a gradient."""
    return is_float(tensor)


def is_float(tensor: Any) -> bool:
    """Whether this is an array of floats, of those too that NumPy does not have."""
    if isinstance(tensor.dtype, numpy.dtype) and tensor.dtype.kind in "fiub":
        return bool(tensor.dtype.kind == "f")
    from jax import numpy as jnp

    return bool(jnp.issubdtype(tensor.dtype, jnp.floating))


def is_on_cpu(tensor: Any) -> bool:
    """Whether an array is in the memory that NumPy sees."""
    if isinstance(tensor, numpy.ndarray):
        return True
    return bool(tensor.device.platform == "cpu")


def default_device() -> str:
    """JAX's device for Thinc's current ops, by its name."""
    ops = get_current_ops()
    return f"gpu:{ops.device_id}" if isinstance(ops, CupyOps) else "cpu:0"


def find_device(name: str) -> Any:
    """The `jax.Device` of a name such as "cpu:0"."""
    import jax

    platform, _, number = name.partition(":")
    return jax.devices(platform)[int(number or 0)]


def aligned(shape: Any, dtype: Any) -> Any:
    """A NumPy array that is not filled, in memory that JAX takes on CPU without copying it."""
    dtype = numpy.dtype(dtype)
    memory = numpy.empty(math.prod(shape) * dtype.itemsize + ALIGNMENT, "uint8")
    return numpy.ndarray(shape, dtype, memory, -memory.ctypes.data % ALIGNMENT)


def copied(array: Any, dtype: Any) -> Any:
    """A copy of a NumPy array in such memory."""
    copy = aligned(array.shape, dtype)
    copy[...] = array
    return copy


def check_integers(array: Any) -> None:
    """Raise ValueError if JAX would cut these integers off."""
    if array.dtype.kind not in "iu" or array.dtype.itemsize < 8 or not array.size:
        return
    import jax

    if jax.config.jax_enable_x64:
        return
    fits = numpy.iinfo("int32" if array.dtype.kind == "i" else "uint32")
    least, most = int(array.min()), int(array.max())
    if least < fits.min or most > fits.max:
        raise ValueError(
            f"JAX has integers of 32 bits here, but the array goes from {least} to {most}. Call "
            'jax.config.update("jax_enable_x64", True) before anything of JAX is made, or hand '
            "over smaller numbers."
        )
