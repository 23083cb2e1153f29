"""Relation extractors: a vector for each pair of entities, and the framework's feed-forward network
on it."""

from __future__ import annotations

from itertools import chain as joined
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy
from spacy.tokens import Doc, Span
from thinc.api import Model, chain
from thinc.types import Floats2d
from thinc.util import partial

from .layers import Tok2Vec, any_batch, logistic_output, with_labels
from .networks import FeedForward, build_network
from .per_framework import short_forms
from .textcat import resize_output

DocsAndVectors = Tuple[List[Doc], List[Floats2d]]
Pairs = Model[DocsAndVectors, Floats2d]


class Pair(NamedTuple):
    """Two entities, of which the first, the head, may have a relation to the second, the child.

    doc: The number of their doc in the batch.
    """

    doc: int
    head: Span
    child: Span


def build_relation_model(
    framework: str,
    tok2vec: Tok2Vec,
    pairs: Optional[Pairs] = None,
    nO: Optional[int] = None,
    hidden_width: int = 48,
    dropout: float = 0.2,
    depth: int = 1,
    normalize: bool = False,
) -> Model[List[Doc], Floats2d]:
    """A model that gives each pair of entities a probability for each relation, with a network of
    the framework's.

    framework (str): "PyTorch", "TensorFlow", "MXNet", "JAX" or "Thinc", in upper or lower case.
    tok2vec (Model): The sublayer that gives the tokens vectors, such as `spacy.Tok2Vec.v2` or a
        listener.
    pairs (Model): The sublayer that finds the pairs, and makes a vector for each. None stands for
        `spacy-frameworks.EntityPairs.v1`. One of your own has attrs["find_pairs"] as this one does.
    nO (int): Number of kinds of relations. None, the default, takes it from the data.
    hidden_width (int), depth (int): Units and number of the hidden layers.
    dropout (float): Rate of dropout. `spacy train` overrides it by `[training] dropout`.
    normalize (bool): Layer normalization in the hidden layers.
    RETURNS (Model): From docs to an array with a row for each pair of the batch, in the order of
        attrs["find_pairs"](docs).

    Raises ValueError if `pairs` does not say what its pairs are, and from `initialize` if nO is
    more than the number of relations in the data. Only with nO = None, relations can be added
    later.
    """
    pairs = EntityPairs() if pairs is None else pairs
    if "find_pairs" not in pairs.attrs:
        raise ValueError(
            f"The sublayer '{pairs.name}' has no attrs['find_pairs'], a function from docs to the "
            "pairs that its rows are about: (number of the doc, head, child) of each. Set it, as "
            "spacy-frameworks.EntityPairs.v1 does."
        )
    network = build_network(framework, FeedForward(hidden_width, depth, normalize), dropout, nO)
    model: Model[List[Doc], Floats2d] = chain(
        per_pair(any_batch(tok2vec), pairs), network, logistic_output(nO)
    )
    model.attrs["find_pairs"] = pairs.attrs["find_pairs"]
    # A pair may have several relations; most have none, so a new one starts at one in 150. Zero
    # would be an even chance, with which it was found in every pair. `resize_output` reads both.
    model.attrs["multi_label"] = True
    model.attrs["new_bias"] = -5.0
    if nO is None:
        model.attrs["resize_output"] = resize_output
    return with_labels(model, tok2vec, nO)


def per_pair(tok2vec: Tok2Vec, pairs: Pairs) -> Model[List[Doc], Floats2d]:
    """Hand the docs and their tokens' vectors to the layer that makes pairs of them."""
    return Model(
        "per_pair", _forward_per_pair, init=_init_per_pair, layers=[tok2vec, pairs], dims=_NO
    )


_NO: Dict[str, Optional[int]] = {"nO": None}


def _forward_per_pair(
    model: Model[List[Doc], Floats2d], docs: List[Doc], is_train: bool
) -> Tuple[Floats2d, Callable]:
    tok2vec, pairs = model.layers
    vectors, backprop_tok2vec = tok2vec(docs, is_train)
    Y, backprop_pairs = pairs((docs, vectors), is_train)
    return Y, lambda dY: backprop_tok2vec(backprop_pairs(dY))


def _init_per_pair(model: Model, X: Any = None, Y: Any = None) -> None:
    tok2vec, pairs = model.layers
    tok2vec.initialize(X=X)
    pairs.initialize(X=None if X is None else (X, tok2vec.predict(X)))
    if pairs.has_dim("nO"):
        model.set_dim("nO", pairs.get_dim("nO"))


def EntityPairs(max_distance: int = 20) -> Pairs:
    """A vector for each pair of entities: the mean of the head's tokens, that of the child's, that
    of the tokens between them if the head comes first, the same if the child does (zeros in the
    place that is not used), and 1 or -1 for these two cases.

    Two entities are two pairs, since either may be the head. The words between have two places so
    that a layer with one weight for each column can tell "Anna hired Peter" read from Anna's side
    from the same words read from Peter's.

    max_distance (int): How many tokens may be between the two entities of a pair.
    RETURNS (Model): From docs and their tokens' vectors to an array with a row for each pair, in
        the order of attrs["find_pairs"](docs), 4 times as wide as the vectors and 1 more.

    Raises ValueError if the distance is negative.
    """
    if max_distance < 0:
        raise ValueError(f"Expected max_distance of at least 0 tokens, got {max_distance}.")
    return Model(
        "entity_pairs",
        _forward_pairs,
        init=_init_pairs,
        dims={"nO": None, "nI": None},
        attrs={"find_pairs": partial(find_pairs, max_distance=max_distance)},
    )


def find_pairs(docs: List[Doc], max_distance: int) -> List[Pair]:
    """All pairs of entities of each doc between which there are at most so many tokens."""
    pairs = []
    for i, doc in enumerate(docs):
        ents = doc.ents
        for place, first in enumerate(ents):
            for second in ents[place + 1 :]:
                # The entities are in the order of the text, so those behind are further away.
                if second.start - first.end > max_distance:
                    break
                pairs += [Pair(i, first, second), Pair(i, second, first)]
    return pairs


def _forward_pairs(
    model: Pairs, X: DocsAndVectors, is_train: bool
) -> Tuple[Floats2d, Callable[[Floats2d], List[Floats2d]]]:
    docs, vectors = X
    ops, nI = model.ops, model.get_dim("nI")
    pairs = model.attrs["find_pairs"](docs)
    if not pairs:
        nothing = ops.alloc2f(0, model.get_dim("nO"))
        return nothing, lambda dY: [ops.alloc2f(len(rows), nI) for rows in vectors]
    segments, numbers, directions = _segments(pairs, [len(rows) for rows in vectors])
    lengths = ops.asarray1i([len(segment) for segment in segments])
    tokens = ops.asarray1i(list(joined.from_iterable(segments)))
    places = ops.asarray1i(numbers)
    rows: Any = ops.flatten(vectors)
    means: Any = ops.reduce_mean(rows[tokens], lengths)
    Y = ops.alloc2f(len(pairs), model.get_dim("nO"))
    Y[:, :-1] = means[places].reshape(len(pairs), 4 * nI)
    Y[:, -1] = ops.asarray1f(directions)

    def backprop(dY: Floats2d) -> List[Floats2d]:
        # The direction comes from the text, and no layer below could learn from its gradient.
        d_parts = ops.xp.ascontiguousarray(dY[:, :-1]).reshape(-1, nI)
        d_means = ops.alloc2f(len(segments), nI)
        ops.scatter_add(d_means, places, d_parts)
        d_rows = ops.alloc2f(len(rows), nI)
        ops.scatter_add(d_rows, tokens, ops.backprop_reduce_mean(d_means, lengths))
        return ops.unflatten(d_rows, ops.asarray1i([len(part) for part in vectors]))

    return Y, backprop


def _segments(
    pairs: List[Pair], doc_lengths: List[int]
) -> Tuple[List[range], List[int], List[float]]:
    """What to take the means of, as tokens of the batch, each of them once; which of these the four
    places of each pair hold, pair by pair; and which of its entities comes first."""
    starts = numpy.cumsum([0, *doc_lengths])
    found: Dict[range, int] = {}
    numbers, directions = [], []
    for i, head, child in pairs:
        start = int(starts[i])
        is_first = head.start < child.start
        left, right = (head, child) if is_first else (child, head)
        between, nothing = range(start + left.end, start + right.start), range(0)
        for segment in (
            range(start + head.start, start + head.end),
            range(start + child.start, start + child.end),
            between if is_first else nothing,
            nothing if is_first else between,
        ):
            numbers.append(found.setdefault(segment, len(found)))
        directions.append(1.0 if is_first else -1.0)
    return list(found), numbers, directions


def _init_pairs(model: Pairs, X: Optional[DocsAndVectors] = None, Y: Any = None) -> None:
    if X is not None:
        _, vectors = X
        nI = vectors[0].shape[1]
        model.set_dim("nI", nI)
        model.set_dim("nO", 4 * nI + 1)


__getattr__ = short_forms(__name__)
