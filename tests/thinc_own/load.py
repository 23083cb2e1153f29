"""Thinc's tests of its wrappers and ops, with the names in them pointing at this package."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any, Dict, Mapping

import pytest
import thinc.api
import thinc.compat
import thinc.layers.pytorchwrapper
import thinc.tests.backends
import thinc.tests.layers
from spacy_frameworks import wrappers
from spacy_frameworks.wrappers.framework import NUMPY
from spacy_frameworks.wrappers.ops import ops_class

from ..load import collect, load

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

OPS_NOT_RUN = {
    "test_get_ops": "asks whether Thinc's own ops are this class",
    "test_compare_activations_to_torch": "fails on NumpyOps too since NumPy 2.4: it makes a float "
    "of an array of one number",
}


def thinc_tests(framework: str, not_run: Mapping[str, str]) -> Dict[str, Any]:
    """The tests and fixtures of Thinc's file for a framework, for a test module's namespace.

    not_run: Names of tests that this package must not pass, with the reason.
    """
    with pytest.MonkeyPatch.context() as patch:
        for ours, function in OURS.items():
            patch.setattr(thinc.api, ours, function)
        patch.setattr(thinc.layers.pytorchwrapper, "PyTorchWrapper_v3", wrappers.PyTorchWrapper)
        installed = wrappers.is_installed(framework)
        flag = {"pytorch": "has_torch"}.get(framework, f"has_{framework}")
        patch.setattr(thinc.compat, flag, installed)
        module = load(f"thinc.tests.layers.test_{framework}_wrapper")
    return _tests(module, framework, not_run)


def thinc_ops_tests(framework: str, not_run: Mapping[str, str]) -> Dict[str, Any]:
    """The same of Thinc's file for its ops, run on a framework's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(thinc.api, "NumpyOps", eager_ops(framework))
        module = load("thinc.tests.backends.test_ops")
    return _tests(module, framework, not_run)


def eager_ops(framework: str) -> type:
    """A framework's ops or NumPy's, whose kernels take even the smallest arrays."""
    base = ops_class(wrappers.get_framework(framework, (NUMPY,)))
    kernels = {name: 1 if math.isfinite(least) else least for name, least in base._kernels.items()}
    return type(base.__name__, (base,), {"_kernels": kernels, "_min_size": 0})


def _tests(module: ModuleType, framework: str, not_run: Mapping[str, str]) -> Dict[str, Any]:
    mark = getattr(pytest.mark, "thinc" if framework == NUMPY.id else framework)
    names = collect(module, not_run)
    return {
        name: mark(value) if name.startswith("test_") else value for name, value in names.items()
    }
