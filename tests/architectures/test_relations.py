"""The model of relations: what a row of a pair holds, and its gradients."""

from __future__ import annotations

from itertools import permutations

import numpy
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from spacy.ml import CharacterEmbed
from spacy.tokens import Doc, Span
from spacy.vocab import Vocab
from spacy_frameworks.architectures import EntityPairs, build_relation_model, get_parameters
from thinc.api import Adam, Linear, Model

from ..frameworks import ALL

VOCAB = Vocab()
WIDTH = 3
# The number of tokens of each doc, and its entities: two and three, side by side and apart; one;
# none; and no tokens.
DOCS = [(7, [(0, 2), (4, 5)]), (9, [(1, 2), (2, 4), (8, 9)]), (3, [(1, 2)]), (2, []), (0, [])]
MAX_DISTANCE = 4


def make_docs(described=DOCS) -> list[Doc]:
    docs = [Doc(VOCAB, words=["word"] * length) for length, _ in described]
    for doc, (_, ents) in zip(docs, described):
        doc.ents = [Span(doc, start, end, label="NAME") for start, end in ents]
    return docs


def draw(*shape: int, seed: int = 0) -> numpy.ndarray:
    return numpy.random.RandomState(seed).normal(size=shape)


def token_vectors(docs: list[Doc]) -> list[numpy.ndarray]:
    return [draw(len(doc), WIDTH, seed=i) for i, doc in enumerate(docs)]


def rows(vectors: list[numpy.ndarray]) -> numpy.ndarray:
    """What the layer's docstring says, in float64, entity by entity."""
    found = []
    for X, (_, ents) in zip(vectors, DOCS):
        pairs = permutations(ents, 2)
        # As they come in the text: by the first entity, the second, and from either side.
        for head, child in sorted(pairs, key=lambda pair: sorted(pair)):
            (_, left), (right, _) = sorted([head, child])
            if right - left > MAX_DISTANCE:
                continue
            between = X[left:right].mean(axis=0) if right > left else numpy.zeros(WIDTH)
            sides = [between, between * 0] if head < child else [between * 0, between]
            means = [X[slice(*head)].mean(axis=0), X[slice(*child)].mean(axis=0), *sides]
            found.append(numpy.concatenate([*means, [1 if head < child else -1]]))
    return numpy.array(found)


def gradient(function, vectors: list[numpy.ndarray]) -> list[numpy.ndarray]:
    """By finite differences."""
    found, step = [X * 0 for X in vectors], 1e-5
    for X, dX in zip(vectors, found):
        for place in numpy.ndindex(*X.shape):
            before = X[place]
            values = []
            for X[place] in (before + step, before - step):
                values.append(function(vectors))
            X[place] = before
            dX[place] = (values[0] - values[1]) / (2 * step)
    return found


def initialized_pairs() -> Model:
    docs = make_docs()
    return EntityPairs(MAX_DISTANCE).initialize(X=(docs, as_floats(token_vectors(docs))))


def as_floats(arrays: list[numpy.ndarray]) -> list[numpy.ndarray]:
    return [array.astype("float32") for array in arrays]


@pytest.mark.thinc
def test_a_row_holds_both_entities_what_is_between_and_the_direction():
    docs, model = make_docs(), initialized_pairs()
    vectors = token_vectors(docs)
    Y, backprop = model((docs, as_floats(vectors)), is_train=True)
    expected = rows(vectors)
    # All but the two whose entities are 6 tokens apart, out of 2 + 6.
    assert expected.shape == (6, 4 * WIDTH + 1)
    assert_allclose(Y, expected, atol=1e-6)
    dY = draw(*Y.shape, seed=9)
    came = backprop(dY.astype("float32"))
    differences = gradient(lambda changed: (rows(changed) * dY).sum(), vectors)
    assert [dX.shape for dX in came] == [X.shape for X in vectors]
    for dX, expected in zip(came, differences):
        assert_allclose(dX, expected, atol=1e-5)


@pytest.mark.thinc
def test_pairs_are_in_the_order_of_the_rows():
    docs = make_docs()
    pairs = initialized_pairs().attrs["find_pairs"](docs)
    came = [(i, (head.start, head.end), (child.start, child.end)) for i, head, child in pairs]
    assert came == [
        (0, (0, 2), (4, 5)),
        (0, (4, 5), (0, 2)),
        (1, (1, 2), (2, 4)),
        (1, (2, 4), (1, 2)),
        (1, (2, 4), (8, 9)),
        (1, (8, 9), (2, 4)),
    ]


@pytest.mark.thinc
def test_a_distance_below_zero_is_an_error():
    with pytest.raises(ValueError, match="max_distance of at least 0 tokens, got -1"):
        EntityPairs(-1)


# The whole model


@pytest.mark.thinc
def test_a_sublayer_that_does_not_say_what_its_pairs_are_is_an_error():
    docs = make_docs()
    with pytest.raises(ValueError, match=r"'linear' has no attrs\['find_pairs'\]"):
        build_relation_model("Thinc", lookup(docs, token_vectors(docs)), Linear())


def lookup(docs: list[Doc], vectors: list[numpy.ndarray]) -> Model:
    """A tok2vec whose parameter is the vectors of all tokens of these docs."""
    lengths = [len(doc) for doc in docs]

    def forward(model: Model, X: list[Doc], is_train: bool):
        assert list(map(len, X)) == lengths

        def backprop(dY: list[numpy.ndarray]) -> list[Doc]:
            model.inc_grad("E", numpy.vstack(dY))
            return []

        return numpy.split(model.get_param("E"), numpy.cumsum(lengths)[:-1]), backprop

    E = numpy.vstack(as_floats(vectors))
    return Model("lookup", forward, params={"E": E}, dims={"nO": WIDTH})


@pytest.mark.parametrize("framework", ALL)
def test_the_gradient_of_the_whole_model_is_that_of_its_formula(framework):
    docs = make_docs()
    vectors = token_vectors(docs)
    tok2vec = lookup(docs, vectors)
    model = build_relation_model(framework, tok2vec, EntityPairs(MAX_DISTANCE), hidden_width=5)
    model.initialize(X=docs, Y=numpy.zeros((6, 2), dtype="float32"))
    names = {name: array.astype("float64") for name, array in get_parameters(model).items()}

    def formula(changed: list[numpy.ndarray]) -> numpy.ndarray:
        hidden = (rows(changed) @ names["hidden.0.W"].T + names["hidden.0.b"]).clip(0)
        return 1 / (1 + numpy.exp(-(hidden @ names["out.W"].T + names["out.b"])))

    # Where dropout is on, the masks would be in the formula too.
    for node in model.walk():
        if "dropout_rate" in node.attrs:
            node.attrs["dropout_rate"] = 0.0
    Y, backprop = model.begin_update(docs)
    assert_allclose(Y, formula(vectors), atol=1e-5)
    dY = draw(*Y.shape, seed=9)
    backprop(dY.astype("float32"))
    expected = gradient(lambda changed: (formula(changed) * dY).sum(), vectors)
    assert_allclose(tok2vec.get_grad("E"), numpy.vstack(expected), atol=1e-5)


@pytest.mark.parametrize("framework", ALL)
@pytest.mark.parametrize("described", [[], [(0, [])], [(2, []), (3, [(1, 2)])]])
def test_a_batch_without_pairs_has_no_rows_and_trains_nothing(framework, described):
    tok2vec = CharacterEmbed(WIDTH, 20, 4, 2, include_static_vectors=False)
    model = build_relation_model(framework, tok2vec, EntityPairs(MAX_DISTANCE), hidden_width=5)
    model.initialize(X=make_docs(), Y=numpy.zeros((6, 2), dtype="float32"))
    batch = make_docs(described)
    before = get_parameters(model)
    Y, backprop = model.begin_update(batch)
    assert Y.shape == model.predict(batch).shape == (0, 2)
    backprop(Y)
    model.finish_update(Adam(0.1))
    for name, after in get_parameters(model).items():
        assert_array_equal(after, before[name])
