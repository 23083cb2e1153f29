"""Rows of sequences go into what a network takes, and come back."""

from __future__ import annotations

from functools import partial
from typing import Any, List

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from spacy_frameworks.architectures import (
    BiLSTMEncoder,
    FeedForward,
    TransformerEncoder,
    WindowEncoder,
)
from spacy_frameworks.architectures.networks import arrangement as arrangements
from spacy_frameworks.architectures.networks import inputs
from spacy_frameworks.architectures.networks.arrangement import (
    MOST_BLOCKS,
    batch_first,
    blocks,
    blocks_and_masks,
    lanes,
    spaced,
    time_first,
)
from spacy_frameworks.architectures.networks.description import NETWORKS
from spacy_frameworks.architectures.networks.implementations import framework_file
from thinc.api import NumpyOps
from thinc.types import Ragged

from ..frameworks import SHIPPED_IDS
from .test_networks import ONE_OF_EACH, build, data, one_of_each

WINDOW = WindowEncoder(window_size=2)
ARRANGE = [arrangements.rows, spaced, batch_first, time_first, blocks, lanes]


def larger(shape):
    """With places to spare in each dimension."""
    return tuple(max(32, 2 * size) for size in shape)


FITS = [arrangements.exactly, larger]
some_lengths = st.lists(st.integers(0, 60), min_size=1, max_size=30).filter(any)
OPS = NumpyOps()


def some_rows(lengths: List[int]) -> Any:
    """Numbers that differ and are not zero, so that a row in the wrong place shows."""
    return numpy.arange(1, 2 * sum(lengths) + 1, dtype="f").reshape((-1, 2))


@pytest.mark.thinc
@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("arrange", ARRANGE)
@given(lengths=some_lengths)
def test_rows_come_back_and_all_else_is_zero(arrange, fit, lengths):
    rows, arranged = some_rows(lengths), arrange(WINDOW, numpy.array(lengths), fit)
    array, mask = arranged.spread(OPS, rows), arranged.spread_mask(OPS, rows)
    assert array.shape == (*arranged.shape, 2)
    assert_array_equal(arranged.collect(OPS, array), rows)
    for came in (array, mask):
        came = came.reshape((-1, 2))
        assert_array_equal(numpy.sort(came[came[:, 0] != 0], axis=0), rows)


@pytest.mark.thinc
@given(lengths=some_lengths)
def test_sequences_are_where_the_arrangement_says(lengths):
    rows, lengths = some_rows(lengths), numpy.array(lengths)
    sequences = [s for s in numpy.split(rows, numpy.cumsum(lengths)[:-1]) if len(s)]
    for arrange, swap in ((batch_first, False), (time_first, True)):
        arranged = arrange(WINDOW, lengths)
        array = arranged.spread(OPS, rows)
        (came,) = arranged.arguments
        assert came.tolist() == [len(s) for s in sequences]
        for line, sequence in zip(array.swapaxes(0, 1) if swap else array, sequences):
            assert_array_equal(line[: len(sequence)], sequence)
    arranged = spaced(WINDOW, lengths)
    gap = numpy.zeros((WINDOW.window_size, 2), "f")
    expected = numpy.concatenate([gap, *(part for s in sequences for part in (s, gap))])
    assert_array_equal(arranged.spread(OPS, rows), expected)
    (is_row,) = arranged.arguments
    assert_array_equal(is_row[:, 0] == 1, arranged.spread_mask(OPS, rows)[:, 0] > 0)


@pytest.mark.thinc
@pytest.mark.parametrize("fit", FITS)
@given(lengths=some_lengths)
def test_blocks_hold_each_sequence_in_a_line_of_its_own(fit, lengths):
    rows = some_rows(lengths)
    places, *found = blocks(None, numpy.array(lengths), fit).arguments
    assert len(found) <= MOST_BLOCKS
    lines = [line[line >= 0].tolist() for block in found for line in block]
    starts = numpy.cumsum(lengths) - lengths
    expected = [[*range(start, start + n)] for start, n in zip(starts, lengths) if n]
    assert sorted(filter(None, lines)) == expected
    behind_each_other = numpy.concatenate([rows[block.reshape(-1)] for block in found])
    assert_array_equal(behind_each_other[places[: len(rows)]], rows)
    assert not any((block[:, 1:] > block[:, :-1] + 1).any() for block in found)


@pytest.mark.thinc
def test_blocks_keep_long_sequences_from_padding_short_ones():
    lengths = numpy.random.default_rng(0).permutation([200] * 2 + [100] * 4 + [20] * 50)
    _, *found = blocks(None, lengths).arguments
    assert sorted(block.shape for block in found) == [(2, 200), (4, 100), (50, 20)]
    # Short ones are not worth a block.
    _, *found = blocks(None, numpy.array([9, 8, 7, 3])).arguments
    assert [block.shape for block in found] == [(4, 9)]


@pytest.mark.thinc
@pytest.mark.parametrize("fit", FITS)
@given(lengths=some_lengths, spare=st.integers(0, 40))
def test_lanes_hold_each_sequence_whole(fit, lengths, spare):
    rows = some_rows(lengths)
    arranged = lanes(None, numpy.array(lengths), fit, nT=max(lengths) + spare)
    (sequences,) = arranged.arguments
    array = arranged.spread(OPS, rows)
    assert sequences.shape == array.shape[:2]
    starts = numpy.cumsum(lengths) - lengths
    for i, (start, length) in enumerate(zip(starts, lengths)):
        lane, step = numpy.nonzero(sequences == i)
        assert len(step) == length and len(set(lane)) == (length > 0)
        assert_array_equal(array[lane, step], rows[start : start + length])
        assert not length or numpy.ptp(step) == length - 1
    assert (array[sequences < 0] == 0).all()


@pytest.mark.thinc
def test_lanes_have_little_padding():
    assert lanes(None, numpy.array([10, 90, 60, 40, 100])).shape == (3, 100)


@pytest.mark.thinc
@pytest.mark.parametrize("n_masks", [3, 6])
@pytest.mark.parametrize("n_blocks", range(1, MOST_BLOCKS + 1))
def test_blocks_and_masks_are_told_apart(n_blocks, n_masks):
    found, masks = list(range(n_blocks)), list(range(10, 10 + n_masks))
    assert blocks_and_masks([*found, *masks], n_masks) == (found, masks)
    assert blocks_and_masks(found, n_masks) == (found, [])


@pytest.mark.jax
@pytest.mark.parametrize("network", ONE_OF_EACH, ids=repr)
def test_few_shapes_occur_where_each_is_compiled(network):
    arrange = framework_file("jax").ARRANGEMENTS[type(network).__name__]
    rng, shapes = numpy.random.default_rng(0), set()
    for _ in range(1000):
        lengths = rng.integers(1, rng.integers(2, 80), rng.integers(1, 130))
        arranged = arrange(network, lengths)
        shapes.add((arranged.shape, *(array.shape for array in arranged.arguments)))
    assert len(shapes) <= 12


@pytest.mark.parametrize("framework", SHIPPED_IDS)
def test_a_frameworks_file_offers_what_the_others_do(framework):
    file = framework_file(framework)
    assert set(file.ARRANGEMENTS) == set(NETWORKS)
    assert all(callable(getattr(file, name)) for name in NETWORKS)
    assert sorted(file.GATES) == sorted("ifco")
    kinds = {(p.kind, p.name) for network in ONE_OF_EACH for p in network.parameters(6, 6)}
    assert set(file.LAYOUT) == kinds


@one_of_each
@pytest.mark.parametrize("framework", SHIPPED_IDS)
def test_a_pass_is_arranged_once(framework, network, monkeypatch):
    model, (X, truth) = build(framework, network), data(network)
    name, file = type(network).__name__, framework_file(framework)
    arrange, calls = file.ARRANGEMENTS[name], []

    def counted(*args: Any) -> Any:
        calls.append(args)
        return arrange(*args)

    inputs._arrange.cache_clear()
    monkeypatch.setitem(file.ARRANGEMENTS, name, counted)
    _, backprop = model.begin_update(X)
    backprop(truth)
    assert len(calls) == 1


@pytest.mark.parametrize("framework", SHIPPED_IDS)
@pytest.mark.parametrize("network", [FeedForward(7), WINDOW, BiLSTMEncoder()], ids=repr)
def test_places_without_rows_change_nothing(framework, network, monkeypatch):
    """As a framework has them that compiles for each shape."""
    model, (X, truth) = build(framework, network), data(network)
    expected, backprop = model.begin_update(X)
    d_expected = backprop(truth)
    file, name = framework_file(framework), type(network).__name__
    inputs._arrange.cache_clear()
    monkeypatch.setitem(file.ARRANGEMENTS, name, partial(file.ARRANGEMENTS[name], fit=larger))
    came, backprop = model.begin_update(X)
    d_came = backprop(truth)
    inputs._arrange.cache_clear()
    for one, other in ((expected, came), (d_expected, d_came)):
        rows = [b if isinstance(network, FeedForward) else b.dataXd for b in (one, other)]
        numpy.testing.assert_allclose(*rows, atol=1e-5)


@pytest.mark.tensorflow
def test_new_shapes_make_no_new_traces_of_tensorflows_transformer():
    """Its memory would grow with them: two for each number of blocks, of which there are three, and
    what a first batch is traced with."""
    model = build("tensorflow", TransformerEncoder(8, depth=1, heads=2))
    random = numpy.random.default_rng(0)
    for _ in range(80):
        lengths = random.integers(1, 120, size=random.integers(1, 40)).astype("int32")
        X = random.normal(size=(lengths.sum(), 6)).astype("float32")
        model.predict(Ragged(X, lengths))
    traces = len(model.shims[0].module._predicting._traces)
    assert 3 <= traces <= 7
