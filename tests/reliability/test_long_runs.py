"""A process that trains and predicts for days, on batches of ever new shapes."""

from __future__ import annotations

import os
import time
from typing import Any, List, Tuple

import numpy
import pytest
from spacy.util import registry
from spacy_frameworks.architectures.networks.description import NETWORKS
from thinc.api import Adam, Model, fix_random_seed

from ..frameworks import ALL
from .memory import resident

WIDTH = 16
# Steps of training, with as many predictions after each.
PREDICTIONS = 4
IS_FULL = bool(os.environ.get("RUN_SLOW"))
STEPS = 5_000 if IS_FULL else 30
# Caches fill up: of kernels, traces and memory.
WARM_UP = max(30, STEPS // 10)
# So many steps are compared in time, where there are many.
TIMED = 20
MOST_GROWTH = 0.03


def batch(step: int) -> List[numpy.ndarray]:
    rng = numpy.random.default_rng(step)
    lengths = rng.integers(1, 40, rng.integers(1, 9))
    return [rng.normal(size=(length, WIDTH)).astype("float32") for length in lengths]


def run(model: Model[Any, Any], optimizer: Any, step: int) -> Tuple[float, float]:
    """A step of training and some predictions. Returns the seconds of processor time that it took,
    and those that a product of a fixed size takes now, beside what else the machine does."""
    docs = [batch(PREDICTIONS * step + i) for i in range(PREDICTIONS)]
    factor = numpy.ones((200, 200))
    start = time.process_time()
    factor @ factor
    product = time.process_time()
    Y, backprop = model.begin_update(docs[0])
    backprop(Y)
    model.finish_update(optimizer)
    for X in docs:
        model.predict(X)
    return time.process_time() - product, product - start


def seconds(steps: List[Tuple[float, float]]) -> float:
    """How long these steps took, in products of that size."""
    took, products = zip(*steps)
    return float(numpy.median(took) / numpy.median(products))


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("encoder", NETWORKS)
@pytest.mark.parametrize("framework", ALL)
def test_neither_memory_nor_time_grows(framework, encoder):
    fix_random_seed(0)
    build = registry.architectures.get(f"spacy-frameworks.{encoder}.v1")
    model = build(framework, WIDTH, depth=1).initialize()
    optimizer = Adam(0.001)
    for step in range(WARM_UP):
        run(model, optimizer, step)
    before = resident()
    times = [run(model, optimizer, WARM_UP + step) for step in range(STEPS - TIMED)]
    # The same batches again, so that it is the same work.
    again = [run(model, optimizer, WARM_UP + step) for step in range(TIMED)]
    assert resident() - before < MOST_GROWTH * before
    if IS_FULL:
        assert seconds(again) < 1.5 * seconds(times[:TIMED])


@pytest.mark.mxnet
def test_mxnets_window_encoder_does_not_leak_when_it_goes_back():
    """A kernel of oneDNN's leaks a kilobyte for each neighbour, layer and pass."""
    build = registry.architectures.get("spacy-frameworks.WindowEncoder.v1")
    model = build("MXNet", WIDTH, depth=4, window_size=16).initialize()
    docs = batch(0)

    def passes(count: int) -> None:
        for _ in range(count):
            Y, backprop = model.begin_update(docs)
            backprop(Y)

    passes(20)
    before = resident()
    passes(60)
    assert resident() - before < 2**21
