"""Arrays to TensorFlow's tensors and back."""

from __future__ import annotations

import contextlib
import functools
import sys
from typing import Any, ContextManager, Optional

import numpy
from thinc.api import NumpyOps, Ops
from thinc.compat import cupy
from thinc.types import ArrayXd
from thinc.util import is_cupy_array

from ..arrays import from_dlpack, native, to_dlpack
from ..framework import require


def is_tensor(obj: Any) -> bool:
    """Whether this is a tensor of TensorFlow; does not import it."""
    tf = sys.modules.get("tensorflow")
    return tf is not None and isinstance(obj, (tf.Tensor, tf.Variable, tf.IndexedSlices))


def xp2tensor(
    xp_tensor: ArrayXd,
    requires_grad: bool = False,
    as_variable: bool = False,
    device: Optional[str] = None,
) -> Any:
    """A NumPy or CuPy array as a tensor.

    The memory is copied: TensorFlow computes only on memory that is aligned to 64 bytes, which
    NumPy does not promise, and on a stream of its own, which CuPy does not wait for.

    requires_grad (bool): Whether a variable shall be trainable. TensorFlow's tensors have no such
        mark.
    as_variable (bool): Return a `tf.Variable`.
    device (str): Where the tensor shall be, such as "/CPU:0". If None, where TensorFlow puts it.
    """
    if "tensorflow" not in sys.modules:
        require("tensorflow")
    import tensorflow as tf

    with on_device(device):
        if is_cupy_array(xp_tensor):
            tensor = tf.experimental.dlpack.from_dlpack(to_dlpack(xp_tensor))
        else:
            # A fifth of the time of convert_to_tensor, which copies twice.
            tensor = tf.raw_ops.Identity(input=unaligned(native(xp_tensor)))
        return tf.Variable(tensor, trainable=requires_grad) if as_variable else tensor


def tensor2xp(tf_tensor: Any, *, ops: Optional[Ops] = None) -> ArrayXd:
    """A tensor as an array; 16-bit floats become float32. The memory is copied.

    ops (Ops): Decides between NumPy and CuPy. If None, the tensor's device does.
    """
    import tensorflow as tf

    tensor = tf_tensor if isinstance(tf_tensor, tf.Tensor) else tf.convert_to_tensor(tf_tensor)
    if tensor.dtype.is_floating and tensor.dtype.size < 4:
        tensor = tf.cast(tensor, tf.float32)
    if not is_on_cpu(tensor) and not isinstance(ops, NumpyOps):
        return from_dlpack(tf.experimental.dlpack.to_dlpack(tensor))
    # Of a scalar, numpy() makes a NumPy scalar.
    array: Any = numpy.asarray(tensor.numpy())
    return array if ops is None or isinstance(ops, NumpyOps) else cupy.asarray(array)


def is_on_cpu(tensor: Any) -> bool:
    """Whether a tensor is in the memory that NumPy sees."""
    return "GPU" not in tensor.device


def on_device(name: Optional[str]) -> ContextManager[Any]:
    """A context in which TensorFlow puts what it makes on a device. None, where there is but one:
    to enter it takes as long as a small operation.

    Raises ValueError if TensorFlow has no such device here.
    """
    import tensorflow as tf

    return contextlib.nullcontext() if name is None or _is_the_only(name) else tf.device(name)


@functools.cache
def _is_the_only(name: str) -> bool:
    """Whether there is no other device than this one. Raises ValueError if it is not there:
    TensorFlow would take another one, without a word."""
    import tensorflow as tf

    devices = [device.name for device in tf.config.list_logical_devices()]
    if not any(_names(name, device) for device in devices):
        raise ValueError(
            f"Expected the name of a device that TensorFlow has here, which are "
            f"{', '.join(devices)}, got {name!r}. Leave `device` out to follow Thinc's ops. If a "
            "GPU is missing, see tf.config.list_physical_devices('GPU')."
        )
    return len(devices) == 1


def _names(name: str, device: str) -> bool:
    """Whether a name, in any of TensorFlow's spellings, is one of a device."""
    import tensorflow as tf

    try:
        wanted = tf.DeviceSpec.from_string(name)
    except ValueError:
        return False
    found = tf.DeviceSpec.from_string(device)
    # What it leaves open may be any.
    return all(
        getattr(wanted, part) in (None, getattr(found, part))
        for part in ("device_type", "device_index")
    )


def unaligned(array: Any) -> Any:
    """An array whose memory belongs to nobody else once an operation of TensorFlow has it: that
    copies memory which is not aligned to 64 bytes, and takes other memory as it is."""
    return array.copy() if array.ctypes.data % 64 == 0 else array


def cast(tensor: Any, dtype: Any) -> Any:
    """The tensor in a dtype of TensorFlow."""
    import tensorflow as tf

    return tensor if tensor.dtype == dtype else tf.cast(tensor, dtype)


def cast_like(tensor: Any, other: Any) -> Any:
    """The tensor in the dtype of another one."""
    return cast(tensor, other.dtype)


def zeros_like(tensor: Any) -> Any:
    """Zeros of the same shape and dtype."""
    import tensorflow as tf

    return tf.zeros_like(tensor)


def takes_gradient(tensor: Any) -> bool:
    """Whether a tensor that a network is called with gets a gradient."""
    return bool(tensor.dtype.is_floating)
