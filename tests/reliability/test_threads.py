"""Threads of a server that share a pipeline."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Dict, List, Sequence, Tuple

import numpy
import pytest
import spacy
from numpy.testing import assert_allclose
from spacy.language import Language
from spacy.training import Example
from spacy_frameworks.architectures.networks.description import NETWORKS
from thinc.api import Adam, Optimizer, fix_random_seed

from ..frameworks import ALL, TOKENS, ring

THREADS = 8
# Of each thread.
PREDICTIONS = 500 if os.environ.get("RUN_SLOW") else 10
UPDATES = 100 if os.environ.get("RUN_SLOW") else 5
WIDTH = 16
TEXT = "Anna kept the plan , roasted two onions and quickly left for the old town ."
# Of different lengths and words.
TEXTS = [TEXT[start + 1 :] for start, letter in enumerate(TEXT) if letter == " "]
TAGS = ["N", "V", "D"]

Outputs = Dict[str, numpy.ndarray]


def pipeline(kinds: Sequence[Tuple[str, str]]) -> Language:
    """A tagger for each framework and encoder of a list, trained, since its last layer starts with
    zeros."""
    fix_random_seed(0)
    nlp = spacy.blank("en")
    for framework, encoder in kinds:
        tok2vec = {
            "@architectures": "spacy.Tok2Vec.v2",
            "embed": {
                "@architectures": "spacy.MultiHashEmbed.v2",
                "width": WIDTH,
                "attrs": ["NORM", "SUFFIX"],
                "rows": [100, 100],
                "include_static_vectors": False,
            },
            "encode": {
                "@architectures": f"spacy-frameworks.{encoder}.v1",
                "framework": framework,
                "width": WIDTH,
                "depth": 1,
            },
        }
        model = {"@architectures": "spacy.Tagger.v2", "tok2vec": tok2vec}
        nlp.add_pipe("tagger", f"{framework} {encoder}", config={"model": model})
    train(nlp, nlp.initialize(lambda: examples(nlp)))
    return nlp


def examples(nlp: Language) -> List[Example]:
    docs = list(map(nlp.make_doc, TEXTS))
    tags = [[TAGS[len(word) % len(TAGS)] for word in text.split()] for text in TEXTS]
    return [Example.from_dict(doc, {"tags": said}) for doc, said in zip(docs, tags)]


def outputs(nlp: Language, text: str) -> Outputs:
    """What each component gives for a text, tokenized here."""
    docs = [nlp.make_doc(text)]
    return {name: component.model.predict(docs)[0] for name, component in nlp.pipeline}


def assert_same(came: Outputs, expected: Outputs) -> None:
    for name, array in expected.items():
        assert_allclose(came[name], array, atol=1e-5, err_msg=name)


def predict_in_threads(nlp: Language, expected: Sequence[Outputs], threads: int) -> None:
    """So many threads predict, each text by text from another one on, and what they get is what
    was expected."""

    def predict(thread: int) -> None:
        for step in range(PREDICTIONS):
            i = (thread + step) % len(TEXTS)
            assert_same(outputs(nlp, TEXTS[i]), expected[i])

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(predict, range(threads)))


def train(nlp: Language, optimizer: Optimizer) -> None:
    optimizer.learn_rate = 0.01
    for _ in range(UPDATES):
        nlp.update(examples(nlp), sgd=optimizer, drop=0.0)


@pytest.mark.parametrize("framework", ALL)
def test_threads_get_what_one_alone_gets(framework):
    nlp = pipeline([(framework, encoder) for encoder in NETWORKS])
    predict_in_threads(nlp, [outputs(nlp, text) for text in TEXTS], THREADS)


@pytest.mark.parametrize(("one", "other"), ring(TOKENS))
def test_two_frameworks_share_the_threads(one, other):
    nlp = pipeline([(one, "WindowEncoder"), (other, "WindowEncoder")])
    predict_in_threads(nlp, [outputs(nlp, text) for text in TEXTS], THREADS)


@pytest.mark.parametrize("framework", ALL)
def test_training_beside_predictions(framework):
    """One pipeline is trained, while threads predict with it, and others with another one."""
    kinds = [(framework, encoder) for encoder in NETWORKS]
    served, trained, alone = (pipeline(kinds) for _ in range(3))
    expected = [outputs(served, text) for text in TEXTS]

    def predict_in_between(thread: int) -> None:
        # With parameters of before and after an update, as it comes.
        for step in range(PREDICTIONS):
            for array in outputs(trained, TEXTS[(thread + step) % len(TEXTS)]).values():
                assert numpy.isfinite(array).all()

    with ThreadPoolExecutor(THREADS) as pool:
        training = pool.submit(train, trained, Adam())
        between = [pool.submit(predict_in_between, i) for i in range(THREADS // 2)]
        predict_in_threads(served, expected, THREADS // 2)
        for done in [training, *between]:
            done.result()
    # As if nobody had predicted.
    train(alone, Adam())
    for i, text in enumerate(TEXTS):
        came = outputs(trained, text)
        assert_same(came, outputs(alone, text))
        assert all(abs(came[name] - expected[i][name]).max() > 1e-3 for name in came)
