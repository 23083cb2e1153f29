"""One memory pool on the GPU for CuPy, whose arrays Thinc and spaCy use, and a framework."""

from __future__ import annotations

import difflib
import os
import sys
from collections import deque
from typing import Any, Callable, Deque, Dict, Optional, Tuple, cast

import thinc.backends
from thinc import compat
from thinc.api import CupyOps, get_current_ops

from .framework import FRAMEWORKS, Framework, find_part, get_framework, require

CUDA_ASYNC = "cuda_async"
# What TensorFlow and JAX read when they first use the GPU.
SETTING, CUDA_MALLOC_ASYNC = "TF_GPU_ALLOCATOR", "cuda_malloc_async"
# What CUDA's own allocation promises, in bytes, and CuPy's kernels read by.
ALIGNMENT = 256


def set_gpu_allocator(name: str) -> None:
    """Have CuPy draw its GPU memory from a framework's pool, or all of them from CUDA's own.

    name (str): The framework's name in lower case, such as "pytorch"; or "cuda_async" for CUDA's
        stream-ordered pool, on which CuPy and all frameworks but MXNet draw together.

    Arrays that are there already stay where they are; unused blocks of the pool that CuPy drew
    from before are freed. Choosing the same again does nothing, and neither does choosing one
    without a GPU, so that the same program runs on both.

    Raises ValueError if the name is unknown; with a GPU, ImportError if the framework is not
    installed, and RuntimeError if it sees no GPU or has started with a pool that cannot be shared.
    """
    check_name(name)
    if not compat.has_cupy_gpu or current_gpu_allocator() == name:
        return
    allocator = _allocators[name]
    allocator.check()
    _take(allocator.malloc)


def current_gpu_allocator() -> Optional[str]:
    """The name of the pool that CuPy draws from, as `set_gpu_allocator` takes it. None without a
    GPU, and where it is CuPy's own pool or a foreign one."""
    if not compat.has_cupy_gpu:
        return None
    owner = _owner(compat.cupy.cuda.get_allocator())
    return next((name for name, allocator in _allocators.items() if allocator is owner), None)


def pair_gpu_allocator(framework: str) -> None:
    """Have CuPy draw from a framework's pool if both are on the GPU and nobody has chosen yet."""
    if not compat.has_cupy_gpu or not isinstance(get_current_ops(), CupyOps):
        return
    if _owner(compat.cupy.cuda.get_allocator()) is not compat.cupy.get_default_memory_pool():
        return
    allocator = _framework_allocators.get(framework)
    if allocator is not None and allocator.sees_gpu():
        _take(allocator.malloc)


class FrameworkAllocator:
    """Memory from a framework, as CuPy asks for it: what the frameworks' allocators share.

    Each block is asked of the framework and given back to it: there is no second pool, which
    would keep what it does not use. Nothing is filled.
    """

    framework: str

    def sees_gpu(self) -> bool:
        """Whether the framework can use a GPU here."""
        raise NotImplementedError

    def allocate(self, size: int, device_id: int, stream: Any) -> Tuple[Any, int]:
        """A block of so many bytes, more than none: what holds it, and its address.

        stream: CuPy's, on which the block is used.
        Raises the framework's own error if there is no memory left.
        """
        raise NotImplementedError

    def release(self, held: Any, device_id: int, stream: Any) -> None:
        """Give a block back, when what is queued on its stream is done with it."""
        raise NotImplementedError

    def check_cuda_async(self) -> None:
        """Raise RuntimeError with what to do if the framework has started with another pool than
        CUDA's stream-ordered one."""
        raise NotImplementedError

    def free_all_blocks(self) -> None:
        """Give memory that nothing uses back to the GPU, as far as the framework does that."""
        raise NotImplementedError

    def check(self) -> None:
        """Raise ImportError or RuntimeError if CuPy cannot draw on the framework's pool here."""
        require(self.framework)
        if not self.sees_gpu():
            token = get_framework(self.framework).token
            raise RuntimeError(
                f"CuPy sees a GPU and {token} sees none, so they cannot share its memory. Install "
                f"a build of {token} for this machine's version of CUDA."
            )

    def malloc(self, size: int) -> Any:
        """A block on CuPy's current device, for its current stream: a `cupy.cuda.MemoryPointer`.

        size: In bytes.
        """
        cuda = compat.cupy.cuda
        device_id = cuda.runtime.getDevice()
        block = _Block(self, size, device_id, cuda.get_current_stream()) if size else None
        memory = cuda.memory.UnownedMemory(block.address if block else 0, size, block, device_id)
        return cuda.MemoryPointer(memory, 0)


class TensorAllocator(FrameworkAllocator):
    """Memory from a framework that gives it out as tensors alone.

    The framework's kernels run on a stream of its own. A tensor goes back to it only when CuPy's
    kernels, which may still be queued when the last array is gone, have read and written it.
    """

    def __init__(self) -> None:
        # Tensors that CuPy has given back, each with an event that comes after its last kernel.
        self._queued: Deque[Tuple[Any, Any]] = deque()

    def empty(self, size: int, device_id: int) -> Tuple[Any, int]:
        """A tensor of at least so many bytes, not filled, and its address."""
        raise NotImplementedError

    def allocate(self, size: int, device_id: int, stream: Any) -> Tuple[Any, int]:
        self._give_back()
        tensor, address = self._empty(size, device_id)
        if address % ALIGNMENT:
            del tensor
            tensor, address = self._empty(size + ALIGNMENT - 1, device_id)
        return tensor, address + -address % ALIGNMENT

    def release(self, held: Any, device_id: int, stream: Any) -> None:
        cuda = compat.cupy.cuda
        with cuda.Device(device_id):
            event = stream.record(cuda.Event(disable_timing=True))
        self._queued.append((event, held))

    def _empty(self, size: int, device_id: int) -> Tuple[Any, int]:
        try:
            return self.empty(size, device_id)
        except Exception:
            if not self._queued:
                raise
        self._give_back(wait=True)
        return self.empty(size, device_id)

    def _give_back(self, wait: bool = False) -> None:
        # Other threads take from the same queue, and each entry once.
        while self._queued:
            try:
                event, tensor = self._queued.popleft()
            except IndexError:
                return
            if wait:
                event.synchronize()
            elif not event.done:
                self._queued.appendleft((event, tensor))
                return
            del tensor

    def free_all_blocks(self) -> None:
        self._give_back(wait=True)


class CudaAsyncAllocator:
    """CUDA's stream-ordered pool, and the frameworks on it as well. MXNet cannot draw on it."""

    def __init__(self) -> None:
        self._pool: Any = None

    def check(self) -> None:
        """Have every framework that can use it do so, or raise RuntimeError with what to do."""
        for allocator in _framework_allocators.values():
            allocator.check_cuda_async()
        # Afterwards, since each of them takes it for what it has started with.
        os.environ[SETTING] = CUDA_MALLOC_ASYNC
        if self._pool is None:
            # CuPy's own error where the driver has no such pool.
            self._pool = compat.cupy.cuda.MemoryAsyncPool("default")

    def malloc(self, size: int) -> Any:
        """A block on CuPy's current device and stream: a `cupy.cuda.MemoryPointer`."""
        return self._pool.malloc(size)

    def free_all_blocks(self) -> None:
        """Give memory that nothing uses back to the GPU."""
        self._pool.free_all_blocks()


class _Block:
    """What CuPy keeps for as long as it uses a block."""

    __slots__ = ("address", "allocator", "device_id", "held", "stream")

    def __init__(self, allocator: FrameworkAllocator, size: int, device_id: int, stream: Any):
        self.held, self.address = allocator.allocate(size, device_id, stream)
        self.allocator, self.device_id, self.stream = allocator, device_id, stream

    # When Python ends, the framework may be gone; then the memory goes with the process.
    def __del__(self, is_ending: Callable[[], bool] = sys.is_finalizing) -> None:
        if hasattr(self, "stream") and not is_ending():
            self.allocator.release(self.held, self.device_id, self.stream)


def _make(framework: Framework) -> Optional[FrameworkAllocator]:
    """A framework's allocator; None if it lends no memory."""
    part = find_part(framework, "allocator")
    if part is None:
        return None
    return cast(FrameworkAllocator, getattr(part, f"{framework.token}Allocator")())


_framework_allocators: Dict[str, FrameworkAllocator] = {}
_allocators: Dict[str, Any] = {}


def install() -> None:
    """Have our allocators be there under their names.

    If one of Thinc's was chosen before, ours of the same name takes its place.
    """
    made = {fw.id: _make(fw) for fw in FRAMEWORKS}
    _framework_allocators.update({name: own for name, own in made.items() if own is not None})
    _allocators.update(_framework_allocators)
    _allocators[CUDA_ASYNC] = CudaAsyncAllocator()
    if compat.has_cupy_gpu:
        owner = _owner(compat.cupy.cuda.get_allocator())
        for name, pool in list(thinc.backends.context_pools.get().items()):
            if pool is owner:
                set_gpu_allocator(name)


def use_pytorch_for_gpu_memory() -> None:
    """In place of Thinc's function, which Thinc, its PyTorch shim and spaCy's training call."""
    set_gpu_allocator("pytorch")


def use_tensorflow_for_gpu_memory() -> None:
    """In place of Thinc's function, which asks for a TensorFlow that Thinc never imports."""
    set_gpu_allocator("tensorflow")


def check_name(name: str) -> None:
    """Raise ValueError with the names that exist if this is none that `set_gpu_allocator` takes."""
    if name not in _allocators:
        close = difflib.get_close_matches(str(name).lower(), _allocators, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"Unknown GPU allocator {name!r}: expected one of {', '.join(_allocators)}.{hint}"
        )


def _take(malloc: Callable[[int], Any]) -> None:
    """Have CuPy draw from another pool, and free what the one before does not use."""
    owner = _owner(compat.cupy.cuda.get_allocator())
    compat.cupy.cuda.set_allocator(malloc)
    # Thinc's PyTorch shim chooses PyTorch's, whatever was chosen, unless it finds it here.
    thinc.backends.context_pools.get().update(_allocators)
    if hasattr(owner, "free_all_blocks"):
        owner.free_all_blocks()


def _owner(malloc: Callable[[int], Any]) -> Any:
    """The pool or allocator of which this is the method."""
    return getattr(malloc, "__self__", None)
