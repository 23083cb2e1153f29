"""Trainings in two processes that end in every way, and go on. Each is the command, on files."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, Tuple

import pytest
import spacy
from spacy_frameworks.training.parallel.checkpoint import NAME as CHECKPOINT
from spacy_frameworks.wrappers.weights import unpack

from .command import PATIENCE, Training, make_folder, wait_until
from .helpers import assert_same_weights, rows

pytestmark = [
    pytest.mark.pytorch,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc"),
]

KILLS = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return make_folder(tmp_path_factory.mktemp("faults"))


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
    "rank 0 is killed": ("", kill(0), 1, "The process of rank 0"),
    "rank 1 is killed": ("", kill(1), 1, "The process of rank 1"),
    "an error in rank 0": ("0 10 error", None, 1, "ArithmeticError: This document is bad."),
    "an error in rank 1": ("1 10 error", None, 1, "ArithmeticError: This document is bad."),
    "Ctrl-C": ("", press_ctrl_c, 128 + signal.SIGINT, "was ended by SIGINT"),
    "SIGTERM": ("", send(signal.SIGTERM), 128 + signal.SIGTERM, "was ended by SIGTERM"),
}
FIRST, *_ = FAULTS


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name != FIRST)) for name in FAULTS],
)
def test_all_processes_end_and_the_training_goes_on(name, folder):
    fault, act, code, says = FAULTS[name]
    output = folder / "-".join(name.split())
    if act is None:
        printed = Training(folder, output.name, FAULT=fault).ended(code)
    else:
        training = Training(folder, output.name, PAUSE="0.3")
        wait_until((output / CHECKPOINT).exists, 300)
        act(training)
        printed = training.ended(code, PATIENCE)
    assert says in printed
    assert_goes_on(folder, output)


def test_a_launcher_that_is_killed_takes_its_processes_along(folder):
    training = Training(folder, "launcher", PAUSE="0.3")
    wait_until(training.has_begun, 300)
    training.launcher.kill()
    training.ended(-signal.SIGKILL, PATIENCE)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_kills_at_random_moments(folder):
    output, chance = folder / "random", random.Random(0)
    kills = 0
    while kills < KILLS:
        resume = ["--resume"] if (output / CHECKPOINT).exists() else []
        training = Training(folder, output.name, *resume, PAUSE="0.5")
        wait_until(training.has_begun, 300)
        time.sleep(chance.uniform(0, 12))
        if training.launcher.poll() is None:
            kill(chance.randrange(2))(training)
            training.ended(1, PATIENCE)
            kills += 1
            if (output / CHECKPOINT).exists():
                assert_is_as_saved(output)
        else:
            # It was over before. Begin another one.
            training.ended(0)
            shutil.rmtree(output)
    if not (output / CHECKPOINT).exists():
        Training(folder, output.name, FAULT="0 10 kill").ended(1)
    assert_goes_on(folder, output)


def assert_is_as_saved(output: Path) -> None:
    """The model is whole, and no older than the checkpoint."""
    _, header = unpack((output / CHECKPOINT).read_bytes())
    meta = spacy.load(output / "model-last", exclude=["test_fault"]).meta
    whole = rows((output.parent / "whole.said").read_text())
    # A kill between the two leaves a newer model.
    scores = [float(row.split()[4]) for row in whole[len(header["scores"]) - 1 :]]
    assert round(100 * meta["performance"]["tag_acc"], 2) in scores[:2]


def assert_goes_on(folder: Path, output: Path) -> None:
    """What was saved last is whole, and a training goes on from there as one to which nothing has
    happened."""
    assert_is_as_saved(output)
    _, header = unpack((output / CHECKPOINT).read_bytes())
    printed = Training(folder, output.name, "--resume").ended(0)
    whole = rows((folder / "whole.said").read_text())
    assert len(whole) == 5 and rows(printed) == whole[len(header["scores"]) :]
    for model in ("model-best", "model-last"):
        assert_same_weights(output / model, folder / "whole" / model)
