"""Which words in a config a swap changes."""

from __future__ import annotations

import pytest
from spacy.util import load_config
from spacy_frameworks.architectures import swap_config
from thinc.api import Config

from ..pipelines import CONFIGS, NAMES

pytestmark = pytest.mark.thinc


def swapped(text: str, framework: str = "TensorFlow") -> Config:
    config = Config().from_str(text, interpolate=False)
    before = config.to_str(interpolate=False)
    result = swap_config(config, framework)
    assert config.to_str(interpolate=False) == before
    return result


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_config_is_swapped_by_its_variable_alone(name):
    path = CONFIGS / f"{name}.cfg"
    expected = load_config(path, overrides={"vars.framework": "MXNet"}, interpolate=False)
    for config in (path, str(path), load_config(path, interpolate=False)):
        assert swap_config(config, "mxnet") == expected


def test_literals_are_set_one_by_one():
    config = swapped("""
[tagger]
@architectures = "spacy-frameworks.Tagger.v1"
framework = "PyTorch"

[tagger.tok2vec]
@architectures = "spacy-frameworks.WindowEncoder.v1"
framework = "mxnet"

[other]
@architectures = "somebody.Else.v1"
framework = "PyTorch"
""")
    assert config["tagger"]["framework"] == "TensorFlow"
    assert config["tagger"]["tok2vec"]["framework"] == "TensorFlow"
    assert config["other"]["framework"] == "PyTorch"


@pytest.mark.parametrize("variable", ["${system.library}", '"${system.library}"'])
def test_a_variable_is_set_where_it_is_defined_whatever_its_name(variable):
    config = swapped(
        """
[settings]
backend = VARIABLE

[system]
library = "PyTorch"

[tagger]
@architectures = "spacy-frameworks.Tagger.v1"
framework = ${settings.backend}

[textcat]
@architectures = "spacy-frameworks.TextCat.v1"
framework = ${tagger.framework}
exclusive_classes = true
""".replace("VARIABLE", variable)
    )
    assert config["system"]["library"] == "TensorFlow"
    assert config["settings"]["backend"] == variable
    assert config["textcat"]["framework"] == "${tagger.framework}"
    filled = config.interpolate()
    assert filled["tagger"]["framework"] == filled["textcat"]["framework"] == "TensorFlow"


@pytest.mark.parametrize("use", ["${vars.framework}", "${vars}", '"runs/${vars.framework}"'])
def test_a_variable_that_something_else_uses_is_replaced(use):
    config = swapped(f"""
[vars]
framework = "PyTorch"

[logger]
label = {use}

[tagger]
@architectures = "spacy-frameworks.Tagger.v1"
framework = ${{vars.framework}}
""")
    assert config["vars"]["framework"] == "PyTorch"
    assert config["tagger"]["framework"] == "TensorFlow"


def test_a_variable_in_a_name_becomes_an_argument():
    config = swapped("""
[vars]
framework = "PyTorch"

[tagger]
@architectures = "spacy-frameworks.${vars.framework}Tagger.v1"
width = 96
""")
    assert list(config["tagger"].items()) == [
        ("@architectures", "spacy-frameworks.Tagger.v1"),
        ("framework", "${vars.framework}"),
        ("width", 96),
    ]
    assert config["vars"]["framework"] == "TensorFlow"


def test_the_custom_spelling_in_a_variable_is_understood():
    config = swapped("""
[vars]
custom = "Torch"

[tagger]
@architectures = "spacy-frameworks.Custom${vars.custom}Model.v1"

[page]
@architectures = "Custom${vars.custom}Model.v1"
""")
    filled = config.interpolate()
    assert filled["tagger"] == {
        "@architectures": "spacy-frameworks.CustomModel.v1",
        "framework": "TensorFlow",
    }
    assert filled["page"] == {"@architectures": "CustomTensorFlowModel.v1"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("spacy-frameworks.PyTorchTextCat.v1", "spacy-frameworks.TensorFlowTextCat.v1"),
        ("spacy-frameworks.ThincBiLSTMEncoder.v1", "spacy-frameworks.TensorFlowBiLSTMEncoder.v1"),
        ("spacy-frameworks.CustomTorchModel.v1", "spacy-frameworks.CustomTensorFlowModel.v1"),
        ("CustomMXNetModel.v1", "CustomTensorFlowModel.v1"),
        ("PyTorchTagger.v1", "PyTorchTagger.v1"),
        ("spacy.TextCatBOW.v3", "spacy.TextCatBOW.v3"),
        ("spacy.TorchBiLSTMEncoder.v1", "spacy.TorchBiLSTMEncoder.v1"),
    ],
)
def test_a_name_with_the_framework_in_it_gets_the_other(before, after):
    config = Config({"model": {"@architectures": before, "sub": {"@architectures": before}}})
    model = swap_config(config, "tensorflow")["model"]
    assert model == {"@architectures": after, "sub": {"@architectures": after}}


def test_the_hook_follows_where_it_names_a_framework():
    hook = '[nlp.before_creation]\n@callbacks = "spacy-frameworks.use_framework.v1"\n'
    config = swapped(f'[nlp]\n\n{hook}framework = "PyTorch"\n')
    assert config["nlp"]["before_creation"]["framework"] == "TensorFlow"
    config = swapped(f"[nlp]\n\n{hook}framework = null\n")
    assert config["nlp"]["before_creation"]["framework"] is None


CIRCLES = {
    "two arguments": """
[tagger]
@architectures = "spacy-frameworks.Tagger.v1"
framework = ${textcat.framework}

[textcat]
@architectures = "spacy-frameworks.TextCat.v1"
framework = ${tagger.framework}
""",
    "two variables": """
[vars]
a = ${vars.b}
b = "${vars:a}"

[tagger]
@architectures = "spacy-frameworks.Tagger.v1"
framework = ${vars.a}
""",
    "itself": """
[tagger]
@architectures = "spacy-frameworks.Tagger.v1"
framework = ${tagger.framework}
""",
    "in a name": """
[vars]
a = ${vars.b}
b = ${vars.a}

[tagger]
@architectures = "spacy-frameworks.${vars.a}Tagger.v1"
""",
}


@pytest.mark.parametrize("text", CIRCLES.values(), ids=CIRCLES)
def test_variables_that_refer_to_each_other_are_an_error_that_names_them(text):
    config = Config().from_str(text, interpolate=False)
    variable = r"\$\{[\w.]+\}"
    expected = rf"refers to itself: ({variable}) -> .*\1\. Write the name of a framework"
    with pytest.raises(ValueError, match=expected):
        swap_config(config, "MXNet")


def test_an_unknown_framework_or_file_is_an_error():
    with pytest.raises(ValueError, match="Did you mean 'MXNet'"):
        swap_config(Config(), "mxnett")
    with pytest.raises(OSError, match=r"missing\.cfg"):
        swap_config("missing.cfg", "MXNet")
