from __future__ import annotations

import importlib

import pytest

from ..conftest import ROOT as ROOT
from ..frameworks import WRAPPED_IDS, ways


def modules_of(framework):
    return importlib.import_module(f"tests.wrappers.modules.{framework}")


@pytest.fixture(params=WRAPPED_IDS)
def fw(request):
    """The modules of one framework; the same names in each."""
    return modules_of(request.param)


@pytest.fixture(params=ways("TWO_LAYER"))
def two_layer(request):
    """(modules of the framework, function that builds the network, its parameters' names)."""
    framework, kind = request.param
    fw = modules_of(framework)
    return (fw, *fw.TWO_LAYER[kind])
