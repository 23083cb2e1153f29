"""What stands in for a GPU where there is none: the part of CuPy that the allocators use, and by
which arrays cross to the frameworks and back.

Memory is the host's, from the frameworks' own CPU allocators or NumPy's. What is queued on a stream
is done when a test says so, or when somebody waits for it.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy


class Event:
    def __init__(self, disable_timing=False):
        self.done = False

    def synchronize(self):
        self.done = True


class Stream:
    ptr = 7

    def __init__(self):
        self.events = []

    def record(self, event):
        self.events.append(event)
        return event

    def synchronize(self):
        for event in self.events:
            event.done = True
        self.events.clear()


class Device:
    current = 0

    def __init__(self, device_id):
        self.id, self.before = device_id, None

    def __enter__(self):
        self.before, Device.current = Device.current, self.id

    def __exit__(self, *exception):
        Device.current = self.before


class UnownedMemory:
    def __init__(self, ptr, size, owner, device_id=-1):
        self.ptr, self.size, self.owner, self.device_id = ptr, size, owner, device_id


class MemoryPointer:
    def __init__(self, memory, offset):
        self.mem, self.ptr = memory, memory.ptr + offset


class MemoryPool:
    """CuPy's own pool, or one that Thinc stacks on an allocator."""

    def __init__(self, *arguments):
        self.freed = 0

    def malloc(self, size):
        raise MemoryError(f"{size} bytes were asked of a pool that nobody should draw from")

    def free_all_blocks(self):
        self.freed += 1


# How CuPy aligns memory, in bytes.
ALIGNMENT = 512


class ndarray(numpy.ndarray):  # noqa: N801 (CuPy's name)
    @property
    def data(self):
        return SimpleNamespace(ptr=self.ctypes.data)

    def copy(self, order="C"):
        size = self.nbytes + ALIGNMENT
        memory = numpy.empty(size, "uint8")
        begin = -memory.ctypes.data % ALIGNMENT
        copy = memory[begin : begin + self.nbytes].view(self.dtype).reshape(self.shape)
        copy[...] = self
        return copy.view(ndarray)

    def toDlpack(self):
        return self.__dlpack__()


def array(values):
    return numpy.asarray(values).view(ndarray).copy()


def from_dlpack(lent):
    """Takes what lends memory, or a capsule."""
    lender = lent if hasattr(lent, "__dlpack__") else _Lender(lent)
    return numpy.from_dlpack(lender).view(ndarray)


class _Lender:
    def __init__(self, capsule):
        self.capsule = capsule

    def __dlpack__(self, **_):
        return self.capsule

    def __dlpack_device__(self):
        return 1, 0


def cupy():
    """A new one, with a pool of its own that nothing was drawn from yet."""
    pool, stream = MemoryPool(), Stream()
    chosen = [pool.malloc]
    cuda = SimpleNamespace(
        Device=Device,
        Event=Event,
        MemoryAsyncPool=MemoryPool,
        MemoryPointer=MemoryPointer,
        get_allocator=lambda: chosen[0],
        set_allocator=lambda malloc: chosen.__setitem__(0, malloc),
        get_current_stream=lambda: stream,
        memory=SimpleNamespace(UnownedMemory=UnownedMemory),
        runtime=SimpleNamespace(getDevice=lambda: Device.current),
    )
    return SimpleNamespace(
        cuda=cuda,
        from_dlpack=from_dlpack,
        get_default_memory_pool=lambda: pool,
    )
