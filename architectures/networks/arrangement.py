"""The rows of several sequences in one array that is zero between them."""

from __future__ import annotations

from typing import Any, NamedTuple, Tuple

import numpy
from thinc.backends import Ops

# Thinc's types of arrays know little arithmetic.
Array = Any


class Arrangement(NamedTuple):
    """Where the rows go.

    shape: The shape of the array, without the width.
    places: For each row its place in that array, counted along all of `shape`.
    """

    shape: Tuple[int, ...]
    places: numpy.ndarray

    def spread(self, ops: Ops, rows: Array) -> Array:
        """Rows to the array."""
        array: Array = ops.alloc2f(int(numpy.prod(self.shape)), rows.shape[1])
        array[self._index(ops)] = rows
        return array.reshape((*self.shape, rows.shape[1]))

    def collect(self, ops: Ops, array: Array) -> Array:
        """The array back to rows."""
        return array.reshape((-1, array.shape[-1]))[self._index(ops)]

    def mask(self, ops: Ops) -> Array:
        """1 where there is a row, 0 elsewhere."""
        mask: Array = ops.alloc1f(int(numpy.prod(self.shape)))
        mask[self._index(ops)] = 1
        return mask.reshape(self.shape)

    def _index(self, ops: Ops) -> Array:
        return ops.asarray(self.places)  # type: ignore[arg-type]


def padded(lengths: numpy.ndarray) -> Arrangement:
    """One line for each sequence that is not empty, as long as the longest: shape (nB, nT)."""
    lengths = lengths[lengths > 0]
    nT = int(lengths.max(initial=0))
    starts = numpy.arange(len(lengths)) * nT
    return Arrangement((len(lengths), nT), _places(lengths, starts))


def spaced(lengths: numpy.ndarray, gap: int) -> Arrangement:
    """One after the other, with a gap before, between and after them: shape (rows,)."""
    lengths = lengths[lengths > 0]
    starts = numpy.cumsum(lengths + gap) - lengths
    size = int(lengths.sum()) + gap * (len(lengths) + 1)
    return Arrangement((size,), _places(lengths, starts))


def _places(lengths: numpy.ndarray, starts: numpy.ndarray) -> numpy.ndarray:
    """The places of all rows, from the first place of each sequence."""
    before = numpy.cumsum(lengths) - lengths
    return numpy.arange(lengths.sum()) + numpy.repeat(starts - before, lengths)
