"""What the processes compare before they train."""

from __future__ import annotations

from typing import Any, List

import pytest
import spacy
from spacy.cli.init_config import init_config
from spacy.tokens import Doc, DocBin
from spacy_frameworks.commands.train import train
from spacy_frameworks.training.parallel.agreement import (
    DisagreementError,
    check_settings,
    settings,
)
from spacy_frameworks.training.parallel.group import Group

from . import components  # noqa: F401 (registers what configs name)


class First(Group):
    """The first of two processes. The other one has given the same, but for what is said here."""

    size = 2

    def __init__(self, **others: Any):
        self.others = others

    def gathered(self, value: Any) -> List[Any]:
        return [value, {**value, **self.others}]


def pipeline(*labels: str) -> spacy.Language:
    nlp = spacy.blank("en")
    tagger = nlp.add_pipe("tagger")
    for label in labels:
        tagger.add_label(label)
    return nlp


def test_labels_and_options_are_the_same_in_all():
    nlp = pipeline("A", "B")
    check_settings(nlp, First(), output=True)
    found = {}

    class Seen(First):
        def gathered(self, value: Any) -> List[Any]:
            found.update(value)
            return [value]

    check_settings(pipeline("B", "A"), Seen())
    name = "the labels of tagger"
    with pytest.raises(DisagreementError, match=f"{name} is '2 with .* in rank 1"):
        check_settings(nlp, First(**{name: found[name]}))
    with pytest.raises(DisagreementError, match="--output is True in rank 0 and False in rank 1"):
        check_settings(nlp, First(**{"--output": False}), output=True)


def test_paths_may_differ_in_sections_of_paths_too_and_the_logger():
    config = init_config(lang="en", pipeline=["tagger"], silent=True)
    config["corpora"]["train"]["path"] = "${paths.sub.train}"
    found = []
    for path in ("a.spacy", "b.spacy"):
        config["paths"]["sub"] = {"train": path}
        config["training"]["logger"] = {
            "@loggers": "spacy.ConsoleLogger.v3",
            "output_file": f"{path}.jsonl",
        }
        found.append(settings(spacy.util.load_model_from_config(config, auto_fill=True)))
    assert found[0] == found[1]
    assert found[0]["[corpora.train.path]"] == "None"


def test_what_several_processes_cannot_train_is_one_message(tmp_path, capsys):
    config = init_config(lang="en", pipeline=["tagger"], silent=True)
    config["components"]["tagger"]["model"] = {
        "@architectures": "test.OtherShim.v1",
        "tok2vec": {"@architectures": "spacy.Tok2VecListener.v1", "width": 96},
    }
    docs = [Doc(spacy.blank("en").vocab, words=["Yes", "."], tags=["UH", "."])]
    DocBin(docs=docs).to_disk(tmp_path / "docs.spacy")
    config["paths"].update(train=str(tmp_path / "docs.spacy"), dev=str(tmp_path / "docs.spacy"))
    config.to_disk(tmp_path / "config.cfg")
    with pytest.raises(SystemExit):
        train(tmp_path / "config.cfg", None, First(), overrides={})
    said = " ".join(capsys.readouterr().out.split())
    assert "keeps its gradients in a Shim, in which several processes cannot sum them" in said


def test_each_process_says_what_is_wrong_with_its_config(tmp_path, capsys):
    class Second(Group):
        rank, size = 1, 2

    config = init_config(lang="en", pipeline=["tagger"], silent=True)
    config["corpora"]["train"]["path"] = "${paths.nowhere}"
    config.to_disk(tmp_path / "config.cfg", interpolate=False)
    with pytest.raises(SystemExit):
        train(tmp_path / "config.cfg", tmp_path / "out", Second(), overrides={})
    assert "Config validation error" in capsys.readouterr().out
