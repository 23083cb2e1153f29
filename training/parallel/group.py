"""The processes that train together, and what goes between them."""

from __future__ import annotations

import datetime
import os
from typing import Any, List

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

    def sum(self, numbers: Any) -> None:
        """Put the sum over all processes in place of a one-dimensional array of floats, NumPy's or
        CuPy's."""

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
        use_gpu: The number of this process's GPU; -1 if it trains on CPU.

        Raises ImportError with the line that installs PyTorch if it is not there.
        """
        torch = require(get_framework("pytorch").id)
        import torch.distributed as distributed

        self._as_tensor, self._distributed = torch.as_tensor, distributed
        self._device = torch.device("cuda", use_gpu) if use_gpu >= 0 else torch.device("cpu")
        if not distributed.is_initialized():
            # Objects, such as scores, go over the CPU in any case.
            backend = "cpu:gloo,cuda:nccl" if use_gpu >= 0 else "gloo"
            distributed.init_process_group(backend, timeout=PATIENCE)
        # What is no tensor goes between CPUs, also where gradients go between GPUs.
        self._of_cpus = distributed.new_group(backend="gloo", timeout=PATIENCE)
        self.rank = distributed.get_rank()
        self.size = distributed.get_world_size()

    def sum(self, numbers: Any) -> None:
        # A view of the same memory.
        self._distributed.all_reduce(self._as_tensor(numbers, device=self._device))

    def gathered(self, value: Any) -> List[Any]:
        values: List[Any] = [None] * self.size
        self._distributed.all_gather_object(values, value, group=self._of_cpus)
        return values

    def from_first(self, value: Any) -> Any:
        values = [value]
        self._distributed.broadcast_object_list(values, src=0, group=self._of_cpus)
        return values[0]

    def leave(self) -> None:
        self._distributed.destroy_process_group()


def joined(use_gpu: int = -1) -> Group:
    """The processes among which this one was started; it alone, if it was started by itself."""
    return TorchGroup(use_gpu) if int(os.environ.get(SIZE, "1")) > 1 else Group()
