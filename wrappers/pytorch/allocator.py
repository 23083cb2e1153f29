"""CuPy's memory from PyTorch's caching allocator."""

from __future__ import annotations

import os
import sys
from typing import Any, Tuple

from ..allocator import FrameworkAllocator


class PyTorchAllocator(FrameworkAllocator):
    """Blocks straight from the caching allocator, for CuPy's stream and device.

    When memory runs out, PyTorch frees its unused blocks and tries again before it raises
    `torch.OutOfMemoryError`.
    """

    framework = "pytorch"

    def sees_gpu(self) -> bool:
        import torch

        return torch.cuda.is_available()

    def allocate(self, size: int, device_id: int, stream: Any) -> Tuple[Any, int]:
        import torch

        address = torch.cuda.caching_allocator_alloc(size, device_id, stream.ptr)
        return address, address

    def release(self, held: Any, device_id: int, stream: Any) -> None:
        import torch

        # PyTorch gives the block out again to the same stream alone, which keeps the order.
        torch.cuda.caching_allocator_delete(held)

    def check_cuda_async(self) -> None:
        # PyTorch reads its setting when it is loaded, which `import spacy` does.
        torch = sys.modules.get("torch")
        if torch is None or not torch.cuda.is_available():
            return
        backend = torch.cuda.get_allocator_backend()
        if backend != "cudaMallocAsync":
            names = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
            settings = next((os.environ[name] for name in names if os.environ.get(name)), "")
            others = [s for s in settings.split(",") if s and not s.startswith("backend:")]
            value = ",".join(["backend:cudaMallocAsync", *others])
            raise RuntimeError(
                f"PyTorch has started with its allocator {backend!r}, and 'cuda_async' needs "
                "'cudaMallocAsync'. PyTorch reads the setting when it is imported, which spaCy "
                "does. Before starting Python: export "
                f"PYTORCH_CUDA_ALLOC_CONF={value}"
            )

    def free_all_blocks(self) -> None:
        import torch

        torch.cuda.empty_cache()
