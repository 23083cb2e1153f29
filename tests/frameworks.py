"""Parametrization over the frameworks; conftest.py skips those that a run does not test."""

from __future__ import annotations

import ast
import itertools
from pathlib import Path
from typing import Any, Iterable, Sequence

import pytest
from spacy_frameworks.wrappers import FRAMEWORKS, all_frameworks
from spacy_frameworks.wrappers.framework import THINC

IDS = [fw.id for fw in FRAMEWORKS]
TOKENS = [fw.token for fw in (*FRAMEWORKS, THINC)]
# With that of another distribution: `tests/toy_distribution`.
ALL_IDS = [fw.id for fw in all_frameworks()]
FROM_OUTSIDE = [name for name in ALL_IDS if name not in IDS]
# What may be named.
KNOWN = [fw.token for fw in (*all_frameworks(), THINC)]
# What their models come from. Thinc imports PyTorch by itself, wherever it is installed.
MODULES = tuple(dict.fromkeys(name for fw in FRAMEWORKS for name in (fw.module, *fw.model_roots)))
NOT_THINCS = tuple(name for name in MODULES if name != "torch")


def marks(*names: str) -> list[Any]:
    """The marks of a case in which some frameworks, by token or id, take part."""
    return [getattr(pytest.mark, fw.id) for fw in all_frameworks() if {fw.token, fw.id} & {*names}]


def needs_all(test: Any) -> Any:
    """Marks a test that needs every framework to be there, since it tells that none is imported."""
    for mark in marks(*IDS):
        test = mark(test)
    return test


def cases(names: Iterable[str]) -> list[Any]:
    """A case for each of some frameworks."""
    return [pytest.param(name, marks=marks(name)) for name in names]


def ring(names: Sequence[str]) -> list[Any]:
    """A case for each framework and the next one; the first comes behind the last."""
    pairs = zip(names, [*names[1:], names[0]])
    return [pytest.param(*pair, marks=marks(*pair)) for pair in pairs]


WRAPPED = cases(fw.token for fw in FRAMEWORKS)
# Those with a GPU's memory to share, and those with an adapter.
SHIPPED_IDS = cases(IDS)
WRAPPED_IDS = cases(ALL_IDS)
# Kernels under Thinc's layers; NumPy's need no framework.
KERNELS = [*WRAPPED, pytest.param("NumPy", marks=pytest.mark.thinc)]
ALL = [*WRAPPED, pytest.param("Thinc", marks=pytest.mark.thinc)]
# For what the frameworks do alike, which other tests show of all of them: the first, or Thinc, and
# all of them in `tox -e full`.
ONE_OR_ALL = [
    pytest.param(case.values[0], marks=[*case.marks, *([pytest.mark.slow] if i else [])])
    for i, case in enumerate(WRAPPED)
]
THINC_OR_ALL = [
    *(pytest.param(case.values[0], marks=[*case.marks, pytest.mark.slow]) for case in WRAPPED),
    pytest.param("Thinc", marks=pytest.mark.thinc),
]
PAIRS = [pytest.param(*pair, marks=marks(*pair)) for pair in itertools.permutations(TOKENS, 2)]
_NEXT = [case.values for case in ring(TOKENS)]
# Each with the next one, and all pairs in `tox -e full`.
RING_OR_ALL = [
    pytest.param(
        *case.values,
        marks=[*case.marks, *([] if case.values in _NEXT else [pytest.mark.slow])],
    )
    for case in PAIRS
]


def said(framework: str, name: str) -> Any:
    """What the file with a framework's modules in `wrappers/modules` has under a name: the value of
    a constant, or the keys of the dict that this is or that a function of this name returns; None
    if there is neither. It is read and not imported, since that would import the framework."""
    path = Path(__file__).parent / "wrappers" / "modules" / f"{framework}.py"
    for node in ast.parse(path.read_text()).body:
        value = None
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == name:
            value = node.value
        elif isinstance(node, ast.FunctionDef) and node.name == name:
            (value,) = [inner.value for inner in node.body if isinstance(inner, ast.Return)]
        if isinstance(value, ast.Dict):
            return [ast.literal_eval(key) for key in value.keys if key is not None]
        if value is not None:
            return ast.literal_eval(value)
    return None


def ways(name: str) -> list[Any]:
    """A case (framework, way) for each of the ways in which the modules of this name are written,
    as users do, in each framework."""
    return [
        pytest.param((fw, way), marks=marks(fw), id=f"{fw}-{way}")
        for fw in ALL_IDS
        for way in said(fw, name) or ()
    ]


# Whose models would hang in a process that was forked after they had run, and are an error there.
FORKS_NOT = cases(fw.token for fw in all_frameworks() if not said(fw.id, "RUNS_AFTER_FORK"))
