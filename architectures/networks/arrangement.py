"""The rows of several sequences in one array that is zero between them."""

from __future__ import annotations

from typing import NamedTuple, Tuple

import numpy
from thinc.backends import Ops
from thinc.types import Floats2d, FloatsXd


class Arrangement(NamedTuple):
    """Where the rows go.

    shape: The shape of the array, without the width.
    places: For each row its place in that array, counted along all of `shape`.
    """

    shape: Tuple[int, ...]
    places: numpy.ndarray

    def spread(self, ops: Ops, rows: Floats2d) -> FloatsXd:
        """Rows to the array."""
        array = ops.alloc2f(int(numpy.prod(self.shape)), rows.shape[1])
        array[ops.asarray(self.places)] = rows
        return array.reshape((*self.shape, rows.shape[1]))

    def collect(self, ops: Ops, array: FloatsXd) -> Floats2d:
        """The array back to rows."""
        return array.reshape((-1, array.shape[-1]))[ops.asarray(self.places)]  # type: ignore

    def mask(self, ops: Ops) -> FloatsXd:
        """1 where there is a row, 0 elsewhere."""
        mask = ops.alloc1f(int(numpy.prod(self.shape)))
        mask[ops.asarray(self.places)] = 1
        return mask.reshape(self.shape)


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
