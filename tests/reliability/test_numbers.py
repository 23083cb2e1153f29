"""Numbers that are none, docs of unusual lengths, and annotation that is missing."""

import os

import numpy
import pytest
import spacy
from numpy.testing import assert_allclose, assert_array_equal
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import fix_random_seed
from thinc.api import SGD, Linear, chain

from ..frameworks import ALL, WRAPPED_IDS
from ..wrappers.conftest import modules_of
from ..wrappers.helpers import normal, values, weights

ENCODERS = ("FeedForward", "WindowEncoder", "BiLSTMEncoder", "TransformerEncoder")
# Tokens of a doc. A transformer's memory grows with the square of the length.
IS_SLOW = bool(os.environ.get("RUN_SLOW"))
LONG = {name: 100_000 if IS_SLOW else 2_000 for name in ENCODERS}
LONG["TransformerEncoder"] = 5_000 if IS_SLOW else 500

X = normal(5, 4)
BAD = {"nan": numpy.nan, "inf": numpy.inf, "-inf": -numpy.inf}


@pytest.fixture(params=WRAPPED_IDS)
def fw(request):
    return modules_of(request.param)


@pytest.fixture(params=ALL)
def framework(request):
    return request.param


# Inputs, weights, gradients


@pytest.mark.filterwarnings("ignore:(invalid value|overflow):RuntimeWarning")
@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
@pytest.mark.parametrize("place", ["input", "weight", "gradient"])
def test_no_step_with_numbers_that_are_none_changes_a_weight(fw, place, bad):
    """A step either has an error before the optimizer, which names the layer, or weights that are
    numbers."""
    W1, b1, W2, b2 = weights()
    given, dY = X.copy(), normal(5, 3)
    array = {"input": given, "weight": W1, "gradient": dY}[place]
    array[1, 1] = bad
    model = chain(Linear(4, 4), fw.Wrapper(fw.sequential(W1, b1, W2, b2), model_name="mine"))
    model.initialize()
    layer, before = model.layers[1], values(model.layers[1])
    error = None
    try:
        Y, backprop = layer.begin_update(given)
        assert numpy.isfinite(Y[[0, 2, 3, 4]]).all() or place == "weight"
        backprop(dY)
        layer.finish_update(SGD(0.1))
    except ValueError as raised:
        error = raised
    after = values(layer)
    if error is not None:
        assert "'mine'" in str(error)
        for name, value in after.items():
            assert_array_equal(value, before[name])
        # Another batch is as good as ever.
        layer.begin_update(X)
    else:
        # Where infinity multiplies nothing but zeros, or the layer behind it is off.
        assert place != "gradient"
        kept = [numpy.isfinite(value) | ~numpy.isfinite(before[n]) for n, value in after.items()]
        assert all(each.all() for each in kept)
    assert error is not None or not numpy.isnan(bad)


# Docs and annotation


def pipeline(framework, component="tagger", encoder=None):
    fix_random_seed(0)
    network = {"framework": framework, "hidden_width": 16}
    if encoder is None:
        name = "Tagger" if component == "tagger" else "TextCat"
        model = {"@architectures": f"spacy-frameworks.{name}.v1", **network}
        if component != "tagger":
            model["exclusive_classes"] = component == "textcat"
    else:
        encode = {"@architectures": f"spacy-frameworks.{encoder}.v1", "framework": framework}
        embed = {"@architectures": "spacy.MultiHashEmbed.v2", "width": 16, "rows": [100]}
        embed.update(attrs=["NORM"], include_static_vectors=False)
        tok2vec = {"@architectures": "spacy.Tok2Vec.v2", "embed": embed}
        tok2vec["encode"] = {**encode, "width": 16}
        model = {"@architectures": "spacy.Tagger.v2", "tok2vec": tok2vec}
    nlp = spacy.blank("en")
    nlp.max_length = 10_000_000
    pipe = nlp.add_pipe(component, config={"model": model})
    for label in ("A", "B"):
        pipe.add_label(label)
    nlp.initialize(lambda: [annotated(nlp, words("one two three"))])
    return nlp


def words(text):
    return text.split()


def annotated(nlp, tokens):
    doc = Doc(nlp.vocab, words=tokens)
    gold = {"tags": ["A" if len(token) % 2 else "B" for token in tokens]}
    gold["cats"] = {"A": float(len(tokens) % 2), "B": 1 - float(len(tokens) % 2)}
    return Example.from_dict(doc, gold)


def bare(nlp, tokens):
    return Example(Doc(nlp.vocab, words=tokens), Doc(nlp.vocab, words=tokens))


def scores(nlp, docs):
    (_, pipe), *_ = nlp.pipeline
    return pipe.model.predict([Doc(nlp.vocab, words=tokens) for tokens in docs])


@pytest.mark.parametrize("encoder", ENCODERS)
def test_docs_may_be_empty_and_very_long(framework, encoder):
    nlp, short = pipeline(framework, encoder=encoder), words("one two three four")
    long = (short * (LONG[encoder] // 4 + 1))[: LONG[encoder]]
    batch = [[], short, long, [" "], [], ["one"]]
    came = scores(nlp, batch)
    assert [len(rows) for rows in came] == [len(tokens) for tokens in batch]
    assert all(numpy.isfinite(rows).all() for rows in came)
    # The same beside others as alone.
    assert_allclose(came[1], scores(nlp, [short])[0], atol=1e-4)
    losses = nlp.update([annotated(nlp, tokens) for tokens in batch], sgd=SGD(0.001))
    assert numpy.isfinite(losses["tagger"])
    assert all(numpy.isfinite(rows).all() for rows in scores(nlp, batch))


def parameters(nlp):
    (_, pipe), *_ = nlp.pipeline
    nodes = list(pipe.model.walk())
    native = [node.get_param(name).copy() for node in nodes for name in node.param_names]
    wrapped = [list(values(node).values()) for node in nodes if node.shims]
    return [*native, *(value for each in wrapped for value in each)]


def are_equal(one, other):
    return all(map(numpy.array_equal, one, other))


# spaCy's exclusive textcat takes a category that is missing for one that does not hold.
@pytest.mark.parametrize("component", ["tagger", "textcat_multilabel"])
def test_what_is_not_annotated_teaches_nothing(framework, component):
    nlp = pipeline(framework, component)
    tokens = [words("one two three"), words("four five"), []]
    before = parameters(nlp)
    losses = nlp.update([bare(nlp, each) for each in tokens], sgd=SGD(0.1))
    assert losses[component] == 0
    assert nlp.update([], sgd=SGD(0.1)).get(component, 0) == 0
    assert are_equal(parameters(nlp), before)
    losses = nlp.update([annotated(nlp, tokens[0]), bare(nlp, tokens[1])], sgd=SGD(0.1))
    assert 0 < losses[component] < numpy.inf
    after = parameters(nlp)
    assert not are_equal(after, before)
    assert all(numpy.isfinite(value).all() for value in after)


def test_single_tags_may_be_missing(framework):
    nlp, tokens = pipeline(framework), words("one two three")
    gold = annotated(nlp, tokens)
    gold.reference[1].tag_ = ""
    losses = nlp.update([gold], sgd=SGD(0.1))
    assert 0 < losses["tagger"] < numpy.inf
    assert numpy.isfinite(numpy.vstack(scores(nlp, [tokens]))).all()


def test_docs_of_empty_texts_only(framework):
    nlp = pipeline(framework)
    assert [len(doc) for doc in nlp.pipe(["", "", " "])] == [0, 0, 1]
    losses = nlp.update([annotated(nlp, []), annotated(nlp, [])], sgd=SGD(0.1))
    assert losses["tagger"] == 0
