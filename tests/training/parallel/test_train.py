"""Two processes train what one does with the same batches."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from subprocess import run
from typing import Any, Dict, List

import numpy
import pytest
import spacy
from numpy.testing import assert_allclose
from spacy.cli.init_config import init_config
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from spacy_frameworks.training.corpus import create_corpus
from spacy_frameworks.training.parallel.gradients import parameters_of
from spacy_frameworks.training.parallel.group import Group
from spacy_frameworks.training.parallel.loop import trained_models
from spacy_frameworks.wrappers import FRAMEWORKS, PyTorchWrapper

from ...frameworks import marks
from ...pipelines import CONFIGS, ROOT
from .worker import run_all

# Of each run; steps are counted from 0.
STEPS = 50 if os.environ.get("RUN_SLOW") else 10
SETTINGS = {
    "paths.train": "train.spacy",
    "paths.dev": "dev.spacy",
    "training.max_steps": STEPS,
    "training.eval_frequency": STEPS,
    "training.before_update": {"@callbacks": "test.see_weights.v1"},
}
EXACT = {**SETTINGS, "training.dropout": 0.0}
BATCHES_OF_3 = {"@batchers": "spacy.batch_by_sequence.v1", "size": 3}
FROM_ONE_ON = {
    "@batchers": "spacy.batch_by_sequence.v1",
    "size": {"@schedules": "compounding.v1", "start": 1, "stop": 8, "compound": 2.0},
}
TOK2VEC = {"@architectures": "spacy.Tok2VecListener.v1", "width": 96}


def model(name: str, **arguments: Any) -> Dict[str, Any]:
    """A tagger's model, in overrides of a config."""
    architecture = {"@architectures": f"test.{name}.v1", "tok2vec": TOK2VEC, **arguments}
    return {"components.tagger.model": architecture}


# Which come to the weights of one process.
SAME = {
    "textcat, in parts": {
        "config": "textcat.cfg",
        "overrides": {**EXACT, "training.accumulate_gradient": 2},
    },
    # Of 31 docs: the last batch of an epoch has one.
    "tagger, averaged, uneven batches": {
        "config": "tagger.cfg",
        "overrides": {
            **EXACT,
            "training.optimizer.use_averages": True,
            "training.batcher": BATCHES_OF_3,
        },
    },
    # In the first step, one process has no doc.
    "ours, from one doc on": {
        "config": "ours.cfg",
        "overrides": {**EXACT, "training.batcher": FROM_ONE_ON},
    },
    "wrapped": {
        "config": "tagger.cfg",
        "overrides": {**EXACT, **model("Wrapped", wrapper="ours", norm="LayerNorm")},
    },
    "in Thinc's wrapper": {
        "config": "tagger.cfg",
        "overrides": {**EXACT, **model("Wrapped", wrapper="Thinc's", norm="LayerNorm")},
    },
    "frozen and annotating": {"config": "frozen.cfg", "overrides": EXACT},
}
# Which have the same weights in both processes.
ALIKE = {
    "some docs without gold": {
        "config": "shared.cfg",
        "overrides": {**SETTINGS, "training.batcher": BATCHES_OF_3},
    },
    "streamed, no seed": {
        "config": "tagger.cfg",
        "overrides": {**SETTINGS, "training.max_epochs": -1, "training.seed": None},
    },
}
DRAWS = {
    "draws": {
        "config": "tagger.cfg",
        "overrides": {**SETTINGS, "training.before_update": {"@callbacks": "test.see_draws.v1"}},
    }
}
# Which are refused in both processes, with what the error says.
REFUSED = {
    "other setting": (
        {"overrides": SETTINGS, "rank 1": {"training.dropout": 0.3}},
        "other settings or versions: [training.dropout] is '0.1' in rank 0 and '0.3' in rank 1.",
    ),
    "other docs": (
        {"overrides": SETTINGS, "rank 1": {"paths.train": "other.spacy"}},
        "other training data: the checksum of the documents is",
    ),
    "other weights": (
        {"overrides": {**SETTINGS, **model("OtherWeights")}},
        "other initial weights: tagger: linear (layer",
    ),
    "other batches": (
        {"overrides": {**SETTINGS, "training.batcher": {"@batchers": "test.OtherBatches.v1"}}},
        "have drawn different batches",
    ),
    "another shim": (
        {"overrides": {**SETTINGS, **model("OtherShim")}},
        "keeps its gradients in a Shim, in which several processes cannot sum them",
    ),
    "statistics": (
        {"overrides": {**SETTINGS, **model("Wrapped", wrapper="ours", norm="BatchNorm1d")}},
        "1.running_mean, as batch normalization",
    ),
    "statistics in Thinc's wrapper": (
        {"overrides": {**SETTINGS, **model("Wrapped", wrapper="Thinc's", norm="BatchNorm1d")}},
        "1.running_mean, as batch normalization",
    ),
    "mixed precision": (
        {
            "overrides": {
                **SETTINGS,
                **model("Wrapped", wrapper="Thinc's", norm="LayerNorm", mixed=True),
            }
        },
        "trains in mixed precision",
    ),
}
CASES = {
    **SAME,
    **ALIKE,
    **DRAWS,
    **{
        name: {"config": "tagger.cfg", "is refused": True, **run}
        for name, (run, _) in REFUSED.items()
    },
}


def make_data(folder: Path) -> None:
    """Documents of a sentence with tags, entities, a tree and categories, of which some have
    none of it."""
    nlp = spacy.blank("en")
    for split, limit in (("train", 31), ("dev", 6), ("other", 31)):
        source = create_corpus({"train": None, "dev": None}, "train", limit=limit)
        docs = []
        for i, example in enumerate(source(nlp)):
            gold = example.reference[: 5 + i % 7]
            doc = Doc(nlp.vocab, words=[token.text for token in gold])
            if i % 3 or split == "dev":
                doc = Doc(
                    nlp.vocab,
                    words=[token.text for token in gold],
                    tags=[token.tag_ for token in gold],
                    heads=[len(gold) // 2] * len(gold),
                    deps=["ROOT" if j == len(gold) // 2 else "dep" for j in range(len(gold))],
                    ents=["B-NAME" if token.tag_ == "NNP" else "O" for token in gold],
                )
            doc.cats = dict(example.reference.cats)
            docs.append(doc)
        if split == "other":
            docs[-1].cats["sports"] = 1 - docs[-1].cats["sports"]
        DocBin(docs=docs).to_disk(folder / f"{split}.spacy")


def make_configs(folder: Path) -> None:
    for name, pipeline in (
        ("tagger", ["tagger"]),
        ("textcat", ["textcat"]),
        ("shared", ["tagger", "parser", "ner"]),
    ):
        init_config(lang="en", pipeline=pipeline, silent=True).to_disk(folder / f"{name}.cfg")
    (folder / "ours.cfg").write_text((CONFIGS / "tagger.cfg").read_text())
    # A tagger that was trained before sets the tags that the textcat is given.
    nlp = spacy.blank("en")
    docs = list(DocBin().from_disk(folder / "train.spacy").get_docs(nlp.vocab))
    nlp.add_pipe("tagger")
    nlp.initialize(lambda: [Example(nlp.make_doc(doc.text), doc) for doc in docs])
    nlp.to_disk(folder / "trained")
    config = init_config(lang="en", pipeline=["textcat"], silent=True)
    config["nlp"]["pipeline"] = ["tagger", "textcat"]
    config["components"]["tagger"] = {"source": "trained"}
    config["training"]["frozen_components"] = ["tagger"]
    config["training"]["annotating_components"] = ["tagger"]
    config.to_disk(folder / "frozen.cfg")


def run_two(folder: Path, runs: Dict[str, Any]) -> List[Dict[str, Any]]:
    """What comes of runs in two processes, by rank."""
    (folder / "runs.json").write_text(json.dumps(runs))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    worker = ["-m", "tests.training.parallel.worker", "."]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ["PYTHONPATH"]])}
    done = run(
        [*torchrun, "--standalone", *worker],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads((folder / f"came-{rank}.json").read_text()) for rank in (0, 1)]


def run_alone(folder: Path, runs: Dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "runs.json").write_text(json.dumps(runs))
    monkeypatch.chdir(folder)
    run_all(folder, Group())


def assert_same_weights(folder: Path, name: str) -> None:
    pipelines = [spacy.load(folder / size / name / "model-last") for size in ("1", "2")]
    alone, together = (parameters_of(trained_models(nlp)) for nlp in pipelines)
    assert len(alone) == len(together) > 0
    for one, other in zip(alone, together):
        assert_allclose(other.value(), one.value(), rtol=0, atol=1e-4, err_msg=one.name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("parallel")
    make_data(folder)
    make_configs(folder)
    return folder


@pytest.fixture(scope="module")
def two(folder) -> List[Dict[str, Any]]:
    return run_two(folder, CASES)


@pytest.fixture(scope="module")
def one(folder) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        run_alone(folder, SAME, monkeypatch)


@pytest.mark.pytorch
@pytest.mark.parametrize("name", SAME)
def test_two_processes_come_to_the_weights_of_one(name, folder, one, two):
    assert [came[name]["error"] for came in two] == ["", ""]
    assert_same_weights(folder, name)


# PyTorch is the transport.
BESIDE_PYTORCH = [
    pytest.param(fw.token, marks=[*marks("PyTorch", fw.id), *([pytest.mark.slow] if i else [])])
    for i, fw in enumerate(fw for fw in FRAMEWORKS if fw.id != "pytorch")
]


@pytest.mark.parametrize("framework", BESIDE_PYTORCH)
def test_a_tagger_of_each_framework_comes_to_the_weights_of_one(framework, folder, monkeypatch):
    overrides = {**EXACT, "vars.framework": framework}
    runs = {framework: {"config": "ours.cfg", "overrides": overrides}}
    first, second = run_two(folder, runs)
    assert first == second
    run_alone(folder, runs, monkeypatch)
    assert_same_weights(folder, framework)


@pytest.mark.pytorch
@pytest.mark.parametrize("name", [*SAME, *ALIKE])
def test_the_weights_of_all_processes_are_alike_in_each_step(name, two):
    first, second = (came[name] for came in two)
    assert first == second and first["error"] == ""
    assert len(set(first["seen"])) == STEPS + 1


@pytest.mark.pytorch
def test_each_process_draws_its_own_numbers_for_training(two):
    first, second = (came["draws"]["seen"] for came in two)
    for mine, others in zip(zip(*first), zip(*second), strict=True):
        assert not {*mine} & {*others}


@pytest.mark.pytorch
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_trained_together_is_refused_in_all_processes(name, two):
    _, says = REFUSED[name]
    for came in two:
        assert says in came[name]["error"]


@pytest.mark.pytorch
def test_a_model_that_has_no_parameters_yet_is_refused():
    import torch

    tagger = PyTorchWrapper(torch.nn.LazyLinear(3))
    with pytest.raises(ValueError, match="makes its parameters when it is first called"):
        parameters_of({"tagger": tagger})
    tagger.initialize(X=numpy.zeros((1, 2), dtype="float32"))
    assert [parameter.shape for parameter in parameters_of({"tagger": tagger})] == [(3, 2), (3,)]
