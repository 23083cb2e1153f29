"""What an installed package looks like from outside."""

from __future__ import annotations

import re
from importlib.metadata import metadata, version

import pytest
import spacy
import spacy_frameworks
from packaging.specifiers import SpecifierSet
from spacy_frameworks.architectures.requirements import add_requirements


def test_it_has_its_version():
    assert spacy_frameworks.__version__ == version("spacy-frameworks")
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", spacy_frameworks.__version__)


@pytest.mark.parametrize("python", ["3.10.0", "3.13.9", "3.14.0", "3.15.0"])
def test_it_allows_the_versions_of_python_that_spacy_allows(python):
    allowed = SpecifierSet(metadata("spacy-frameworks")["Requires-Python"])
    assert python in allowed
    assert python in SpecifierSet(metadata("spacy")["Requires-Python"])


def test_what_a_pipeline_needs_is_written_once_and_beside_what_is_there():
    nlp = spacy.blank("en")
    tagger = {"@architectures": "spacy-frameworks.Tagger.v1", "framework": "Thinc"}
    nlp.add_pipe("tagger", config={"model": tagger})
    nlp.meta["requirements"] = ["other>=1", "spacy-frameworks[tensorflow] >=0.1.0"]
    for _ in range(2):
        assert add_requirements()(nlp) is nlp
        other, line = nlp.meta["requirements"]
        assert other == "other>=1"
        assert re.fullmatch(r"spacy-frameworks>=[\d.]+,<[\d.]+", line)
