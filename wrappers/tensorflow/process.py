"""TensorFlow in a forked process."""

from __future__ import annotations


def after_fork() -> bool:
    """Prepare TensorFlow in a forked child: whatever runs there waits for threads that only the
    parent has, so nothing may."""
    return False
