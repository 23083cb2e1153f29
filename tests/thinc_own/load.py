"""Thinc's tests of its wrappers, with the names in them pointing at this package."""

from __future__ import annotations

import importlib.util
from types import ModuleType
from typing import Any, Dict, Mapping

import pytest
import thinc.api
import thinc.compat
import thinc.layers.pytorchwrapper
import thinc.tests.layers
from spacy_frameworks import wrappers

OURS = {
    "PyTorchWrapper": wrappers.PyTorchWrapper,
    "PyTorchWrapper_v2": wrappers.PyTorchWrapper,
    "PyTorchWrapper_v3": wrappers.PyTorchWrapper,
    "TensorFlowWrapper": wrappers.TensorFlowWrapper,
    "MXNetWrapper": wrappers.MXNetWrapper,
    "keras_subclass": wrappers.keras_subclass,
    "torch2xp": wrappers.torch2xp,
    "xp2torch": wrappers.xp2torch,
    "tensorflow2xp": wrappers.tensorflow2xp,
    "xp2tensorflow": wrappers.xp2tensorflow,
    "mxnet2xp": wrappers.mxnet2xp,
    "xp2mxnet": wrappers.xp2mxnet,
}


def thinc_tests(framework: str, not_run: Mapping[str, str]) -> Dict[str, Any]:
    """The tests and fixtures of Thinc's file for a framework, for a test module's namespace.

    not_run: Names of tests that this package must not pass, with the reason.
    """
    module = _load(framework)
    names = {}
    for name, value in vars(module).items():
        if name.startswith("test_"):
            if name in not_run:
                value = pytest.mark.skip(reason=not_run[name])(value)
            names[name] = getattr(pytest.mark, framework)(value)
        elif type(value).__name__ == "FixtureFunctionDefinition":
            names[name] = value
    unknown = set(not_run) - set(names)
    assert not unknown, f"Thinc has no tests {unknown}"
    return names


def _load(framework: str) -> ModuleType:
    name = f"thinc.tests.layers.test_{framework}_wrapper"
    # Thinc's tests are written for pytest's assertions; without rewriting they assert the same.
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        for ours, function in OURS.items():
            patch.setattr(thinc.api, ours, function)
        patch.setattr(thinc.layers.pytorchwrapper, "PyTorchWrapper_v3", wrappers.PyTorchWrapper)
        installed = wrappers.is_installed(framework)
        flag = {"pytorch": "has_torch"}.get(framework, f"has_{framework}")
        patch.setattr(thinc.compat, flag, installed)
        spec.loader.exec_module(module)
    return module
