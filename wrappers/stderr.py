"""What libraries write to stderr past Python, line by line."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from typing import Iterator

# Writes on what it reads, but keeps lines that match back until it is told that all went well.
FILTER = r"""
import re, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
notice, kept = re.compile(sys.argv[1].encode()), []
def write(line):
    sys.stderr.buffer.write(line)
    sys.stderr.buffer.flush()
for line in iter(sys.stdin.buffer.readline, b""):
    text = line.removesuffix(b"\0\n")
    (kept.append if notice.search(text) else write)(text)
    if text != line:
        sys.exit()
write(b"".join(kept))
"""

_lock = threading.Lock()


@contextlib.contextmanager
def leave_out(notices: str) -> Iterator[None]:
    """Leave lines out of what is written to file descriptor 2 meanwhile.

    Another process does it: nothing is lost if this one crashes, and everything is written if the
    body raises an error. Where there is no Python to run, nothing is left out.

    notices: A regular expression for these lines.
    """
    with _lock, contextlib.ExitStack() as stack:
        if os.path.basename(sys.executable or "").startswith("python"):
            with contextlib.suppress(OSError):
                stack.enter_context(_piped([sys.executable, "-I", "-S", "-c", FILTER, notices]))
        yield


@contextlib.contextmanager
def _piped(command: list[str]) -> Iterator[None]:
    original = os.dup(2)
    try:
        with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
            assert child.stdin is not None
            _flush()
            os.dup2(child.stdin.fileno(), 2)
            try:
                yield
                _flush()
                os.write(2, b"\0\n")
            finally:
                _flush()
                # With this, the pipe has no writer but the Popen, which closes it and waits.
                os.dup2(original, 2)
    finally:
        os.close(original)


def _flush() -> None:
    if sys.stderr is not None:
        sys.stderr.flush()
