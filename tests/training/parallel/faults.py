"""Code for `spacy frameworks train --code`: what happens to a training, as FAULT says in the
environment, such as "1 6 kill": to the process of rank 1, before step 6."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any, Dict

from spacy.language import Language
from spacy.tokens import Doc
from spacy.util import registry

RANK = os.environ.get("RANK", "0")
# If nothing else is said, nothing ever happens.
OF_RANK, STEP, WHAT = os.environ.get("FAULT", "0 -2 nothing").split()
# Seconds before each step, so that a training lasts as long as a test needs.
PAUSE = float(os.environ.get("PAUSE", "0"))

# For whoever looks whether it has ended.
_written = Path(f"{os.getpid()}.new")
_written.write_text(str(os.getpid()))
_written.replace(f"{RANK}.pid")


class Fault:
    """A component that does nothing, and to whose process something may happen before a step, or
    while it is saved after that step."""

    def __init__(self) -> None:
        self.step = -1

    def __call__(self, doc: Doc) -> Doc:
        return doc

    def before_step(self, step: int) -> None:
        time.sleep(PAUSE)
        self.step = step
        if WHAT != "save":
            self.happen()

    def to_disk(self, path: Path, **_: Any) -> None:
        if WHAT == "save":
            self.happen()

    def from_disk(self, path: Path, **_: Any) -> Fault:
        return self

    def happen(self) -> None:
        if RANK == OF_RANK and self.step == int(STEP):
            if WHAT == "error":
                raise ArithmeticError("This document is bad.")
            os.kill(os.getpid(), signal.SIGKILL)


@Language.factory("test_fault")
def make_fault(nlp: Language, name: str) -> Fault:
    return Fault()


@registry.callbacks("test.fault.v1")
def make_before_update() -> Any:
    def before_update(nlp: Language, args: Dict[str, Any]) -> None:
        nlp.get_pipe("test_fault").before_step(args["step"])

    return before_update
