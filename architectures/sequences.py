"""Layers for lists of sequences of vectors, which the encoders are put together from."""

from __future__ import annotations

import functools
from typing import Any, Callable, List, NamedTuple, Optional, Tuple

import numpy
from thinc.api import Model
from thinc.types import Floats2d, Ragged

from .networks.arrangement import Array
from .networks.inputs import check_width

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
        attrs={"max_length": max_length},
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
    groups = _groups([len(X) for X in Xs], model.attrs["max_length"])
    backprops = []
    Ys = [ops.alloc2f(len(X), model.get_dim("nO")) for X in Xs]
    for group in groups:
        Y, backprop = network(_gather(ops, Xs, group), is_train)
        _put_back(ops, Y, group, Ys)
        backprops.append(backprop)

    def backprop_groups(dYs: Floats2dList) -> Floats2dList:
        dXs = [ops.alloc2f(*X.shape) for X in Xs]
        for group, backprop in zip(groups, backprops):
            _put_back(ops, backprop(_gather(ops, dYs, group)), group, dXs)
        return dXs

    return Ys, backprop_groups


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


def _put_back(ops: Any, Y: Ragged, group: List[Segment], docs: Floats2dList) -> None:
    lengths = [segment.length for segment in group]
    for segment, rows in zip(group, ops.unflatten(Y.dataXd, lengths)):
        docs[segment.doc][segment.start : segment.end] = rows


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
