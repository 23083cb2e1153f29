"""CuPy's memory from TensorFlow's allocator."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any, Tuple

from ..allocator import CUDA_MALLOC_ASYNC, SETTING, TensorAllocator


class TensorFlowAllocator(TensorAllocator):
    """Tensors that are not filled, whose memory is CuPy's for as long as it needs it.

    To hand out an address, TensorFlow waits for its own kernels on the device. It gives no memory
    back to the GPU, whatever is asked of it.
    """

    framework = "tensorflow"
    _device_type = "GPU"

    def sees_gpu(self) -> bool:
        import tensorflow as tf

        return bool(tf.config.list_physical_devices("GPU"))

    def empty(self, size: int, device_id: int) -> Tuple[Any, int]:
        import tensorflow as tf

        # There is a kernel for floats on every device.
        with tf.device(f"/{self._device_type}:{device_id}"):
            tensor = tf.raw_ops.Empty(shape=[-(-size // 4)], dtype=tf.float32, init=False)
        if self._device_type not in tensor.device:
            raise RuntimeError(
                f"TensorFlow has no device {self._device_type}:{device_id}, and put the memory on "
                f"{tensor.device}. Make the device visible with tf.config.set_visible_devices, or "
                "choose another with cupy.cuda.Device."
            )
        return tensor, _address(tf.experimental.dlpack.to_dlpack(tensor))

    def check_cuda_async(self) -> None:
        if os.environ.get(SETTING) == CUDA_MALLOC_ASYNC:
            return
        if "tensorflow" in sys.modules and self.sees_gpu():
            from tensorflow.python.eager import context

            if context.context()._initialized:
                raise RuntimeError(
                    "TensorFlow has started with its own allocator, and 'cuda_async' needs CUDA's. "
                    "Call set_gpu_allocator before anything of TensorFlow is built, or before "
                    f"starting Python: export {SETTING}={CUDA_MALLOC_ASYNC}"
                )


def _address(capsule: Any) -> int:
    """Where the memory that a DLPack capsule lends begins. The capsule stays unused, so it gives
    back what it holds when it goes."""
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    # The structure begins with the pointer; TensorFlow's offset is always zero.
    first = ctypes.cast(get_pointer(capsule, b"dltensor"), ctypes.POINTER(ctypes.c_void_p))
    return first[0] or 0
