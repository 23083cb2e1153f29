"""Modules of one's own in spaCy's components."""

from __future__ import annotations

import importlib

import pytest
import spacy
from spacy.ml import CharacterEmbed
from spacy.ml.models import build_tagger_model, build_Tok2Vec_model
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import fix_random_seed
from spacy_frameworks.wrappers import resize_wrapper, with_mask
from thinc.api import (
    Adam,
    Logistic,
    Softmax,
    chain,
    list2ragged,
    reduce_mean,
    softmax_activation,
    with_array,
)

from ..frameworks import WRAPPED_IDS
from ..wrappers.helpers import assert_close, weights

WIDTH = 16
WORDS = [("We", "cook", "rice"), ("They", "run"), ("Rice", "runs", "over", "there")]
TAGS = ("PRP", "VB", "NN", "RB")
TOPICS = ("cooking", "sports", "travel", "none")


@pytest.fixture(params=WRAPPED_IDS)
def fw(request):
    return importlib.import_module(f"tests.wrappers.modules.{request.param}")


def examples(nlp):
    for i, words in enumerate(WORDS):
        tags = [TAGS[(i + j) % len(TAGS)] for j in range(len(words))]
        doc = Doc(nlp.vocab, words, tags=tags)
        doc.cats = {topic: float(topic == TOPICS[i]) for topic in TOPICS}
        yield Example(Doc(nlp.vocab, words), doc)


def pipeline(component, model):
    """A pipeline of one component, with a model made here."""
    nlp = spacy.blank("en")
    nlp.add_pipe(component)
    nlp.get_pipe(component).model = model
    return nlp


def module(fw, nO):
    return fw.Wrapper(fw.sequential(*weights(nO=nO, nI=WIDTH)), model_name="mine")


def embed():
    return CharacterEmbed(WIDTH, 50, 4, 2, include_static_vectors=False)


OUTPUTS = {
    "tagger": lambda layer: chain(embed(), with_array(chain(layer, softmax_activation()))),
    "textcat": lambda layer: chain(embed(), list2ragged(), reduce_mean(), layer),
    "textcat_multilabel": lambda layer: chain(
        embed(), list2ragged(), reduce_mean(), layer, Logistic()
    ),
}


@pytest.mark.parametrize("component", OUTPUTS)
def test_an_output_that_has_not_the_labels_width_is_refused_by_initialize(fw, component):
    nlp = pipeline(component, OUTPUTS[component](module(fw, nO=3)))
    with pytest.raises(ValueError, match="'mine' gives 3 columns, but the data has 4 labels"):
        nlp.initialize(lambda: list(examples(nlp)))


@pytest.mark.parametrize("component", OUTPUTS)
def test_an_output_of_the_labels_width_is_trained(fw, component):
    nlp = pipeline(component, OUTPUTS[component](module(fw, nO=4)))
    optimizer = nlp.initialize(lambda: list(examples(nlp)))
    losses = {}
    nlp.update(list(examples(nlp)), sgd=optimizer, losses=losses)
    assert losses[component] > 0


HIDDEN = {
    "tagger": lambda layer: chain(embed(), with_array(layer), with_array(Softmax())),
    "textcat": lambda layer: chain(
        embed(), with_array(layer), list2ragged(), reduce_mean(), Softmax()
    ),
}


@pytest.mark.parametrize("component", HIDDEN)
def test_a_hidden_module_may_have_its_own_width(fw, component):
    layer = module(fw, nO=7)
    nlp = pipeline(component, HIDDEN[component](layer))
    nlp.initialize(lambda: list(examples(nlp)))
    assert layer.get_dim("nO") == 7


def test_training_obeys_the_rate_of_an_own_module(fw):
    layer = fw.Wrapper(
        fw.with_dropout(fw.linear(*weights(nO=4, nI=WIDTH, nH=WIDTH)[2:]), 0.5), dropout=0.0
    )
    nlp = pipeline("tagger", OUTPUTS["tagger"](layer))
    optimizer = nlp.initialize(lambda: list(examples(nlp)))
    dropped = []

    def record(model, X, is_train):
        Y, backprop = forward(model, X, is_train)
        if is_train:
            dropped.append(float((Y == 0).mean()))
        return Y, backprop

    forward, layer._func = layer._func, record
    for drop in (0.0, 0.999, 0.0):
        nlp.update(list(examples(nlp)), sgd=optimizer, drop=drop)
    assert dropped[0] == dropped[2] == 0
    assert dropped[1] > 0.8


def test_a_padded_encoder_of_ones_own_is_trained_under_tok2vec(fw):
    fix_random_seed(0)
    module, args, kwargs = fw.attention(WIDTH)
    encoder = with_mask(fw.Wrapper(module, nO=WIDTH, nI=WIDTH), *args, **kwargs)
    tok2vec = build_Tok2Vec_model(embed(), encoder)
    nlp = pipeline("tagger", build_tagger_model(tok2vec))
    data = list(examples(nlp))
    # A text without tokens too.
    data.append(Example(Doc(nlp.vocab, []), Doc(nlp.vocab, [])))
    optimizer = nlp.initialize(lambda: data, sgd=Adam(0.01))
    losses = []
    for _ in range(30):
        losses.append(nlp.update(data, sgd=optimizer)["tagger"])
    assert losses[-1] < 0.3 * losses[0]
    # What shares the batch does not matter.
    together = nlp.get_pipe("tagger").model.predict([eg.x for eg in data])
    # spaCy's embedding refuses a batch without any token.
    for eg, Y in zip(data[:-1], together):
        (alone,) = nlp.get_pipe("tagger").model.predict([eg.x])
        assert_close(alone, Y)


def test_a_builder_under_a_textcat_is_grown_by_add_label(fw):
    """As the docs show it."""

    def resize_output(model, new_nO):
        model.layers[-1] = resize_wrapper(model.layers[-1], new_nO)
        model.set_dim("nO", new_nO, force=True)
        return model

    model = OUTPUTS["textcat"](fw.Wrapper(fw.builder))
    model.attrs["resize_output"] = resize_output
    nlp = pipeline("textcat", model)
    data = list(examples(nlp))
    optimizer = nlp.initialize(lambda: data)
    nlp.update(data, sgd=optimizer)
    textcat, docs = nlp.get_pipe("textcat"), [eg.x for eg in data]
    before = textcat.model.predict(docs)
    textcat.add_label("more")
    after = textcat.model.predict(docs)
    assert after.shape == (3, 5)
    assert_close(after[:, :4], before)
    assert (after[:, 4] == 0).all()
    nlp.update(data, sgd=optimizer)
