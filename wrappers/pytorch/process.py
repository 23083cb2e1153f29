"""PyTorch in a process: its import, and after a fork."""

from __future__ import annotations

import contextlib
from typing import ContextManager


def importing() -> ContextManager[None]:
    """For the time of the import of PyTorch, which says nothing on stderr."""
    return contextlib.nullcontext()


def after_fork() -> bool:
    """Prepare PyTorch in a forked child: its threads are not there, and waiting for them would
    never end. On one thread it runs."""
    import torch

    torch.set_num_threads(1)
    return True
