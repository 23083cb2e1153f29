"""A corpus of relations that needs no files: without paths it reads a sample of its own.

In the sample, people hire, teach and sue each other. Which relation two of them have, if any, and
who is the head, is said by the words between them and by nothing else: any name may be the head or
the child, "Anna hired Peter" and "Anna, hired by Peter," have the same verb, and verbs are around
pairs without a relation too. The names of `dev` are not in `train`.
"""

from functools import cache
from pathlib import Path
from random import Random
from typing import Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple, Union

from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.vocab import Vocab

from ..training.corpus import N_DOCS as SPLITS
from ..training.corpus import SampleCorpus, create_corpus
from .relations import EXTENSION, make_relation

N_DOCS = {"train": 160, "dev": 60}
SEEDS = {"train": 1, "dev": 2}

FIRST_NAMES = {
    "train": "Anna Bela Clara David Emil Frida Gustav Hanna Igor Julia Karim Laura",
    "dev": "Maria Nadia Oscar Peter Rosa Simon",
}
LAST_NAMES = {"train": "Berg Conrad Duarte Ekman Fuchs Gomez", "dev": "Horn Iversen Jensen"}
# The relation and the form of the verb, which is that of the past and of the passive.
RELATIONS = {"HIRED": "hired", "TAUGHT": "taught", "SUED": "sued"}
# What is between two names, by who does it: the one before, the one behind, or nobody.
BETWEEN = {
    "first": "VERB; soon VERB; , who VERB; has VERB; VERB the old",
    "second": "was VERB by; , VERB by; , who was VERB by; was soon VERB by the old",
    "nobody": "met; was seen by; , walking by; has never VERB; was never VERB by; and; , who saw",
}
BEFORE = ["", "", "yesterday", "later", "although VERB by nobody ,"]
BEHIND = ["", "in spring", "and VERB a cook", "and was VERB by the city", ", who sings"]


class RelationDoc(NamedTuple):
    """A doc of the sample. The entities are (first token, behind the last token), the relations
    (number of the head, number of the child, label)."""

    words: Tuple[str, ...]
    entities: Tuple[Tuple[int, int], ...]
    relations: Tuple[Tuple[int, int, str], ...]


def relation_sample(split: str) -> List[RelationDoc]:
    """The sample as plain data.

    split (str): "train" or "dev".
    RETURNS (List[RelationDoc]): Documents of two or three sentences with two people each; the same
        ones on every call, platform and Python.

    Raises ValueError on any other split.
    """
    if split not in N_DOCS:
        raise ValueError(f"Unknown split {split!r}: expected one of {', '.join(N_DOCS)}.")
    return list(_generate(split))


@cache
def _generate(split: str) -> Tuple[RelationDoc, ...]:
    rng = Random(SEEDS[split])
    first_names, last_names = FIRST_NAMES[split].split(), LAST_NAMES[split].split()

    def name() -> List[str]:
        last = [rng.choice(last_names)] if rng.random() < 0.3 else []
        return [rng.choice(first_names), *last]

    def words(text: str, verb: str) -> List[str]:
        return [verb if word == "VERB" else word for word in text.split()]

    def any_verb() -> str:
        return rng.choice(list(RELATIONS.values()))

    def make_doc() -> RelationDoc:
        doc: List[str] = []
        entities: List[Tuple[int, int]] = []
        relations = []
        for _ in range(rng.randrange(2, 4)):
            label, verb = rng.choice(list(RELATIONS.items()))
            doer = rng.choice(list(BETWEEN))
            doc += words(rng.choice(BEFORE), any_verb())
            for part in (name(), words(rng.choice(BETWEEN[doer].split("; ")), verb), name()):
                if part[0] in first_names:
                    entities.append((len(doc), len(doc) + len(part)))
                doc += part
            doc += [*words(rng.choice(BEHIND), any_verb()), "."]
            left, right = len(entities) - 2, len(entities) - 1
            if doer != "nobody":
                head, child = (left, right) if doer == "first" else (right, left)
                relations.append((head, child, label))
        return RelationDoc(tuple(doc), tuple(entities), tuple(relations))

    return tuple(make_doc() for _ in range(N_DOCS[split]))


class RelationSample(SampleCorpus):
    """The sample as examples; the path is the name of a split."""

    def read_sample(self, vocab: Vocab) -> Iterator[Doc]:
        for words, entities, relations in relation_sample(str(self.path)):
            # No space before a mark, nor at the end.
            following = (*words[1:], ".")
            doc = Doc(vocab, words=list(words), spaces=[word not in ",." for word in following])
            doc.ents = [Span(doc, start, end, label="PERSON") for start, end in entities]
            found = [
                make_relation(doc.ents[head], doc.ents[child], label)
                for head, child, label in relations
            ]
            setattr(doc._, EXTENSION, found)
            yield doc


def create_relation_corpus(
    paths: Optional[Dict[str, Optional[Union[str, Path]]]] = None,
    split: str = "train",
    limit: int = 0,
    gold_entities: bool = False,
) -> Callable[[Language], Iterable[Example]]:
    """Read a split from the user's files or, where no paths are given, from the sample of
    relations.

    paths (Optional[Dict[str, Optional[Union[str, Path]]]]): The config's [paths]; only "train" and
        "dev" are looked at: a .spacy file, or a folder of them, or null. The docs in them have
        `Doc._.relations`, as `DocBin(store_user_data=True)` saves it.
    split (str): "train" or "dev".
    limit (int): How many docs to read; 0 for all.
    gold_entities (bool): Whether the predicted docs get the entities of the references, so that
        relations are learned and scored without a component that finds entities.
    RETURNS (Callable[[Language], Iterable[Example]]): The reader.

    Raises ValueError as `spacy-frameworks.Corpus.v1` does.
    """
    reader = create_corpus(paths, split, limit=limit)
    if not any((paths or {}).get(name) for name in SPLITS):
        reader = RelationSample(split, limit=limit)

    def read(nlp: Language) -> Iterator[Example]:
        for example in reader(nlp):
            if gold_entities:
                ents = example.get_aligned_spans_y2x(example.reference.ents)
                example.predicted.ents = ents
            yield example

    return read
