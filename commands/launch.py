"""Starts the processes of `spacy frameworks train --processes` on this machine."""

from __future__ import annotations

import os
import signal
import sys
import uuid

from wasabi import msg

from ..wrappers.framework import require

# What OpenMP and BLAS libraries read. So many processes share the cores.
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def launch(processes: int) -> None:
    """Run this process's own command in so many processes, by torchrun's launcher, and exit with 1
    if one of them fails.

    Raises ImportError with the line that installs PyTorch if it is not there.
    """
    require("pytorch")
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in _ONE_THREAD:
        os.environ.setdefault(name, "1")
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        monitor_interval=0.1,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "spacy", *sys.argv[1:])
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            how = f"was ended by {signal.Signals(-failure.exitcode).name}"
        else:
            how = f"ended with exit code {failure.exitcode}"
        msg.fail(
            f"The process of rank {rank} (pid {failure.pid}) {how}, and with it the training. "
            "Its error is above."
        )
        sys.exit(1)
