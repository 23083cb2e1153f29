"""A Python process that has run some code, imports for the most part, and runs other code in copies
of itself, so that what takes seconds is done once.

A copy is what a new process is that has run the first code; it has nothing of another copy. To see
what the first code itself does, start a process.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import types
from pathlib import Path
from typing import NamedTuple

# A copy that takes longer is ended.
SECONDS = 200


class Done(NamedTuple):
    """returncode: 0, or what the copy ended with. output: What it has printed."""

    returncode: int
    output: str


class Prepared:
    """A process that runs `code` and then waits. In a `with`, since it has to be ended."""

    def __init__(self, code: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, code],
            # Not the toy framework that these tests install.
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, code: str, folder: Path) -> Done:
        """Run code as `python -c` does, in a folder from which it can import. What it prints goes
        to a file there."""
        assert self._process.stdin and self._process.stdout
        said = folder / "said.txt"
        said.unlink(missing_ok=True)
        order = {"code": code, "folder": str(folder), "said": str(said)}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "The prepared process has ended."
        return Done(int(answer), said.read_text(errors="replace"))

    def __enter__(self) -> Prepared:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def serve(code: str) -> None:
    """Run this code, then what comes in line by line, and answer with exit codes."""
    exec(code, {})
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _run(**json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _run(code: str, folder: str, said: str) -> None:
    signal.alarm(SECONDS)
    os.chdir(folder)
    sys.path[0] = folder
    sys.argv = ["-c"]
    # For what the code starts.
    os.environ["PYTHONPATH"] = folder
    output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number in (1, 2):
        os.dup2(output, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    # As at the end of a program: it ends with its traceback, or what is registered to be done then.
    exec(compile(code, "<string>", "exec"), main.__dict__)
    sys.exit()


if __name__ == "__main__":
    serve(sys.argv[1])
