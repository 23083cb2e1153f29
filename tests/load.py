"""The tests that Thinc and spaCy ship, for test modules of ours."""

from __future__ import annotations

import importlib.util
from types import ModuleType
from typing import Any, Dict, Mapping

import pytest


def load(name: str) -> ModuleType:
    """A fresh copy of a test module, which sees what is patched while it is loaded."""
    # The tests are written for pytest's assertions; without rewriting they assert the same.
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def collect(module: ModuleType, not_run: Mapping[str, str]) -> Dict[str, Any]:
    """The tests and fixtures of a loaded module, for a test module's namespace.

    not_run: Names of tests that this package must not pass, with the reason.
    """
    names: Dict[str, Any] = {}
    for name, value in vars(module).items():
        if name.startswith("test_"):
            if name in not_run:
                value = pytest.mark.skip(reason=not_run[name])(value)
            names[name] = value
        elif type(value).__name__ == "FixtureFunctionDefinition":
            names[name] = value
    unknown = set(not_run) - set(names)
    assert not unknown, f"{module.__name__} has no tests {unknown}"
    return names
