"""The form of `Doc._.relations`, and what keeps it."""

from __future__ import annotations

import json

import pytest
import spacy
from spacy.tokens import Doc, DocBin
from spacy_frameworks.components import make_relation, read_relations

pytestmark = pytest.mark.thinc

ENTRY = {
    "head": {"start": 0, "end": 9},
    "child": {"start": 16, "end": 21},
    "label": "HIRED",
    "score": 0.75,
}


@pytest.fixture
def doc() -> Doc:
    doc = spacy.blank("en")("Anna Berg hired Peter.")
    doc._.relations = [make_relation(doc[0:2], doc[3:4], "HIRED", 0.75)]
    return doc


def test_an_entry_names_places_in_the_text(doc):
    assert doc._.relations == [ENTRY]
    assert json.loads(json.dumps(doc._.relations)) == [ENTRY]
    assert "score" not in make_relation(doc[0:2], doc[3:4], "HIRED")
    ((head, child, label),) = read_relations(doc)
    assert (head.text, child.text, label) == ("Anna Berg", "Peter", "HIRED")


def test_it_is_kept_by_files_bytes_copies_json_and_new_tokens(doc):
    file = DocBin(docs=[doc], store_user_data=True).to_bytes()
    (from_file,) = DocBin().from_bytes(file).get_docs(doc.vocab)
    from_bytes = Doc(doc.vocab).from_bytes(doc.to_bytes())
    as_json = doc.to_json(underscore=["relations"])
    from_json = Doc(doc.vocab).from_json(json.loads(json.dumps(as_json)))
    for kept in (from_file, from_bytes, from_json, doc.copy()):
        # A file gives back a tuple.
        assert list(kept._.relations) == [ENTRY]
        assert [relation.label for relation in read_relations(kept)] == ["HIRED"]
    with doc.retokenize() as retokenizer:
        retokenizer.merge(doc[0:2])
    ((head, child, _),) = read_relations(doc)
    assert [(span.text, span.start) for span in (head, child)] == [("Anna Berg", 0), ("Peter", 2)]


def test_nothing_said_is_not_the_same_as_no_relations(doc):
    assert read_relations(doc.vocab and spacy.blank("en")("so")) is None
    doc._.relations = []
    assert read_relations(doc) == []


@pytest.mark.parametrize("entry", [{"head": 1}, ("Anna", "Peter"), {**ENTRY, "child": None}])
def test_another_form_is_an_error_that_shows_the_right_one(doc, entry):
    doc._.relations = [entry]
    with pytest.raises(ValueError, match=r"Expected an entry of .*'start': 11.*make_relation"):
        read_relations(doc)


def test_places_that_are_no_tokens_are_an_error(doc):
    doc._.relations = [{**ENTRY, "head": {"start": 1, "end": 9}}]
    with pytest.raises(ValueError, match=r"'start': 1,.*not between whole tokens of .*'Anna Berg"):
        read_relations(doc)
