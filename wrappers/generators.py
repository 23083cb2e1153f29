"""Generators of random numbers that somebody else is not to move."""

from __future__ import annotations

import contextlib
import random
from typing import Iterator

import numpy


@contextlib.contextmanager
def kept_generators() -> Iterator[None]:
    """Whatever is drawn meanwhile, Python's and NumPy's generators, which decide on parameters,
    dropout and the order of the training data, go on afterwards as if nothing was."""
    pythons, numpys = random.getstate(), numpy.random.get_state()
    try:
        yield
    finally:
        random.setstate(pythons)
        numpy.random.set_state(numpys)
