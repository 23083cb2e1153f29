"""A training that was ended goes on where it last saved, as if nothing had happened."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

import pytest
from spacy.cli.init_config import init_config
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import load_config, registry
from spacy_frameworks.training.corpus import create_corpus
from spacy_frameworks.training.parallel import checkpoint
from spacy_frameworks.training.parallel.checkpoint import ResumeError
from spacy_frameworks.training.parallel.group import Group
from spacy_frameworks.training.parallel.output import Output
from spacy_frameworks.training.parallel.progress import Progress
from spacy_frameworks.training.parallel.train import initialized, train
from spacy_frameworks.wrappers import get_framework, undo_framework
from spacy_frameworks.wrappers.weights import pack, unpack
from thinc.api import Config, Linear, Model, Softmax_v2, chain, with_array

from ...frameworks import ONE_OR_ALL
from ...pipelines import CONFIGS
from ...wrappers.conftest import modules_of
from .helpers import assert_same_weights, rows

# The step before which a training is ended. It has saved last at step 12.
END = 14
SETTINGS: Dict[str, Any] = {
    "training.max_epochs": 3,
    "training.max_steps": 0,
    "training.patience": 20,
    "training.eval_frequency": 6,
    "training.accumulate_gradient": 2,
    "training.dropout": 0.3,
    "training.before_update": {"@callbacks": "test.end.v1"},
    # Of 15 docs, so that the end is in the second epoch.
    "training.batcher": {
        "@batchers": "spacy.batch_by_sequence.v1",
        "size": {"@schedules": "compounding.v1", "start": 1.0, "stop": 2.0, "compound": 1.3},
    },
    "training.optimizer": {
        "@optimizers": "RAdam.v1",
        "learn_rate": {
            "@schedules": "warmup_linear.v1",
            "warmup_steps": 5,
            "total_steps": 40,
            "initial_rate": 0.01,
        },
    },
    **{
        f"corpora.{split}": {"@readers": "test.names.v1", "split": split, "limit": limit}
        for split, limit in (("train", 15), ("dev", 5))
    },
}
ends_before: Optional[int] = None
# Of the documents, how many the reader leaves out.
left_out = 0
# Of tags, what the reader gives in their place.
renamed: Dict[str, str] = {}


@registry.callbacks("test.end.v1")
def make_end() -> Any:
    def before_update(nlp: Language, args: Dict[str, Any]) -> None:
        if args["step"] == ends_before:
            raise ConnectionError("ended")

    return before_update


@registry.readers("test.names.v1")
def make_names(split: str, limit: int) -> Any:
    """The sample, with names as entities. Each third doc has no annotation but its categories."""

    def read(nlp: Language) -> Iterator[Example]:
        for i, example in enumerate(create_corpus({}, split, limit=limit)(nlp)):
            gold, gold_annotation = example.reference[:12], {}
            words, tags = [t.text for t in gold], [t.tag_ for t in gold]
            tags = [renamed.get(tag, tag) for tag in tags]
            if i % 3 or split == "dev":
                gold_annotation = {
                    "tags": tags,
                    "ents": ["B-NAME" if tag == "NNP" else "O" for tag in tags],
                }
            reference = Doc(nlp.vocab, words=words, **gold_annotation)
            reference.cats = dict(example.reference.cats)
            if i >= left_out:
                yield Example(Doc(nlp.vocab, words=words), reference)

    return read


@registry.architectures("test.DropsOut.v1")
def drops_out(tok2vec: Model, framework: str) -> Model:
    """With a user's layer that draws from the framework's generator. It is made with a rate of 0,
    and has spaCy's in training."""
    fw, head = modules_of(framework), Softmax_v2(nI=96)
    model = chain(tok2vec, with_array(chain(fw.Wrapper(fw.dropout(0.0), dropout=0.0), head)))
    model.set_ref("softmax", head)
    return model


def stock() -> Config:
    """Of spaCy alone: components that share a tok2vec, one of which draws from Python's generator,
    and some of which have no gold in some batches."""
    return init_config(lang="en", pipeline=["tagger", "ner"], silent=True)


def of_framework(framework: str) -> Config:
    """Our networks, and a user's layer in the tagger."""
    config = load_config(CONFIGS / "shared_tok2vec.cfg", {"vars.framework": framework})
    tagger = config["components"]["tagger"]
    tagger["model"] = {
        "@architectures": "test.DropsOut.v1",
        "framework": get_framework(framework).id,
        "tok2vec": tagger["model"]["tok2vec"],
    }
    return config


def run(config: Config, output: Path, resume: bool = False, **settings: Any) -> List[str]:
    """Train in this process. Returns the lines of the table that spaCy prints."""
    stdout = io.StringIO()
    given = {**SETTINGS, **{name.replace("__", "."): value for name, value in settings.items()}}
    try:
        # As from a file.
        config = Config().from_str(config.to_str(), overrides=given, interpolate=False)
        train(initialized(config, Group()), output, Group(), resume=resume, stdout=stdout)
    finally:
        # Of the next run, as the hook may have set them.
        undo_framework()
    return rows(stdout.getvalue())


def end(config: Config, output: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
    """Train until it is ended."""
    with monkeypatch.context() as patch, pytest.raises(ConnectionError, match="ended"):
        patch.setattr(f"{__name__}.ends_before", END)
        run(config, output, **settings)


def assert_goes_on(config: Config, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(config, folder / "whole")
    end(config, folder / "ended", monkeypatch)
    rest = run(config, folder / "ended", resume=True)
    # Those of steps 0, 6 and 12 were printed before.
    assert len(whole) == 5 and rest == whole[3:]
    for name in ("model-best", "model-last"):
        assert_same_weights(folder / "ended" / name, folder / "whole" / name)
    for output in ("whole", "ended"):
        assert sorted(path.name for path in (folder / output).iterdir()) == [
            "model-best",
            "model-last",
        ]


def test_spacys_own_components_go_on(tmp_path, monkeypatch):
    assert_goes_on(stock(), tmp_path, monkeypatch)


@pytest.mark.parametrize("framework", ONE_OR_ALL)
def test_networks_of_a_framework_go_on(framework, tmp_path, monkeypatch):
    assert_goes_on(of_framework(framework), tmp_path, monkeypatch)


# What cannot be resumed


class Outside:
    """A component that updates a layer that is not in its model."""

    is_trainable = True

    def __init__(self) -> None:
        self.model, self.layer = Linear(1, 1).initialize(), Linear(1, 1).initialize()

    def __call__(self, doc: Doc) -> Doc:
        return doc

    def update(self, examples: Any, losses: Dict[str, float], **_: Any) -> None:
        losses["test_outside"] = 0.0
        self.layer.inc_grad("b", self.layer.ops.alloc1f(1) + 1)

    def finish_update(self, sgd: Any) -> None:
        self.layer.finish_update(sgd)


@Language.factory("test_outside")
def make_outside(nlp: Language, name: str) -> Outside:
    return Outside()


@registry.callbacks("test.change.v1")
def make_change(what: str) -> Any:
    """Between two evaluations, add a label, or put another layer in the place of one."""
    end = make_end()

    def before_update(nlp: Language, args: Dict[str, Any]) -> None:
        if args["step"] == 4 and what == "label":
            nlp.get_pipe("textcat").add_label("new")
        elif args["step"] == 4:
            model = nlp.get_pipe("textcat").model
            old = next(node for node in model.walk() if node.name == "sparse_linear")
            model.replace_node(old, old.copy())
        end(nlp, args)

    return before_update


@pytest.mark.parametrize("what", ["label", "layer", "outside"])
def test_what_could_not_go_on_trains_with_one_warning_and_without_a_checkpoint(
    what, tmp_path, monkeypatch
):
    config = init_config(lang="en", pipeline=["textcat"], silent=True)
    change = {"@callbacks": "test.change.v1", "what": what}
    if what == "outside":
        config["nlp"]["pipeline"].append("test_outside")
        config["components"]["test_outside"] = {"factory": "test_outside"}
        change = SETTINGS["training.before_update"]
    # Of an earlier training.
    (tmp_path / checkpoint.NAME).write_bytes(b"")
    with pytest.warns(UserWarning, match="cannot be resumed if it is ended") as warned:
        end(config, tmp_path, monkeypatch, training__before_update=change)
    assert [str(warning.message)[:13] for warning in warned].count("This training") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model-best", "model-last"]


@pytest.fixture(scope="module")
def ended(tmp_path_factory) -> Path:
    """The output folder of a training that was ended."""
    output = tmp_path_factory.mktemp("ended")
    with pytest.MonkeyPatch.context() as monkeypatch:
        end(small(), output, monkeypatch)
    return output


def small() -> Config:
    config = init_config(lang="en", pipeline=["tagger"], silent=True)
    config["components"]["tok2vec"]["model"]["embed"]["rows"] = [50] * 4
    return config


def damaged(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def labels_of(data: bytes) -> List[str]:
    return unpack(data)[1]["labels"]["tagger"]


def with_header(**values: Any) -> Any:
    def changed(data: bytes) -> bytes:
        tensors, header = unpack(data)
        return pack(tensors, {**header, **values})

    return changed


REFUSED: Dict[str, Any] = {
    "another config": (
        {"[training.dropout]": "0.2"},
        lambda data: data,
        "What differs: [training.dropout] was 0.3 and is 0.2.",
    ),
    "other processes": ({}, with_header(processes=2), "in 2 processes, and here are 1"),
    "an earlier format": ({}, with_header(checkpoint=1), "has format 1, and this version"),
    "a later format": ({}, with_header(checkpoint=3), "has format 3, and this version"),
    "labels in another order": (
        {},
        lambda data: with_header(labels={"tagger": labels_of(data)[::-1]})(data),
        "What differs: tagger: the same in another order.",
    ),
    "something else": ({}, lambda data: b"something else", "is damaged"),
    "a damaged file": ({}, damaged, "is damaged"),
    "half a file": ({}, lambda data: data[: len(data) // 2], "is damaged"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_resumed_is_an_error(name, ended, tmp_path):
    settings, changed, says = REFUSED[name]
    data = (ended / checkpoint.NAME).read_bytes()
    (tmp_path / checkpoint.NAME).write_bytes(changed(data))
    _, header = unpack(data)
    settings = {**header["settings"], **settings}
    progress = Progress(Group(), settings, lambda: header["labels"], Output(tmp_path))
    with pytest.raises(ResumeError, match=re.escape(says)):
        progress.resume()


def test_other_data_is_an_error_and_what_was_saved_stays(ended, monkeypatch):
    before = files(ended)
    monkeypatch.setattr(f"{__name__}.left_out", 1)
    with pytest.raises(ResumeError, match="until step 12 are not those"):
        run(small(), ended, resume=True)
    assert files(ended) == before


OTHER_LABELS = {
    # Its place in the alphabet is another.
    "renamed": (
        {"NN": "ZZ_NOUN"},
        "What differs: tagger: added ZZ_NOUN and removed NN. Resume it with the same data",
    ),
    "fewer": ({"NN": "NNP"}, "tagger: removed NN."),
    # The labels are the same, and the documents have others of them.
    "swapped": ({"NN": "NNP", "NNP": "NN"}, "until step 12 are not those"),
}


@pytest.mark.parametrize("name", OTHER_LABELS)
def test_other_annotation_is_an_error(name, ended, monkeypatch):
    others, says = OTHER_LABELS[name]
    monkeypatch.setattr(f"{__name__}.renamed", others)
    with pytest.raises(ResumeError, match=re.escape(says)):
        run(small(), ended, resume=True)


def test_a_model_of_another_size_is_an_error_that_names_it(ended):
    path = ended / checkpoint.NAME
    nlp = initialized(load_config(CONFIGS / "tagger.cfg", {"vars.framework": "Thinc"}), Group())
    with pytest.raises(ResumeError, match="The model of tagger cannot take the weights"):
        checkpoint.read(path.read_bytes(), path).restore({"tagger": nlp.get_pipe("tagger").model})


def files(folder: Path) -> Dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.skipif(sys.platform == "win32", reason="sets a limit for the size of files")
def test_a_full_disk_is_an_error_and_what_was_saved_stays(ended):
    import resource

    before = files(ended)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Python ignores the signal, and raises OSError.
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            run(small(), ended, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert files(ended) == before
