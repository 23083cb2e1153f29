"""`spacy frameworks train --ray`, on a cluster of this machine alone."""

from __future__ import annotations

import importlib.util

import pytest
from spacy_frameworks.commands import on_ray

from ..training.parallel.command import Training, make_folder
from ..training.parallel.helpers import assert_same_weights, rows

HAS_RAY = importlib.util.find_spec("ray") is not None


@pytest.mark.skipif(HAS_RAY, reason="Ray is installed")
def test_without_ray_the_error_says_how_to_install_it():
    with pytest.raises(ImportError, match=r'pip install "spacy-frameworks\[ray\]"'):
        on_ray.launch(2, print, use_gpu=-1)


@pytest.mark.pytorch
@pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed: tox -e ray")
def test_ray_trains_what_torchrun_does(tmp_path):
    make_folder(tmp_path)
    printed = Training(tmp_path, "by-ray", "--ray").ended(0)
    whole = rows((tmp_path / "whole.said").read_text())
    assert len(whole) == 5 and all(row in printed for row in whole)
    for model in ("model-best", "model-last"):
        assert_same_weights(tmp_path / "by-ray" / model, tmp_path / "whole" / model)


@pytest.mark.pytorch
@pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed: tox -e ray")
def test_an_error_in_one_process_ends_the_command_and_the_training_goes_on(tmp_path):
    make_folder(tmp_path)
    printed = Training(tmp_path, "ended", "--ray", FAULT="1 10 error").ended(1)
    assert "This document is bad." in printed
    printed = Training(tmp_path, "ended", "--ray", "--resume").ended(0)
    whole = rows((tmp_path / "whole.said").read_text())
    assert [row in printed for row in whole] == [False, False, False, True, True]
    assert_same_weights(tmp_path / "ended/model-last", tmp_path / "whole/model-last")
