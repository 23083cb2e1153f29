"""Forked processes: when one may be forked, and what a framework that has run in the parent can do
in the child."""

from __future__ import annotations

import _thread
import os
import sys
import threading
import time
from typing import Any, Callable, Dict, List
from weakref import WeakSet

from .framework import find_part, get_framework

# How long a fork waits for passes of other threads, in seconds.
PATIENCE = 10.0

# The frameworks that may have run in this process, with what prepares them in a child and returns
# whether they can run there.
_started: Dict[str, Callable[[], bool]] = {}
# Why they do not run in this process, for those that ran in a parent before it was forked.
_why_not: Dict[str, str] = {}

HANGS = "{0} hangs in a process that was forked after {0} had run"
IN_A_PASS = (
    "this process was forked while another thread was in the middle of a pass of a model, for more "
    "than {1:.0f} seconds, and {0} may wait for that thread forever"
)


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
    return framework not in _why_not


def is_readable_here(framework: str) -> bool:
    """Whether the values of a framework's parameters can be read in this process."""
    return _why_not.get(framework) != IN_A_PASS


def check_runs_here(framework: str) -> None:
    """Raise RuntimeError with what to do instead where a framework would hang after a fork."""
    why = _why_not.get(framework)
    if why is not None:
        token = get_framework(framework).token
        raise RuntimeError(
            f"{why.format(token, PATIENCE)}, as those of nlp.pipe(n_process=...) are. Use "
            "n_process=1, which runs on all cores too; or start processes afresh: "
            'multiprocessing.set_start_method("spawn") before nlp.pipe; or convert the pipeline to '
            "another framework or to Thinc with swap_framework."
        )


class _ThisThread(threading.local):
    """`with this_thread.passing` around each pass of a model, and around what else a framework may
    lock something for, such as a kernel or a copy: while a process is forked, no thread is in one.
    What a thread has locked at that moment stays locked in the child, where there is no such
    thread, and whoever wants it there waits forever.

    Each thread has a lock of its own, so passes do not wait for each other. Who forks takes them
    all.
    """

    def __init__(self) -> None:
        # A pass within a pass of the same thread takes it again.
        self.passing = threading.RLock()
        with _forking:
            _of_all_threads.add(self.passing)


# Whoever forks has it, so that no thread gets a lock meanwhile; with the locks of all threads that
# have been in a pass and live, those of them that were taken, and those of passes that did not end.
_forking = threading.RLock()
_of_all_threads: WeakSet[Any] = WeakSet()
_taken: List[Any] = []
_busy: List[Any] = []
_interrupted: List[Any] = []

this_thread = _ThisThread()


def _before_fork() -> None:
    """Hold up new passes, and wait for those of other threads, if that does not take too long."""
    _forking.acquire()
    until = time.monotonic() + PATIENCE
    for passing in list(_of_all_threads):
        try:
            was_taken = passing.acquire(timeout=max(0, until - time.monotonic()))
        except KeyboardInterrupt:
            # Python ignores errors here. It comes again after the fork, which is not held up.
            was_taken, until = False, 0.0
            _interrupted.append(passing)
        (_taken if was_taken else _busy).append(passing)


def _after_fork_in_parent() -> None:
    if _interrupted:
        _interrupted.clear()
        # Once this has returned, for here it would be ignored again.
        threading.Timer(0.05, _thread.interrupt_main).start()
    _after_fork()


def _after_fork() -> None:
    for passing in _taken:
        passing.release()
    _taken.clear()
    _busy.clear()
    _forking.release()


def _after_fork_in_child() -> None:
    were_over = not _busy
    _interrupted.clear()
    _after_fork()
    # There is this thread alone.
    _of_all_threads.clear()
    _of_all_threads.add(this_thread.passing)
    for framework, after_fork in _started.items():
        if get_framework(framework).module not in sys.modules:
            continue
        runs = after_fork()
        if not were_over:
            _why_not[framework] = IN_A_PASS
        elif not runs:
            _why_not.setdefault(framework, HANGS)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
