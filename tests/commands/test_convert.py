import os
import shutil
from pathlib import Path

import numpy
import pytest
import spacy
from spacy.cli import app
from spacy.tokens import DocBin, Span, SpanGroup
from spacy_frameworks.commands.convert import compared, read_docs
from spacy_frameworks.components.corpus import create_relation_corpus
from spacy_frameworks.training import create_corpus
from typer.testing import CliRunner

from ..pipelines import predictions, train_config

pytestmark = pytest.mark.pytorch


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train_config("shared_tok2vec", "PyTorch", tmp_path_factory.mktemp("out"))


def convert(*arguments, fails=False):
    done = CliRunner().invoke(app, ["frameworks", "convert", *map(str, arguments)])
    assert done.exit_code == int(fails), f"{done.output}\n{done.exception}"
    return " ".join(done.output.split())


def test_a_pipeline_is_written_after_both_have_predicted_the_same(trained, tmp_path):
    out = tmp_path / "folders" / "out"
    said = convert(trained, out, "--to", "Thinc")
    assert "On 40 docs, 0 of" in said
    converted, expected = predictions(spacy.load(out)), predictions(spacy.load(trained))
    for name in expected:
        assert abs(converted[name] - expected[name]).max() < 1e-5
    assert spacy.load(out).config["vars"]["framework"] == "Thinc"
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    # It is there now.
    assert "--force" in convert(trained, out, "--to", "Thinc", fails=True)
    (out / "left").write_text("")
    convert(trained, out, "--to", "Thinc", "--force")
    assert not (out / "left").exists()


def test_docs_of_ones_own_are_predicted(trained, tmp_path):
    corpus = create_corpus({"train": None, "dev": None}, "dev", limit=3)
    docs = [example.reference for example in corpus(spacy.blank("en"))]
    DocBin(docs=docs).to_disk(tmp_path / "dev.spacy")
    said = convert(trained, tmp_path / "o", "--to", "Thinc", "--verify", tmp_path / "dev.spacy")
    assert f"On 3 docs, 0 of {sum(map(len, docs))} tokens" in said


def test_other_predictions_are_found(trained):
    nlp, other = spacy.load(trained), spacy.load(trained)
    assert compared(nlp, other, read_docs()) == (40, 0, compared(nlp, other, read_docs()).of, 0.0)
    softmax = [node for node in other.get_pipe("tagger").model.walk() if node.shims][-1]
    shim = softmax.shims[0]
    for handle in shim.module.parameters().values():
        shim.module.set_value(handle, -shim.module.get_value(handle))
    found = compared(nlp, other, read_docs())
    assert found.tokens > found.of / 2
    assert found.cats == 0


def test_other_extension_attributes_are_found(trained):
    def said(text, score):
        nlp = spacy.load(trained)
        nlp.get_pipe("tagger").set_annotations = set_annotations(text, score)
        return nlp

    def set_annotations(text, score):
        def annotate(docs, scores):
            for doc in docs:
                vector = numpy.full(2, score, dtype="float32")
                doc.user_data["found"] = [{"label": text, "score": vector, "where": doc[:1]}]

        return annotate

    one = said("A", 0.5)
    assert compared(one, said("A", 0.5 + 1e-5), read_docs()).tokens == 0
    assert compared(one, said("B", 0.5), read_docs()).tokens == 40
    assert compared(one, said("A", 0.6), read_docs()).tokens == 40


@pytest.mark.parametrize("what", ["sentences", "entities", "scores"])
def test_what_no_tag_or_category_says_is_found_too(trained, what):
    def said(number):
        def annotate(docs, _):
            for doc in docs:
                if what == "sentences":
                    for i, token in enumerate(doc):
                        token.is_sent_start = i % number == 0
                elif what == "entities":
                    doc.ents = [Span(doc, 0, 1, "NAME", kb_id=f"Q{number}")]
                else:
                    doc.spans["sc"] = SpanGroup(doc, spans=[doc[:1]], attrs={"scores": [number]})

        nlp = spacy.load(trained)
        nlp.get_pipe("tagger").set_annotations = annotate
        return nlp

    one = said(2)
    same, other = compared(one, said(2), read_docs()), compared(one, said(3), read_docs())
    assert (same.tokens, same.cats) == (0, 0.0)
    assert other.cats == 1.0 if what == "scores" else other.tokens > 0


def test_components_that_were_not_compared_are_named(trained, tmp_path):
    nlp = spacy.load(trained, disable=["textcat"])
    # Which finds a relation of each kind in all pairs of entities.
    settings = {"model": {"framework": "PyTorch"}, "threshold": 0.0}
    nlp.add_pipe("relation_extractor", config=settings)
    sample = list(create_relation_corpus(None, "dev", limit=4, gold_entities=True)(nlp))
    nlp.get_pipe("relation_extractor").initialize(lambda: sample, nlp=nlp)
    nlp.to_disk(tmp_path / "nlp")
    said = convert(tmp_path / "nlp", tmp_path / "out", "--to", "Thinc")
    assert "Not compared: textcat, relation_extractor" in said
    DocBin(docs=[eg.reference for eg in sample]).to_disk(tmp_path / "dev.spacy")
    said = convert(
        *(tmp_path / "nlp", tmp_path / "out", "--to", "Thinc", "--force"),
        *("--verify", tmp_path / "dev.spacy"),
    )
    assert "Not compared: textcat" in said and "relation_extractor" not in said


def test_what_was_there_stays_if_the_new_one_does_not_get_to_its_place(
    trained, tmp_path, monkeypatch
):
    out, replace = shutil.copytree(trained, tmp_path / "out"), os.replace

    def stopped(source, target):
        if Path(target) == out and Path(source).name == "new":
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", stopped)
    CliRunner().invoke(
        app, ["frameworks", "convert", str(trained), str(out), "--to", "Thinc", "--force"]
    )
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert spacy.load(out).config["vars"]["framework"] == "PyTorch"


def test_a_score_that_is_nan_is_a_difference(trained):
    nlp, other = spacy.load(trained), spacy.load(trained)
    textcat = other.get_pipe("textcat")
    predict = textcat.predict
    textcat.predict = lambda docs: predict(docs) * float("nan")
    assert not compared(nlp, other, read_docs()).cats <= 1.0


def test_errors_say_what_to_do_and_write_nothing(trained, tmp_path):
    out = tmp_path / "out"
    assert "Did you mean 'MXNet'?" in convert(trained, out, "--to", "mxnt", fails=True)
    assert "no_such_model" in convert("no_such_model", out, "--to", "Thinc", fails=True)
    missing = ("--verify", tmp_path / "no.spacy")
    assert "no.spacy" in convert(trained, out, "--to", "Thinc", *missing, fails=True)
    (tmp_path / "bad.spacy").write_bytes(b"no docs")
    convert(trained, out, "--to", "Thinc", "--verify", tmp_path / "bad.spacy", fails=True)
    damaged = tmp_path / "damaged"
    shutil.copytree(trained, damaged)
    (damaged / "config.cfg").unlink()
    assert "config.cfg" in convert(damaged, out, "--to", "Thinc", fails=True)
    assert not out.exists()
