"""The processes that train together, and what goes between them."""

from __future__ import annotations

import datetime
import os
from typing import Any, List

import numpy

from ...wrappers.framework import get_framework, require

# What `torchrun` and Ray tell each process.
RANK, SIZE, LOCAL_RANK = "RANK", "WORLD_SIZE", "LOCAL_RANK"
# The process of rank 0 evaluates and writes while the others wait, which takes as long as it takes.
# One that has died is noticed by whoever started them, and not by waiting.
PATIENCE = datetime.timedelta(days=7)


class Group:
    """A process that trains alone."""

    rank = 0
    size = 1

    def sum(self, numbers: numpy.ndarray) -> None:
        """Put the sum over all processes in place of a one-dimensional array of floats."""

    def gathered(self, value: Any) -> List[Any]:
        """What each process has given, by rank. It must pickle."""
        return [value]

    def from_first(self, value: Any) -> Any:
        """What the process of rank 0 has given; that of the others is not looked at."""
        return value

    def leave(self) -> None:
        """Nothing goes between them any more."""


class TorchGroup(Group):
    """Processes that PyTorch connects."""

    def __init__(self, use_gpu: int = -1):
        """
        use_gpu: -1 if they train on CPUs.
        """
        require(get_framework("pytorch").id)
        import torch.distributed

        self._torch = torch
        self._on_gpu = use_gpu >= 0
        if not torch.distributed.is_initialized():
            # Objects, such as scores, go over the CPU in any case.
            backend = "cpu:gloo,cuda:nccl" if self._on_gpu else "gloo"
            torch.distributed.init_process_group(backend, timeout=PATIENCE)
        self.rank = torch.distributed.get_rank()
        self.size = torch.distributed.get_world_size()

    def sum(self, numbers: Any) -> None:
        # A view of the same memory, NumPy's or CuPy's.
        tensor = self._torch.as_tensor(numbers, device="cuda" if self._on_gpu else "cpu")
        self._torch.distributed.all_reduce(tensor)

    def gathered(self, value: Any) -> List[Any]:
        values: List[Any] = [None] * self.size
        self._torch.distributed.all_gather_object(values, value)
        return values

    def from_first(self, value: Any) -> Any:
        values = [value]
        self._torch.distributed.broadcast_object_list(values, src=0)
        return values[0]

    def leave(self) -> None:
        self._torch.distributed.destroy_process_group()


def joined(use_gpu: int = -1) -> Group:
    """The processes among which this one was started; it alone, if it was started by itself."""
    return TorchGroup(use_gpu) if int(os.environ.get(SIZE, "1")) > 1 else Group()
