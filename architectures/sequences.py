"""Layers for lists of sequences of vectors, which the encoders are put together from."""

from __future__ import annotations

import functools
from typing import Any, Callable, List, NamedTuple, Optional, Tuple

import numpy
from thinc.api import Model, Ops
from thinc.types import Floats2d, Ragged

from .networks.arrangement import Array
from .networks.inputs import check_width
from .settings import Setting

# The most rows, padding included, that are handed to a network of sequences at once. Docs of
# similar lengths go together, so that one long doc does not pad all others to its length.
GROUP_ROWS = 8192

Floats2dList = List[Floats2d]


class Segment(NamedTuple):
    """A part of a doc: the doc's place in the batch, and the rows from `start` to before `end`."""

    doc: int
    start: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.start


def in_groups(
    network: Model[Ragged, Ragged], max_length: Optional[int] = None
) -> Model[Floats2dList, Floats2dList]:
    """Run a network of sequences on docs, so many at once that memory stays in bounds.

    max_length: Docs of more tokens are cut into parts of at most so many, as equal as can be, and
        none of the parts sees another. None leaves all docs whole.
    """
    if max_length is not None and max_length < 1:
        raise ValueError(f"Expected max_length of at least 1 or None, got {max_length}.")
    return Model(
        f"in_groups({network.name})",
        _forward,
        init=_init,
        layers=[network],
        dims={dim: network.maybe_get_dim(dim) for dim in ("nO", "nI")},
        attrs={"max_length": Setting(max_length)},
    )


def _forward(
    model: Model[Floats2dList, Floats2dList], Xs: Floats2dList, is_train: bool
) -> Tuple[Floats2dList, Callable[[Floats2dList], Floats2dList]]:
    if not isinstance(Xs, (list, tuple)):
        raise ValueError(
            f"'{model.name}' expects a list with one array for each doc, but got "
            f"{type(Xs).__name__}, in which docs are one. spacy.Tok2Vec.v1 hands that to its "
            "`encode`. Use spacy.Tok2Vec.v2, or another architecture that hands on lists."
        )
    network, ops = model.layers[0], model.ops
    groups = _groups([len(X) for X in Xs], model.attrs["max_length"].value)
    backprops = []
    Ys = _Docs(ops, [len(X) for X in Xs], model.get_dim("nO"))
    for group in groups:
        Y, backprop = network(_gather(ops, Xs, group), is_train)
        Ys.put(Y.dataXd, group)
        backprops.append(backprop)

    def backprop_groups(dYs: Floats2dList) -> Floats2dList:
        dXs = _Docs(ops, [len(X) for X in Xs], Xs[0].shape[1] if Xs else 0)
        for group, backprop in zip(groups, backprops):
            dXs.put(backprop(_gather(ops, dYs, group)).dataXd, group)
        return dXs.arrays()

    return Ys.arrays(), backprop_groups


def _init(model: Model, X: Any = None, Y: Any = None) -> None:
    model.layers[0].initialize()


def _groups(lengths: List[int], max_length: Optional[int]) -> List[List[Segment]]:
    """The segments that are run together, the longest first; empty docs are in none."""
    segments = [
        segment for doc, length in enumerate(lengths) for segment in _cut(doc, length, max_length)
    ]
    segments.sort(key=lambda segment: -segment.length)
    groups: List[List[Segment]] = []
    for segment in segments:
        if groups and groups[-1][0].length * (len(groups[-1]) + 1) <= GROUP_ROWS:
            groups[-1].append(segment)
        else:
            groups.append([segment])
    return groups


def _cut(doc: int, length: int, max_length: Optional[int]) -> List[Segment]:
    parts = -(-length // max_length) if max_length else min(length, 1)
    ends = [length * (i + 1) // parts for i in range(parts)]
    return [Segment(doc, start, end) for start, end in zip([0, *ends], ends)]


def _gather(ops: Any, docs: Floats2dList, group: List[Segment]) -> Ragged:
    rows = [docs[segment.doc][segment.start : segment.end] for segment in group]
    return Ragged(ops.flatten(rows), ops.asarray1i([segment.length for segment in group]))


class _Docs:
    """The rows of docs, as they come back from the network. A doc that was run as one is a part of
    its group's array; only what was cut is copied together."""

    def __init__(self, ops: Ops, lengths: List[int], width: int):
        self._ops, self._lengths, self._width = ops, lengths, width
        self._found: List[Optional[Floats2d]] = [None] * len(lengths)

    def put(self, array: Array, group: List[Segment]) -> None:
        """The rows of all segments of a group, one after the other."""
        begin = 0
        for segment in group:
            rows = array[begin : begin + segment.length]
            begin += segment.length
            if segment.length == self._lengths[segment.doc]:
                self._found[segment.doc] = rows
            else:
                self._whole(segment.doc)[segment.start : segment.end] = rows

    def arrays(self) -> Floats2dList:
        """An array for each doc."""
        return [self._whole(doc) for doc in range(len(self._found))]

    def _whole(self, doc: int) -> Floats2d:
        found = self._found[doc]
        if found is None:
            found = self._found[doc] = self._ops.alloc2f(self._lengths[doc], self._width)
        return found


def add_positions(width: int) -> Model[Ragged, Ragged]:
    """Add sines and cosines of the tokens' places to their vectors
    (https://arxiv.org/abs/1706.03762, section 3.5), so that attention can tell order.

    width: Width of the vectors.
    """
    return Model("add_positions", _forward_positions, dims={"nO": width, "nI": width})


def _forward_positions(
    model: Model[Ragged, Ragged], X: Ragged, is_train: bool
) -> Tuple[Ragged, Callable[[Ragged], Ragged]]:
    check_width(model, X.data)
    ops, lengths = model.ops, model.ops.to_numpy(X.lengths)
    # A table as long as a power of two, so that few are made.
    longest = int(lengths.max(initial=1))
    table = _positions(1 << (longest - 1).bit_length(), model.get_dim("nO"))
    positions: Array = numpy.concatenate([table[:length] for length in lengths])
    rows: Array = X.data
    return Ragged(rows + ops.asarray2f(positions), X.lengths), lambda dY: dY


@functools.lru_cache(maxsize=16)
def _positions(length: int, width: int) -> numpy.ndarray:
    # Not ops.position_encode, whose wavelengths grow with the square of what they should.
    columns = numpy.arange(width)
    angles = numpy.arange(length)[:, None] / 10_000 ** (columns // 2 * 2 / width)
    return numpy.where(columns % 2, numpy.cos(angles), numpy.sin(angles)).astype("float32")
