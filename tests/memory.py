"""What a process has in memory."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

STATM = Path("/proc/self/statm")


def resident() -> int:
    """Bytes of this process that are in memory, after garbage was collected."""
    if not STATM.exists():
        pytest.skip("only Linux says how much memory a process has")
    gc.collect()
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
