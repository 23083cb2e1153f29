"""CuPy's memory from MXNet's storage pool."""

from __future__ import annotations

from typing import Any, Tuple

from ..allocator import TensorAllocator
from .arrays import address


class MXNetAllocator(TensorAllocator):
    """NDArrays that are not filled, whose memory is CuPy's for as long as it needs it."""

    framework = "mxnet"
    _device_type = "gpu"

    def sees_gpu(self) -> bool:
        import mxnet as mx

        return bool(mx.context.num_gpus())

    def empty(self, size: int, device_id: int) -> Tuple[Any, int]:
        import mxnet as mx

        ctx = mx.Context(self._device_type, device_id)
        tensor = mx.nd.empty((size,), ctx=ctx, dtype="uint8")
        return tensor, address(tensor)

    def check_cuda_async(self) -> None:
        # MXNet has no way to draw on CUDA's pool, and keeps its own beside it.
        pass

    def free_all_blocks(self) -> None:
        import mxnet as mx

        super().free_all_blocks()
        for device_id in range(mx.context.num_gpus()):
            mx.gpu(device_id).empty_cache()
