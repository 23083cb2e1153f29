"""Encoders on batches of docs of any lengths."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Tuple

import numpy
import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from spacy.training import Example
from spacy_frameworks.architectures import (
    build_bilstm_encoder,
    build_feed_forward,
    build_transformer_encoder,
    build_window_encoder,
    sequences,
)
from spacy_frameworks.architectures.sequences import GROUP_ROWS, add_positions, in_groups
from thinc.api import Model, Ragged, fix_random_seed, set_dropout_rate

from ..frameworks import ALL
from .test_networks import parameter_gradients, relative_error

WIDTH = 8
OF_SEQUENCES = [build_window_encoder, build_bilstm_encoder, build_transformer_encoder]
ENCODERS = [build_feed_forward, *OF_SEQUENCES]


def for_each(builders: List[Callable]) -> Any:
    return pytest.mark.parametrize("build", builders, ids=lambda build: build.__name__)


def initialized(build: Callable, framework: str, **sizes: Any) -> Model:
    fix_random_seed(0)
    return build(framework, WIDTH, **sizes).initialize()


def docs(*lengths: int, width: int = WIDTH) -> List[numpy.ndarray]:
    rng = numpy.random.default_rng(0)
    return [rng.normal(size=(length, width)).astype("f") for length in lengths]


def assert_same(expected: List[numpy.ndarray], came: List[numpy.ndarray]) -> None:
    assert [len(Y) for Y in came] == [len(Y) for Y in expected]
    assert relative_error(numpy.concatenate(expected), numpy.concatenate(came)) <= 1e-5


def record_lengths(network: Model) -> List[List[int]]:
    """The lengths of the sequences of each batch that a network is given from now on."""
    forward, recorded = network._func, []

    def record(model: Model, X: Ragged, is_train: bool):
        recorded.append(list(X.lengths))
        return forward(model, X, is_train)

    network._func = record
    return recorded


# Widths and sizes


@for_each(ENCODERS)
@pytest.mark.parametrize("framework", ALL)
def test_widths_are_known_from_construction(framework, build):
    model = build(framework, width=12)
    assert (model.get_dim("nO"), model.get_dim("nI")) == (12, 12)


@for_each(ENCODERS)
@pytest.mark.parametrize("framework", ALL)
def test_a_sublayer_of_another_width_is_refused_with_both_widths(framework, build):
    model = initialized(build, framework)
    for run in (model.predict, model.begin_update):
        with pytest.raises(ValueError, match="of width 8, but got one of width 12"):
            run(docs(5, 3, width=12))


@pytest.mark.parametrize(
    ("build", "sizes", "message"),
    [
        (build_transformer_encoder, {"width": 10, "heads": 4}, "4 heads do not divide 10"),
        (build_transformer_encoder, {"heads": 0}, "heads=0"),
        (build_transformer_encoder, {"depth": 0}, "depth=0"),
        (build_transformer_encoder, {"hidden_width": 0}, "hidden_width=0"),
        (build_transformer_encoder, {"max_length": 0}, "got 0"),
        (build_bilstm_encoder, {"width": 7}, "even: got 7"),
        (build_bilstm_encoder, {"depth": 0}, "depth=0"),
        (build_window_encoder, {"depth": 0}, "depth=0"),
        (build_window_encoder, {"window_size": 0}, "window_size=0"),
        (build_window_encoder, {"maxout_pieces": 0}, "maxout_pieces=0"),
        (build_feed_forward, {"depth": -1}, "depth=-1"),
        (build_feed_forward, {"hidden_width": 0}, "hidden_width=0"),
    ],
)
@pytest.mark.parametrize("framework", ALL)
def test_sizes_that_make_no_encoder_are_refused(framework, build, sizes, message):
    with pytest.raises(ValueError, match=message):
        build(framework, **sizes)


# Batches


@pytest.mark.parametrize("encoder", ["WindowEncoder", "BiLSTMEncoder", "TransformerEncoder"])
@pytest.mark.parametrize("framework", ALL)
def test_an_encoder_in_tok2vec_v1_names_the_version_to_use(framework, encoder):
    """It joins the docs, between which an encoder could not tell then."""
    nlp, encoder = spacy.blank("en"), f"spacy-frameworks.{encoder}.v1"
    tok2vec = {
        "@architectures": "spacy.Tok2Vec.v1",
        "embed": {
            "@architectures": "spacy.CharacterEmbed.v2",
            "width": WIDTH,
            "rows": 100,
            "nM": 8,
            "nC": 4,
            "include_static_vectors": False,
        },
        "encode": {"@architectures": encoder, "framework": framework, "width": WIDTH},
    }
    model = {"@architectures": "spacy.Tagger.v2", "tok2vec": tok2vec}
    nlp.add_pipe("tagger", config={"model": model})
    example = Example.from_dict(nlp.make_doc("Anna kept it"), {"tags": ["N", "V", "P"]})
    with pytest.raises(ValueError, match=r"a list with one array for each doc.*spacy\.Tok2Vec\.v2"):
        nlp.initialize(lambda: [example])


@for_each(ENCODERS)
@pytest.mark.parametrize("framework", ALL)
def test_a_doc_alone_gives_what_it_gives_in_a_batch(framework, build):
    model = initialized(build, framework)
    batch = docs(0, 1, 60, *numpy.random.default_rng(1).integers(0, 61, 62))
    assert_same([model.predict([doc])[0] for doc in batch], model.predict(batch))


@for_each(ENCODERS)
@pytest.mark.parametrize("framework", ALL)
def test_batches_without_docs_and_docs_without_tokens(framework, build):
    model = initialized(build, framework)
    for lengths in ([], [0], [0, 0, 0], [1], [0, 1, 0]):
        X = docs(*lengths)
        Y, backprop = model.begin_update(X)
        for arrays in (Y, backprop(Y), model.predict(X)):
            assert [array.shape for array in arrays] == [(length, WIDTH) for length in lengths]


@for_each(OF_SEQUENCES)
@pytest.mark.parametrize("framework", ALL)
def test_a_long_doc_neither_changes_nor_pads_the_others(framework, build):
    model = initialized(build, framework, depth=1)
    batch = docs(3, 60, 10_000, 0, 500, *[40] * 300)
    alone = [*model.predict(batch[:2]), *model.predict(batch[2:3]), *model.predict(batch[3:])]
    batches = record_lengths(model.layers[0])
    assert_same(alone, model.predict(batch))
    assert sum(map(sum, batches)) == sum(map(len, batch))
    for lengths in batches:
        assert len(lengths) == 1 or max(lengths) * len(lengths) <= GROUP_ROWS
    assert sum(max(lengths) * len(lengths) for lengths in batches) < 1.5 * sum(map(len, batch))


@pytest.mark.parametrize("framework", ALL)
def test_a_transformer_sees_the_parts_of_a_long_doc_by_themselves(framework):
    model = initialized(build_transformer_encoder, framework, depth=1, max_length=512)
    (doc,) = docs(10_000)
    parts = numpy.split(doc, 20)
    assert_same([numpy.concatenate(model.predict(parts))], model.predict([doc]))


@for_each(OF_SEQUENCES)
@pytest.mark.parametrize("framework", ALL)
def test_gradients_of_several_groups_are_those_of_one(framework, build, monkeypatch):
    sizes = {"max_length": 8} if build is build_transformer_encoder else {}
    X = docs(5, 0, 20, 1, 13, 17, 9)
    dY = [rows[::-1] for rows in X]

    def run(group_rows: int) -> Tuple[int, List, List, Dict[str, numpy.ndarray]]:
        monkeypatch.setattr(sequences, "GROUP_ROWS", group_rows)
        model = initialized(build, framework, depth=1, dropout=0.0, **sizes)
        batches = record_lengths(model.layers[0])
        (network,) = (node for node in model.walk() if "network" in node.attrs)
        Y, backprop = model.begin_update(X)
        return len(batches), Y, backprop(dY), parameter_gradients(network)

    one, Y, dX, gradients = run(1000)
    several, came_Y, came_dX, came_gradients = run(16)
    assert one == 1 and several > 4
    assert_same(Y, came_Y)
    assert_same(dX, came_dX)
    for key, gradient in gradients.items():
        assert relative_error(gradient, came_gradients[key]) <= 1e-5


@for_each(ENCODERS)
@pytest.mark.parametrize("framework", ALL)
def test_dropout_obeys_set_dropout_rate(framework, build):
    model, X = initialized(build, framework, dropout=0.5), docs(30, 20)
    expected = numpy.concatenate(model.predict(X))
    assert abs(numpy.concatenate(model.begin_update(X)[0]) - expected).max() > 0.1
    set_dropout_rate(model, 0.0)
    assert_allclose(numpy.concatenate(model.begin_update(X)[0]), expected, atol=1e-5)


# Groups and segments


@given(
    lengths=st.lists(st.integers(0, 100), max_size=20),
    max_length=st.none() | st.integers(1, 120),
    group_rows=st.integers(1, 200),
)
def test_groups_hold_each_row_once_and_stay_small(lengths, max_length, group_rows):
    def double(model: Model, X: Ragged, is_train: bool):
        return Ragged(2 * X.dataXd, X.lengths), lambda dY: Ragged(3 * dY.dataXd, dY.lengths)

    network = Model("double", double, dims={"nO": 1, "nI": 1})
    model, batches, X = in_groups(network, max_length), record_lengths(network), []
    for length in lengths:
        # Numbers that differ, so that a row in the wrong place shows.
        X.append(numpy.arange(sum(map(len, X)), sum(map(len, X)) + length, dtype="f")[:, None])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequences, "GROUP_ROWS", group_rows)
        Y, backprop = model.begin_update(X)
    for rows, doubled, tripled in zip(X, Y, backprop(X), strict=True):
        assert_array_equal(doubled, 2 * rows)
        assert_array_equal(tripled, 3 * rows)
    for batch in batches:
        assert len(batch) == 1 or max(batch) * len(batch) <= group_rows
        assert min(batch) > 0 and max(batch) <= (max_length or 100)
    parts = [-(-length // max_length) if max_length else bool(length) for length in lengths]
    assert sum(map(len, batches)) == sum(parts)
    assert sum(map(sum, batches)) == sum(lengths)


# Positions


@pytest.mark.parametrize("width", [8, 7, 1])
def test_positions_are_sines_and_cosines_from_the_start_of_each_sequence(width):
    lengths = [60, 0, 1, 17]
    X = numpy.concatenate(docs(*lengths, width=width))
    places = numpy.concatenate([numpy.arange(length) for length in lengths])[:, None]
    column = numpy.arange(width)
    angles = places / 10_000.0 ** (column // 2 * 2 / width)
    expected = X + numpy.where(column % 2, numpy.cos(angles), numpy.sin(angles))
    Y, backprop = add_positions(width).begin_update(Ragged(X, numpy.array(lengths, dtype="i")))
    assert_allclose(Y.dataXd, expected, atol=1e-5)
    assert_array_equal(backprop(Y).dataXd, Y.dataXd)


def test_settings_of_a_loaded_pipeline_are_those_of_its_config(tmp_path):
    embed = {
        "@architectures": "spacy-frameworks.UniqueTokens.v1",
        "embed": {
            "@architectures": "spacy.MultiHashEmbed.v2",
            "width": 16,
            "attrs": ["NORM"],
            "rows": [100],
            "include_static_vectors": False,
        },
        "training": False,
    }
    name = "spacy-frameworks.ThincTransformerEncoder.v1"
    encode = {"@architectures": name, "width": 16, "heads": 2, "depth": 1, "max_length": 512}
    tok2vec = {"@architectures": "spacy.Tok2Vec.v2", "embed": embed, "encode": encode}
    nlp = spacy.blank("en")
    nlp.add_pipe(
        "senter", config={"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": tok2vec}}
    )
    nlp.initialize()
    nlp.to_disk(tmp_path)
    place = "components.senter.model.tok2vec"
    changed = {f"{place}.encode.max_length": 4, f"{place}.embed.training": True}
    for config, expected in (({}, [512, False]), (changed, [4, True])):
        senter = spacy.load(tmp_path, config=config).get_pipe("senter")
        found = [
            node.attrs[name].value
            for name in ("max_length", "training")
            for node in senter.model.walk()
            if name in node.attrs
        ]
        assert found == expected
    # It has an effect: with parts of four tokens, the first does not see the last.
    docs = [nlp.make_doc(text) for text in ("a b c d e f g h", "a b c d e f g i")]
    one, other = senter.model.get_ref("tok2vec").predict(docs)
    assert_allclose(one[:4], other[:4], atol=1e-6)
