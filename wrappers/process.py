"""Forked processes: what a framework that has run in the parent can do in the child."""

from __future__ import annotations

import os
import sys
from typing import Callable, Dict, List, Tuple

from .framework import get_framework

# The frameworks that may have run in this process, with what prepares them in a child.
_started: List[Tuple[str, Callable[[], bool]]] = []
# Whether they run in this process, for those that ran in a parent before it was forked.
_runs_here: Dict[str, bool] = {}


def started(framework: str, after_fork: Callable[[], bool]) -> None:
    """Note that a framework may run in this process, so that a forked child is prepared for it.

    What was never imported has not run; the child is not asked about it.

    after_fork: Called in the child. Returns whether the framework can run there.
    """
    if all(name != framework for name, _ in _started):
        _started.append((framework, after_fork))


def runs_here(framework: str) -> bool:
    """Whether a framework can run in this process."""
    return _runs_here.get(framework, True)


def check_runs_here(framework: str) -> None:
    """Raise RuntimeError with what to do instead where a framework would hang after a fork."""
    if not runs_here(framework):
        token = get_framework(framework).token
        raise RuntimeError(
            f"{token} hangs in a process that was forked after {token} had run, as those of "
            "nlp.pipe(n_process=...) are. Use n_process=1, which runs on all cores too; or start "
            'processes afresh: multiprocessing.set_start_method("spawn") before nlp.pipe; or '
            "convert the pipeline to another framework or to Thinc with swap_framework."
        )


def _after_fork_in_child() -> None:
    for framework, after_fork in _started:
        if get_framework(framework).module in sys.modules:
            _runs_here[framework] = after_fork() and runs_here(framework)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
