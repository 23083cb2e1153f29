"""What several of these tests do."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List

import numpy
import spacy
from numpy.testing import assert_allclose
from spacy_frameworks.wrappers.weights import unpack


def rows(printed: str) -> List[str]:
    """Those of the table that spaCy prints."""
    return [line for line in printed.splitlines() if line.startswith("  ")]


def assert_same_weights(came: Path, expected: Path) -> None:
    """Of two pipelines on disk, to rounding."""
    ours, theirs = _weights(came), _weights(expected)
    assert set(ours) == set(theirs)
    for name in theirs:
        assert_allclose(ours[name], theirs[name], rtol=0, atol=1e-6, err_msg=name)


def _weights(folder: Path) -> Dict[str, numpy.ndarray]:
    found = {}
    for component, pipe in spacy.load(folder, exclude=["test_fault"]).pipeline:
        for i, node in enumerate(pipe.model.walk()):
            for name in node.param_names:
                if node.has_param(name):
                    found[f"{component}/{i}/{name}"] = node.get_param(name)
            for shim in node.shims:
                tensors, _ = unpack(shim.to_bytes())
                found.update({f"{component}/{i}/{name}": x for name, x in tensors.items()})
    return found
