"""`spacy frameworks train --ray`, on a cluster of this machine alone."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import typer.testing
from spacy_frameworks.commands.group import group

from ..training.parallel.command import Training, make_folder
from ..training.parallel.helpers import assert_same_weights, rows

HAS_RAY = importlib.util.find_spec("ray") is not None


def test_without_ray_the_error_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    config = tmp_path / "config.cfg"
    config.write_text("")
    done = typer.testing.CliRunner().invoke(group, ["train", str(config), "--ray"])
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit)
    assert 'pip install "spacy-frameworks[ray]"' in " ".join(done.stdout.split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return make_folder(tmp_path_factory.mktemp("ray"))


@pytest.mark.pytorch
@pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed: tox -e ray")
def test_ray_trains_what_torchrun_does(folder):
    printed = Training(folder, "by-ray", "--ray").ended(0)
    whole = rows((folder / "whole.said").read_text())
    assert len(whole) == 5 and all(row in printed for row in whole)
    for model in ("model-best", "model-last"):
        assert_same_weights(folder / "by-ray" / model, folder / "whole" / model)


@pytest.mark.pytorch
@pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed: tox -e ray")
def test_an_error_in_one_process_ends_the_command_and_the_training_goes_on(folder):
    printed = Training(folder, "ended", "--ray", FAULT="1 10 error").ended(1)
    assert "This document is bad." in printed
    printed = Training(folder, "ended", "--ray", "--resume").ended(0)
    whole = rows((folder / "whole.said").read_text())
    assert [row in printed for row in whole] == [False, False, False, True, True]
    assert_same_weights(folder / "ended/model-last", folder / "whole/model-last")
