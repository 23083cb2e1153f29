"""Trained pipelines on disk: swapped, loaded in a new process, packaged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy
import pytest
import spacy
from spacy_frameworks.architectures import swap_framework

from .frameworks import PAIRS, TOKENS, marks
from .pipelines import (
    MODULES,
    NAMES,
    PREDICT,
    assert_same_predictions,
    predictions,
    train_config,
)

# Each config with a pair of its own, and all four as the source and as the target.
ONE_PAIR = [
    pytest.param(name, source, target, marks=marks(source, target))
    for i, name in enumerate(NAMES)
    for source, target in [(TOKENS[i % 4], TOKENS[(i + 1 + i // 4) % 4])]
]
EVERY_TARGET = [
    pytest.param(name, source, marks=marks(*TOKENS)) for name in NAMES for source in TOKENS
]


@pytest.fixture
def predict_in_new_process(run_python, tmp_path):
    """What a pipeline predicts in a new process, in which some modules cannot be imported."""

    def predict(folder: Path, missing: tuple[str, ...] = ()) -> dict[str, numpy.ndarray]:
        run_python(PREDICT, folder, tmp_path / "predictions.npz", *missing)
        return dict(numpy.load(tmp_path / "predictions.npz"))

    return predict


@pytest.mark.parametrize(("name", "source", "target"), ONE_PAIR)
def test_a_swapped_pipeline_loads_in_a_new_process(
    name, source, target, predict_in_new_process, tmp_path
):
    check_new_process(name, source, target, predict_in_new_process, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_every_swap_loads_in_a_new_process(name, source, target, predict_in_new_process, tmp_path):
    check_new_process(name, source, target, predict_in_new_process, tmp_path)


def check_new_process(name, source, target, predict, tmp_path):
    trained = train_config(name, source, tmp_path / "out")
    swap_framework(trained, target).to_disk(tmp_path / "swapped")
    # On Thinc it needs no framework.
    came = predict(tmp_path / "swapped", MODULES if target == "Thinc" else ())
    assert_same_predictions(came, predict(trained))


@pytest.mark.parametrize(("name", "source"), EVERY_TARGET)
def test_swapped_pipelines_load_from_disk_and_from_bytes(name, source, tmp_path):
    trained = spacy.load(train_config(name, source, tmp_path / "out"))
    for target in set(TOKENS) - {source}:
        swapped = swap_framework(trained, target)
        swapped.to_disk(tmp_path / target)
        loaded = spacy.load(tmp_path / target)
        assert loaded.config == swapped.config
        # The variable stays, and is the swap.
        assert loaded.config["vars"] == {"framework": target}
        assert_same_predictions(predictions(loaded), predictions(trained))
        again = swap_framework(spacy.load(tmp_path / target), target)
        again.from_bytes(swapped.to_bytes())
        assert_same_predictions(predictions(again), predictions(trained))
        extras = sorted({"pytorch", "tensorflow", "mxnet"} & {target.lower()})
        assert requirements(tmp_path / target) == extras


def requirements(folder: Path) -> list[str]:
    """The extras of this package that a pipeline's meta data ask for."""
    lines = json.loads((folder / "meta.json").read_text())["requirements"]
    (line,) = [line for line in lines if line.startswith("spacy-frameworks")]
    name, _, versions = line.partition(">=")
    assert versions
    return [extra for extra in name.removeprefix("spacy-frameworks").strip("[]").split(",") if extra]
