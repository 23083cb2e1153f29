"""The configs, the registered names, and the commands that use them."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import spacy
from catalogue import RegistryError
from spacy.cli.train import train
from spacy.util import load_config, registry
from spacy_frameworks.wrappers import FRAMEWORKS

from .frameworks import ALL

CONFIGS = Path(__file__).parent.parent / "configs"
GROUPS = {
    "spacy_architectures": registry.architectures,
    "spacy_readers": registry.readers,
    "thinc_layers": registry.layers,
}

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


def ours(group: str):
    return [e for e in entry_points(group=group) if e.name.startswith("spacy-frameworks.")]


@pytest.mark.parametrize("group", GROUPS)
def test_every_registered_name_is_a_function_of_that_name(group):
    assert ours(group)
    for entry in ours(group):
        function = GROUPS[group].get(entry.name)
        assert function.__name__ == entry.value.rpartition(":")[2]
        assert function.__doc__


def test_every_framework_has_every_architecture():
    names = {entry.name for entry in ours("spacy_architectures")}
    tokens = [(fw.token, fw.custom) for fw in FRAMEWORKS] + [("Thinc", "Thinc")]
    assert names == {
        f"spacy-frameworks.{name}.v1"
        for token, custom in tokens
        for name in (
            f"{token}Tagger",
            f"{token}TextCat",
            f"{token}FeedForward",
            f"{token}WindowEncoder",
            f"{token}BiLSTMEncoder",
            f"{token}TransformerEncoder",
            f"Custom{custom}Model",
        )
    }


@pytest.mark.parametrize("name", ["tagger", "textcat"])
@pytest.mark.parametrize("framework", ALL)
def test_config_trains_by_the_name_of_the_framework_alone(name, framework, tmp_path):
    overrides = {"vars.framework": framework, "training.max_steps": 3}
    train(CONFIGS / f"{name}.cfg", tmp_path, overrides=overrides)
    nlp = spacy.load(tmp_path / "model-last")
    architecture = nlp.config.interpolate()["components"][name]["model"]["@architectures"]
    assert architecture.startswith(f"spacy-frameworks.{framework}")
    assert nlp("One sentence.")


@pytest.mark.parametrize("name", ["tagger", "textcat"])
def test_config_is_complete(name):
    config = load_config(CONFIGS / f"{name}.cfg", overrides={"vars.framework": "Thinc"})
    nlp = spacy.util.load_model_from_config(config, auto_fill=True)
    filled, given = nlp.config.interpolate(), config.interpolate()
    # The weights of further scores are filled in when the config is loaded, too.
    filled["training"].pop("score_weights"), given["training"].pop("score_weights")
    assert filled == given


def test_unknown_framework_is_an_error_that_lists_the_names(tmp_path):
    with pytest.raises(RegistryError, match="PyTorchTagger"):
        train(CONFIGS / "tagger.cfg", tmp_path, overrides={"vars.framework": "Torch"})


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
    custom = {fw.token: fw.custom for fw in FRAMEWORKS}.get(framework, framework)
    config = usage_page_config(tmp_path, f"Custom{custom}Model", "25")
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


def test_importing_the_package_and_spacys_help_import_no_framework(tmp_path):
    script = """
import sys, importlib
import spacy
before = {name for name in sys.modules if name.partition(".")[0] == "torch"}
import spacy_frameworks.wrappers, spacy_frameworks.architectures
after = {name for name in sys.modules if name.partition(".")[0] == "torch"}
assert after == before, after - before
from typer.testing import CliRunner
from spacy.cli import app
from spacy.cli._util import setup_cli
assert "train" in CliRunner().invoke(app, ["--help"]).output
setup_cli  # loads the entry points when it is called by the command
loaded = {"tensorflow", "keras", "mxnet"} & sys.modules.keys()
assert not loaded, loaded
assert importlib.util.find_spec("wrappers") is None
assert importlib.util.find_spec("architectures") is None
"""
    result = run("-c", script, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
