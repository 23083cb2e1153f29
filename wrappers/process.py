"""Forked processes: what a framework that has run in the parent can do in the child."""

from __future__ import annotations

import os
import sys
from typing import Callable, Dict

from .framework import find_part, get_framework

# The frameworks that may have run in this process, with what prepares them in a child and returns
# whether they can run there.
_started: Dict[str, Callable[[], bool]] = {}
# Whether they run in this process, for those that ran in a parent before it was forked.
_runs_here: Dict[str, bool] = {}


def started(framework: str) -> None:
    """Note that a framework may run in this process, so that a forked child is prepared for it: by
    the function `after_fork` of the framework's folder, if it needs any.

    What was never imported has not run; the child is not asked about it.
    """
    if framework not in _started:
        process = find_part(get_framework(framework), "process")
        _started[framework] = getattr(process, "after_fork", _nothing_to_do)


def _nothing_to_do() -> bool:
    return True


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
    for framework, after_fork in _started.items():
        if get_framework(framework).module in sys.modules:
            _runs_here[framework] = after_fork() and runs_here(framework)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
