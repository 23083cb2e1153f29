"""The configs, the registered names, and the commands that use them."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Dict, Iterator

import numpy
import pytest
import spacy
from numpy.testing import assert_allclose, assert_array_equal
from spacy.cli.debug_config import debug_config
from spacy.cli.init_config import fill_config
from spacy.training import Example
from spacy.training.initialize import init_nlp
from spacy.util import load_config
from spacy_frameworks.architectures import get_parameters, swap_framework
from spacy_frameworks.architectures.names import CUSTOM_MODEL, short_name
from spacy_frameworks.training.corpus import create_corpus
from spacy_frameworks.wrappers import get_framework
from thinc.api import Adam, Model

from .frameworks import ALL, KNOWN, NOT_THINCS, TOKENS, needs_all, ring
from .pipelines import CONFIGS, FEW, NAMES, spacy_command, train_config

TEXTS = ["Anna kept the plan.", "We roasted two onions, and they quickly left."]

# The excerpt of spaCy's usage page, with nO as many as the sample has tags.
USAGE_PAGE = """
[components.tagger]
factory = "tagger"

[components.tagger.model]
@architectures = "CustomTorchModel.v1"
nO = 25
width = 96
hidden_width = 48
embed_size = 2000
nM = 64
nC = 8
dropout = 0.2
"""


def architectures(section: Dict[str, Any]) -> Iterator[Dict[str, Any]]:
    """The sections of all architectures of this package in a config that have a framework."""
    is_ours = section.get("@architectures", "").startswith("spacy-frameworks.")
    if is_ours and "framework" in section:
        yield section
    for value in section.values():
        if isinstance(value, dict):
            yield from architectures(value)


# Each framework with every other config, and each config with every other framework. The rest
# takes minutes.
TRAINED = [
    pytest.param(
        name,
        case.values[0],
        marks=[*case.marks, *([pytest.mark.slow] if (i + j) % 2 else [])],
    )
    for i, name in enumerate(NAMES)
    for j, case in enumerate(ALL)
]


@pytest.mark.parametrize(("name", "framework"), TRAINED)
def test_config_trains_by_the_name_of_the_framework_alone(name, framework, tmp_path):
    nlp = spacy.load(train_config(name, framework, tmp_path))
    sections = list(architectures(nlp.config.interpolate()))
    assert sections and all(section["framework"] == framework for section in sections)
    assert set(count_frameworks(nlp)) == {framework}
    # The variable is in the pipeline's own config too.
    assert nlp.config["vars"] == {"framework": framework}
    assert nlp("One sentence.")


@pytest.mark.parametrize("name", NAMES)
def test_config_is_complete(name):
    config = load_config(CONFIGS / f"{name}.cfg", overrides={"vars.framework": "Thinc"})
    nlp = spacy.util.load_model_from_config(config, auto_fill=True)
    filled, given = nlp.config.interpolate(), config.interpolate()
    # The weights of further scores are filled in when the config is loaded, too.
    filled["training"].pop("score_weights"), given["training"].pop("score_weights")
    assert filled == given


@pytest.mark.parametrize("name", NAMES)
def test_config_says_how_to_train_it_and_passes_spacys_check(name):
    assert f"spacy train configs/{name}.cfg " in (CONFIGS / f"{name}.cfg").read_text()
    debug_config(CONFIGS / f"{name}.cfg", overrides={"vars.framework": "Thinc"})


@pytest.mark.parametrize(
    ("name", "hint"),
    [("TF", "'TensorFlow'"), ("Torch", "'PyTorch'"), ("pytroch", "'PyTorch'"), ("mx", "'MXNet'")],
)
def test_unknown_framework_is_one_line_that_lists_the_names(name, hint, tmp_path):
    arguments = ("--output", tmp_path / "out", "--vars.framework", name)
    failed = spacy_command("train", CONFIGS / "tagger.cfg", *arguments, cwd=tmp_path, fails=True)
    expected = f"expected one of {', '.join(KNOWN)}."
    assert f"Unknown framework {name!r}: {expected} Did you mean {hint}?" in failed.stderr


@pytest.mark.parametrize("name", ["thinc", "THINC"])
def test_the_framework_may_be_in_any_case(name, tmp_path):
    nlp = spacy.load(train_config("tagger", name, tmp_path))
    assert count_frameworks(nlp) == {"Thinc": 1}


@pytest.mark.pytorch
@pytest.mark.parametrize("name", NAMES)
def test_fill_config_fills_in_all_arguments_and_keeps_the_variable(name, tmp_path):
    """What spaCy's usage page advises, on a config that says no more than it has to. It is the
    function behind `spacy init fill-config`."""
    shipped = load_config(CONFIGS / f"{name}.cfg", interpolate=False)
    bare = shipped.copy()
    for section in architectures(bare["components"]):
        # Other sections refer to the width.
        required = {"@architectures", "framework", "tok2vec", "exclusive_classes", "width"}
        kept = {key: value for key, value in section.items() if key in required and value}
        section.clear()
        section.update(kept)
    bare.to_disk(tmp_path / "bare.cfg", interpolate=False)
    fill_config(tmp_path / "filled.cfg", tmp_path / "bare.cfg", silent=True)
    filled = load_config(tmp_path / "filled.cfg", interpolate=False)
    for came, expected in zip(architectures(filled), architectures(shipped), strict=True):
        assert set(came) == set(expected)
        assert came["framework"] == "${vars.framework}"


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, timeout=300
    )


def usage_page_config(tmp_path: Path, architecture: str, nO: str) -> Path:
    excerpt = USAGE_PAGE.replace("CustomTorchModel", architecture).replace("nO = 25", f"nO = {nO}")
    head, _, rest = (CONFIGS / "tagger.cfg").read_text().partition("[components.tagger]")
    tail = rest[rest.index("[corpora]") :]
    (tmp_path / "config.cfg").write_text(head + excerpt + tail)
    return tmp_path / "config.cfg"


@pytest.mark.parametrize("framework", ALL)
def test_usage_page_config_trains_as_printed(framework, tmp_path):
    custom = short_name(CUSTOM_MODEL, get_framework(framework)).removesuffix(".v1")
    config = usage_page_config(tmp_path, custom, "25")
    spacy_train = ("-m", "spacy", "train", str(config), "--code", str(CONFIGS / "custom.py"))
    result = run(*spacy_train, "--training.max_steps", "20", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "TAG_ACC" in result.stdout


def test_usage_page_config_with_too_many_outputs_names_both_numbers(tmp_path):
    config = usage_page_config(tmp_path, "CustomThincModel", "50")
    spacy_train = ("-m", "spacy", "train", str(config), "--code", str(CONFIGS / "custom.py"))
    result = run(*spacy_train, cwd=tmp_path)
    assert result.returncode != 0
    assert "nO = 50, but the data has 25 labels" in result.stderr
    assert "null" in result.stderr


def test_the_bare_names_come_by_import_and_never_over_existing_ones(tmp_path):
    script = """
import spacy
from spacy.util import registry
assert "CustomTorchModel.v1" not in registry.architectures
def mine(): ...
registry.architectures.register("CustomTorchModel.v1", func=mine)
import spacy_frameworks.architectures.custom
assert registry.architectures.get("CustomTorchModel.v1") is mine
assert registry.architectures.get("CustomThincModel.v1").__name__ == "CustomThincModel"
"""
    result = run("-c", script, cwd=tmp_path)
    assert result.returncode == 0, result.stderr


@needs_all
def test_importing_the_package_and_spacys_help_import_no_framework(tmp_path):
    script = f"""
import sys, importlib
import spacy
before = {{name for name in sys.modules if name.partition(".")[0] == "torch"}}
import spacy_frameworks.wrappers, spacy_frameworks.architectures
after = {{name for name in sys.modules if name.partition(".")[0] == "torch"}}
assert after == before, after - before
from typer.testing import CliRunner
from spacy.cli import app
from spacy.cli._util import setup_cli
assert "train" in CliRunner().invoke(app, ["--help"]).output
setup_cli  # loads the entry points when it is called by the command
loaded = set({NOT_THINCS!r}) & sys.modules.keys()
assert not loaded, loaded
assert importlib.util.find_spec("wrappers") is None
assert importlib.util.find_spec("architectures") is None
"""
    result = run("-c", script, cwd=tmp_path)
    assert result.returncode == 0, result.stderr


# Encoders under heads


def initialize(name: str, framework: str, **overrides: str) -> spacy.Language:
    overrides = {"vars.framework": framework, **FEW, **overrides}
    return init_nlp(load_config(CONFIGS / f"{name}.cfg", overrides, interpolate=False))


def networks(nlp: spacy.Language) -> list[Model]:
    """The networks of this package."""
    models = [component.model for _, component in nlp.pipeline if hasattr(component, "model")]
    return [node for model in models for node in model.walk() if "network" in node.attrs]


def examples(nlp: spacy.Language) -> list[Example]:
    return list(create_corpus({"train": None, "dev": None}, "train", limit=8)(nlp))


@pytest.mark.parametrize("framework", ALL)
@pytest.mark.parametrize("removed", ["tagger", "textcat"])
def test_either_head_alone_trains_the_shared_encoder(framework, removed):
    nlp = initialize("shared_tok2vec", framework)
    nlp.remove_pipe(removed)
    encoder, *_ = networks(nlp)
    before = get_parameters(encoder)
    # As `spacy train` does: the gradient is complete only when the heads have had their turn.
    nlp.update(examples(nlp), sgd=False)
    nlp.get_pipe("tok2vec").finish_update(Adam(0.01))
    after = get_parameters(encoder)
    assert all((after[name] != before[name]).any() for name in before)


@pytest.mark.parametrize("framework", ALL)
def test_a_shared_encoder_is_saved_and_loaded_with_its_heads(framework, tmp_path):
    nlp = initialize("shared_tok2vec", framework)
    for _ in range(2):
        nlp.update(examples(nlp), sgd=Adam(0.01))
    nlp.to_disk(tmp_path)
    for doc, expected in zip(spacy.load(tmp_path).pipe(TEXTS), nlp.pipe(TEXTS)):
        assert_array_equal(doc.tensor, expected.tensor)
        assert doc.cats == expected.cats
        assert [token.tag_ for token in doc] == [token.tag_ for token in expected]


ENCODERS = ("tagger_feed_forward", "tagger_window", "tagger_bilstm", "tagger_transformer")
# Each framework for an encoder, and the next one for the head above it.
MIXED = [
    pytest.param(name, *pair.values, marks=pair.marks)
    for name, pair in zip(itertools.cycle(ENCODERS), ring(TOKENS))
]


@pytest.mark.parametrize(("name", "below", "above"), MIXED)
def test_an_encoder_of_one_framework_under_a_head_of_another(name, below, above, tmp_path):
    key = "components.tagger.model.tok2vec.encode.framework"
    nlp = initialize(name, above, **{key: below})
    assert count_frameworks(nlp) == {below: 1, above: 1}
    sample, optimizer = examples(nlp), Adam(0.01)
    losses = [nlp.update(sample, sgd=optimizer)["tagger"] for _ in range(4)]
    assert losses[-1] < losses[0]
    nlp.to_disk(tmp_path)
    assert_array_equal(probabilities(spacy.load(tmp_path)), probabilities(nlp))
    for target in {below, above, "Thinc"}:
        swapped = swap_framework(nlp, target)
        assert count_frameworks(swapped) == {target: 2}
        assert_allclose(probabilities(swapped), probabilities(nlp), atol=1e-5)


def count_frameworks(nlp: spacy.Language) -> Counter[str]:
    """How many networks there are of each framework."""
    ids = [node.shims[0].framework if node.shims else "thinc" for node in networks(nlp)]
    return Counter(get_framework(framework).token for framework in ids)


def probabilities(nlp: spacy.Language) -> numpy.ndarray:
    docs = [nlp.make_doc(text) for text in TEXTS]
    return numpy.vstack(nlp.get_pipe("tagger").model.predict(docs))
