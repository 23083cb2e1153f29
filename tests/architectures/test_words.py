"""What is computed once for all tokens with the same features is the same as for each of them."""

from __future__ import annotations

import functools
import importlib
from typing import Any, List

import numpy
import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from spacy.attrs import LOWER, NORM, ORTH, SPACY
from spacy.ml import CharacterEmbed, MultiHashEmbed
from spacy.ml.models.tok2vec import build_hash_embed_cnn_tok2vec, tok2vec_listener_v1
from spacy.tokens import Doc
from spacy.util import fix_random_seed, registry, replace_model_node
from spacy.vectors import Vectors
from spacy.vocab import Vocab
from spacy_frameworks.architectures import (
    UniqueTokens,
    build_feed_forward,
    build_tagger,
    build_textcat,
    build_window_encoder,
    swap_framework,
)
from spacy_frameworks.architectures.words import _FACTORS, _ROW_WISE, MIN_TOKENS, Grouping, group
from spacy_frameworks.training.corpus import sample
from spacy_frameworks.wrappers import use_framework_ops
from thinc.api import (
    Dropout,
    Linear,
    Model,
    NumpyOps,
    chain,
    concatenate,
    expand_window,
    list2ragged,
    ragged2list,
    set_dropout_rate,
    with_array,
)
from thinc.layers.chain import forward as forward_chain

from ..frameworks import ALL, PAIRS
from ..pipelines import PREDICT, assert_same_predictions, predictions
from .test_architectures import SMALL, examples, pipeline

WIDTH = 16


def make_docs(count: int = 40, vocab: Any = None) -> List[Doc]:
    """Sentences of the sample, most of whose words repeat, and docs of no token and of one."""
    vocab = Vocab() if vocab is None else vocab
    texts = [doc.words for doc in sample("dev")[:count]]
    docs = [Doc(vocab, words) for words in ([], texts[0], [], ["one"], *texts[1:], [])]
    assert sum(map(len, docs)) >= MIN_TOKENS
    return docs


def vectors_for(vocab: Vocab, words: List[str]) -> None:
    rng = numpy.random.default_rng(0)
    vocab.reset_vectors(width=6)
    for word in words:
        vocab.set_vector(word, rng.normal(size=6).astype("f"))


def characters(vectors: bool = False) -> Model:
    return CharacterEmbed(WIDTH, 200, 8, 4, include_static_vectors=vectors)


def hashes(attrs: Any = ("NORM", "PREFIX", "SUFFIX", "SHAPE"), vectors: bool = False) -> Model:
    rows = [200] * len(attrs)
    return MultiHashEmbed(WIDTH, list(attrs), rows, include_static_vectors=vectors)


EMBEDDINGS = {
    "characters": characters,
    "hashes": hashes,
    "one column": lambda: hashes(["LOWER"]),
    "numbers": lambda: hashes([ORTH, SPACY, LOWER]),
    "characters and vectors": lambda: characters(True),
    "hashes and vectors": lambda: hashes(vectors=True),
    "with a network": lambda: chain(hashes(), build_feed_forward("Thinc", WIDTH)),
}
for_each_embedding = pytest.mark.parametrize(
    "build", [pytest.param(build, id=name) for name, build in EMBEDDINGS.items()]
)


def drawn(embed: Model, docs: List[Doc]) -> Model:
    """Initialized, with parameters that are not zero."""
    fix_random_seed(0)
    embed.initialize(X=docs)
    rng = numpy.random.default_rng(0)
    for node in embed.walk():
        for name in node.param_names:
            node.set_param(name, rng.normal(size=node.get_param(name).shape).astype("f"))
    return embed


def assert_same(expected: Any, came: Any) -> None:
    assert [Y.shape for Y in came] == [Y.shape for Y in expected]
    # OpenBLAS sums up in another order for another number of rows. Sums of a hundred products in
    # float32 came out apart by up to 5e-7 of the largest one.
    largest = max((abs(Y).max() for Y in expected if Y.size), default=0.0)
    for one, other in zip(expected, came):
        assert_allclose(other, one, rtol=0, atol=2e-6 * largest)


class CountingOps(NumpyOps):
    """Notes of how many rows each product is."""

    name = "counting"

    def __init__(self) -> None:
        super().__init__()
        self.rows: List[int] = []

    def gemm(self, x: Any, y: Any, **kwargs: Any) -> Any:
        self.rows.append(x.shape[0])
        return super().gemm(x, y, **kwargs)


def count_rows(model: Model, docs: Any) -> int:
    """The most rows that a product of a prediction has."""
    ops = CountingOps()
    for node in model.walk():
        node.ops = ops
    model.predict(docs)
    return max(ops.rows)


# Which tokens are the same

ROWS = st.integers(1, 4).flatmap(
    lambda columns: st.lists(
        st.lists(st.sampled_from([0, 1, 2, 2**64 - 1]), min_size=columns, max_size=columns),
        min_size=1,
        max_size=20,
    )
)


@pytest.mark.parametrize("name", sorted(_ROW_WISE))
def test_the_layers_that_are_known_exist(name):
    module, _, function = name.rpartition(".")
    assert callable(getattr(importlib.import_module(module), function))


def assert_grouped(rows: numpy.ndarray) -> None:
    places, indices = group(rows)
    assert indices.shape == (len(rows),)
    assert_array_equal(rows[places][indices], rows)
    assert len(places) == len({tuple(row) for row in rows.tolist()})


@given(ROWS)
def test_equal_rows_are_found(rows):
    assert_grouped(numpy.asarray(rows, dtype="uint64"))


def test_different_rows_with_the_same_hash_stay_apart():
    f, g = (int(factor) for factor in _FACTORS[:2])
    rows = numpy.asarray([[5, 7], [5 + g, 7 - f], [5, 7]], dtype=object) % 2**64
    rows = rows.astype("uint64")
    first, second, _ = rows @ _FACTORS[:2]
    assert first == second
    assert_grouped(rows)


WORDS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), max_size=6)


@given(st.lists(WORDS, min_size=1, max_size=4).filter(any), st.sampled_from([1, 2, 5, 8, -1]))
def test_bytes_of_words_are_spacys(words, nr_char):
    # A vocab of its own for each doc.
    docs = [Doc(Vocab(), its) for its in words]
    (types,) = (grouping := Grouping(docs, [ORTH])).types()
    distinct = [token.text for token in types]
    assert len(distinct) == len(types) == len(set(distinct))
    assert_array_equal(
        types.to_utf8_array(nr_char=nr_char), Doc(Vocab(), distinct).to_utf8_array(nr_char)
    )
    spread = grouping.spread(NumpyOps(), numpy.asarray(distinct, dtype=object))
    assert list(spread) == [word for its in words for word in its]


def test_features_are_those_of_the_tokens():
    docs = make_docs()
    (types,) = Grouping(docs, [LOWER, ORTH]).types()
    tokens = list(types)
    assert [token.orth for token in tokens] == types.to_array("ORTH").tolist()
    # One that is no part of the key, too.
    expected = [[token.shape, token.lower] for token in tokens]
    assert types.to_array(["SHAPE", "lower"]).tolist() == expected
    assert types.to_array([LOWER]).shape == (len(types),)


# UniqueTokens in prediction


@for_each_embedding
@pytest.mark.parametrize("framework", ALL)
def test_predictions_are_those_of_the_embedding_alone(build, framework):
    with use_framework_ops(framework):
        docs = make_docs()
        vectors_for(docs[0].vocab, ["one", *{token.text for token in docs[1]}])
        embed = drawn(build(), docs)
        model = UniqueTokens(embed)
        assert_same(embed.predict(docs), model.predict(docs))
        types = len({token.text for doc in docs for token in doc})
        assert count_rows(model, docs) <= types < count_rows(embed, docs)


def test_a_batch_may_be_small_or_empty():
    docs = make_docs()
    model = UniqueTokens(characters()).initialize(X=docs)
    assert model.predict([]) == []
    for batch in (docs[:1], [docs[0], docs[2]], docs[:2], docs[3:4]):
        Ys, backprop = model(batch, is_train=True)
        assert [Y.shape for Y in Ys] == [(len(doc), WIDTH) for doc in batch]
        assert backprop(Ys) == []


@pytest.mark.parametrize("attrs", [[NORM, SPACY], [LOWER]])
def test_spans_are_taken_as_feature_extractor_takes_them(attrs):
    docs = make_docs()
    embed = drawn(hashes(attrs), docs)
    whole = Doc.from_docs([doc for doc in docs if len(doc)])
    spans = [whole[3:200], whole[0:0], whole[10:11], whole[150:190]]
    assert_same(embed.predict(spans), UniqueTokens(embed).predict(spans))


def test_a_norm_or_space_of_ones_own_is_a_feature_like_any():
    vocab = Vocab()
    docs = [Doc(vocab, ["a", "b"] * 100, spaces=[True, False] * 100) for _ in range(2)]
    docs[1][0].norm_ = "other"
    spaced = Doc(vocab, ["a", "b"], spaces=[False, False])
    embed = drawn(hashes(["NORM", "SPACY"]), docs)
    Ys = UniqueTokens(embed).predict([*docs, spaced])
    assert_same(embed.predict([*docs, spaced]), Ys)
    assert abs(Ys[1][0] - Ys[1][2]).max() > 0.1
    assert abs(Ys[2][0] - Ys[1][2]).max() > 0.1


@pytest.mark.parametrize("build", [hashes, characters])
def test_docs_may_have_vocabs_of_their_own(build):
    rng = numpy.random.default_rng(0)
    english, other = spacy.blank("en").vocab, Vocab(lex_attr_getters={NORM: lambda s: s[:1]})
    docs = [doc for vocab in (english, other) for doc in make_docs(20, vocab)]
    # spaCy takes the vectors of the first doc's vocab, by the attribute that these have.
    english.vectors = Vectors(shape=(200, 6), attr="LOWER")
    for word in {token.lower_ for token in docs[1]}:
        english.set_vector(word, rng.normal(size=6).astype("f"))
    vectors_for(other, [token.text for token in docs[1]])
    embed = drawn(build(vectors=True), docs)
    assert_same(embed.predict(docs), UniqueTokens(embed).predict(docs))
    assert_same(embed.predict(docs[::-1]), UniqueTokens(embed).predict(docs[::-1]))


# Embeddings of others


def lengths_of_words() -> Model:
    """An embedding of its own kind: it reads the text of each token."""

    def forward(model: Model, docs: Any, is_train: bool):
        model.attrs["seen"] = sum(len(doc) for doc in docs)
        Ys = [
            model.ops.asarray2f(
                [[len(t.text), len(t.shape_)] for t in doc] or model.ops.alloc2f(0, 2)
            )
            for doc in docs
        ]
        return Ys, lambda dY: []

    return Model("lengths_of_words", forward, dims={"nO": 2}, attrs={"seen": 0})


def test_an_embedding_that_is_unknown_says_what_it_reads():
    docs = make_docs()
    with pytest.raises(ValueError, match=r"'lengths_of_words'.*features = \[\"ORTH\"\]"):
        UniqueTokens(lengths_of_words())
    embed = lengths_of_words()
    model = UniqueTokens(embed, features=["ORTH", "shape"])
    assert model.get_dim("nO") == 2
    Ys = model.predict(docs)
    assert embed.attrs["seen"] == len({token.text for doc in docs for token in doc})
    assert_same(embed.predict(docs), Ys)
    # Inside of another one, what it says is enough.
    assert_same(Ys, UniqueTokens(with_array_of(model)).predict(docs))


def test_what_known_layers_read_counts_beside_the_features_that_are_named():
    docs = make_docs()
    known = drawn(hashes(["SHAPE"]), docs)
    embed = concatenate(known, lengths_of_words())
    model = UniqueTokens(embed, features=["LENGTH"])
    assert_same(embed.predict(docs), model.predict(docs))
    assert embed.layers[1].attrs["seen"] == len(
        {(len(token), token.shape) for doc in docs for token in doc}
    )


def test_layers_that_are_wrapped_later_run_for_each_token():
    docs = make_docs()
    model = UniqueTokens(drawn(hashes(), docs))
    expected = model.predict(docs)
    for node in list(model.walk())[1:]:
        # As spaCy's models_with_nvtx_range does.
        node.replace_callbacks(functools.partial(node._func), init=node.init)
    assert_same(expected, model.predict(docs))
    assert count_rows(model, docs) == sum(map(len, docs))


def with_array_of(model: Model) -> Model:
    linear: Model = Linear(2, 2, init_W=lambda ops, shape: ops.xp.eye(2, dtype="f"))
    return chain(model, with_array(linear.initialize()))


def windowed() -> Model:
    return chain(
        hashes(), list2ragged(), expand_window(1), with_array(Linear(4, 48)), ragged2list()
    )


@pytest.mark.parametrize(
    ("build", "found"),
    [
        (windowed, "'expand_window'"),
        (lambda: chain(hashes(), build_window_encoder("Thinc", WIDTH)), "in_groups"),
        (
            lambda: build_hash_embed_cnn_tok2vec(
                width=WIDTH,
                depth=1,
                embed_size=100,
                window_size=1,
                maxout_pieces=2,
                subword_features=True,
                pretrained_vectors=False,
            ),
            "'expand_window'",
        ),
        (lambda: tok2vec_listener_v1(WIDTH), "'tok2vec-listener' listens"),
        (lambda: with_array(Linear(4, 4)), "features that it can tell"),
    ],
)
def test_what_sees_context_is_refused(build, found):
    with pytest.raises(ValueError, match=found):
        UniqueTokens(build())


@pytest.mark.parametrize(
    ("build", "found"),
    [
        (windowed, "neighbours: 'expand_window'"),
        (lambda: chain(hashes(), build_window_encoder("Thinc", WIDTH)), "neighbours: 'in_groups"),
        (lambda: tok2vec_listener_v1(WIDTH), "listens"),
    ],
)
def test_and_whatever_the_features_are_said_to_be(build, found):
    with pytest.raises(ValueError, match=found):
        UniqueTokens(build(), features=["ORTH"])


def test_an_unknown_attribute_is_refused():
    with pytest.raises(ValueError, match="'ORTHO'"):
        UniqueTokens(lengths_of_words(), features=["ORTHO"])


# UniqueTokens in training


def gradients(model: Model, docs: List[Doc], dYs: List[Any]) -> dict:
    Ys, backprop = model(docs, is_train=True)
    assert [Y.shape for Y in Ys] == [dY.shape for dY in dYs]
    backprop(dYs)
    found = {}
    for i, node in enumerate(model.walk()):
        for name in node.param_names:
            if node.has_grad(name):
                found[f"{node.name}.{i}.{name}"] = node.get_grad(name).copy()
                node.set_grad(name, numpy.zeros_like(node.get_grad(name)))
    return found


@for_each_embedding
def test_gradients_are_sums_over_the_tokens_of_a_type(build):
    docs = make_docs()
    vectors_for(docs[0].vocab, [token.text for token in docs[1]])
    embed = drawn(build(), docs)
    set_dropout_rate(embed, 0.0)
    rng = numpy.random.default_rng(1)
    dYs = [rng.normal(size=(len(doc), WIDTH)).astype("f") for doc in docs]
    expected = gradients(embed, docs, dYs)
    model = UniqueTokens(embed, training=True)
    came = gradients(model, docs, dYs)
    assert len(came) == len(expected) > 2
    for (name, one), other in zip(expected.items(), came.values()):
        if not name.startswith("charembed"):
            # spaCy's gradient of characters forgets all but one of equal ones of a doc.
            assert_allclose(other, one, rtol=1e-3, atol=1e-4, err_msg=name)


def test_without_training_it_trains_as_the_embedding_alone():
    docs = make_docs()
    embed = drawn(characters(), docs)
    dYs = [numpy.ones((len(doc), WIDTH), dtype="f") for doc in docs]
    expected, came = gradients(embed, docs, dYs), gradients(UniqueTokens(embed), docs, dYs)
    for one, other in zip(expected.values(), came.values(), strict=True):
        assert_array_equal(one, other)


@pytest.mark.parametrize("training", [False, True])
def test_all_tokens_of_a_type_share_a_dropout_mask_if_it_trains_so(training):
    docs = make_docs()
    embed = drawn(chain(hashes(["ORTH"]), with_array(Dropout(0.5))), docs)
    Ys, _ = UniqueTokens(embed, training=training)(docs, is_train=True)
    by_type: dict = {}
    for doc, Y in zip(docs, Ys):
        for token, row in zip(doc, Y):
            by_type.setdefault(token.orth, []).append(row)
    repeated = [rows for rows in by_type.values() if len(rows) > 1]
    assert repeated
    same = [all((row == rows[0]).all() for row in rows) for rows in repeated]
    assert all(same) if training else not any(same)


def config(training: bool = False, framework: str = "Thinc") -> dict:
    """The model of a stock tagger with UniqueTokens around one of our networks, and a window
    after it."""
    characters = {
        **{"@architectures": "spacy.CharacterEmbed.v2", "width": WIDTH, "rows": 200, "nM": 8},
        **{"nC": 4, "include_static_vectors": False},
    }
    feed_forward = {"@architectures": "spacy-frameworks.FeedForward.v1", "framework": framework}
    embed = {
        "@architectures": "spacy.Tok2Vec.v2",
        "embed": characters,
        "encode": {**feed_forward, "width": WIDTH},
    }
    unique = {
        "@architectures": "spacy-frameworks.UniqueTokens.v1",
        "embed": embed,
        "training": training,
    }
    window = {"@architectures": "spacy.MaxoutWindowEncoder.v2", "width": WIDTH, "window_size": 1}
    tok2vec = {
        "@architectures": "spacy.Tok2Vec.v2",
        "embed": unique,
        "encode": {**window, "maxout_pieces": 2, "depth": 1},
    }
    return {"@architectures": "spacy.Tagger.v2", "tok2vec": tok2vec}


def trained(
    training: bool = False, framework: str = "Thinc", limit: int = 30, epochs: int = 1
) -> spacy.Language:
    fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("tagger", config={"model": config(training, framework)})
    data = examples(nlp, limit=limit)
    optimizer = nlp.initialize(lambda: data)
    for _ in range(epochs):
        for i in range(0, len(data), 8):
            nlp.update(data[i : i + 8], sgd=optimizer, drop=0.1)
    return nlp


@pytest.mark.thinc
@pytest.mark.parametrize("training", [False, True])
def test_a_tagger_learns(training):
    # 0.83 if all types of a batch were one doc to CharacterEmbed.
    nlp = trained(training, limit=0, epochs=4)
    assert nlp.evaluate(examples(nlp, "dev"))["tag_acc"] >= 0.87


# In pipelines


def tagged(nlp: spacy.Language, **settings: Any) -> List[List[str]]:
    docs = (eg.predicted for eg in examples(nlp, "dev", limit=100))
    return [[token.tag_ for token in doc] for doc in nlp.pipe(docs, **settings)]


@pytest.mark.thinc
def test_a_pipeline_is_saved_loaded_and_copied(tmp_path, run_python):
    nlp = trained()
    expected = predictions(nlp)
    nlp.to_disk(tmp_path / "saved")
    again = spacy.load(tmp_path / "saved")
    assert_same_predictions(predictions(again), expected)
    assert again.get_pipe("tagger").model.walk() is not None
    run_python(PREDICT, tmp_path / "saved", tmp_path / "came.npz")
    assert_same_predictions(dict(numpy.load(tmp_path / "came.npz")), expected)
    docs = [eg.predicted for eg in examples(nlp, limit=60)]
    model = nlp.get_pipe("tagger").model
    assert_same(model.predict(docs), model.copy().predict(docs))


@pytest.mark.parametrize("n_process", [1, 2])
def test_tags_are_those_of_docs_one_by_one(n_process):
    nlp = trained()
    assert tagged(nlp, batch_size=100, n_process=n_process) == tagged(nlp, batch_size=1)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_a_network_inside_is_swapped(source, target):
    nlp = trained(framework=source)
    swapped = swap_framework(nlp, target)
    section = swapped.config["components"]["tagger"]["model"]["tok2vec"]["embed"]
    assert section["embed"]["encode"]["framework"] == target
    docs = [eg.predicted for eg in examples(nlp, limit=60)]
    came = [pipe.get_pipe("tagger").model.predict(docs) for pipe in (nlp, swapped)]
    for one, other in zip(*came):
        assert_allclose(one, other, atol=1e-5)


def test_dims_and_refs_are_the_embeddings():
    embed = registry.architectures.get("spacy.Tok2Vec.v2")(
        hashes(), build_feed_forward("Thinc", WIDTH)
    )
    model = UniqueTokens(embed)
    assert model.get_dim("nO") == WIDTH
    assert set(model.ref_names) == {"embed", "encode"}
    for name in model.ref_names:
        assert model.get_ref(name) is embed.get_ref(name)
    late = UniqueTokens(hashes())
    assert late.has_dim("nO") is None
    assert late.initialize(X=make_docs()).get_dim("nO") == WIDTH


# Flat taggers and textcats


def flat(component: str, framework: str, **settings: Any) -> Model:
    nlp = pipeline(framework, component, **{**SMALL, **settings})
    data = examples(nlp, limit=40)
    nlp.initialize(lambda: data)
    model = nlp.get_pipe(component).model
    rng = numpy.random.default_rng(0)
    for node in model.walk():
        if node.name == "charembed":
            # spaCy's start at zero.
            node.set_param("E", rng.normal(size=node.get_param("E").shape).astype("f"))
    return model


@pytest.mark.parametrize("framework", ALL)
def test_a_flat_tagger_is_computed_once_per_type(framework):
    model, docs = flat("tagger", framework, depth=2, normalize=True), make_docs()
    expected, _ = forward_chain(model, docs, False)
    assert_same(expected, model.predict(docs))
    types = {token.text for doc in docs for token in doc}
    assert count_rows(model, docs) == len(types)
    # In training, each token has a dropout mask of its own, and so is computed by itself.
    Ys, backprop = model(docs, is_train=True)
    assert len(backprop(Ys)) == 0
    assert [Y.shape for Y in Ys] == [Y.shape for Y in expected]


@pytest.mark.parametrize("framework", ALL)
@pytest.mark.parametrize("component", ["textcat", "textcat_multilabel"])
def test_the_embedding_of_a_textcat_is_computed_once_per_type(framework, component):
    model, docs = flat(component, framework), make_docs()
    (pooled,) = model.layers[0].layers
    expected = model.layers[2].predict(model.layers[1].predict(pooled.predict(docs)))
    assert_allclose(model.predict(docs), expected, rtol=1e-5, atol=1e-5)
    types = {token.text for doc in docs for token in doc}
    assert count_rows(model, docs) == len(types)


def test_few_tokens_are_computed_as_they_are():
    model = flat("tagger", "Thinc")
    doc = Doc(Vocab(), ["same"] * (MIN_TOKENS - 1))
    assert count_rows(model, [doc]) == len(doc)
    longer = Doc(Vocab(), ["same"] * MIN_TOKENS)
    assert count_rows(model, [longer]) == 1


@pytest.mark.parametrize("build", [build_tagger, lambda *args: build_textcat(args[0], True)])
def test_the_tree_is_a_chains(build):
    model = build("Thinc")
    assert model.name == ">>".join(layer.name for layer in model.layers)
    assert model.dim_names == chain(*build("Thinc").layers).dim_names
    assert model.get_ref("tok2vec") in model.walk()


@pytest.mark.parametrize("component", ["tagger", "textcat"])
def test_an_embedding_that_sees_context_is_left_alone(component):
    window = {"@architectures": "spacy-frameworks.WindowEncoder.v1", "framework": "Thinc"}
    characters = config()["tok2vec"]["embed"]["embed"]["embed"]
    tok2vec = {"@architectures": "spacy.Tok2Vec.v2", "embed": characters}
    encode = {**window, "width": WIDTH, "depth": 1}
    model = flat(component, "Thinc", tok2vec={**tok2vec, "encode": encode})
    docs = make_docs()
    # The same word in another place has another vector.
    assert count_rows(model, docs) == sum(map(len, docs))


def test_it_is_noticed_when_a_part_of_the_model_is_replaced():
    docs = make_docs()
    model = build_tagger("Thinc", nO=3, tok2vec=drawn(hashes(), docs)).initialize(X=docs)
    before = count_rows(model, docs)
    tagged_once = model.predict(docs)
    window = drawn(chain(hashes(), build_window_encoder("Thinc", WIDTH, depth=1)), docs)
    replace_model_node(model, model.get_ref("tok2vec"), window)
    assert count_rows(model, docs) > before
    expected, _ = forward_chain(model, docs, False)
    assert_same(expected, model.predict(docs))
    assert abs(numpy.vstack(expected) - numpy.vstack(tagged_once)).max() > 1e-3


def test_ops_that_came_later_are_recognized():
    # Our ops put a layer normalization of their own in place of Thinc's.
    docs = make_docs()
    embed = hashes()
    with use_framework_ops("Thinc"):
        model = UniqueTokens(chain(embed, with_array(Linear(WIDTH, WIDTH)))).initialize(X=docs)
    assert count_rows(model, docs) < sum(map(len, docs))
