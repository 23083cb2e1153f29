"""The sample of relations, and the reader."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
import spacy
from spacy.tokens import DocBin
from spacy_frameworks.components import read_relations
from spacy_frameworks.components.corpus import create_relation_corpus, relation_sample

pytestmark = pytest.mark.thinc


def answers(split: str):
    """Of each pair of people up to 20 words apart: their names, the words between them with who
    comes first, and what there is between them."""
    for words, entities, relations in relation_sample(split):
        found = {(head, child): label for head, child, label in relations}
        for head, child in itertools.permutations(range(len(entities)), 2):
            first, second = sorted([entities[head], entities[child]])
            between = words[first[1] : second[0]]
            if len(between) <= 20:
                names = (words[slice(*entities[head])], words[slice(*entities[child])])
                yield names, (between, head < child), found.get((head, child))


def test_the_words_between_decide():
    """All of it: nobody who knows them is ever wrong, in either split."""
    said: dict = {}
    for split in ("train", "dev"):
        for _, between, label in answers(split):
            assert said.setdefault(between, label) == label


def test_who_does_not_read_them_gets_a_low_score():
    """The best that can be answered by who comes first and how many words are between."""
    seen: dict = {}
    for _, (between, is_first), label in answers("dev"):
        seen.setdefault((is_first, len(between)), Counter())[label] += 1
    n_gold = sum(n for counts in seen.values() for label, n in counts.items() if label)
    # Whoever answers more, in the order of how often it is right, is at some point at his best.
    guesses = []
    for counts in seen.values():
        right = max(n for label, n in {**counts, None: 0}.items())
        guesses.append((right, sum(counts.values())))
    guesses.sort(key=lambda guess: -guess[0] / guess[1])
    sums = [map(sum, zip(*guesses[: i + 1])) for i in range(len(guesses))]
    assert max(2 * right / (found + n_gold) for right, found in sums) < 0.5


def test_the_splits_share_no_names_and_are_the_same_on_every_call():
    names = {
        split: {word for heads, _, _ in answers(split) for name in heads for word in name}
        for split in ("train", "dev")
    }
    assert not names["train"] & names["dev"]
    assert relation_sample("train") == relation_sample("train") != relation_sample("dev")
    assert (len(relation_sample("train")), len(relation_sample("dev"))) == (160, 60)


def test_each_name_is_on_either_side_and_each_label_in_either_direction():
    related = [(pair, label) for *pair, label in answers("train") if label]
    directions = Counter((label, is_first) for (_, (_, is_first)), label in related)
    assert len(directions) == 6 and min(directions.values()) > 15
    heads, children = ({words[side][0] for (words, _), _ in related} for side in (0, 1))
    assert heads == children and len(heads) == 12


def test_the_reader_gives_docs_as_they_are_annotated_for_training():
    nlp = spacy.blank("en")
    (example, *_), (with_entities, *_) = (
        list(create_relation_corpus(None, "dev", limit=3, gold_entities=flag)(nlp))
        for flag in (False, True)
    )
    assert not example.predicted.ents and example.predicted._.relations is None
    assert [ent.text for ent in with_entities.predicted.ents] == [
        ent.text for ent in example.reference.ents
    ]
    assert read_relations(example.reference)


def test_files_are_read_with_their_relations(tmp_path):
    nlp = spacy.blank("en")
    docs = [eg.reference for eg in create_relation_corpus(None, "dev", limit=4)(nlp)]
    for name in ("train", "dev"):
        DocBin(docs=docs, store_user_data=True).to_disk(tmp_path / f"{name}.spacy")
    paths = {name: tmp_path / f"{name}.spacy" for name in ("train", "dev")}
    # Once more, from what the reader has kept.
    read = create_relation_corpus(paths, "train", limit=3, gold_entities=True)
    for _ in range(2):
        for example, doc in zip(read(nlp), docs[:3], strict=True):
            assert example.text == doc.text
            assert len(example.predicted.ents) == len(doc.ents)
            assert len(read_relations(example.reference)) == len(doc._.relations)


def test_an_unknown_split_and_a_missing_path_are_errors(tmp_path):
    with pytest.raises(ValueError, match="Unknown split 'test'"):
        create_relation_corpus(None, "test")
    with pytest.raises(ValueError, match="Unknown split 'test': expected one of train, dev"):
        relation_sample("test")
    with pytest.raises(ValueError, match=r"paths\.dev is missing"):
        create_relation_corpus({"train": tmp_path, "dev": None}, "train")
