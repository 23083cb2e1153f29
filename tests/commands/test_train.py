"""`spacy frameworks train`, on files on disk, in processes of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
import spacy
import typer.testing
from numpy.testing import assert_array_equal
from spacy.cli.init_config import init_config
from spacy.tokens import DocBin
from spacy_frameworks.commands.group import group
from spacy_frameworks.training.corpus import create_corpus

from ..frameworks import NOT_THINCS, needs_all
from ..pipelines import CONFIGS

SETTINGS = [
    *("--paths.train", "train.spacy", "--paths.dev", "dev.spacy"),
    *("--training.max_steps", "3", "--training.eval_frequency", "3", "--training.dropout=0.0"),
]

# Ends the process of rank 1 in its second step, while that of rank 0 is at something that lasts.
CODE = """
import os, spacy, time

@spacy.registry.callbacks("test.goes_away.v1")
def goes_away():
    def before_update(nlp, at):
        if at["step"] == 1:
            if os.environ.get("RANK") == "1":
                raise KeyError("the disk is full")
            time.sleep(200)
    return before_update
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    for split, limit in (("train", 20), ("dev", 4)):
        corpus = create_corpus({"train": None, "dev": None}, split, limit=limit)
        docs = [example.reference for example in corpus(spacy.blank("en"))]
        DocBin(docs=docs).to_disk(folder / f"{split}.spacy")
    init_config(lang="en", pipeline=["tagger"], silent=True).to_disk(folder / "tagger.cfg")
    (folder / "code.py").write_text(CODE)
    return folder


def run(folder: Path, *command: Any, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=folder,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def weights(path: Path) -> list:
    model = spacy.load(path).get_pipe("tagger").model
    return [n.get_param(name) for n in model.walk() for name in n.param_names if n.has_param(name)]


def test_one_process_trains_what_spacys_command_does_without_any_framework(folder):
    for command, output in ((["train"], "stock"), (["frameworks", "train"], "one")):
        done = run(folder, "-m", "spacy", *command, "tagger.cfg", "-o", output, *SETTINGS)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("Saved pipeline to output directory") == 1
    for one, other in zip(weights(folder / "stock/model-last"), weights(folder / "one/model-last")):
        assert_array_equal(one, other)


def test_several_processes_need_pytorch(folder):
    code = "import sys; sys.modules['torch'] = None; from spacy.cli import setup_cli; setup_cli()"
    done = run(folder, "-c", code, "frameworks", "train", "tagger.cfg", "--processes", "2")
    assert done.returncode == 1
    said = " ".join(done.stdout.split())
    assert "PyTorch is not installed" in said
    assert 'pip install "spacy-frameworks[pytorch]"' in said
    assert "Traceback" not in done.stderr


@spacy.registry.callbacks("test.bad_code.v1")
def bad_code() -> Any:
    def before_update(nlp: spacy.Language, at: Any) -> None:
        raise ValueError("This code is wrong.")

    return before_update


# What goes wrong before the first step, and what the one message says.
WRONG = {
    "a logger's file that is there": (
        [
            *("tagger.cfg", *SETTINGS),
            '--training.logger={"@loggers":"spacy-frameworks.Logger.v1","csv":"code.py"}',
        ],
        "code.py, which exists already",
    ),
    "a framework that is missing": (
        [str(CONFIGS / "tagger.cfg"), "--vars.framework", "JAX"],
        "JAX is not installed",
    ),
    "an output that is a file": (["tagger.cfg", "--output", "code.py"], "File exists: 'code.py'"),
    "no config": (["code.py"], "Config validation error"),
    "an argument without a section": (["tagger.cfg", "--steps", "3"], "No such option '--steps'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_goes_wrong_before_the_first_step_is_a_message(name, folder, monkeypatch):
    arguments, says = WRONG[name]
    monkeypatch.chdir(folder)
    monkeypatch.setitem(sys.modules, "jax", None)
    done = typer.testing.CliRunner().invoke(group, ["train", *arguments])
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit), done.exception
    assert says in " ".join(done.stdout.split())


def test_an_error_in_a_users_code_has_its_traceback(folder, monkeypatch):
    monkeypatch.chdir(folder)
    callback = '--training.before_update={"@callbacks":"test.bad_code.v1"}'
    command = ["train", "tagger.cfg", callback, *SETTINGS]
    done = typer.testing.CliRunner().invoke(group, command)
    assert isinstance(done.exception, ValueError)
    assert traceback.extract_tb(done.exc_info[2])[-1].name == "before_update"


def test_a_number_of_processes_that_the_environment_contradicts_is_an_error(folder, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    command = ["train", str(folder / "tagger.cfg"), "--processes", "2"]
    done = typer.testing.CliRunner().invoke(group, command)
    assert done.exit_code == 1
    assert "Expected --processes 1, as WORLD_SIZE says" in done.stdout


def test_a_process_ends_whose_launcher_was_gone_before_it_began(folder):
    code = "from spacy_frameworks.commands.launch import end_with_launcher; import time"
    gone = {"TORCHELASTIC_RUN_ID": "one", "SPACY_FRAMEWORKS_LAUNCHER": "-1"}
    done = run(folder, "-c", f"{code}; end_with_launcher(); time.sleep(200)", **gone)
    assert done.returncode == 1 and not done.stderr


@pytest.mark.pytorch
def test_torchrun_starts_it_and_one_process_prints(folder):
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = ["-m", "spacy", "frameworks", "train", "tagger.cfg", "--output", "two"]
    done = run(folder, *torchrun, *command, *SETTINGS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Initialized pipeline") == 1
    assert done.stdout.count("Saved pipeline to output directory") == 1
    # The words of all processes, and the scores of step 0 and 3.
    assert len(re.findall(r"^ +\d+ +[03] +\d", done.stdout, re.MULTILINE)) == 2
    assert spacy.load(folder / "two/model-best").pipe_names == ["tok2vec", "tagger"]


@pytest.mark.pytorch
def test_an_error_in_one_process_ends_all_and_is_told_once(folder):
    callback = ["--code", "code.py", '--training.before_update={"@callbacks":"test.goes_away.v1"}']
    command = ["frameworks", "train", "tagger.cfg", "--processes", "2"]
    done = run(folder, "-m", "spacy", *command, *callback, *SETTINGS)
    assert done.returncode == 1
    assert "KeyError: 'the disk is full'" in done.stderr
    said = " ".join(done.stdout.split())
    assert re.search(r"The process of rank 1 \(pid \d+\) ended with exit code 1", said)


LIGHT = """
import sys
from spacy.cli import app
from spacy.util import registry
registry.cli.get_all()
print(*sorted({name.partition(".")[0] for name in sys.modules}))
print(*[group.name for group in app.registered_groups])
"""


@needs_all
def test_the_group_is_in_spacys_command_line_and_imports_no_framework(run_python, tmp_path):
    loaded, groups = run_python(LIGHT, cwd=tmp_path).splitlines()[-2:]
    assert not set(NOT_THINCS) & {*loaded.split()}
    assert "frameworks" in groups.split()
