"""Starts the processes of `spacy frameworks train --processes` on this machine."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import uuid

from wasabi import msg

from ..wrappers.framework import require

# What OpenMP and BLAS libraries read. So many processes share the cores.
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# Where its processes find the number of the launcher that started them.
_LAUNCHER = "SPACY_FRAMEWORKS_LAUNCHER"


def launch(processes: int) -> None:
    """Run this process's own command in so many processes, by torchrun's launcher, and exit with an
    error if one of them fails, or a signal ends this one.

    Raises ImportError with the line that installs PyTorch if it is not there.
    """
    require("pytorch")
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in _ONE_THREAD:
        os.environ.setdefault(name, "1")
    os.environ[_LAUNCHER] = str(os.getpid())
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
        # In the order in which they were seen. Those that the launcher has ended, by SIGTERM, come
        # last. Those that have lost the connection to one that was killed may come before it.
        failures = error.failures.items()
        rank, failure = min(failures, key=lambda item: not _was_killed(item[1].exitcode))
        if failure.exitcode < 0:
            how = f"was ended by {signal.Signals(-failure.exitcode).name}"
        else:
            how = f"ended with exit code {failure.exitcode}"
        msg.fail(
            f"The process of rank {rank} (pid {failure.pid}) {how}, and with it the training. "
            "Its error is above."
        )
        sys.exit(1)
    except SignalException as error:
        msg.fail(f"The training was ended by {error.sigval.name}.")
        sys.exit(128 + error.sigval)


def _was_killed(code: int) -> bool:
    return code < 0 and code != -signal.SIGTERM


def end_with_launcher() -> None:
    """Have this process end soon after the launcher that has started it, if one has."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        # One of ours may have been killed while this process was importing; of torchrun, nobody
        # knows.
        end_with(int(os.environ.get(_LAUNCHER, os.getppid())))


def end_with(parent: int) -> None:
    """Have this process end soon after the one that has started it, which may be killed. On Windows
    it goes on: there, the number of the parent stays when the parent has ended."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
