"""Words once: a token's vector is computed once for all tokens of a batch that have the same
features, and copied to each of them."""

from __future__ import annotations

from typing import Any, Callable, Iterator, List, Optional, Sequence, Set, Tuple, Union, cast

import numpy
from spacy.attrs import IDS, ORTH
from spacy.pipeline.tok2vec import Tok2VecListener
from spacy.tokens import Doc, Token
from thinc.api import Model, Ops
from thinc.layers.chain import forward as forward_chain
from thinc.types import Floats2d

from ..wrappers.process import this_thread
from .settings import Setting

Attribute = Union[int, str]
Tok2Vec = Model[List[Doc], List[Floats2d]]

# In prediction, batches of fewer tokens are computed as they are: few of their words repeat, and
# finding those that do takes longer than it saves.
MIN_TOKENS = 150

# In spaCy's gradient of characters, of all tokens of a doc with the same character in the same
# place only one counts. So in training an embedding gets its types as docs of so few.
TYPES_IN_TRAINING = 32

# What the sums below multiply columns with: odd numbers without a pattern.
_FACTORS = numpy.random.RandomState(0).randint(2**63, size=64, dtype="uint64") * 2 + 1


# Which tokens are the same


class Types:
    """Distinct tokens of a batch, to be handed to an embedding in place of a doc.

    It has what embeddings ask a doc for: its length, its vocab, its tokens, `to_array` and
    `to_utf8_array`. Everything is read from the docs, of one token for each type.
    """

    def __init__(
        self,
        docs: Sequence[Any],
        places: numpy.ndarray,
        attributes: List[int],
        rows: numpy.ndarray,
    ):
        """
        docs: The docs or spans.
        places: Of each type one of its tokens, by number in the batch.
        attributes: Numbers of attributes that have been read already.
        rows: Their values, of shape (types, attributes).
        """
        self._docs, self._places = docs, places
        self._attributes, self._rows = attributes, rows

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Token]:
        docs, starts = self._find_docs()
        for place, i in zip(self._places, docs):
            yield self._docs[i][int(place - starts[i])]

    @property
    def vocab(self) -> Any:
        """That of the first doc, in which spaCy looks up the vectors of all."""
        return self._docs[0].vocab

    def to_array(self, attributes: Union[Attribute, Sequence[Attribute]]) -> numpy.ndarray:
        """As `Doc.to_array`: a column for each attribute, of one dimension if there is one."""
        is_one = isinstance(attributes, str) or not hasattr(attributes, "__iter__")
        numbers = [_number(name) for name in cast(Any, [attributes] if is_one else attributes)]
        if set(numbers) <= set(self._attributes):
            rows = self._rows[:, [self._attributes.index(number) for number in numbers]]
        else:
            rows = _to_array(self._docs, numbers)[self._places]
        return rows if rows.shape[1] > 1 else rows[:, 0]

    def to_utf8_array(self, nr_char: int = -1) -> numpy.ndarray:
        """As `Doc.to_utf8_array`: the bytes of each word in the order first, last, second, last
        but one, and so on, and 255 where there are no more."""
        stores = [doc.vocab.strings for doc in self._docs]
        orths = self.to_array(ORTH).tolist()
        docs, _ = self._find_docs()
        words = [stores[i][orth].encode("utf8") for i, orth in zip(docs, orths)]
        lengths = numpy.fromiter(map(len, words), dtype="int64", count=len(words))[:, None]
        ends = lengths.cumsum()[:, None]
        text = numpy.frombuffer(b"".join([*words, b"\xff"]), dtype="uint8")
        nth = numpy.arange(lengths.max() if nr_char == -1 else nr_char)
        places = numpy.where(nth % 2, ends - 1 - nth // 2, ends - lengths + nth // 2)
        # Past a word's end, the 255 behind all of them.
        return text[numpy.where(nth < lengths, places, len(text) - 1)]

    def _find_docs(self) -> Tuple[List[int], numpy.ndarray]:
        """In which doc the token of each type is, and where in the batch each doc starts."""
        ends = numpy.cumsum([len(doc) for doc in self._docs])
        docs: List[int] = numpy.searchsorted(ends, self._places, "right").tolist()
        return docs, numpy.concatenate([[0], ends])


class Grouping:
    """Which tokens of a batch are of one type."""

    def __init__(self, docs: Sequence[Any], attributes: Sequence[int]):
        """
        docs: Docs or spans with at least one token.
        attributes: The numbers of the attributes in which tokens of one type agree.
        """
        self._docs, self._attributes = docs, list(attributes)
        self.lengths: Any = numpy.asarray([len(doc) for doc in docs], dtype="int32")
        self._rows = _to_array(docs, self._attributes)
        # Of each type one of its tokens, and of each token its type.
        self._places: numpy.ndarray
        self._indices: Any
        self._places, self._indices = group(self._rows)

    def types(self, size: Optional[int] = None) -> List[Types]:
        """The types, in parts of this size, or all in one."""
        count = len(self._places)
        return [
            Types(self._docs, places, self._attributes, self._rows[places])
            for i in range(0, count, size or count)
            for places in [self._places[i : i + (size or count)]]
        ]

    def spread(self, ops: Ops, rows: Floats2d) -> Floats2d:
        """A row per type to a row per token."""
        return cast(Floats2d, ops.xp.take(rows, ops.asarray(self._indices), axis=0))

    def spread_per_doc(self, ops: Ops, rows: Floats2d) -> List[Floats2d]:
        """A row per type to an array for each doc."""
        return ops.unflatten(self.spread(ops, rows), self.lengths)

    def sum(self, ops: Ops, rows: Floats2d) -> Floats2d:
        """A row per token to the sums of each type's."""
        sums = ops.alloc2f(len(self._places), rows.shape[1])
        ops.scatter_add(sums, ops.asarray1i(self._indices, dtype="int32"), rows)
        return sums


def group(rows: numpy.ndarray) -> Tuple[numpy.ndarray, numpy.ndarray]:
    """Find equal rows.

    rows (uint64): Of shape (n, columns), both at least 1.
    Returns the number of one row for each distinct one, and for each row the number of that.
    """
    columns = rows.shape[1]
    # One number for each row: sorting those is many times faster than sorting rows. Overflow is
    # what makes it a hash.
    keys = rows[:, 0] if columns == 1 else rows @ numpy.resize(_FACTORS, columns)
    places, indices = _group_numbers(keys)
    if columns > 1 and not numpy.array_equal(rows[places[indices]], rows):
        # Two rows have the same number.
        _, places, indices = numpy.unique(rows, axis=0, return_index=True, return_inverse=True)
    return places, indices.ravel()


def _group_numbers(keys: numpy.ndarray) -> Tuple[numpy.ndarray, numpy.ndarray]:
    # numpy.unique takes twice as long.
    order = keys.argsort()
    ordered = keys[order]
    is_new = numpy.ones(len(keys), dtype=bool)
    numpy.not_equal(ordered[1:], ordered[:-1], out=is_new[1:])
    indices = numpy.empty(len(keys), dtype="intp")
    indices[order] = is_new.cumsum() - 1
    return order[is_new], indices


def _to_array(docs: Sequence[Any], attributes: List[int]) -> numpy.ndarray:
    """The features of all tokens, of shape (tokens, attributes)."""
    arrays = [doc.to_array(attributes) for doc in docs]
    return numpy.concatenate(arrays).reshape((-1, len(attributes)))


def _number(attribute: Attribute) -> int:
    """The number of an attribute, by which spaCy finds it sooner than by its name."""
    number = IDS.get(attribute.upper()) if isinstance(attribute, str) else attribute
    if number is None:
        raise ValueError(
            f"Expected the name of an attribute of tokens, such as 'ORTH', got {attribute!r}."
        )
    return int(number)


# What a model reads of a token

# Layers are recognized by the functions that they run. These treat each row by itself.
_ROW_WISE = {
    *(
        f"thinc.layers.{name}.forward"
        for name in (
            "add",
            "chain",
            "clipped_linear",
            "concatenate",
            "dropout",
            "embed",
            "gelu",
            "hashembed",
            "layernorm",
            "linear",
            "list2ragged",
            "logistic",
            "maxout",
            "mish",
            "noop",
            "ragged2list",
            "relu",
            "residual",
            "sigmoid",
            "softmax",
            "softmax_activation",
            "swish",
            "with_array",
            "with_array2d",
        )
    ),
    *(
        f"spacy_frameworks.architectures.{name}"
        for name in (
            "layers._forward_any_batch",
            "layers._forward_softmax",
            "layers._forward_logistic",
            "networks.thinc._forward",
            "words._forward_tokens",
        )
    ),
    # What our kernels put in the place of Thinc's.
    "spacy_frameworks.wrappers.layers._layer_norm",
    "spacy_frameworks.wrappers.layers._maxout",
}


# Layers that are known to see other tokens, which no word of the user's can change.
_OF_NEIGHBOURS = {
    *(
        f"thinc.layers.{name}.forward"
        for name in (
            "bidirectional",
            "expand_window",
            "lstm",
            "parametricattention",
            "parametricattention_v2",
            "reduce_first",
            "reduce_last",
            "reduce_max",
            "reduce_mean",
            "reduce_sum",
            "with_padded",
        )
    ),
    "spacy_frameworks.architectures.sequences._forward",
}


class Reading:
    """What a model reads of a token, as far as its layers are known."""

    def __init__(self, layers: Sequence[Model], vocab: Any = None):
        """
        layers: The model's parts.
        vocab: Where vectors are looked up. It says by which attribute; if None, the word itself.
        """
        self.attributes: Set[int] = set()
        self.unknown: List[Model] = []
        self.of_neighbours: List[Model] = []
        for layer in layers:
            own, below = _attributes(layer, vocab), Reading(layer.layers, vocab)
            self.attributes.update(below.attributes, map(_number, own or []))
            if own is None:
                self.unknown.append(layer)
            elif not _features_of(layer):
                self.unknown += below.unknown
            if _sees_neighbours(layer):
                self.of_neighbours.append(layer)
            self.of_neighbours += below.of_neighbours


def _features_of(node: Model) -> List[str]:
    """What UniqueTokens was told that layers of the user's own read."""
    given = node.attrs.get("features")
    return given.value or [] if isinstance(given, Setting) else []


def _function(node: Model) -> str:
    return f"{node._func.__module__}.{getattr(node._func, '__qualname__', '')}"


def _sees_neighbours(node: Model) -> bool:
    """Whether a layer by itself is known to see other tokens. Networks of sequences are in one of
    these, and a layer of the user's own may have an attribute `network`, too."""
    return _function(node) in _OF_NEIGHBOURS


def _attributes(node: Model, vocab: Any) -> Optional[Sequence[Attribute]]:
    """What a layer by itself reads of a token; None if it may see other tokens, or is unknown."""
    name = _function(node)
    if type(node) is not Model:
        return None
    if name in _ROW_WISE:
        return []
    if name == "spacy.ml.featureextractor.forward":
        return cast(Sequence[Attribute], node.attrs["columns"])
    if name == "spacy.ml._character_embed.forward":
        return [ORTH]
    if name == "spacy.ml.staticvectors.forward":
        return [ORTH if vocab is None else getattr(vocab.vectors, "attr", ORTH)]
    if name == "thinc.layers.array_getitem.forward":
        # Columns, and not rows.
        index = node.attrs["index"]
        takes_all = isinstance(index, tuple) and index[0] in (slice(None), slice(0, None))
        return [] if takes_all else None
    if name == "spacy_frameworks.architectures.networks.build.forward":
        return [] if node.attrs.get("network", {}).get("name") == "FeedForward" else None
    if name == f"{__name__}._forward_unique":
        return cast(Sequence[Attribute], _features_of(node))
    return None


# Layers


def UniqueTokens(
    embed: Model[List[Doc], List[Floats2d]],
    features: Optional[List[str]] = None,
    training: bool = False,
) -> Model[List[Doc], List[Floats2d]]:
    """Compute an embedding once for all tokens of a batch that have the same features.

    embed (Model): The embedding: of each token by itself, whatever is around it.
    features (List[str]): The attributes of a token that layers of your own read, such as "ORTH"
        and "SHAPE". They are called with a list of `Types` in place of docs. What spaCy's
        embeddings read is found.
    training (bool): Whether to do so in training, too. All tokens of a type share a dropout mask
        then.
    RETURNS (Model): From docs to an array of vectors per doc, the same as the embedding's.

    Raises ValueError if the embedding has layers that see a token's neighbours, such as encoders
    and listeners; if it has layers that are unknown, and `features` is None; or if there is no
    attribute of such a name.
    """
    for name in features or []:
        _number(name)
    _check(embed, features)
    model: Tok2Vec = Model(
        "unique_tokens",
        _forward_unique,
        init=_init_unique,
        layers=[embed],
        dims={name: embed.maybe_get_dim(name) for name in embed.dim_names},
        attrs={"features": Setting(features), "training": Setting(training)},
    )
    for name in embed.ref_names:
        model.set_ref(name, embed.maybe_get_ref(name))
    return model


def _check(embed: Tok2Vec, features: Optional[List[str]]) -> None:
    for node in embed.walk():
        if isinstance(node, Tok2VecListener):
            raise ValueError(
                f"UniqueTokens needs an embedding of each token by itself, but {node.name!r} "
                "listens to one that has seen the tokens around. Put UniqueTokens around the "
                "`embed` of the component that is listened to."
            )
    reading = Reading([embed])
    if reading.of_neighbours:
        names = ", ".join(repr(node.name) for node in reading.of_neighbours)
        raise ValueError(
            "UniqueTokens needs an embedding of each token by itself, but found layers that see a "
            f"token's neighbours: {names}. Put it around the `embed` of spacy.Tok2Vec.v2, and "
            "leave `encode` outside."
        )
    if not features and (reading.unknown or not reading.attributes):
        names = ", ".join(repr(node.name) for node in reading.unknown or [embed])
        raise ValueError(
            "UniqueTokens needs an embedding of each token by itself, from features that it can "
            f"tell, but found layers that may see a token's neighbours: {names}. Put it around "
            "the `embed` of spacy.Tok2Vec.v2, and leave `encode` outside. If the embedding is one "
            'of your own, say what it reads of a token, as in features = ["ORTH"].'
        )


def _forward_unique(
    model: Tok2Vec, docs: List[Doc], is_train: bool
) -> Tuple[List[Floats2d], Callable]:
    embed, ops = model.layers[0], model.ops
    if model.has_dim("nO") and not any(map(len, docs)):
        # spaCy's embeddings refuse it.
        return [ops.alloc2f(0, model.get_dim("nO")) for _ in docs], lambda dYs: []
    words = None
    if model.attrs["training"].value or not is_train:
        least = 1 if is_train else MIN_TOKENS
        words = group_tokens([embed], docs, _features_of(model), least)
    if words is None:
        return embed(docs, is_train)
    types = words.types(TYPES_IN_TRAINING if is_train else None)
    Ys, backprop_embed = embed(cast(Any, types), is_train)

    def backprop(dYs: List[Floats2d]) -> List[Doc]:
        sums = words.sum(ops, cast(Floats2d, ops.flatten(cast(Any, dYs))))
        backprop_embed(ops.unflatten(sums, cast(Any, numpy.asarray([len(Y) for Y in Ys]))))
        return []

    return words.spread_per_doc(ops, cast(Floats2d, ops.flatten(cast(Any, Ys)))), backprop


def _init_unique(model: Tok2Vec, X: Any = None, Y: Any = None) -> None:
    embed = model.layers[0]
    embed.initialize(X=X, Y=Y)
    for name in embed.dim_names:
        value = embed.maybe_get_dim(name)
        if value is not None:
            model.set_dim(name, value)


def group_tokens(
    layers: Sequence[Model],
    docs: List[Doc],
    features: Optional[List[str]] = None,
    least: Optional[int] = None,
) -> Optional[Grouping]:
    """The types of a batch for a model of these parts; None if it is not known to treat each token
    by itself, or has fewer tokens than `least`, which is MIN_TOKENS if None.

    features: What layers that are not known read of a token, if it is that alone.
    """
    if sum(map(len, docs)) < (least or MIN_TOKENS) or isinstance(docs[0], Types):
        return None
    # The tree may have changed since the last time, and to look again takes no time beside the
    # rest of such a batch.
    reading = Reading(layers, docs[0].vocab)
    attributes = reading.attributes.union(map(_number, features or []))
    if not attributes or reading.of_neighbours or (reading.unknown and not features):
        return None
    return Grouping(docs, sorted(attributes))


def once_per_type(model: Tok2Vec) -> Tok2Vec:
    """A `chain` that in prediction runs once per type, if all of its layers are known to treat
    each token by itself. In the tree it looks as it did."""
    return Model(
        model.name,
        _forward_tokens,
        init=model.init,
        layers=model.layers,
        dims={name: model.maybe_get_dim(name) for name in model.dim_names},
    )


def _forward_tokens(
    model: Tok2Vec, docs: List[Doc], is_train: bool
) -> Tuple[List[Floats2d], Callable]:
    words, ops = None if is_train else group_tokens(model.layers, docs), model.ops
    # Thinc's products have locks too.
    with this_thread.passing:
        if words is None:
            return cast(Any, forward_chain(model, docs, is_train))
        (Y,), backprop_types = forward_chain(model, cast(Any, words.types()), is_train)

    def backprop(dYs: List[Floats2d]) -> Any:
        return backprop_types([words.sum(ops, cast(Floats2d, ops.flatten(cast(Any, dYs))))])

    return words.spread_per_doc(ops, Y), backprop
