"""How many threads a kernel runs on, for the time of one call.

The products of a training step take a tenth of a millisecond to one. Two threads that share such a
product wait for each other at its end by spinning, and where one of them has lost its core to some
other process, the other waits for a whole slice of the scheduler: a step takes ten times as long.
So what is small runs on one thread, unless the user asks for more. What runs outside of the call
keeps the count that it had.
"""

from __future__ import annotations

import functools
import os
import threading
from pathlib import Path
from typing import Any, Callable, List, Optional

import numpy


def check_threads(threads: int) -> int:
    """The number itself. Raises ValueError if it is none of threads."""
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 1:
        raise ValueError(
            f"Expected a number of threads of at least 1, got {threads!r}. One is the fastest "
            "wherever other processes are busy too."
        )
    return threads


class on_threads:  # noqa: N801
    """For the time of a `with` block, have a library compute on so many threads that the calling
    thread may start; for libraries that keep the count for each calling thread, as PyTorch.

    count (int): None leaves it as it is.
    get, set (Callable): The library's functions to ask for the count, and to change it.
    """

    __slots__ = ("_before", "_count", "_get", "_set")

    def __init__(
        self, count: Optional[int], get: Callable[[], int], set: Callable[[int], Any]
    ) -> None:
        self._count, self._get, self._set = count, get, set
        self._before: Optional[int] = None

    def __enter__(self) -> None:
        if self._count is not None:
            before = self._get()
            if before != self._count:
                self._set(self._count)
                self._before = before

    def __exit__(self, *exception: Any) -> None:
        if self._before is not None:
            self._set(self._before)


class NumpyThreads:
    """How many threads NumPy's products run on: a count that all threads of Python share. While
    several of them are in a `with` block, the largest of their counts holds; when the last leaves
    it, what was set before the first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: List[int] = []
        self._before = self._now = 0

    def limit(self, count: int) -> None:
        """Enter a block in which products run on so many threads."""
        pool = _numpys_pool()
        if pool is not None:
            with self._lock:
                if not self._counts:
                    self._before = self._now = pool.get_num_threads()
                self._counts.append(count)
                self._set(pool, max(self._counts))

    def release(self, count: int) -> None:
        """Leave it."""
        pool = _numpys_pool()
        if pool is not None:
            with self._lock:
                self._counts.remove(count)
                self._set(pool, max(self._counts, default=self._before))

    def _set(self, pool: Any, count: int) -> None:
        # A call of the library takes a microsecond.
        if count != self._now:
            pool.set_num_threads(count)
            self._now = count

    def after_fork_in_child(self) -> None:
        """Leave the blocks of other threads, which are not in a forked process, and whose locks
        nobody opens there."""
        are_in_blocks = bool(self._counts) or self._lock.locked()
        pool = _numpys_pool() if are_in_blocks else None
        if pool is not None and self._before:
            pool.set_num_threads(self._before)
        self.__init__()  # type: ignore[misc]


numpy_threads = NumpyThreads()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=numpy_threads.after_fork_in_child)


@functools.cache
def _numpys_pool() -> Optional[Any]:
    """The library that NumPy multiplies with, as threadpoolctl finds it; None if it does not."""
    # Takes milliseconds, and knows a library only when it is loaded.
    from threadpoolctl import ThreadpoolController

    found = [
        library for library in ThreadpoolController().lib_controllers if library.user_api == "blas"
    ]
    # NumPy's wheels bring their own; other libraries in the process may have brought others.
    package = Path(numpy.__file__).parent
    folders = (package.parent / "numpy.libs", package / ".libs", package / ".dylibs")
    own = [library for library in found if Path(library.filepath).parent in folders]
    return (own or found or [None])[0]
