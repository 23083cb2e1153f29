"""How the rows of several sequences are arranged for a network, and taken back.

A function below is one arrangement. It takes

    network: The network's description.
    lengths: The lengths of the sequences, in rows; those without rows are left out.
    fit: From a shape that rows are to be brought into, without the width, to one that is at least
        as large in each dimension. A framework that compiles anew for every shape hands over one
        that returns few shapes, as `jax.py` does.

and what it returns says what the network takes. Numbers of rows, places and lengths are int32,
which the kernels of all frameworks know.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any, Callable, Iterable, List, Optional, Tuple

import numpy
from thinc.backends import Ops

# Thinc's types of arrays know little arithmetic.
Array = Any
Shape = Tuple[int, ...]
Fit = Callable[[Shape], Shape]

# Into how many blocks `blocks` parts a batch, at most.
MOST_BLOCKS = 3
# What a block costs by itself, counted in attention's scores: a tenth of a millisecond.
BLOCK_SCORES = 5_000
# At so many places, at most, blocks may begin.
MOST_CUTS = 12


@dataclass
class Arrangement:
    """Where the rows of a batch go. It is made once a pass.

    rows: How many there are.
    shape: The shape of the array that they go to, without the width.
    places: For each row its place in that array, counted along all of `shape`. If None, they go
        there as they are.
    arguments: What the network takes between that array and the dropout masks.
    margin: So many places at both ends have no rows, and are left out of dropout masks.
    """

    rows: int
    shape: Shape
    places: Optional[numpy.ndarray] = None
    arguments: Tuple[numpy.ndarray, ...] = ()
    margin: int = 0
    _index: Any = None

    def spread(self, ops: Ops, rows: Array) -> Array:
        """Rows to the array, which is zero where there are none."""
        if self.places is None and self.shape == (self.rows,):
            return rows
        size, width = int(numpy.prod(self.shape)), rows.shape[1]
        array: Array = ops.alloc2f(size, width)
        array[self._where(ops)] = rows
        return array.reshape((*self.shape, width))

    def spread_mask(self, ops: Ops, rows: Array) -> Array:
        """The same for a dropout mask."""
        mask = self.spread(ops, rows)
        return mask[self.margin : len(mask) - self.margin] if self.margin else mask

    def collect(self, ops: Ops, array: Array) -> Array:
        """The array back to rows."""
        if self.places is None and self.shape == (self.rows,):
            return array
        return array.reshape((-1, array.shape[-1]))[self._where(ops)]

    def _where(self, ops: Ops) -> Any:
        if self._index is None:
            if self.places is None:
                self._index = slice(self.rows)
            else:
                self._index = ops.asarray(self.places)  # type: ignore[arg-type]
        return self._index


Arrange = Callable[[Any, numpy.ndarray], Arrangement]


def exactly(shape: Shape) -> Shape:
    """No larger than need be."""
    return shape


def rows(network: Any, lengths: numpy.ndarray, fit: Fit = exactly) -> Arrangement:
    """One after the other, without padding: X of shape (rows, width), and no arguments."""
    count = int(lengths.sum())
    return Arrangement(count, fit((count,)))


def spaced(network: Any, lengths: numpy.ndarray, fit: Fit = exactly) -> Arrangement:
    """One after the other, with gaps of `network.window_size` zeros before, between and after
    them: X of shape (size, width), and

    is_row: 1 where there is a row, 0 in the gaps; (size - 2 * window_size, 1), float32. It is
        without the gaps at both ends, and dropout masks are too.
    """
    lengths, gap = lengths[lengths > 0], network.window_size
    (size,) = fit((int(lengths.sum()) + gap * (len(lengths) + 1),))
    places = _places(lengths, numpy.cumsum(lengths + gap) - lengths)
    is_row = numpy.zeros((size - 2 * gap, 1), dtype="float32")
    is_row[places - gap] = 1
    return Arrangement(len(places), (size,), places, (is_row,), margin=gap)


def batch_first(network: Any, lengths: numpy.ndarray, fit: Fit = exactly) -> Arrangement:
    """A line for each sequence, as long as the longest: X of shape (nB, nT, width), and

    lengths: (nB,), int32.
    """
    lengths = lengths[lengths > 0]
    nB, nT = fit((len(lengths), int(lengths.max(initial=0))))
    places = _places(lengths, numpy.arange(len(lengths)) * nT)
    return Arrangement(len(places), (nB, nT), places, (_padded(lengths, nB),))


def time_first(network: Any, lengths: numpy.ndarray, fit: Fit = exactly) -> Arrangement:
    """A column for each sequence, as long as the longest: X of shape (nT, nB, width), and

    lengths: (nB,), int32.
    """
    lengths = lengths[lengths > 0]
    nT, nB = fit((int(lengths.max(initial=0)), len(lengths)))
    step, sequence = _steps(lengths), numpy.repeat(numpy.arange(len(lengths)), lengths)
    return Arrangement(len(step), (nT, nB), step * nB + sequence, (_padded(lengths, nB),))


def blocks(network: Any, lengths: numpy.ndarray, fit: Fit = exactly) -> Arrangement:
    """Rows without padding, and what attention needs to see each sequence by itself: blocks of
    sequences of similar lengths, 1 to `MOST_BLOCKS` of them. X of shape (rows, width), and

    places: For each row its place in all blocks behind each other, each flattened; (rows,), int32.
    block: One or more: for each place of a block the row that is there, -1 for padding; (nB, nT),
        int32.

    `blocks_and_masks` tells the blocks from the dropout masks, which come behind them.
    """
    starts = numpy.cumsum(lengths) - lengths
    order = numpy.argsort(-lengths, kind="stable")[: numpy.count_nonzero(lengths)]
    count = int(lengths.sum())
    (size,) = fit((count,))
    places, before, found = numpy.zeros(size, dtype="int32"), 0, []
    for part in numpy.split(order, _cuts(lengths[order])):
        nB, nT = fit((len(part), int(lengths[part[0]])))
        block = numpy.full((nB, nT), -1, dtype="int32")
        is_row = numpy.arange(nT) < lengths[part][:, None]
        block[: len(part)][is_row] = (starts[part][:, None] + numpy.arange(nT))[is_row]
        filled = numpy.flatnonzero(block >= 0)
        places[block.reshape(-1)[filled]] = before + filled
        before += block.size
        found.append(block)
    return Arrangement(count, (size,), None, (places, *found))


def blocks_and_masks(tensors: Any, n_masks: int) -> Tuple[Any, Any]:
    """What comes after the places, taken apart: blocks, and dropout masks, so many or none.

    n_masks: At least 1, and not less than `MOST_BLOCKS`, so that their number tells.
    """
    n_blocks = len(tensors) - (n_masks if len(tensors) > MOST_BLOCKS else 0)
    return tensors[:n_blocks], tensors[n_blocks:]


def lanes(
    network: Any, lengths: numpy.ndarray, fit: Fit = exactly, nT: Optional[int] = None
) -> Arrangement:
    """Lanes of nT places, in each of which sequences come one behind the other as long as there is
    room, so that short ones are not padded to the longest: X of shape (nB, nT, width), and

    sequences: For each place the number of the sequence that is there, -1 for padding; (nB, nT),
        int32. What comes behind each other in a lane has different numbers.

    nT: None for as many as the longest sequence has.
    """
    room_of_one = int(lengths.max(initial=0)) if nT is None else nT
    order = numpy.argsort(-lengths, kind="stable")[: numpy.count_nonzero(lengths)]
    lane, step = numpy.zeros((2, len(lengths)), dtype="int64")
    # The room that is left in each lane, least first. The longest sequences come first, and each
    # goes where the least is left over: best fit decreasing.
    count = 0
    room: List[Tuple[int, int]] = []
    for sequence, length in zip(order.tolist(), lengths[order].tolist()):
        place = bisect_left(room, (length, 0))
        if place == len(room):
            left, lane[sequence] = room_of_one, count
            count += 1
        else:
            left, lane[sequence] = room.pop(place)
        step[sequence] = room_of_one - left
        insort(room, (left - length, int(lane[sequence])))
    nB, nT = fit((count, room_of_one))
    places = _places(lengths, lane * nT + step)
    sequences = numpy.full((nB, nT), -1, dtype="int32")
    sequences.reshape(-1)[places] = numpy.repeat(numpy.arange(len(lengths)), lengths)
    return Arrangement(len(places), (nB, nT), places, (sequences,))


def _cuts(lengths: numpy.ndarray) -> List[int]:
    """Where the second and later blocks begin, of sequences that come longest first, so that
    attention has the fewest scores, padding included."""
    starts = (numpy.flatnonzero(numpy.diff(lengths)) + 1).tolist()
    starts = starts[:: -(-len(starts) // MOST_CUTS) or 1]
    longest = {start: int(lengths[start]) for start in (0, *starts)}

    def scores(cuts: Iterable[int]) -> int:
        bounds = [0, *cuts, len(lengths)]
        return sum(
            BLOCK_SCORES + (end - start) * longest[start] ** 2 for start, end in pairwise(bounds)
        )

    return list(min((c for n in range(MOST_BLOCKS) for c in combinations(starts, n)), key=scores))


def _places(lengths: numpy.ndarray, starts: numpy.ndarray) -> numpy.ndarray:
    """The places of all rows, from the first place of each sequence."""
    return _steps(lengths) + numpy.repeat(starts, lengths)


def _steps(lengths: numpy.ndarray) -> numpy.ndarray:
    """Of all rows, how many come before them in their sequence."""
    return numpy.arange(lengths.sum()) - numpy.repeat(numpy.cumsum(lengths) - lengths, lengths)


def _padded(lengths: numpy.ndarray, nB: int) -> numpy.ndarray:
    padded = numpy.zeros(nB, dtype="int32")
    padded[: len(lengths)] = lengths
    return padded
