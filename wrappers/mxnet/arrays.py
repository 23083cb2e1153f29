"""Arrays to MXNet's and back."""

from __future__ import annotations

import ctypes
import sys
from typing import Any, Optional

import numpy
from thinc.api import CupyOps, NumpyOps, Ops, get_current_ops
from thinc.compat import cupy
from thinc.types import ArrayXd
from thinc.util import is_cupy_array

from ..arrays import from_dlpack, numbers, to_dlpack

# MXNet has none of these; ids and lengths fit into the signed ones.
_CASTS = {"uint16": "int32", "uint32": "int64", "uint64": "int64", "int16": "int32"}
_MOST = numpy.iinfo("int64").max


def is_tensor(obj: Any) -> bool:
    """Whether this is an array of MXNet; does not import it."""
    mx = sys.modules.get("mxnet")
    return mx is not None and isinstance(obj, mx.nd.NDArray)


def xp2tensor(xp_tensor: ArrayXd, requires_grad: bool = False, device: Optional[Any] = None) -> Any:
    """A NumPy or CuPy array as an NDArray.

    The memory is copied: MXNet would make the caller's NumPy array read-only, and it computes on a
    stream of its own, which CuPy does not wait for.

    device (mxnet.Context): Where the array shall be. If None, it follows Thinc's ops.

    Raises ValueError on numbers that MXNet does not have: complex ones, and integers that take 64
    bits without a sign.
    """
    import mxnet as mx

    if device is None:
        ops = get_current_ops()
        device = mx.gpu(ops.device_id) if isinstance(ops, CupyOps) else mx.cpu()
    if is_cupy_array(xp_tensor):
        tensor = mx.nd.from_dlpack(to_dlpack(xp_tensor)).as_in_context(device)
    else:
        array = numbers(xp_tensor)
        _check_numbers(array)
        dtype = _CASTS.get(array.dtype.name, array.dtype.name)
        if device.device_type == "cpu":
            tensor = mx.nd.empty(array.shape, ctx=device, dtype=dtype)
            # Nothing has to be done with it yet that one would have to wait for.
            _seen(tensor)[...] = array
        else:
            tensor = mx.nd.array(numpy.asarray(array, dtype=dtype), ctx=device, dtype=dtype)
    if requires_grad:
        # Not attach_grad, which fills with zeros what a backward pass will write.
        gradient = mx.nd.empty(tensor.shape, ctx=device, dtype=tensor.dtype)
        mx.autograd.mark_variables(tensor, gradient)
    return tensor


def _check_numbers(array: numpy.ndarray) -> None:
    if array.dtype.kind == "c":
        raise ValueError(
            f"MXNet has no complex numbers, but the array has dtype {array.dtype}. Hand over the "
            "real and the imaginary part."
        )
    if array.dtype == "uint64" and array.size and array.max() > _MOST:
        raise ValueError(
            f"MXNet has integers of up to {_MOST}, but the array has {array.max()}. Hand over "
            "smaller numbers."
        )


def tensor2xp(mx_tensor: Any, *, ops: Optional[Ops] = None) -> ArrayXd:
    """An NDArray as an array; float16 becomes float32. The memory is copied.

    ops (Ops): Decides between NumPy and CuPy. If None, the NDArray's context does.
    """
    tensor = mx_tensor.detach()
    if not is_on_cpu(tensor) and not isinstance(ops, NumpyOps):
        array = from_dlpack(tensor.to_dlpack_for_read())
    else:
        array = tensor.asnumpy()
        array = array if ops is None or isinstance(ops, NumpyOps) else cupy.asarray(array)
    # Not MXNet's own cast, which refuses arrays without dimensions and empty ones.
    return array.astype("float32") if array.dtype == numpy.float16 else array


def cast_like(tensor: Any, other: Any) -> Any:
    """The NDArray in the dtype of another one."""
    return tensor.astype(other.dtype, copy=False)


def zeros_like(tensor: Any) -> Any:
    """Zeros of the same shape and dtype."""
    import mxnet as mx

    return mx.nd.zeros_like(tensor)


def takes_gradient(tensor: Any) -> bool:
    """Whether a tensor that a network is called with gets a gradient."""
    return tensor.grad is not None


def is_on_cpu(mx_tensor: Any) -> bool:
    """Whether an NDArray is in the memory that NumPy sees."""
    return bool(mx_tensor.context.device_type == "cpu")


def memory(mx_tensor: Any, is_read: bool = True) -> numpy.ndarray:
    """The memory of an NDArray on CPU as a NumPy array, when everything that still had to be done
    with it is done. What is written there is in the NDArray.

    is_read: Whether operations that read it may be waiting to be done. To wait for those takes a
        switch to MXNet's thread and back, even if there are none.
    """
    import mxnet as mx

    lib = mx.base._LIB
    wait = lib.MXNDArrayWaitToWrite if is_read else lib.MXNDArrayWaitToRead
    mx.base.check_call(wait(mx_tensor.handle))
    return _seen(mx_tensor)


def address(mx_tensor: Any) -> int:
    """Where the memory of an NDArray begins, on its device. 0 if it has none, being empty."""
    import mxnet as mx

    found = ctypes.c_void_p()
    mx.base.check_call(mx.base._LIB.MXNDArrayGetData(mx_tensor.handle, ctypes.byref(found)))
    return found.value or 0


def _seen(mx_tensor: Any) -> numpy.ndarray:
    # Empty ones have no memory, of which NumPy 1 makes no array.
    if not mx_tensor.size:
        return numpy.zeros(mx_tensor.shape, mx_tensor.dtype)
    return numpy.asarray(_Memory(mx_tensor))


class _Memory:
    """Hands an NDArray's memory to NumPy, whose arrays keep this object and with it the NDArray."""

    def __init__(self, mx_tensor: Any):
        self.owner = mx_tensor
        self.__array_interface__ = {
            "shape": mx_tensor.shape,
            "typestr": numpy.dtype(mx_tensor.dtype).str,
            "data": (address(mx_tensor), False),
            "version": 3,
        }
