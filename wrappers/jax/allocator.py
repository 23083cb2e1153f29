"""CuPy's memory from JAX's allocator."""

from __future__ import annotations

import os
import sys
from typing import Any, Tuple

from ..allocator import TensorAllocator

SETTING = "TF_GPU_ALLOCATOR"


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

    def use_cuda_async(self) -> None:
        # JAX reads its setting when it first uses the GPU.
        if os.environ.get(SETTING) == "cuda_malloc_async":
            return
        if "jax" in sys.modules:
            raise RuntimeError(
                "JAX may have started with its own allocator, and 'cuda_async' needs CUDA's. Call "
                f"set_gpu_allocator before JAX is imported, or before starting Python: export "
                f"{SETTING}=cuda_malloc_async"
            )
        os.environ[SETTING] = "cuda_malloc_async"
