"""Pipelines that released versions saved load, predict the same, and can be swapped. They are made
by tests/stored/make.py."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy
import pytest
import spacy
import spacy_frameworks.architectures.custom  # noqa: F401  # the bare names
from spacy_frameworks.architectures import swap_framework

from .frameworks import MODULES, TOKENS, marks
from .pipelines import (
    PREDICT,
    assert_same_predictions,
    predictions,
    spacy_command,
)

STORED = sorted((Path(__file__).parent / "stored").glob("*/*.zip"))
BY_ID = {token.lower(): token for token in TOKENS}
CASES = []
for path in STORED:
    kind, _, framework = path.stem.partition("-")
    own = marks(BY_ID[framework]) or [pytest.mark.thinc]
    name = f"{path.parent.name}-{path.stem}"
    CASES.append(pytest.param(path, kind, BY_ID[framework], id=name, marks=own))


def unpack(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return folder


@pytest.mark.parametrize(("path", "kind", "framework"), CASES)
def test_a_stored_pipeline_loads_and_predicts_the_same(path, kind, framework, tmp_path):
    stored = unpack(path, tmp_path / "stored")
    expected = dict(numpy.load(stored / "expected.npz"))
    nlp = spacy.load(stored)
    assert_same_predictions(predictions(nlp), expected)
    # It is saved again, and loads again.
    nlp.to_disk(tmp_path / "again")
    assert_same_predictions(predictions(spacy.load(tmp_path / "again")), expected)


@pytest.mark.parametrize(("path", "kind", "framework"), CASES)
def test_a_stored_pipeline_is_swapped_to_thinc(path, kind, framework, tmp_path, run_python):
    stored = unpack(path, tmp_path / "stored")
    expected = dict(numpy.load(stored / "expected.npz"))
    swapped = swap_framework(stored, "Thinc")
    assert_same_predictions(predictions(swapped), expected)
    swapped.to_disk(tmp_path / "swapped")
    if kind == "bare":
        # Where these names come from has to be imported first, as the config's --code does.
        code = "import spacy_frameworks.architectures.custom\n" + PREDICT
    else:
        code = PREDICT
    run_python(code, tmp_path / "swapped", tmp_path / "came.npz", *MODULES)
    assert_same_predictions(dict(numpy.load(tmp_path / "came.npz")), expected)


@pytest.mark.parametrize(
    ("path", "kind", "framework"), [case for case in CASES if case.values[1] == "variable"]
)
def test_a_swap_to_its_own_framework_makes_it_ready_for_spacy_package(
    path, kind, framework, tmp_path
):
    stored = unpack(path, tmp_path / "stored")
    (tmp_path / "packages").mkdir()
    package = ("package", "--build", "none")
    failed = spacy_command(*package, "stored", "packages", cwd=tmp_path, fails=True)
    assert "Could not find function '\"spacy-frameworks.${vars.framework}" in failed.stderr
    swap_framework(stored, framework).to_disk(tmp_path / "swapped")
    spacy_command(*package, "swapped", "packages", cwd=tmp_path)
    (folder,) = (tmp_path / "packages").glob("*/*/*/config.cfg")
    expected = dict(numpy.load(stored / "expected.npz"))
    assert_same_predictions(predictions(spacy.load(folder.parent)), expected)


@pytest.mark.thinc
def test_every_kind_of_name_is_stored_in_every_framework_of_that_version():
    for version in {path.parent for path in STORED}:
        stored = {tuple(path.stem.split("-")) for path in version.glob("*.zip")}
        frameworks = {framework for _, framework in stored}
        assert stored == {(k, f) for k in ("literal", "variable", "bare") for f in frameworks}
        # As many as there were in the first version.
        assert {"pytorch", "tensorflow", "mxnet", "thinc"} <= frameworks
