"""What is ours in spaCy's loop, as long as a training runs."""

from __future__ import annotations

import io
from importlib.metadata import version

import pytest
import spacy
from spacy.cli.init_config import init_config
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example, loop
from spacy_frameworks.training.parallel.group import Group
from spacy_frameworks.training.parallel.loop import part_of
from spacy_frameworks.training.parallel.train import initialized, train
from spacy_frameworks.training.patches import PARALLEL

from ...changes import attributes, changed

OURS = sorted(f"{row.owner}:{row.name}" for row in PARALLEL)


def pipeline() -> Language:
    config = init_config(lang="en", pipeline=["tagger"], silent=True)
    for split in ("train", "dev"):
        config["corpora"][split] = {
            "@readers": "spacy-frameworks.Corpus.v1",
            "paths": "${paths}",
            "split": split,
            "limit": 4,
        }
    return initialized(config, Group())


def test_the_loop_is_ours_while_it_runs_and_spacys_afterwards_after_errors_too():
    seen = []

    @spacy.registry.callbacks("test.see_changes.v1")
    def see_changes():
        def before_update(nlp, at):
            seen.append(changed(before))
            if at["step"] == 1:
                raise KeyError("the end")

        return before_update

    nlp = pipeline()
    nlp.config["training"]["before_update"] = {"@callbacks": "test.see_changes.v1"}
    before = attributes()
    with pytest.raises(KeyError, match="the end"):
        train(nlp, None, Group(), stdout=io.StringIO())
    assert seen == [OURS, OURS]
    assert changed(before) == []


def test_a_loop_that_is_not_known_is_an_error_and_stays_as_it_is(monkeypatch):
    def other(batch, accumulate_gradient):
        yield batch

    nlp = pipeline()
    monkeypatch.setattr(loop, "subdivide_batch", other)
    before = attributes()
    says = f"spacy.training.loop.subdivide_batch of spacy {version('spacy')} is not the one"
    for _ in range(2):
        with pytest.raises(RuntimeError, match=says):
            train(nlp, None, Group(), stdout=io.StringIO())
    assert changed(before) == []


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_each_doc_of_a_batch_is_in_one_part_and_parts_are_about_as_large(size):
    vocab = spacy.blank("en").vocab
    docs = [Doc(vocab, words=["word"] * (1 + 7 * i % 31)) for i in range(29)]
    batch = [Example(doc, doc) for doc in docs]
    parts = [part_of(batch, rank, size) for rank in range(size)]
    assert sorted(map(id, batch)) == sorted(id(example) for part in parts for example in part)
    counts = [len(part) for part in parts]
    words = [sum(map(len, part)) for part in parts]
    assert max(counts) - min(counts) <= 1
    assert max(words) - min(words) <= 31
