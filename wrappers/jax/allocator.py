"""CuPy's memory from JAX's allocator."""

from __future__ import annotations

import os
import sys
from typing import Any, Tuple

from ..allocator import CUDA_MALLOC_ASYNC, SETTING, TensorAllocator


class JAXAllocator(TensorAllocator):
    """Arrays whose memory is CuPy's for as long as it needs it.

    JAX has no arrays that are not filled, so a block is zeros first. It gives no memory back to the
    GPU, whatever is asked of it.
    """

    framework = "jax"
    _device_type = "gpu"

    def sees_gpu(self) -> bool:
        import jax

        return any(device.platform == "gpu" for device in jax.devices())

    def empty(self, size: int, device_id: int) -> Tuple[Any, int]:
        import jax

        # JAX compiles for each size, so there are few, of which none is an eighth too large.
        step = max(512, 1 << max(size.bit_length() - 4, 0))
        size = -(-size // step) * step
        zeros = jax.numpy.zeros((size,), "uint8", device=jax.devices(self._device_type)[device_id])
        # JAX computes in its own time, and CuPy on a stream of its own.
        tensor = zeros.block_until_ready()
        return tensor, tensor.unsafe_buffer_pointer()

    def check_cuda_async(self) -> None:
        if os.environ.get(SETTING) == CUDA_MALLOC_ASYNC:
            return
        if _has_started() and self.sees_gpu():
            raise RuntimeError(
                "JAX has started with its own allocator, and 'cuda_async' needs CUDA's. Call "
                "set_gpu_allocator before JAX computes or lists its devices, or before starting "
                f"Python: export {SETTING}={CUDA_MALLOC_ASYNC}"
            )


def _has_started() -> bool:
    """Whether JAX has looked for its devices. That it is imported says nothing: TensorFlow imports
    it too, where both are installed. JAX has no public way to ask, and where this one is gone, it
    counts as not started."""
    bridge = sys.modules.get("jax._src.xla_bridge")
    ask = getattr(bridge, "backends_are_initialized", None)
    return ask is not None and ask()
