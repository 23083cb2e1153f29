from __future__ import annotations

import importlib

import pytest
from spacy_frameworks.wrappers import get_framework
from spacy_frameworks.wrappers.framework import find_part

from ..conftest import ROOT as ROOT
from ..frameworks import WRAPPED_IDS, ways


def modules_of(framework):
    return importlib.import_module(f"tests.wrappers.modules.{framework}")


@pytest.fixture(params=WRAPPED_IDS)
def fw(request):
    """The modules of one framework; the same names in each."""
    return modules_of(request.param)


def skip_without_rnn(fw):
    """Skip what needs a wrapper of recurrent modules, which a folder need not have."""
    framework = get_framework(fw.ID)
    if find_part(framework, "rnn") is None:
        pytest.skip(f"{framework.token} has no rnn.py")


@pytest.fixture
def recurrent_fw(fw):
    """The modules of one framework that has a wrapper of recurrent ones."""
    skip_without_rnn(fw)
    return fw


@pytest.fixture(params=ways("TWO_LAYER"))
def two_layer(request):
    """(modules of the framework, function that builds the network, its parameters' names)."""
    framework, kind = request.param
    fw = modules_of(framework)
    return (fw, *fw.TWO_LAYER[kind])
