import json

import pytest
import spacy
from spacy.cli import app
from spacy_frameworks.commands.summary import described
from typer.testing import CliRunner

from ..frameworks import THINC_OR_ALL
from ..pipelines import train_config


def summary(*arguments):
    done = CliRunner().invoke(app, ["frameworks", "summary", *map(str, arguments)])
    return done.exit_code, done.output


@pytest.mark.parametrize(
    "framework", [*THINC_OR_ALL, pytest.param("PyTorch", marks=pytest.mark.pytorch)]
)
def test_every_parameter_is_counted_once(framework, tmp_path):
    trained = train_config("shared_tok2vec", framework, tmp_path)
    code, printed = summary(trained, "--json")
    assert code == 0
    found = json.loads(printed)
    assert list(found) == ["tok2vec", "tagger", "textcat"]
    nlp = spacy.load(trained)
    for name, layer in found.items():
        model = nlp.get_pipe(name).model
        own = {(node.id, n): node.get_param(n) for node in model.walk() for n in node.param_names}
        for node in model.walk():
            for shim in node.shims:
                module = shim.module
                own.update(
                    {(id(shim), n): module.get_value(h) for n, h in module.parameters().items()}
                )
        assert layer == described(model, set())
        assert layer["parameters"] == sum(value.size for value in own.values()) > 0
        assert layer["bytes"] == 4 * layer["parameters"]
        assert layer["dims"]["nO"] == model.maybe_get_dim("nO")
    assert {node["framework"] for node in _walk(found["tagger"])} == {framework, "Thinc"}


def _walk(layer):
    yield layer
    for inner in layer["layers"]:
        yield from _walk(inner)


@pytest.mark.pytorch
def test_a_tied_weight_under_thincs_wrapper_counts_once():
    from thinc.api import PyTorchWrapper
    from torch import nn

    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    tied[1].weight = tied[0].weight
    # What is not saved does not count.
    tied.register_buffer("scratch", tied[0].bias.detach().clone(), persistent=False)
    assert described(PyTorchWrapper(tied), set())["parameters"] == 4 * 4 + 4 + 4


def test_a_tree_is_shown(tmp_path):
    trained = train_config("tagger", "Thinc", tmp_path)
    code, printed = summary(trained)
    assert code == 0
    for text in ("tagger", "nI=", "W ", "parameters, ", "MB"):
        assert text in printed


def test_a_missing_pipeline_is_an_error():
    code, printed = summary("no_such_model")
    assert code == 1
    assert "no_such_model" in printed
