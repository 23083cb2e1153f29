"""The networks' files are siblings: each framework's has the same networks, and says the same of
its layers."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from spacy_frameworks.architectures.networks import description
from spacy_frameworks.wrappers import FRAMEWORKS
from spacy_frameworks.wrappers.framework import THINC

from ..pipelines import ROOT

pytestmark = pytest.mark.thinc

FILES = {fw.id: ROOT / "architectures" / "networks" / f"{fw.id}.py" for fw in (*FRAMEWORKS, THINC)}
WRAPPED = [fw.id for fw in FRAMEWORKS]
NETWORKS = [
    description.FeedForward(8, normalize=True),
    description.WindowEncoder(),
    description.BiLSTMEncoder(),
    description.TransformerEncoder(8, heads=2),
]


def definitions(framework: str) -> dict[str, Any]:
    """Classes, functions and constants of a file by name."""
    found = {}
    for node in ast.parse(FILES[framework].read_text()).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            found[node.name] = node
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = node.value
    return found


def made_from(node: Any) -> list[str]:
    """The arguments of a function, or of a class's constructor."""
    if isinstance(node, ast.ClassDef):
        (node,) = [n for n in node.body if getattr(n, "name", "") == "__init__"]
        return [argument.arg for argument in node.args.args[1:]]
    return [argument.arg for argument in node.args.args]


@pytest.mark.parametrize("framework", FILES)
def test_every_network_is_there_and_made_from_the_same(framework):
    found = definitions(framework)
    assert description.NETWORKS.keys() <= found.keys()
    for name in description.NETWORKS:
        # Thinc's layers take the rate of dropout besides.
        assert made_from(found[name])[:3] == ["network", "nO", "nI"], name


@pytest.mark.parametrize("framework", WRAPPED)
def test_every_kind_of_parameter_has_its_place(framework):
    parameters = {
        (parameter.kind, parameter.name)
        for network in NETWORKS
        for parameter in network.parameters(8, 8)
    }
    layout = ast.literal_eval(definitions(framework)["LAYOUT"])
    assert layout.keys() == parameters
    for name, is_transposed in layout.values():
        assert isinstance(name, str) and isinstance(is_transposed, bool)


@pytest.mark.parametrize("framework", WRAPPED)
def test_the_gates_are_the_descriptions_in_some_order(framework):
    gates = ast.literal_eval(definitions(framework)["GATES"])
    assert sorted(gates) == sorted(description.GATES)


def test_the_examples_are_of_every_network():
    assert {type(network) for network in NETWORKS} == set(description.NETWORKS.values())
