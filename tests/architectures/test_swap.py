"""Trained pipelines move between frameworks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import spacy
from numpy.testing import assert_allclose
from spacy.ml import CharacterEmbed
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Corpus
from spacy.util import fix_random_seed, load_model_from_config, minibatch, registry
from spacy_frameworks.architectures import swap_framework
from spacy_frameworks.wrappers import PyTorchWrapper
from thinc.api import Adam, Config, Model, chain, with_array

from ..frameworks import ALL, MODULES, PAIRS, RING_OR_ALL
from ..pipelines import CONFIGS
from .test_architectures import SMALL, examples, pipeline, probabilities, train


@pytest.mark.parametrize(("source", "target"), PAIRS)
@pytest.mark.parametrize("component", ["tagger", "textcat"])
def test_predictions_stay_and_a_round_trip_gives_the_same_bytes(source, target, component):
    nlp = pipeline(source, component, **SMALL, normalize=True, depth=2)
    train(nlp, epochs=1, limit=30)
    swapped = swap_framework(nlp, target)
    for one, other in zip(probabilities(nlp), probabilities(swapped)):
        assert_allclose(one, other, atol=1e-5)
    back = swap_framework(swapped, source)
    model, model_back = nlp.get_pipe(component).model, back.get_pipe(component).model
    assert back.get_pipe(component).labels == nlp.get_pipe(component).labels
    for node, node_back in zip(model.walk(), model_back.walk(), strict=True):
        assert [s.to_bytes() for s in node.shims] == [s.to_bytes() for s in node_back.shims]
        for name in node.param_names:
            assert (node.get_param(name) == node_back.get_param(name)).all()


def encoded(framework: str, encoder: str, **settings) -> dict:
    """A tok2vec model on one of our encoders."""
    return {
        "@architectures": "spacy.Tok2Vec.v2",
        "embed": {
            "@architectures": "spacy.MultiHashEmbed.v2",
            "width": 16,
            "attrs": ["NORM", "SUFFIX"],
            "rows": [200, 100],
            "include_static_vectors": False,
        },
        "encode": {
            "@architectures": f"spacy-frameworks.{framework}{encoder}.v1",
            "width": 16,
            **settings,
        },
    }


def with_encoders(framework: str) -> spacy.Language:
    """A pipeline with our networks as heads, shared by listeners, and inside of spaCy's models."""
    nlp = spacy.blank("en")
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 16}
    window = encoded(framework, "WindowEncoder", depth=2)
    transformer = encoded(framework, "TransformerEncoder", heads=2)
    nlp.add_pipe("tok2vec", config={"model": encoded(framework, "BiLSTMEncoder", depth=2)})
    for component, model in {
        "tagger": {
            "@architectures": f"spacy-frameworks.{framework}Tagger.v1",
            "tok2vec": listener,
            "hidden_width": 8,
        },
        "ner": {
            "@architectures": "spacy.TransitionBasedParser.v2",
            "state_type": "ner",
            "extra_state_tokens": False,
            "hidden_width": 16,
            "maxout_pieces": 2,
            "tok2vec": transformer,
        },
        "textcat": {
            "@architectures": "spacy.TextCatEnsemble.v2",
            "tok2vec": window,
            "linear_model": {
                "@architectures": "spacy.TextCatBOW.v3",
                "exclusive_classes": True,
                "length": 512,
                "ngram_size": 1,
                "no_output_layer": False,
            },
        },
        "senter": {
            "@architectures": "spacy.Tagger.v2",
            "tok2vec": encoded(framework, "FeedForward", hidden_width=8),
        },
    }.items():
        nlp.add_pipe(component, config={"model": model})
    return nlp


def annotated(nlp: spacy.Language, limit: int) -> list:
    """Examples of the sample with names as entities."""
    sample = examples(nlp, limit=limit)
    for example in sample:
        names = [t.i for t in example.reference if t.tag_ == "NNP"]
        example.reference.ents = [Span(example.reference, i, i + 1, "NAME") for i in names]
    return sample


def weights(nlp: spacy.Language) -> list:
    """All parameters and all shims' bytes."""
    return [
        value
        for _, component in nlp.pipeline
        for node in component.model.walk()
        for value in (
            *(shim.to_bytes() for shim in node.shims),
            *(node.get_param(name).tobytes() for name in node.param_names),
        )
    ]


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_sublayers_and_listeners_are_converted_too(source, target):
    nlp = with_encoders(source)
    fix_random_seed(0)
    sample = annotated(nlp, limit=10)
    optimizer = nlp.initialize(lambda: sample)
    for _ in range(3):
        nlp.update(sample, sgd=optimizer)
    swapped = swap_framework(nlp, target)
    sublayers = json.dumps(swapped.config)
    assert f"spacy-frameworks.{target}" in sublayers
    assert f"spacy-frameworks.{source}" not in sublayers
    docs, docs_swapped = ([eg.predicted for eg in annotated(x, limit=10)] for x in (nlp, swapped))
    for doc, doc_swapped in zip(nlp.pipe(docs), swapped.pipe(docs_swapped)):
        assert_allclose(doc_swapped.tensor, doc.tensor, atol=1e-5)
        assert doc_swapped.cats == pytest.approx(doc.cats, abs=1e-5)
        for attribute in ("tag_", "ent_iob_", "is_sent_start"):
            expected = [getattr(token, attribute) for token in doc]
            assert [getattr(token, attribute) for token in doc_swapped] == expected
    assert weights(swap_framework(swapped, source)) == weights(nlp)


@pytest.mark.parametrize("target", ALL)
def test_a_pipeline_that_is_not_initialized_yet_is_swapped_and_trained(target):
    nlp = swap_framework(with_encoders("Thinc"), target)
    sample = annotated(nlp, limit=4)
    optimizer = nlp.initialize(lambda: sample, sgd=Adam(0.01))
    losses = [nlp.update(sample, sgd=optimizer)["tagger"] for _ in range(5)]
    assert losses[-1] < losses[0]


def test_attributes_of_layers_that_are_saved_are_kept():
    embed = {
        "@layers": "chain.v1",
        "*": {
            "features": {"@layers": "spacy.FeatureExtractor.v1", "columns": ["NORM"]},
            "ragged": {"@layers": "list2ragged.v1"},
            # Without a seed, it draws one that no other model has.
            "embed": {
                "@layers": "with_array.v1",
                "layer": {"@layers": "HashEmbed.v1", "nO": 16, "nV": 100, "column": 0},
            },
            "list": {"@layers": "ragged2list.v1"},
        },
    }
    tok2vec = {**encoded("Thinc", "WindowEncoder", depth=1), "embed": embed}
    nlp = spacy.blank("en")
    nlp.add_pipe(
        "senter", config={"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": tok2vec}}
    )
    nlp.initialize()
    swapped = swap_framework(nlp, "Thinc")
    docs = [nlp.make_doc("We saw the house on the hill .")]
    # The output layer is still zero.
    (expected,), (found,) = (
        x.get_pipe("senter").model.get_ref("tok2vec").predict(docs) for x in (nlp, swapped)
    )
    assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("target", ALL)
def test_a_textcat_that_has_grown_is_swapped(target):
    nlp = pipeline("Thinc", "textcat", **SMALL)
    train(nlp, epochs=1, limit=20)
    nlp.get_pipe("textcat").add_label("cinema")
    swapped = swap_framework(nlp, target)
    assert_allclose(probabilities(swapped), probabilities(nlp), atol=1e-5)
    assert swapped.get_pipe("textcat").add_label("theatre")


def logits(nlp: spacy.Language, docs: list[Doc]) -> dict[str, numpy.ndarray]:
    """What the heads' networks give before softmax."""
    given: dict[str, numpy.ndarray] = {}
    for name, component in nlp.pipeline[1:]:
        (network,) = (node for node in component.model.walk() if "network" in node.attrs)

        def record(model, X, is_train, name=name, forward=network._func):
            Y, backprop = forward(model, X, is_train)
            given[name] = Y
            return Y, backprop

        network._func = record
    list(nlp.pipe(docs, batch_size=len(docs)))
    return given


@pytest.mark.parametrize(("source", "target"), RING_OR_ALL)
def test_on_a_treebank_the_whole_dev_set_gets_the_same_predictions(source, target, ewt):
    config = Config().from_disk(
        CONFIGS / "shared_tok2vec.cfg", overrides={"vars.framework": source}
    )
    fix_random_seed(0)
    nlp = load_model_from_config(config, auto_fill=False)
    sample = list(Corpus(ewt / "ewt-train.spacy", gold_preproc=False, limit=60)(nlp))
    optimizer = nlp.initialize(lambda: sample)
    for batch in minibatch(sample, 8):
        nlp.update(batch, sgd=optimizer, drop=0.1)
    swapped = swap_framework(nlp, target)
    dev, dev_swapped = (
        [Doc(x.vocab, words=[t.text for t in doc]) for doc in read(ewt / "ewt-dev.spacy", x)]
        for x in (nlp, swapped)
    )
    before, after = logits(nlp, dev), logits(swapped, dev_swapped)
    assert sum(map(len, dev)) == len(before["tagger"]) > 25_000
    assert len(before["textcat"]) == len(dev)
    for name in before:
        assert_allclose(after[name], before[name], atol=1e-4)
    assert [t.tag_ for doc in dev_swapped for t in doc] == [t.tag_ for doc in dev for t in doc]
    assert weights(swap_framework(swapped, source)) == weights(nlp)


def read(path: Path, nlp: spacy.Language) -> list[Doc]:
    return list(DocBin().from_disk(path).get_docs(nlp.vocab))


@pytest.mark.parametrize("target", ALL)
def test_the_swapped_pipeline_is_saved_and_trained_further(target, tmp_path):
    nlp = pipeline("Thinc", **SMALL)
    train(nlp, epochs=1, limit=60)
    nlp.to_disk(tmp_path / "thinc")
    swap_framework(tmp_path / "thinc", target).to_disk(tmp_path / "swapped")
    loaded = spacy.load(tmp_path / "swapped")
    expected = [token.tag_ for doc in nlp.pipe(["Anna kept the plan."] * 2) for token in doc]
    assert [t.tag_ for doc in loaded.pipe(["Anna kept the plan."] * 2) for t in doc] == expected
    losses = []
    optimizer = loaded.resume_training()
    for _ in range(4):
        losses.append(loaded.update(examples(loaded, limit=8), sgd=optimizer)["tagger"])
    assert losses[-1] < losses[0]


@pytest.mark.pytorch
def test_a_pipeline_on_thinc_annotates_where_no_framework_can_be_imported(tmp_path):
    nlp = with_encoders("PyTorch")
    fix_random_seed(0)
    sample = annotated(nlp, limit=10)
    nlp.update(sample, sgd=nlp.initialize(lambda: sample))
    swap_framework(nlp, "Thinc").to_disk(tmp_path / "nlp")
    script = f"""
import sys
for name in {MODULES!r}:
    sys.modules[name] = None
import spacy
from spacy.tokens import DocBin
nlp = spacy.load({str(tmp_path / "nlp")!r})
docs = [nlp("Anna kept the plan ."), nlp("the bank of Lisbon")]
DocBin(docs=docs, attrs=["TAG", "ENT_TYPE", "SENT_START"]).to_disk("docs.spacy")
import numpy
numpy.save("tensor.npy", numpy.vstack([doc.tensor for doc in docs]))
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path)
    docs = [nlp("Anna kept the plan ."), nlp("the bank of Lisbon")]
    loaded = read(tmp_path / "docs.spacy", nlp)
    for doc, expected in zip(loaded, docs):
        assert [(t.tag_, t.ent_type_, t.is_sent_start) for t in doc] == [
            (t.tag_, t.ent_type_, t.is_sent_start) for t in expected
        ]
    tensors = numpy.vstack([doc.tensor for doc in docs])
    assert_allclose(numpy.load(tmp_path / "tensor.npy"), tensors, atol=1e-5)


@registry.architectures("spacy-frameworks.tests.UsersOwn.v1")
def users_own(width: int) -> Model:
    import torch

    module = PyTorchWrapper(torch.nn.Linear(width, width), model_name="mine", nO=width, nI=width)
    embed = CharacterEmbed(width, 200, 8, 4, include_static_vectors=False)
    return chain(embed, with_array(module))


@pytest.mark.pytorch
def test_a_module_of_the_users_own_is_an_error_with_component_and_layer():
    own = {"@architectures": "spacy-frameworks.tests.UsersOwn.v1", "width": 32}
    nlp = pipeline("PyTorch", tok2vec=own)
    train(nlp, epochs=1, limit=8)
    before = nlp.to_bytes()
    with pytest.raises(ValueError, match=r"'mine' of the component 'tagger' .*converted to Thinc"):
        swap_framework(nlp, "Thinc")
    assert nlp.to_bytes() == before
    for one, other in zip(probabilities(nlp), probabilities(swap_framework(nlp, "PyTorch"))):
        assert_allclose(one, other, atol=1e-5)
