"""Parametrization over the frameworks; conftest.py skips those that a run does not test."""

from __future__ import annotations

import pytest
from spacy_frameworks.wrappers import FRAMEWORKS

WRAPPED = [pytest.param(fw.token, marks=getattr(pytest.mark, fw.id)) for fw in FRAMEWORKS]
WRAPPED_IDS = [pytest.param(fw.id, marks=getattr(pytest.mark, fw.id)) for fw in FRAMEWORKS]
ALL = [*WRAPPED, pytest.param("Thinc", marks=pytest.mark.thinc)]
