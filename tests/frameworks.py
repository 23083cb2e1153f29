"""Parametrization over the frameworks; conftest.py skips those that a run does not test."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from spacy_frameworks.wrappers import FRAMEWORKS

WRAPPED = [pytest.param(fw.token, marks=getattr(pytest.mark, fw.id)) for fw in FRAMEWORKS]
WRAPPED_IDS = [pytest.param(fw.id, marks=getattr(pytest.mark, fw.id)) for fw in FRAMEWORKS]
# Kernels under Thinc's layers; NumPy's need no framework.
KERNELS = [*WRAPPED, pytest.param("NumPy", marks=pytest.mark.thinc)]
ALL = [*WRAPPED, pytest.param("Thinc", marks=pytest.mark.thinc)]

TOKENS = [*(fw.token for fw in FRAMEWORKS), "Thinc"]


def marks(*tokens: str) -> list[Any]:
    """The marks of a case in which several frameworks take part."""
    return [getattr(pytest.mark, fw.id) for fw in FRAMEWORKS if fw.token in tokens]


PAIRS = [pytest.param(*pair, marks=marks(*pair)) for pair in itertools.permutations(TOKENS, 2)]
