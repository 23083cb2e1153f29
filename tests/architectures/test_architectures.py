"""Taggers and textcats in spaCy pipelines."""

from __future__ import annotations

import random
from pathlib import Path

import numpy
import pytest
import spacy
from numpy.testing import assert_allclose
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from spacy.util import fix_random_seed, minibatch
from spacy_frameworks.training.corpus import create_corpus
from thinc.api import Model

from ..frameworks import ALL, ONE_OR_ALL, THINC_OR_ALL, WRAPPED

SMALL = {"width": 32, "hidden_width": 16, "embed_size": 200, "nM": 8, "nC": 4}
NO_FILES = {"train": None, "dev": None}


def pipeline(framework: str, component: str = "tagger", **settings) -> spacy.Language:
    what = {"tagger": "Tagger", "textcat": "TextCat", "textcat_multilabel": "TextCat"}[component]
    if what == "TextCat":
        settings.setdefault("exclusive_classes", component == "textcat")
    nlp = spacy.blank("en")
    architecture = f"spacy-frameworks.{framework}{what}.v1"
    nlp.add_pipe(component, config={"model": {"@architectures": architecture, **settings}})
    return nlp


def examples(nlp: spacy.Language, split: str = "train", limit: int = 0) -> list[Example]:
    return list(create_corpus(NO_FILES, split, limit=limit)(nlp))


def train(nlp: spacy.Language, epochs: int, limit: int = 0) -> dict[str, float]:
    """Train on the sample, and return the losses of the last epoch."""
    fix_random_seed(0)
    sample = examples(nlp, limit=limit)
    optimizer = nlp.initialize(lambda: sample)
    losses: dict[str, float] = {}
    for _ in range(epochs):
        losses = {}
        for batch in minibatch(sample, 8):
            nlp.update(batch, sgd=optimizer, drop=0.1, losses=losses)
    return losses


def probabilities(nlp: spacy.Language, split: str = "dev") -> list[numpy.ndarray]:
    (_, component), *_ = nlp.pipeline
    return component.model.predict([eg.predicted for eg in examples(nlp, split, limit=20)])


# Training


@pytest.mark.parametrize("framework", THINC_OR_ALL)
def test_tagger_reaches_the_bar_on_the_sample(framework):
    nlp = pipeline(framework)
    train(nlp, epochs=4)
    assert nlp.evaluate(examples(nlp, "dev"))["tag_acc"] >= 0.93


@pytest.mark.parametrize("framework", THINC_OR_ALL)
def test_tagger_whose_network_passes_no_gradient_misses_the_bar(framework):
    nlp = pipeline(framework)
    (network,) = (node for node in nlp.get_pipe("tagger").model.walk() if "network" in node.attrs)
    forward = network._func

    def without_gradient(model: Model, X, is_train):
        Y, _ = forward(model, X, is_train)
        return Y, lambda dY: numpy.zeros_like(X)

    network._func = without_gradient
    train(nlp, epochs=2)
    assert nlp.evaluate(examples(nlp, "dev"))["tag_acc"] < 0.5


@pytest.mark.parametrize("framework", THINC_OR_ALL)
def test_textcat_learns_the_sample(framework):
    nlp = pipeline(framework, "textcat")
    train(nlp, epochs=8)
    assert nlp.evaluate(examples(nlp, "dev"))["cats_macro_f"] >= 0.8


@pytest.mark.parametrize("framework", WRAPPED)
@pytest.mark.parametrize("component", ["tagger", "textcat", "textcat_multilabel"])
def test_a_swap_of_the_framework_keeps_the_result(framework, component):
    expected, came = (pipeline(fw, component, **SMALL) for fw in ("Thinc", framework))
    loss = train(expected, epochs=2, limit=60)[component]
    assert train(came, epochs=2, limit=60)[component] == pytest.approx(loss, rel=1e-3)
    for one, other in zip(probabilities(expected), probabilities(came)):
        assert_allclose(one, other, atol=1e-3)


@pytest.mark.parametrize("framework", ALL)
def test_multilabel_textcat_gives_each_category_its_own_probability(framework):
    nlp = pipeline(framework, "textcat_multilabel", **SMALL)
    train(nlp, epochs=1, limit=40)
    Y = probabilities(nlp)
    assert Y.min() >= 0 and Y.max() <= 1
    assert abs(Y.sum(axis=1) - 1).max() > 0.01
    assert nlp.get_pipe("textcat_multilabel").model.attrs["multi_label"] is True


@pytest.mark.parametrize("framework", ALL)
def test_a_tok2vec_sublayer_takes_the_place_of_the_embedding(framework):
    config = """
    [tok2vec]
    @architectures = "spacy.HashEmbedCNN.v2"
    pretrained_vectors = null
    width = 32
    depth = 1
    embed_size = 500
    window_size = 1
    maxout_pieces = 2
    subword_features = true
    """
    tok2vec = spacy.util.Config().from_str(config)["tok2vec"]
    nlp = pipeline(framework, tok2vec=tok2vec, hidden_width=32)
    first = train(nlp, epochs=1, limit=80)["tagger"]
    assert train(nlp, epochs=6, limit=80)["tagger"] < 0.6 * first
    assert nlp.get_pipe("tagger").model.get_ref("tok2vec").name.startswith("extract_features")


# Odd batches


@pytest.mark.parametrize("framework", ALL)
@pytest.mark.parametrize("component", ["tagger", "textcat"])
def test_batches_without_docs_and_docs_without_tokens(framework, component):
    nlp = pipeline(framework, component, **SMALL)
    train(nlp, epochs=1, limit=16)
    model = nlp.get_pipe(component).model
    n_labels = model.get_dim("nO")
    empty, full = Doc(nlp.vocab), examples(nlp, "dev", limit=1)[0].predicted
    alone = model.predict([full])
    for docs in ([], [empty], [empty, full, empty], [Doc(nlp.vocab, words=["one"])]):
        Y, backprop = model.begin_update(docs)
        assert len(Y) == len(docs)
        assert all(y.shape[-1] == n_labels for y in Y)
        backprop(Y)
    Y = model.predict([empty, full, empty])
    assert_allclose(Y[1], alone[0], atol=1e-5)
    assert [len(doc) for doc in nlp.pipe([empty, full])] == [0, len(full)]


# Dims


@pytest.mark.parametrize("framework", ALL)
@pytest.mark.parametrize("component", ["tagger", "textcat"])
def test_more_outputs_than_labels_is_an_error_with_both_numbers(framework, component):
    nlp = pipeline(framework, component, nO=50, **SMALL)
    n_labels = {"tagger": 25, "textcat": 5}[component]
    with pytest.raises(ValueError, match=f"nO = 50, but the data has {n_labels}.*null"):
        train(nlp, epochs=1)


@pytest.mark.parametrize("framework", ALL)
@pytest.mark.parametrize(("component", "nO"), [("tagger", 20), ("textcat", 3)])
def test_fewer_outputs_than_labels_is_the_error_of_spacy(framework, component, nO):
    with pytest.raises(ValueError, match=r"E922.*" + str(nO)):
        train(pipeline(framework, component, nO=nO, **SMALL), epochs=1)


@pytest.mark.parametrize("framework", ALL)
def test_as_many_outputs_as_labels_trains(framework):
    nlp = pipeline(framework, nO=25, **SMALL)
    train(nlp, epochs=1, limit=0)
    assert nlp.get_pipe("tagger").model.get_dim("nO") == 25


def test_both_sublayers_at_once_are_refused():
    from spacy_frameworks.architectures import build_tagger

    with pytest.raises(ValueError, match="`tok2vec` and `embed`"):
        build_tagger("Thinc", tok2vec=Model("a", None), embed=Model("b", None))


# Saving


# One process for both, because each has to import the framework.
IN_NEW_PROCESS = f"""
import sys, numpy, spacy
from spacy_frameworks.architectures import FeedForward, build_network
from spacy_frameworks.training.corpus import create_corpus
framework, folder = sys.argv[1:]
# Frameworks count the names of their layers up, so other models come first.
build_network(framework, FeedForward(3), nO=2, nI=2).initialize(numpy.zeros((1, 2), "f"))
for component in ("tagger", "textcat"):
    nlp = spacy.load(f"{{folder}}/{{component}}")
    egs = create_corpus({NO_FILES!r}, "dev", limit=20)(nlp)
    Y = nlp.get_pipe(component).model.predict([eg.predicted for eg in egs])
    numpy.save(f"{{folder}}/{{component}}.npy", numpy.vstack(Y))
"""


@pytest.mark.parametrize("framework", ALL)
def test_saved_pipelines_predict_the_same_in_a_new_process(framework, tmp_path, run_python):
    expected = {}
    for component in ("tagger", "textcat"):
        nlp = pipeline(framework, component, **SMALL)
        train(nlp, epochs=1, limit=30)
        nlp.to_disk(tmp_path / component)
        expected[component] = numpy.vstack(probabilities(nlp))
    run_python(IN_NEW_PROCESS, framework, tmp_path)
    for component, Y in expected.items():
        assert_allclose(numpy.load(tmp_path / f"{component}.npy"), Y, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("framework", WRAPPED)
def test_training_goes_on_after_loading(framework, tmp_path):
    nlp = pipeline(framework, **SMALL)
    train(nlp, epochs=1, limit=60)
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    before = loaded.evaluate(examples(loaded, "dev"))["tag_acc"]
    optimizer = loaded.resume_training()
    for _ in range(3):
        for batch in minibatch(examples(loaded, limit=60), 8):
            loaded.update(batch, sgd=optimizer)
    assert loaded.evaluate(examples(loaded, "dev"))["tag_acc"] > before + 0.05


# The real treebank


def treebank_scores(
    framework: str, component: str, ewt: Path, epochs: int, limit: int = 0
) -> dict[str, float]:
    """Dev scores after training on (the first `limit` docs of) the treebank, tokenized as it is."""
    nlp = pipeline(framework, component)
    fix_random_seed(0)
    sets = {}
    for split, size in (("train", limit), ("dev", 0)):
        docs = list(DocBin().from_disk(ewt / f"ewt-{split}.spacy").get_docs(nlp.vocab))
        sets[split] = [
            Example(Doc(nlp.vocab, [t.text for t in doc], [bool(t.whitespace_) for t in doc]), doc)
            for doc in docs[: size or None]
        ]
    optimizer = nlp.initialize(lambda: sets["train"])
    for _ in range(epochs):
        random.shuffle(sets["train"])
        for batch in minibatch(sets["train"], 8):
            nlp.update(batch, sgd=optimizer, drop=0.1)
    return nlp.evaluate(sets["dev"])


@pytest.mark.parametrize("framework", ONE_OR_ALL)
def test_treebank_tagger_is_as_good_as_thincs(framework, ewt: Path):
    came, expected = (
        treebank_scores(fw, "tagger", ewt, epochs=1, limit=400)["tag_acc"]
        for fw in (framework, "Thinc")
    )
    assert came >= 0.70
    assert came == pytest.approx(expected, abs=0.005)


@pytest.mark.slow
@pytest.mark.parametrize("framework", ALL)
def test_treebank_scores_reach_their_bars(framework, ewt: Path):
    assert treebank_scores(framework, "tagger", ewt, epochs=2)["tag_acc"] >= 0.86
    assert treebank_scores(framework, "textcat", ewt, epochs=4)["cats_macro_f"] >= 0.58
