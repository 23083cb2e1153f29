"""A training by the command, in two processes, on files: what several of these tests run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable

import spacy
from spacy.cli.init_config import init_config
from spacy.tokens import DocBin
from spacy_frameworks.training.corpus import create_corpus

from ... import python_path
from ...pipelines import ROOT

# Seconds within which all processes have to end.
PATIENCE = 30
# Saved after steps 0, 4, 8, 12 and 16.
SETTINGS = {
    "training": {"max_steps": 16, "eval_frequency": 4, "dropout": 0.3, "patience": 0},
    "batcher": {"@batchers": "spacy.batch_by_sequence.v1", "size": 4},
}


def make_folder(folder: Path) -> Path:
    """With a config, its data, and `whole`, the output of a training to which nothing happened."""
    for split, limit in (("train", 40), ("dev", 10)):
        corpus = create_corpus({}, split, limit=limit)
        docs = [example.reference for example in corpus(spacy.blank("en"))]
        DocBin(docs=docs).to_disk(folder / f"{split}.spacy")
    config = init_config(lang="en", pipeline=["tagger"], silent=True)
    config["paths"].update(train="train.spacy", dev="dev.spacy")
    config["nlp"]["pipeline"].append("test_fault")
    config["components"]["test_fault"] = {"factory": "test_fault"}
    config["components"]["tok2vec"]["model"]["embed"]["rows"] = [50] * 4
    config["training"].update(SETTINGS["training"], batcher=SETTINGS["batcher"])
    config["training"]["before_update"] = {"@callbacks": "test.fault.v1"}
    config.to_disk(folder / "config.cfg")
    Training(folder, "whole").ended(0)
    return folder


class Training:
    """The command, in a session of its own, as a terminal gives it one."""

    def __init__(self, folder: Path, output: str, *arguments: str, **variables: str):
        self.folder, self.output = folder, folder / output
        code = Path(__file__).parent / "faults.py"
        self.said = folder / f"{output}.said"
        for path in folder.glob("*.pid"):
            path.unlink()
        command = [sys.executable, "-m", "spacy", "frameworks", "train", "config.cfg"]
        command += ["--output", output, "--code", str(code), "--processes", "2", *arguments]
        with self.said.open("w") as said:
            self.launcher = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": python_path(ROOT), **variables},
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def has_begun(self) -> bool:
        """Whether both workers have."""
        return all((self.folder / f"{rank}.pid").exists() for rank in (0, 1))

    def pid(self, rank: int) -> int:
        """That of a worker that has begun."""
        return int((self.folder / f"{rank}.pid").read_text())

    def ended(self, code: int, patience: float = 300) -> str:
        """Wait for the end, with this exit code. Returns what was printed."""
        try:
            assert self.launcher.wait(patience) == code, self.said.read_text()
            wait_until(lambda: not any(is_running(self.pid(rank)) for rank in (0, 1)), PATIENCE)
        finally:
            if self.launcher.poll() is None:
                os.killpg(self.launcher.pid, signal.SIGKILL)
        return self.said.read_text()


def wait_until(is_so: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, f"not within {seconds} seconds"
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
