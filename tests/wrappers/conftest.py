from __future__ import annotations

import importlib

import pytest
from spacy_frameworks.wrappers import FRAMEWORKS

from ..conftest import ROOT as ROOT
from ..frameworks import WRAPPED_IDS

# The ways in which users write one and the same network of two layers.
KINDS = {
    "pytorch": ("sequential", "subclassed"),
    "tensorflow": ("sequential", "functional", "subclassed", "nested", "tf_module"),
    "mxnet": ("sequential", "subclassed", "block"),
}


def modules_of(framework):
    return importlib.import_module(f"tests.wrappers.modules.{framework}")


@pytest.fixture(params=WRAPPED_IDS)
def fw(request):
    """The modules of one framework; the same names in each."""
    return modules_of(request.param)


@pytest.fixture(
    params=[
        pytest.param((fw.id, kind), marks=getattr(pytest.mark, fw.id), id=f"{fw.id}-{kind}")
        for fw in FRAMEWORKS
        for kind in KINDS[fw.id]
    ]
)
def two_layer(request):
    """(modules of the framework, function that builds the network, its parameters' names)."""
    framework, kind = request.param
    fw = modules_of(framework)
    return (fw, *fw.TWO_LAYER[kind])
