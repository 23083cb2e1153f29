"""Trainings in two processes that end in every way, and go on. Each is the command, on files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, Tuple

import pytest
import spacy
from spacy.cli.init_config import init_config
from spacy.tokens import DocBin
from spacy_frameworks.training.corpus import create_corpus
from spacy_frameworks.training.parallel.checkpoint import NAME as CHECKPOINT
from spacy_frameworks.wrappers.weights import unpack

from ... import python_path
from ...pipelines import ROOT
from .helpers import assert_same_weights, rows

pytestmark = [
    pytest.mark.pytorch,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc"),
]

# Seconds within which all processes have to end.
PATIENCE = 30
KILLS = 20
# Saved after steps 0, 4, 8, 12 and 16.
SETTINGS = {
    "training": {"max_steps": 16, "eval_frequency": 4, "dropout": 0.3, "patience": 0},
    "batcher": {"@batchers": "spacy.batch_by_sequence.v1", "size": 4},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """With a config, its data, and `whole`, the output of a training to which nothing happened."""
    folder = tmp_path_factory.mktemp("faults")
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

    def pid(self, rank: int) -> int:
        """That of a worker."""
        path = self.folder / f"{rank}.pid"
        wait_until(lambda: path.exists() and path.read_text() != "", 300)
        return int(path.read_text())

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


def kill(rank: int) -> Callable[[Training], None]:
    return lambda training: os.kill(training.pid(rank), signal.SIGKILL)


def send(number: int) -> Callable[[Training], None]:
    return lambda training: os.kill(training.launcher.pid, number)


def press_ctrl_c(training: Training) -> None:
    os.killpg(training.launcher.pid, signal.SIGINT)


# What happens in a process, or is done to it from outside once something has been saved; with which
# exit code the command ends, and what it says.
FAULTS: Dict[str, Tuple[str, Any, int, str]] = {
    "rank 0 is killed while it saves": ("0 8 save", None, 1, "was ended by SIGKILL"),
    "the launcher is killed": ("", send(signal.SIGKILL), -signal.SIGKILL, ""),
    "rank 0 is killed": ("", kill(0), 1, "The process of rank 0"),
    "rank 1 is killed": ("", kill(1), 1, "The process of rank 1"),
    "an error in rank 0": ("0 10 error", None, 1, "ArithmeticError: This document is bad."),
    "an error in rank 1": ("1 10 error", None, 1, "ArithmeticError: This document is bad."),
    "Ctrl-C": ("", press_ctrl_c, 128 + signal.SIGINT, "was ended by SIGINT"),
    "SIGTERM": ("", send(signal.SIGTERM), 128 + signal.SIGTERM, "was ended by SIGTERM"),
}
IN_TOX = ("rank 0 is killed while it saves", "the launcher is killed")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name not in IN_TOX)) for name in FAULTS],
)
def test_all_processes_end_and_the_training_goes_on(name, folder):
    fault, act, code, says = FAULTS[name]
    output = folder / "-".join(name.split())
    variables = {"FAULT": fault} if fault else {"PAUSE": "0.3"}
    training = Training(folder, output.name, **variables)
    if act is not None:
        wait_until((output / CHECKPOINT).exists, 300)
        act(training)
    assert says in training.ended(code, 300 if act is None else PATIENCE)
    assert_goes_on(folder, output)


def assert_goes_on(folder: Path, output: Path) -> None:
    """What was saved last is whole, and a training goes on from there as one to which nothing has
    happened."""
    _, header = unpack((output / CHECKPOINT).read_bytes())
    meta = spacy.load(output / "model-last", exclude=["test_fault"]).meta
    assert meta["performance"]["tag_acc"] == pytest.approx(header["scores"][-1])
    printed = Training(folder, output.name, "--resume").ended(0)
    whole = rows((folder / "whole.said").read_text())
    assert len(whole) == 5 and rows(printed) == whole[len(header["scores"]) :]
    for model in ("model-best", "model-last"):
        assert_same_weights(output / model, folder / "whole" / model)
