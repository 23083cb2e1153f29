"""The relation extractor as its users have it."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy
import pytest
import spacy
from numpy.testing import assert_allclose, assert_array_equal
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example
from spacy.util import fix_random_seed
from spacy_frameworks.architectures import swap_framework
from spacy_frameworks.components import RelationExtractor, make_relation
from spacy_frameworks.components.corpus import create_relation_corpus
from thinc.api import Adam, Linear

from ..frameworks import ALL, THINC_OR_ALL
from ..pipelines import CONFIGS, spacy_command, train_config

WIDTH = 16
EMBED = {
    "@architectures": "spacy.MultiHashEmbed.v2",
    "width": WIDTH,
    "attrs": ["NORM"],
    "rows": [200],
    "include_static_vectors": False,
}
LABELS = ("HIRED", "SUED", "TAUGHT")
# Enough for the score, in a few seconds.
ENOUGH = {
    "corpora.train.limit": 0,
    "corpora.dev.limit": 0,
    "training.max_steps": 90,
    "training.eval_frequency": 90,
}


def pipeline(framework: str = "Thinc", threshold: float = 0.5, **model: Any) -> spacy.Language:
    nlp = spacy.blank("en")
    architecture = {"@architectures": "spacy-frameworks.RelationModel.v1", "framework": framework}
    model = {**architecture, "tok2vec": EMBED, "hidden_width": 8, **model}
    nlp.add_pipe("relation_extractor", config={"model": model, "threshold": threshold})
    return nlp


def examples(nlp: spacy.Language, split: str = "train", limit: int = 12) -> list[Example]:
    return list(create_relation_corpus(None, split, limit=limit, gold_entities=True)(nlp))


def initialized(**settings: Any) -> tuple[spacy.Language, RelationExtractor, list[Example]]:
    nlp = pipeline(**settings)
    fix_random_seed(0)
    sample = examples(nlp)
    nlp.initialize(lambda: sample)
    return nlp, nlp.get_pipe("relation_extractor"), sample


def predicted(sample: list[Example]) -> list[Doc]:
    return [example.predicted for example in sample]


def texts(doc: Doc) -> set[tuple[str, str, str]]:
    """The relations of a doc, by the places that its entries name."""
    return {
        (
            doc.text[entry["head"]["start"] : entry["head"]["end"]],
            doc.text[entry["child"]["start"] : entry["child"]["end"]],
            entry["label"],
        )
        for entry in doc._.relations
    }


# Trained by spaCy's commands


@pytest.mark.parametrize("framework", ALL)
def test_it_learns_what_the_words_between_two_names_say(framework, tmp_path):
    nlp = spacy.load(train_config("relation_extractor", framework, tmp_path, **ENOUGH))
    sample = list(create_relation_corpus(None, "dev")(nlp))
    scores = nlp.evaluate(sample)
    # Who does not read them gets less than 0.5, as test_corpus.py shows, and a model that takes no
    # means of the words between 0.2.
    assert scores["relations_f"] > 0.95
    assert min(score["f"] for score in scores["relations_per_type"].values()) > 0.9
    doc = nlp("Maria hired Oscar. Peter, taught by Rosa, sings.")
    assert texts(doc) == {("Maria", "Oscar", "HIRED"), ("Rosa", "Peter", "TAUGHT")}
    assert [texts(doc) for doc in swap_framework(nlp, "Thinc").pipe([doc.text])] == [texts(doc)]


@pytest.mark.thinc
def test_spacys_commands_train_and_evaluate_it_on_files(tmp_path):
    nlp = spacy.blank("en")
    for split, limit in (("train", 60), ("dev", 20)):
        docs = [eg.reference for eg in create_relation_corpus(None, split, limit=limit)(nlp)]
        DocBin(docs=docs, store_user_data=True).to_disk(tmp_path / f"{split}.spacy")
    files = ("--paths.train", "train.spacy", "--paths.dev", "dev.spacy", "--output", "out")
    steps = ("--training.max_steps", 25, "--vars.framework", "Thinc")
    config = CONFIGS / "relation_extractor.cfg"
    spacy_command("train", config, *files, *steps, cwd=tmp_path)
    model = tmp_path / "out" / "model-last"
    spacy_command("evaluate", model, "dev.spacy", "--output", "scores.json", cwd=tmp_path)
    came = json.loads((tmp_path / "scores.json").read_text())

    trained = spacy.load(model)
    sample = list(create_relation_corpus(None, "dev", limit=20)(trained))
    expected = trained.evaluate(sample)
    assert came["relations_f"] == pytest.approx(expected["relations_f"])
    assert came["relations_f"] > 0.2
    assert set(came["relations_per_type"]) == set(LABELS)
    given = [example.text for example in sample]
    found = [texts(doc) for doc in trained.pipe(given)]
    assert any(found)
    assert [texts(doc) for doc in trained.pipe(given, n_process=2, batch_size=10)] == found
    # What is said when it is loaded holds.
    none = spacy.load(model, config={"components.relation_extractor.threshold": 1.0})
    assert not any(doc._.relations for doc in none.pipe(given))


# Kept


@pytest.mark.parametrize("framework", ALL)
def test_it_is_saved_loaded_copied_and_trained_further(framework, tmp_path):
    nlp, component, sample = initialized(framework=framework)
    nlp.update(sample, sgd=Adam(0.01))
    expected = component.predict(predicted(sample))
    assert len(expected) > 50
    nlp.to_disk(tmp_path)
    from_disk = spacy.load(tmp_path)
    from_bytes = pipeline(framework).from_bytes(nlp.to_bytes())
    alone = pipeline(framework).get_pipe("relation_extractor").from_bytes(component.to_bytes())
    copies = [x.get_pipe("relation_extractor") for x in (from_disk, from_bytes)]
    copied = pickle.loads(pickle.dumps(component.model))
    assert_array_equal(copied.predict(predicted(sample)), expected)
    for copy in (*copies, alone):
        assert copy.labels == LABELS
        assert_array_equal(copy.predict(predicted(sample)), expected)
    loss = nlp.update(sample, sgd=Adam(0.01))["relation_extractor"]
    again = from_disk.update(sample, sgd=from_disk.resume_training())["relation_extractor"]
    # The same weights and examples; dropout draws anew.
    assert again == pytest.approx(loss, rel=0.2)


@pytest.mark.parametrize("framework", THINC_OR_ALL)
def test_it_trains_a_shared_encoder_that_it_listens_to(framework, tmp_path):
    nlp = spacy.blank("en")
    shared = {
        "@architectures": "spacy.Tok2Vec.v2",
        "embed": EMBED,
        "encode": {
            "@architectures": "spacy-frameworks.FeedForward.v1",
            "framework": framework,
            "width": WIDTH,
        },
    }
    nlp.add_pipe("tok2vec", config={"model": shared})
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": WIDTH}
    model = {"@architectures": "spacy-frameworks.RelationModel.v1", "framework": framework}
    nlp.add_pipe("relation_extractor", config={"model": {**model, "tok2vec": listener}})
    fix_random_seed(0)
    sample = examples(nlp)
    optimizer = nlp.initialize(lambda: sample, sgd=Adam(0.01))
    (table,) = [node for node in nlp.get_pipe("tok2vec").model.walk() if node.name == "hashembed"]
    before = table.get_param("E").copy()
    losses = [nlp.update(sample, sgd=optimizer)["relation_extractor"] for _ in range(5)]
    assert losses[-1] < losses[0]
    assert (table.get_param("E") != before).any()
    nlp.to_disk(tmp_path)
    docs = [[example.predicted.copy() for example in sample] for _ in range(2)]
    for doc, loaded in zip(nlp.pipe(docs[0]), spacy.load(tmp_path).pipe(docs[1])):
        assert doc._.relations == loaded._.relations


@pytest.mark.thinc
def test_a_batch_without_entities_leaves_a_shared_encoder_to_the_others():
    nlp = spacy.blank("en")
    nlp.add_pipe("tok2vec", config={"model": {"@architectures": "spacy.HashEmbedCNN.v2", **CNN}})
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": WIDTH}
    nlp.add_pipe(
        "tagger", config={"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": listener}}
    )
    relations = {"@architectures": "spacy-frameworks.RelationModel.v1", "framework": "Thinc"}
    nlp.add_pipe("relation_extractor", config={"model": {**relations, "tok2vec": listener}})
    sample = examples(nlp)
    for example in sample:
        for token in example.reference:
            token.tag_ = token.text[-1]
    optimizer = nlp.initialize(lambda: sample)
    for example in sample:
        example.predicted.ents = []
        example.reference._.relations = None
    losses = [nlp.update(sample, sgd=optimizer) for _ in range(6)]
    assert losses[-1]["tagger"] < losses[0]["tagger"]
    assert losses[-1]["relation_extractor"] == 0


CNN = {
    "pretrained_vectors": None,
    "width": WIDTH,
    "depth": 1,
    "embed_size": 200,
    "window_size": 1,
    "maxout_pieces": 2,
    "subword_features": False,
}


# Labels


@pytest.mark.parametrize("framework", THINC_OR_ALL)
def test_a_label_is_added_to_what_is_trained(framework):
    nlp, component, sample = initialized(framework=framework)
    nlp.update(sample, sgd=Adam(0.01))
    before = component.predict(predicted(sample))
    found = [texts(doc) for doc in component.pipe(predicted(sample))]
    assert component.add_label("SUED") == 0
    assert component.add_label("PRAISED") == 1
    assert component.labels == (*LABELS, "PRAISED")
    after = component.predict(predicted(sample))
    assert_allclose(after[:, :3], before, atol=1e-6)
    # Of the new one there is none until it is learned.
    assert_allclose(after[:, 3], 1 / (1 + numpy.exp(5)), atol=1e-6)
    assert [texts(doc) for doc in component.pipe(predicted(sample))] == found
    for example in sample:
        doc = example.reference
        doc._.relations = [make_relation(doc.ents[0], doc.ents[1], "PRAISED")]
    optimizer = nlp.resume_training()
    losses = [nlp.update(sample, sgd=optimizer)["relation_extractor"] for _ in range(6)]
    assert losses[-1] < losses[0]


@pytest.mark.thinc
def test_labels_are_those_of_the_data_or_of_the_argument():
    _, component, sample = initialized()
    assert component.labels == component.label_data == LABELS
    component = pipeline().get_pipe("relation_extractor")
    component.add_label("FIRST")
    component.initialize(lambda: sample, labels=["SUED", "OTHER"])
    assert component.labels == ("FIRST", "SUED", "OTHER")
    assert component.predict(predicted(sample)).shape[1] == 3


@pytest.mark.thinc
def test_errors_of_labels_say_what_is_wrong():
    nlp = pipeline()
    component = nlp.get_pipe("relation_extractor")
    with pytest.raises(ValueError, match="E143"):
        component.predict([nlp.make_doc("Anna hired Peter")])
    for label in (3, ""):
        with pytest.raises(ValueError, match="label of at least one letter, got"):
            component.add_label(label)
    unlabelled = examples(nlp)
    for example in unlabelled:
        example.reference._.relations = None
    with pytest.raises(ValueError, match="E143"):
        nlp.initialize(lambda: unlabelled)
    _, component, _ = initialized(nO=3)
    with pytest.raises(ValueError, match="E922"):
        component.add_label("PRAISED")
    with pytest.raises(ValueError, match="nO = 4, but the data has 3 labels"):
        initialized(nO=4)


@pytest.mark.thinc
def test_arguments_that_make_no_component_are_errors():
    with pytest.raises(ValueError, match=r"threshold between 0 and 1, got 1\.5"):
        pipeline(threshold=1.5)
    with pytest.raises(
        ValueError, match=r"'linear' of the component 'x' has no attrs\['find_pairs'"
    ):
        RelationExtractor(spacy.blank("en").vocab, Linear(), "x")


# Losses


@pytest.mark.thinc
def test_the_loss_is_the_cross_entropy_and_has_its_gradient():
    _, component, sample = initialized()
    unknown = sample[0].reference
    n_unknown = len(component.model.attrs["find_pairs"]([sample[0].predicted]))
    unknown._.relations = None
    P = component.predict(predicted(sample))
    loss, dP = component.get_loss(sample, P)
    truth = numpy.zeros(P.shape)
    pairs = component.model.attrs["find_pairs"](predicted(sample))
    for row, (i, head, child) in enumerate(pairs):
        entries = sample[i].reference._.relations or []
        found = [(x["head"]["start"], x["child"]["start"], x["label"]) for x in entries]
        truth[row] = [(head.start_char, child.start_char, x) in found for x in LABELS]

    def cross_entropy(P: numpy.ndarray) -> float:
        parts = truth * numpy.log(P) + (1 - truth) * numpy.log(1 - P)
        return -parts[n_unknown:].sum()

    expected = numpy.zeros(P.shape)
    for place in numpy.ndindex(*P.shape):
        step = numpy.zeros(P.shape)
        step[place] = 1e-6
        expected[place] = (cross_entropy(P + step) - cross_entropy(P - step)) / 2e-6
    assert loss == pytest.approx(cross_entropy(P.astype("float64")), rel=1e-5)
    assert_allclose(dP, expected, rtol=1e-3, atol=1e-5)
    assert truth.sum() > 10 and not dP[:n_unknown].any()


@pytest.mark.thinc
def test_a_batch_in_two_parts_is_the_same_batch():
    """Nothing is divided by the number of docs or pairs."""
    _, component, sample = initialized()
    whole, d_whole = component.get_loss(sample, component.predict(predicted(sample)))
    parts = [
        component.get_loss(part, component.predict(predicted(part)))
        for part in (sample[:5], sample[5:])
    ]
    assert whole == pytest.approx(sum(loss for loss, _ in parts), rel=1e-5)
    assert_allclose(numpy.vstack([dP for _, dP in parts]), d_whole, rtol=1e-4)


@pytest.mark.thinc
def test_a_probability_of_0_or_1_that_is_wrong_has_a_finite_loss():
    _, component, sample = initialized()
    P = component.predict(predicted(sample))
    for wrong in (numpy.zeros_like(P), numpy.ones_like(P)):
        loss, dP = component.get_loss(sample, wrong)
        assert numpy.isfinite(loss) and numpy.isfinite(dP).all() and abs(dP).max() > 1


@pytest.mark.thinc
def test_docs_without_entities_or_gold_and_empty_batches_are_all_right():
    nlp, component, sample = initialized()
    empty = [nlp.make_doc(""), nlp.make_doc("nobody"), nlp.make_doc("Anna")]
    empty[2].ents = [Span(empty[2], 0, 1, label="PERSON")]
    for doc in nlp.pipe(empty):
        assert doc._.relations == []
    assert list(component.pipe([])) == []
    assert component.predict([]).shape == (0, 3)
    assert component.update([], sgd=Adam(0.01)) == {"relation_extractor": 0.0}
    batch = [Example(doc, doc.copy()) for doc in empty]
    assert component.update(batch, sgd=Adam(0.01)) == {"relation_extractor": 0.0}
    # In a batch with others, they change nothing.
    loss, _ = component.get_loss(sample, component.predict(predicted(sample)))
    both = [*batch, *sample]
    assert component.get_loss(both, component.predict(predicted(both)))[0] == loss


@pytest.mark.thinc
def test_relations_to_learn_but_no_entities_are_a_warning_that_says_what_to_do():
    nlp, _, sample = initialized()
    for example in sample:
        example.predicted.ents = []
    with pytest.warns(UserWarning, match=r"finds no pair .* 12 docs .*annotating_components"):
        nlp.update(sample)


# Annotations


@pytest.mark.thinc
def test_the_threshold_decides_what_is_written():
    _, component, sample = initialized(threshold=0.4)
    docs = predicted(sample)[:1]
    n_pairs = len(component.model.attrs["find_pairs"](docs))
    P = numpy.linspace(0, 1, n_pairs * 3, dtype="float32").reshape(n_pairs, 3)
    component.set_annotations(docs, P)
    came = [entry["score"] for entry in docs[0]._.relations]
    assert_allclose(came, P[P >= 0.4])
    json.dumps(docs[0]._.relations)
    component.threshold = 0
    component.set_annotations(docs, P)
    assert len(docs[0]._.relations) == P.size


def example(nlp: spacy.Language, found: list, gold: Any) -> Example:
    """Of entities 0 to 3: which relations were found, and which there are."""
    words = ["Anna", "and", "Bela", "and", "New", "York", "and", "Clara"]
    predicted, reference = (Doc(nlp.vocab, words=words) for _ in range(2))
    for doc, relations in ((predicted, found), (reference, gold)):
        places = [(0, 1), (2, 3), (4, 6), (7, 8)]
        doc.ents = [Span(doc, start, end, label="NAME") for start, end in places]
        doc._.relations = relations and [
            make_relation(doc.ents[head], doc.ents[child], label)
            for head, child, label in relations
        ]
    return Example(predicted, reference)


@pytest.mark.thinc
def test_scores_count_head_child_and_label():
    nlp = pipeline()
    found = [(0, 1, "A"), (1, 2, "A"), (2, 3, "B"), (3, 0, "B")]
    gold = [(0, 1, "A"), (2, 1, "A"), (2, 3, "A"), (3, 0, "B"), (3, 0, "B")]
    score = nlp.get_pipe("relation_extractor").score
    scores = score([example(nlp, found, gold), example(nlp, found, None)])
    assert scores["relations_p"] == pytest.approx(2 / 4)
    assert scores["relations_r"] == pytest.approx(2 / 4)
    assert scores["relations_f"] == pytest.approx(2 / 4)
    by_label = scores["relations_per_type"]
    assert by_label["A"] == pytest.approx({"p": 1 / 2, "r": 1 / 3, "f": 2 / 5})
    assert by_label["B"] == pytest.approx({"p": 1 / 2, "r": 1, "f": 2 / 3})
    assert set(score([example(nlp, found, None)]).values()) == {None}
    assert score([example(nlp, None, [])])["relations_f"] == 0


@pytest.mark.thinc
def test_gold_relations_are_found_in_another_tokenization():
    nlp, component, _ = initialized()
    reference = Doc(nlp.vocab, words=["Anna", "Berg", "hired", "O", "Brien", "."])
    reference.ents = [Span(reference, 0, 2, label="PERSON"), Span(reference, 3, 5, label="PERSON")]
    reference._.relations = [make_relation(*reference.ents, "HIRED")]
    merged = Doc(nlp.vocab, words=["Anna Berg", "hired", "O", "Brien", "."])
    merged.ents = [Span(merged, 0, 1, label="PERSON"), Span(merged, 2, 4, label="PERSON")]
    cut = Doc(nlp.vocab, words=["Anna", "Berg hired", "O", "Brien", "."])
    cut.ents = [Span(cut, 0, 1, label="PERSON"), Span(cut, 2, 4, label="PERSON")]
    for doc, f in ((merged, 1.0), (cut, 0.0)):
        pairs = component.model.attrs["find_pairs"]([doc])
        is_hired = [[head.start < child.start, False, False] for _, head, child in pairs]
        component.set_annotations([doc], numpy.asarray(is_hired, dtype="float32"))
        example = Example(doc, reference)
        assert component.score([example])["relations_f"] == pytest.approx(f)
        _, dP = component.get_loss([example], numpy.full((2, 3), 0.5, dtype="float32"))
        assert (dP < 0).sum() == f
