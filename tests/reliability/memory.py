"""How much memory this process has, and how much something takes at most while it runs."""

from __future__ import annotations

import contextlib
import gc
import re
from pathlib import Path
from typing import Iterator

import pytest

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def _read(name: str) -> int:
    (kilobytes,) = re.findall(rf"{name}:\s+(\d+) kB", STATUS.read_text())
    return int(kilobytes) * 1024


@contextlib.contextmanager
def peak() -> Iterator[list[int]]:
    """A list that gets the bytes by which this process grew at most until the block is left. Linux
    alone tells."""
    if not CLEAR.exists():
        pytest.skip("the system does not tell how much memory a process had at most")
    # Sets the peak to what is in use now.
    CLEAR.write_text("5")
    grown: list[int] = []
    before = _read("VmRSS")
    try:
        yield grown
    finally:
        grown.append(_read("VmHWM") - before)


def resident() -> int:
    """Bytes of this process that are in memory, after garbage was collected."""
    if not STATUS.exists():
        pytest.skip("only Linux says how much memory a process has")
    gc.collect()
    return _read("VmRSS")
