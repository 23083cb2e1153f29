"""MXNet in a process: its import, and after a fork."""

from __future__ import annotations

import contextlib
from typing import ContextManager


def importing() -> ContextManager[None]:
    """For the time of the import of MXNet, which says nothing on stderr."""
    return contextlib.nullcontext()


def after_fork() -> bool:
    """Prepare MXNet in a forked child: it restarts its engine by itself."""
    return True
