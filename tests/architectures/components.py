"""spaCy's own components, each on an encoder of this package, and small data that they learn.

The sample corpus has words, tags, sentences and a category. The other annotation follows from its
tags by rules that a small model finds in a few epochs.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Tuple

import spacy
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.util import fix_random_seed, minibatch
from spacy.vocab import Vocab
from spacy_frameworks.training.corpus import SampleDoc, sample
from spacy_frameworks.wrappers.framework import FRAMEWORKS, THINC
from thinc.api import Adam

TOKENS = [fw.token for fw in (*FRAMEWORKS, THINC)]
# Encoders and their depth.
ENCODERS = {"FeedForward": 1, "WindowEncoder": 2, "BiLSTMEncoder": 1, "TransformerEncoder": 1}
WIDTH = 32

REDUCTIONS = {
    f"use_reduce_{name}": name in ("max", "mean") for name in ("first", "last", "max", "mean")
}
TEXTCAT = {"@architectures": "spacy.TextCatReduce.v1", **REDUCTIONS}
TRANSITIONS = {
    "@architectures": "spacy.TransitionBasedParser.v2",
    "extra_state_tokens": False,
    "hidden_width": 32,
    "maxout_pieces": 2,
    "use_upper": True,
}
SPANCAT = {
    "@architectures": "spacy.SpanCategorizer.v1",
    "reducer": {"@layers": "spacy.mean_max_reducer.v1", "hidden_size": 32},
    "scorer": {"@layers": "spacy.LinearLogistic.v1"},
}
SUGGESTER = {"@misc": "spacy.ngram_suggester.v1", "sizes": [1, 2]}

# Of textcat, and those of textcat_multilabel, with the tag that each holds by.
TOPICS = ("cooking", "sports", "travel")
CATEGORIES = {"name": "NNP", "number": "CD", "ability": "MD"}


class Component(NamedTuple):
    """A component's score, its model without `tok2vec` and further settings; and what it takes to
    learn: the sentences of a doc, the docs, and how often they are seen."""

    metric: str
    model: Dict[str, Any]
    settings: Dict[str, Any] = {}
    sentences: int = 2
    docs: int = 100
    epochs: int = 5


COMPONENTS = {
    "tagger": Component("tag_acc", {"@architectures": "spacy.Tagger.v2"}, epochs=4),
    "textcat": Component("cats_micro_f", {**TEXTCAT, "exclusive_classes": True}, docs=300),
    "textcat_multilabel": Component(
        "cats_micro_f", {**TEXTCAT, "exclusive_classes": False}, sentences=1, docs=200
    ),
    "ner": Component("ents_f", {**TRANSITIONS, "state_type": "ner"}),
    "parser": Component("dep_las", {**TRANSITIONS, "state_type": "parser"}, epochs=4),
    "spancat": Component("spans_sc_f", SPANCAT, {"suggester": SUGGESTER}, epochs=4),
    "senter": Component("sents_f", {"@architectures": "spacy.Tagger.v2"}, epochs=3),
}


class Training(NamedTuple):
    """Losses of the epochs, the score on held-out docs, and the score of `guess_majority`."""

    losses: List[float]
    score: float
    majority: float


def build_pipeline(component: str, encoder: str, framework: str) -> spacy.Language:
    """A blank pipeline of the component, in spaCy's architecture for it, on the encoder."""
    what = COMPONENTS[component]
    embed = {
        "@architectures": "spacy.MultiHashEmbed.v2",
        "width": WIDTH,
        "attrs": ["NORM", "PREFIX", "SUFFIX", "SHAPE"],
        "rows": [1000, 200, 500, 100],
        "include_static_vectors": False,
    }
    encode = {
        "@architectures": f"spacy-frameworks.{framework}{encoder}.v1",
        "width": WIDTH,
        "depth": ENCODERS[encoder],
    }
    tok2vec = {"@architectures": "spacy.Tok2Vec.v2", "embed": embed, "encode": encode}
    nlp = spacy.blank("en")
    nlp.add_pipe(component, config={**what.settings, "model": {**what.model, "tok2vec": tok2vec}})
    return nlp


def train_component(component: str, encoder: str, framework: str) -> Training:
    """Train on docs of the sample's `train`, and evaluate on up to half as many of its `dev`."""
    fix_random_seed(0)
    what = COMPONENTS[component]
    nlp = build_pipeline(component, encoder, framework)
    train = [to_example(doc) for doc in annotated("train", component, nlp.vocab, what.docs)]
    optimizer = nlp.initialize(lambda: train, sgd=Adam(0.005))
    losses = []
    for _ in range(what.epochs):
        random.shuffle(train)
        loss: Dict[str, float] = {}
        for batch in minibatch(train, 4):
            nlp.update(batch, sgd=optimizer, drop=0.1, losses=loss)
        losses.append(float(loss[component]))
    dev = annotated("dev", component, nlp.vocab, what.docs // 2)
    guesses = [Example(guess, doc) for guess, doc in zip(guess_majority(component, dev), dev)]
    return Training(
        losses,
        score=nlp.evaluate([to_example(doc) for doc in dev])[what.metric],
        majority=nlp.get_pipe(component).score(guesses)[what.metric],
    )


def to_example(doc: Doc) -> Example:
    return Example(blank(doc), doc)


def blank(doc: Doc) -> Doc:
    return Doc(doc.vocab, words=[token.text for token in doc])


# Annotation


def annotated(split: str, component: str, vocab: Vocab, limit: int) -> List[Doc]:
    """Docs of the sample with the annotation of every component."""
    sentences = COMPONENTS[component].sentences
    sources = [doc for doc in sample(split) if doc.category in TOPICS]
    parts = [part for source in sources for part in cut(source, sentences)]
    return [annotate(vocab, part, component) for part in parts[:limit]]


def cut(doc: SampleDoc, sentences: int) -> Iterator[SampleDoc]:
    """Parts of so many sentences; what is left over is left out."""
    words, tags, sent_starts, category = doc
    ends = [*(i for i, is_start in enumerate(sent_starts) if is_start), len(words)]
    for start, end in zip(ends[::sentences], ends[sentences::sentences]):
        yield SampleDoc(words[start:end], tags[start:end], sent_starts[start:end], category)


def annotate(vocab: Vocab, source: SampleDoc, component: str) -> Doc:
    heads, deps = parse(source)
    doc = Doc(vocab, list(source.words), tags=list(source.tags), heads=heads, deps=deps)
    if component == "textcat":
        doc.cats = {topic: float(topic == source.category) for topic in TOPICS}
    else:
        doc.cats = {label: float(tag in source.tags) for label, tag in CATEGORIES.items()}
    names = [Span(doc, i, i + 1, "NAME") for i, tag in enumerate(source.tags) if tag == "NNP"]
    doc.ents = names + bigrams(doc, "CD", "NNS", "QUANTITY")
    doc.spans["sc"] = (
        names + bigrams(doc, "JJ", "NNS", "THINGS") + bigrams(doc, "DT", "NN", "THING")
    )
    return doc


def bigrams(doc: Doc, first: str, second: str, label: str) -> List[Span]:
    return [
        Span(doc, i, i + 2, label)
        for i in range(len(doc) - 1)
        if (doc[i].tag_, doc[i + 1].tag_) == (first, second)
    ]


MODIFIERS = ("DT", "PRP$", "CD", "JJ", "JJS")
NOUNS = ("NN", "NNS", "NNP", "PRP")
VERBS = ("VBD", "VBZ", "VBP", "MD")


def parse(source: SampleDoc) -> Tuple[List[int], List[str]]:
    """A head and a label for each token: modifiers hang from their noun, a noun from the
    preposition before it, and all else from the first verb of the sentence."""
    starts = [i for i, is_start in enumerate(source.sent_starts) if is_start]
    heads, deps = [], []
    for start, end in zip(starts, [*starts[1:], len(source.words)]):
        tags = source.tags[start:end]
        root = next(i for i, tag in enumerate(tags) if tag in VERBS)
        for i, tag in enumerate(tags):
            head, dep = find_head(tags, i, tag, root)
            heads.append(start + head)
            deps.append(dep)
    return heads, deps


def find_head(tags: Tuple[str, ...], i: int, tag: str, root: int) -> Tuple[int, str]:
    if i == root:
        return i, "ROOT"
    if tag in MODIFIERS:
        noun = next(j for j in range(i, len(tags)) if tags[j] not in MODIFIERS)
        return (noun, "mod") if tags[noun] in NOUNS else (root, "dep")
    if tag in NOUNS:
        before = i - 1
        while before >= 0 and tags[before] in MODIFIERS:
            before -= 1
        if before >= 0 and tags[before] == "IN":
            return before, "pobj"
        return root, "subj" if i < root else "obj"
    return root, {"IN": "prep", "RB": "advmod"}.get(tag, "dep")


# What any score has to beat


def guess_majority(component: str, docs: List[Doc]) -> List[Doc]:
    """The docs with what is most frequent in them, at every place.

    Of tags, categories and arcs, that is the most frequent one. Of entities and spans, where none
    is more frequent than any, it is the most frequent length and label, over and over; of
    sentences, the most frequent length; and of categories that may hold together, all of them.
    """
    guesses = [blank(doc) for doc in docs]
    GUESSES[component](docs, guesses)
    return guesses


def most_common(values: Iterable[Any]) -> Any:
    ((value, _),) = Counter(values).most_common(1)
    return value


def guess_tags(docs: List[Doc], guesses: List[Doc]) -> None:
    tag = most_common(token.tag_ for doc in docs for token in doc)
    for guess in guesses:
        for token in guess:
            token.tag_ = tag


def guess_category(docs: List[Doc], guesses: List[Doc]) -> None:
    category = most_common(label for doc in docs for label, value in doc.cats.items() if value)
    for guess in guesses:
        guess.cats = {label: float(label == category) for label in docs[0].cats}


def guess_categories(docs: List[Doc], guesses: List[Doc]) -> None:
    for guess in guesses:
        guess.cats = {label: 1.0 for label in docs[0].cats}


def guess_entities(docs: List[Doc], guesses: List[Doc]) -> None:
    length, label = most_common((len(ent), ent.label_) for doc in docs for ent in doc.ents)
    for guess in guesses:
        places = range(0, len(guess) - length + 1, length)
        guess.ents = [Span(guess, i, i + length, label) for i in places]


def guess_spans(docs: List[Doc], guesses: List[Doc]) -> None:
    length, label = most_common(
        (len(span), span.label_) for doc in docs for span in doc.spans["sc"]
    )
    for guess in guesses:
        places = range(len(guess) - length + 1)
        guess.spans["sc"] = [Span(guess, i, i + length, label) for i in places]


def guess_arcs(docs: List[Doc], guesses: List[Doc]) -> None:
    distance, dep = most_common((t.head.i - t.i, t.dep_) for doc in docs for t in doc)
    for k, guess in enumerate(guesses):
        n = len(guess)
        heads = [min(max(i + distance, 0), n - 1) for i in range(n)]
        words = [token.text for token in guess]
        guesses[k] = Doc(guess.vocab, words, heads=heads, deps=[dep] * n)


def guess_sentences(docs: List[Doc], guesses: List[Doc]) -> None:
    length = most_common(len(sent) for doc in docs for sent in doc.sents)
    for guess in guesses:
        for token in guess:
            token.is_sent_start = token.i % length == 0


GUESSES: Dict[str, Callable[[List[Doc], List[Doc]], None]] = {
    "tagger": guess_tags,
    "textcat": guess_category,
    "textcat_multilabel": guess_categories,
    "ner": guess_entities,
    "parser": guess_arcs,
    "spancat": guess_spans,
    "senter": guess_sentences,
}
