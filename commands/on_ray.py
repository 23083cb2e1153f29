"""The same processes, started by Ray Train: `spacy frameworks train --ray`."""

from __future__ import annotations

import os
import sys
from typing import Any, Callable, Dict

from wasabi import msg


def launch(processes: int, run: Callable[..., None], use_gpu: int, **arguments: Any) -> None:
    """Call a function in so many processes on a cluster of Ray's: the one that is running, or one
    of this machine alone, which ends with this process. Exits with 1 if one of them fails.

    run: It is called with the arguments, and `use_gpu` of its own.
    use_gpu: -1 if they train on CPUs; otherwise each has a GPU.
    Raises ImportError with the line that installs Ray if it is not there.
    """
    try:
        import ray
        from ray.train import ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer
    except ModuleNotFoundError as error:
        if error.name not in ("ray", "pandas", "pyarrow", "pydantic"):
            raise
        raise ImportError(
            "Ray is not installed, and --ray was asked for. Install it with: "
            'pip install "spacy-frameworks[ray]"',
            name="ray",
        ) from None
    from ray.train import TrainingFailedError

    from ..training.parallel.group import PATIENCE

    try:
        ray.init(address="auto")
    except ConnectionError:
        # By itself, it makes room for no more processes than there are cores.
        ray.init(num_cpus=max(processes, os.cpu_count() or 1))
    trainer = TorchTrainer(
        _work,
        train_loop_config={
            "run": run,
            "folder": os.getcwd(),
            "on_gpu": use_gpu >= 0,
            "arguments": arguments,
        },
        torch_config=TorchConfig(
            backend="cpu:gloo,cuda:nccl" if use_gpu >= 0 else "gloo",
            timeout_s=int(PATIENCE.total_seconds()),
        ),
        scaling_config=ScalingConfig(num_workers=processes, use_gpu=use_gpu >= 0),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        msg.fail("A process has failed, and with it the training", error)
        sys.exit(1)


def _work(config: Dict[str, Any]) -> None:
    """What each process does."""
    from ray.train.torch import get_device

    # Ray starts it in a folder of its own, and paths are those of whoever has called the command.
    os.chdir(config["folder"])
    use_gpu = get_device().index if config["on_gpu"] else -1
    try:
        config["run"](use_gpu=use_gpu, **config["arguments"])
    except SystemExit as error:
        # In Ray's worker, it would be no failure.
        raise RuntimeError("The training was ended; its error was printed.") from error
