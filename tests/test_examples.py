"""The examples, each in a process of its own, from a copy of its folder in another place."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from subprocess import run

import pytest
import spacy
from spacy.util import load_config, load_model_from_config
from weasel.cli.document import project_document
from weasel.cli.run import project_run

from .frameworks import TOKENS, WRAPPED, marks, ring
from .pipelines import ROOT, spacy_command

EXAMPLES = ROOT / "examples"
# The first needs one framework; the others take longer.
SWAPS = [
    pytest.param("PyTorch", "Thinc", marks=marks("PyTorch", "Thinc")),
    *(pytest.param(*case.values, marks=[*case.marks, pytest.mark.slow]) for case in ring(TOKENS)),
]


@pytest.fixture
def examples(tmp_path) -> Path:
    # Without what runs in the checkout have left.
    left = ("corpus", "metrics", "packages", "training", "project.lock", "config.cfg")
    return shutil.copytree(EXAMPLES, tmp_path / "copied", ignore=shutil.ignore_patterns(*left))


def scores(script: Path, *arguments: object) -> list[float]:
    """Run an example with nothing of this checkout in its way, and return the scores that it
    prints."""
    done = run(
        [sys.executable, str(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=script.parent,
        # Without the toy framework that these tests install.
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    lines = re.findall(r"^[\w, -]+: (?:F )?([01]\.\d+)", done.stdout, re.MULTILINE | re.ASCII)
    return [float(score) for score in lines]


@pytest.mark.parametrize("framework", WRAPPED)
def test_a_tagger_from_scratch_is_as_good_in_each_framework(framework, examples):
    # Each framework draws its own weights to begin with. One seed in each gave 0.964 to 0.966; the
    # most frequent tag is right in 0.11.
    script = examples / "tagger_from_scratch.py"
    (score,) = scores(script, "--framework", framework, "--limit", 120, "--epochs", 4)
    assert score > 0.93


@pytest.mark.pytorch
def test_an_own_transformer_recognizes_what_only_words_far_away_decide(examples):
    # Without them, a name is a person in half of all cases: 0.57 was the most.
    script = examples / "ner_transformer.py"
    (score,) = scores(script, "--steps", 150, "--no-baseline")
    assert score > 0.75


@pytest.mark.slow
@pytest.mark.pytorch
def test_without_the_transformer_it_does_not(examples):
    with_it, without = scores(examples / "ner_transformer.py")
    assert without < 0.65 < 0.85 < with_it


@pytest.mark.parametrize(("first", "then"), SWAPS)
def test_fine_tuning_after_a_swap_begins_where_training_ended(first, then, examples):
    script = examples / "swap_and_fine_tune.py"
    before, swapped, after = scores(script, "--first", first, "--then", then, "--limit", 60)
    assert swapped == pytest.approx(before, abs=2e-4)
    assert before > 0.8
    assert after > before + 0.03
    model = spacy.load(script.parent / "fine-tuned" / "further").config["components"]["tagger"]
    assert model["model"]["framework"] == then


def test_the_project_is_complete(examples):
    """What can be told without running it: of its files, its page and its config."""
    project = examples / "project"
    project_run(project, "all", dry=True)
    shipped = (project / "README.md").read_text()
    project_document(project, project / "README.md")
    assert (project / "README.md").read_text() == shipped
    config = load_config(project / "configs" / "base.cfg")
    assert load_model_from_config(config, auto_fill=True).pipe_names == ["tagger"]


@pytest.mark.slow
@pytest.mark.pytorch
def test_the_project_runs_as_it_is_and_does_nothing_twice(examples):
    project = examples / "project"
    overrides = ("--vars.max_steps", 20)
    spacy_command("project", "run", "all", ".", *overrides, cwd=project)
    assert spacy.load(project / "training" / "model-thinc")("so").has_annotation("TAG")
    assert (project / "packages" / "en_tagger-1.0.0" / "setup.py").is_file()
    again = spacy_command("project", "run", "all", ".", *overrides, cwd=project).stdout
    assert again.count("nothing changed") == 6
    # A variable that is another one is a change of the commands that have it.
    other = spacy_command(
        *("project", "run", "train", ".", *overrides, "--vars.framework", "Thinc"), cwd=project
    )
    assert "nothing changed" not in other.stdout
