"""A framework that another distribution adds, in pipelines; and what cannot be added."""

from __future__ import annotations

import json
from pathlib import Path

import numpy
import pytest
import spacy
from spacy.util import registry
from spacy_frameworks.architectures import (
    FeedForward,
    build_network,
    swap_config,
    swap_framework,
    textcat,
)
from spacy_frameworks.wrappers import get_framework, set_gpu_allocator
from spacy_frameworks.wrappers.framework import install_command
from spacy_frameworks.wrappers.ops import FasterNumpyOps, get_framework_ops
from spacy_frameworks.wrappers.wrapper import wrap_rnn
from thinc.api import Config, NumpyOps, set_current_ops

from . import python_path
from .frameworks import FROM_OUTSIDE, KNOWN, MODULES, cases
from .pipelines import PREDICT, ROOT, assert_same_predictions, spacy_command, train_config

CONFIG = ROOT / "configs" / "tagger_feed_forward.cfg"
FEW = ("--corpora.train.limit", 40, "--corpora.dev.limit", 20, "--training.max_steps", 3)
# All that are in the list by themselves.
TOKENS = [get_framework(name).token for name in FROM_OUTSIDE]


@pytest.fixture(autouse=True)
def ops():
    """The hook in the configs sets some."""
    yield
    set_current_ops(NumpyOps())


@pytest.fixture
def predict(run_python, tmp_path):
    """What a pipeline predicts in a new process, in which some modules cannot be imported."""

    def predict(folder: Path, missing: tuple[str, ...]) -> dict[str, numpy.ndarray]:
        run_python(PREDICT, folder, tmp_path / "predictions.npz", *missing)
        return dict(numpy.load(tmp_path / "predictions.npz"))

    return predict


def requirements(folder: Path) -> list[str]:
    """Without the line for spacy-frameworks, which is the first one."""
    first, *others = json.loads((folder / "meta.json").read_text())["requirements"]
    assert first.startswith("spacy-frameworks>=")
    return others


@pytest.mark.parametrize("framework", cases(TOKENS))
def test_a_pipeline_is_trained_by_spacys_command_and_loads_in_a_new_process(
    framework, predict, tmp_path
):
    arguments = ("--vars.framework", framework, "--output", "out", *FEW)
    spacy_command("train", CONFIG, *arguments, cwd=tmp_path)
    trained, untrained = (tmp_path / "out" / "model-last", tmp_path / "untrained")
    # Of the frameworks, it needs its own alone.
    came = predict(trained, MODULES)
    nlp = spacy.load(trained)
    shims = [shim for node in nlp.get_pipe("tagger").model.walk() for shim in node.shims]
    assert [shim.framework for shim in shims] == [get_framework(framework).id] * 2
    # What is in the file is what was trained.
    for shim in shims:
        for handle in shim.module.parameters().values():
            shim.module.set_value(handle, shim.module.get_value(handle) * 0)
    nlp.to_disk(untrained)
    assert numpy.abs(predict(untrained, MODULES)["tagger"] - came["tagger"]).max() > 1e-3
    assert requirements(trained) == list(get_framework(framework).requirements)


@pytest.mark.parametrize("framework", cases(TOKENS))
def test_a_pipeline_moves_to_thinc_and_back_with_its_weights(framework, predict, tmp_path):
    fw = get_framework(framework)
    trained = train_config("tagger_feed_forward", framework, tmp_path / "out")
    swap_framework(trained, "Thinc").to_disk(tmp_path / "thinc")
    # The library is not needed there any more, as the requirements say.
    expected = predict(trained, ())
    assert_same_predictions(predict(tmp_path / "thinc", (*MODULES, fw.module)), expected)
    assert requirements(tmp_path / "thinc") == []
    swap_framework(tmp_path / "thinc", framework).to_disk(tmp_path / "back")
    assert_same_predictions(predict(tmp_path / "back", MODULES), expected)
    assert requirements(tmp_path / "back") == list(fw.requirements)
    assert spacy.load(tmp_path / "back").config["vars"] == {"framework": framework}


@pytest.mark.toy
def test_a_network_that_it_does_not_have_is_named_with_those_that_it_has(tmp_path):
    with pytest.raises(
        ValueError, match=r"no WindowEncoder in Toy: toy_frameworks\.networks has FeedForward\. Use"
    ):
        train_config("tagger_window", "Toy", tmp_path / "out")


@pytest.mark.toy
def test_what_its_folder_need_not_have_is_the_shared_one_or_refused():
    assert type(get_framework_ops("Toy")) is FasterNumpyOps
    with pytest.raises(ValueError, match="Unknown GPU allocator 'toy'"):
        set_gpu_allocator("toy")
    with pytest.raises(NotImplementedError, match="no 'rnn' for Toy"):
        wrap_rnn("toy", None, None, None)


def test_it_is_installed_by_its_own_line():
    assert install_command(get_framework("Toy")) == 'pip install "toy-frameworks>=1.0"'


def test_it_may_register_short_forms_and_need_not():
    def swapped(name: str) -> dict:
        model = {"@architectures": f"spacy-frameworks.MXNet{name}.v1"}
        return swap_config(Config({"model": model}), "Toy")["model"]

    registered = registry.architectures.get("spacy-frameworks.ToyTextCat.v1")
    assert registered is textcat.ToyTextCat
    assert swapped("TextCat") == {"@architectures": "spacy-frameworks.ToyTextCat.v1"}
    general = {"@architectures": "spacy-frameworks.Tagger.v1", "framework": "Toy"}
    assert swapped("Tagger") == general


@pytest.mark.toy
def test_a_network_of_it_may_be_copied_and_saved():
    model, other = (build_network("Toy", FeedForward(5), 0.1, 3, 4) for _ in range(2))
    for each in (model, other):
        each.initialize()
    X = numpy.ones((2, 4), "float32")
    assert numpy.abs(other.predict(X) - model.predict(X)).max() > 1e-4
    other.from_bytes(model.copy().to_bytes())
    numpy.testing.assert_array_equal(other.predict(X), model.predict(X))


# What cannot be added

# By the name of the entry point: what it names, and what is said of it.
BROKEN = {
    "gone": ("no_such_module:IT", "ModuleNotFoundError: No module named 'no_such_module'"),
    "fails": ("fails:IT", "RuntimeError: as it is imported"),
    "lacks": ("declares:LACKS", "AttributeError: module 'declares' has no attribute 'LACKS'"),
    "text": ("declares:TEXT", "ValueError: Expected a Framework there, got str."),
    "taken": ("declares:TAKEN", "There is a framework of the name 'PyTorch' already."),
    "kernels": ("declares:KERNELS", "There is a framework of the name 'NumPy' already."),
    "odd": ("declares:ODD", "ValueError: Expected the id 'odd', got 'strange'."),
}
DECLARES = """
from spacy_frameworks.wrappers import Framework
TEXT = "PyTorch"
TAKEN = Framework("PyTorch", "pytorch", "fails", "Taken", (), ("fails",))
KERNELS = Framework("NumPy", "numpy", "fails", "Kernels", (), ("fails",))
ODD = Framework("Odd", "strange", "fails", "Odd", (), ("fails",))
# Right, but for the architectures.
BARE = Framework("Bare", "bare", "declares", "Bare", ("bare",), ("declares",), "declares")
"""
LIST = """
import json, warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from spacy_frameworks.wrappers import all_frameworks
    tokens = [fw.token for fw in all_frameworks()]
    all_frameworks()
from spacy_frameworks.architectures import FeedForward, build_network
build_network("Thinc", FeedForward(5), 0.1, 3, 4).initialize()
try:
    build_network("Bare", FeedForward(5), 0.1, 3, 4)
except ValueError as error:
    refused = str(error)
warned = [str(each.message) for each in caught if each.category is UserWarning]
print(json.dumps([tokens, warned, refused]))
"""


def write_distribution(folder: Path, name: str, entry_points: dict[str, str]) -> None:
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"{entry} = {value}" for entry, value in entry_points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[spacy_frameworks]", *lines, ""]))


def test_what_cannot_be_added_is_a_warning_that_names_it_and_the_rest_works(run_python, tmp_path):
    (tmp_path / "declares.py").write_text(DECLARES)
    (tmp_path / "fails.py").write_text('raise RuntimeError("as it is imported")')
    for name, (value, _) in BROKEN.items():
        write_distribution(tmp_path, f"of_{name}", {name: value})
    write_distribution(tmp_path, "of_bare", {"bare": "declares:BARE"})
    printed = run_python(LIST, cwd=tmp_path, env={"PYTHONPATH": python_path(tmp_path)})
    tokens, warned, refused = json.loads(printed.splitlines()[-1])
    assert sorted(tokens) == sorted([*(set(KNOWN) - {"Thinc"}), "Bare"])
    assert len(warned) == len(BROKEN)
    for name, (value, reason) in BROKEN.items():
        (message,) = [text for text in warned if f"'{name}'" in text and f"'{value}'" in text]
        assert "is left out" in message
        assert reason in message
    assert "Bare can be wrapped, but has no networks" in refused
