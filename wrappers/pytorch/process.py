"""PyTorch in a forked process, and how many threads it computes on."""

from __future__ import annotations

from typing import Optional

from ..threads import on_threads

# Whether this process was forked after PyTorch had run.
_is_forked = False


def after_fork() -> bool:
    """Prepare PyTorch in a forked child: its threads are not there, and waiting for them would
    never end. On one thread it runs. Returns whether it can run there."""
    import torch

    global _is_forked
    torch.set_num_threads(1)
    _is_forked = True
    return True


def on_torchs_threads(count: Optional[int]) -> on_threads:
    """A `with` block in which PyTorch computes on so many threads, and in a forked process on one,
    whatever was asked for. None leaves the number as it is."""
    import torch

    count = None if _is_forked else count
    return on_threads(count, torch.get_num_threads, torch.set_num_threads)
