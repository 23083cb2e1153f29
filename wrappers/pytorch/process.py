"""PyTorch in a forked process."""

from __future__ import annotations


def after_fork() -> bool:
    """Prepare PyTorch in a forked child: its threads are not there, and waiting for them would
    never end. On one thread it runs. Returns whether it can run there."""
    import torch

    torch.set_num_threads(1)
    return True
