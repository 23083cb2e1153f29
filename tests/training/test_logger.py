"""The logger, by trainings of a few steps."""

from __future__ import annotations

import csv
import io
import json
import sys
import time

import pytest
import spacy
from spacy.cli.train import train
from spacy.util import load_config, registry
from spacy_frameworks.training.logger import create_logger

from ..pipelines import CONFIGS, FEW, spacy_command

SOME = {**FEW, "vars.framework": "Thinc", "training.max_steps": 8, "training.eval_frequency": 4}
NAME = "spacy-frameworks.Logger.v1"
COLUMNS = [
    "epoch",
    "step",
    "seconds",
    "words",
    "words_per_second",
    "score",
    "loss_tagger",
    "tag_acc",
]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def info(step, **changed):
    scores = {"tag_acc": step / 10}
    return {
        "epoch": step // 4,
        "step": step,
        "seconds": 2,
        "words": 100 * step,
        "score": step / 10,
        "losses": {"tagger": 5.0},
        "other_scores": scores,
        **changed,
    }


@pytest.fixture
def nlp():
    return spacy.util.load_model_from_config(
        load_config(CONFIGS / "tagger.cfg", overrides={"vars.framework": "Thinc"})
    )


def test_spacys_train_writes_all_files_and_a_table(tmp_path):
    others = {"console": {"@loggers": "spacy.ConsoleLogger.v3", "output_file": "theirs.jsonl"}}
    logger = {"@loggers": NAME, "csv": "logs/a.csv", "jsonl": "a.jsonl", "others": others}
    overrides = [
        argument
        for name, value in {**SOME, "training.logger": logger}.items()
        for argument in (f"--{name}", value if isinstance(value, str) else json.dumps(value))
    ]
    config = CONFIGS / "tagger.cfg"
    said = spacy_command("train", config, "--output", "out", *overrides, cwd=tmp_path).stdout
    rows = list(csv.DictReader((tmp_path / "logs" / "a.csv").open()))
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    theirs = [json.loads(line) for line in (tmp_path / "theirs.jsonl").read_text().splitlines()]
    assert list(rows[0]) == list(lines[0]) == COLUMNS
    assert [line["step"] for line in lines] == [0, 4, 8] == [int(row["step"]) for row in rows]
    for line, row, other in zip(lines, rows, theirs, strict=True):
        assert line["loss_tagger"] == pytest.approx(other["losses"]["tagger"])
        assert line["loss_tagger"] == pytest.approx(float(row["loss_tagger"]))
        assert line["tag_acc"] == pytest.approx(other["score"])
    # In our table, and in spaCy's.
    assert len([line for line in said.splitlines() if line.split()[1:2] == ["4"]]) == 2
    assert all(line["words_per_second"] > 0 for line in lines)
    # It trains with it again, and does not write over what is there.
    again = spacy_command("train", config, *overrides, cwd=tmp_path, fails=True)
    assert "exists already" in again.stdout + again.stderr
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 3


def test_on_a_terminal_there_is_a_bar_with_the_time_that_is_left(nlp):
    nlp.config["training"]["max_steps"] = 8
    screen = Terminal()
    log, finish = create_logger()(nlp, screen, screen)
    for step in range(8):
        log(info(step) if step % 4 == 0 else None)
    # It is drawn ten times a second.
    until = time.monotonic() + 10
    while "step 8" not in screen.getvalue() and time.monotonic() < until:
        time.sleep(0.05)
    shown = screen.getvalue()
    finish()
    assert "step 8" in shown
    assert "0:00:" in shown
    assert "tag_acc" in shown
    assert "40.00" in shown


def test_where_there_is_no_terminal_there_is_the_table_alone(nlp):
    stdout, stderr = io.StringIO(), io.StringIO()
    log, finish = create_logger()(nlp, stdout, stderr)
    log(info(0))
    log(None)
    log(info(4, losses={}, other_scores={"tag_acc": None}))
    finish()
    heading, first, second = stdout.getvalue().splitlines()
    assert heading.split() == ["epoch", "step", "loss", "tagger", "tag_acc", "score", "words/s"]
    assert first.split() == ["0", "0", "5.00", "0.00", "0.0000", "0"]
    assert second.split() == ["1", "4", "0.00", "0.00", "0.4000", "200"]
    assert len(heading) == len(first) == len(second)
    assert stderr.getvalue() == ""


def test_without_progress_nothing_is_printed(nlp, tmp_path):
    stdout, stderr = io.StringIO(), io.StringIO()
    log, finish = create_logger(progress=False, jsonl=str(tmp_path / "a"))(nlp, stdout, stderr)
    log(info(0))
    # It is there at once.
    assert json.loads((tmp_path / "a").read_text())["words"] == 0
    finish()
    assert stdout.getvalue() == stderr.getvalue() == ""


def test_other_loggers_end_where_one_cannot_begin(nlp, tmp_path):
    ended = []

    def other(nlp, stdout, stderr):
        return lambda info: None, lambda: ended.append(True)

    (tmp_path / "file").touch()
    logger = create_logger(csv=str(tmp_path / "file" / "a.csv"), others={"other": other})
    with pytest.raises(OSError, match="file"):
        logger(nlp, io.StringIO(), io.StringIO())
    assert ended == [True]


def test_tensorboard_that_is_missing_is_an_error_that_says_what_to_install(
    nlp, monkeypatch, tmp_path
):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    logger = create_logger(tensorboard=str(tmp_path / "tb"))
    with pytest.raises(ImportError, match=r"pip install tensorboard|PyTorch or TensorFlow writes"):
        logger(nlp, io.StringIO(), io.StringIO())


@pytest.mark.parametrize(
    "framework",
    [
        pytest.param("pytorch", marks=pytest.mark.pytorch),
        pytest.param("tensorflow", marks=pytest.mark.tensorflow),
    ],
)
def test_tensorboards_files_have_every_number(framework, nlp, tmp_path):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed: tox -e full has it")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log, finish = create_logger(progress=False, tensorboard=str(tmp_path))(
        nlp, io.StringIO(), io.StringIO()
    )
    for step in (0, 4):
        log(info(step))
    finish()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert set(events.Tags()["scalars"]) | set(events.Tags()["tensors"]) == {*COLUMNS} - {"step"}


def test_it_is_one_of_spacys_loggers(tmp_path):
    assert registry.loggers.get(NAME) is create_logger
    train(CONFIGS / "tagger.cfg", overrides={**SOME, "training.logger": {"@loggers": NAME}})
