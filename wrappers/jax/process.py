"""JAX in a process: its import, and after a fork."""

from __future__ import annotations

import contextlib
import os
from typing import Iterator

from thinc import compat


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Where CuPy is on a GPU, have JAX take memory as it needs it. Else it takes three quarters
    when it starts, and leaves little to Thinc's layers. What the user has set stays. JAX starts
    when it first computes, so this may come after its import."""
    if compat.has_cupy_gpu:
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    yield


def after_fork() -> bool:
    """Whether JAX can run in a forked child: whatever runs there waits for threads that only the
    parent has (https://github.com/jax-ml/jax/issues/18989), so nothing may."""
    return False
