"""What the architectures share around the frameworks' networks."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Tuple, cast

from spacy.ml import CharacterEmbed
from spacy.tokens import Doc
from thinc.api import Model, chain, get_width, list2ragged, reduce_mean
from thinc.types import Floats2d, Ragged

from ..wrappers.process import this_thread
from .words import group_tokens

Tok2Vec = Model[List[Doc], List[Floats2d]]


def embedding(
    tok2vec: Optional[Tok2Vec],
    embed: Optional[Tok2Vec],
    width: int,
    embed_size: int,
    nM: int,
    nC: int,
) -> Tok2Vec:
    """The sublayer that was given, or spaCy's CharacterEmbed."""
    if tok2vec is not None and embed is not None:
        raise ValueError("Expected one of the sublayers `tok2vec` and `embed`, got both.")
    return (
        tok2vec or embed or CharacterEmbed(width, embed_size, nM, nC, include_static_vectors=False)
    )


def any_batch(tok2vec: Tok2Vec) -> Tok2Vec:
    """Vectors per token, also for a batch without any, which spaCy's embeddings refuse."""
    return Model("any_batch", _forward_any_batch, init=_init_any_batch, layers=[tok2vec], dims=_NO)


def mean_per_doc(tok2vec: Tok2Vec) -> Model[List[Doc], Floats2d]:
    """The mean of each doc's vectors; zeros for a doc without tokens.

    tok2vec (Model): From docs to an array (tokens, width) per doc.
    RETURNS (Model): From docs to an array (docs, width).
    """
    pooled: Model = chain(cast(Model, tok2vec), cast(Model, list2ragged()), reduce_mean())
    return Model("mean_per_doc", _forward_mean, init=_init_any_batch, layers=[pooled], dims=_NO)


_NO: Dict[str, Optional[int]] = {"nO": None}


def _forward_any_batch(
    model: Tok2Vec, docs: List[Doc], is_train: bool
) -> Tuple[List[Floats2d], Callable]:
    if any(len(doc) for doc in docs):
        return model.layers[0](docs, is_train)
    return [model.ops.alloc2f(0, model.get_dim("nO")) for _ in docs], lambda dY: []


def _forward_mean(
    model: Model[List[Doc], Floats2d], docs: List[Doc], is_train: bool
) -> Tuple[Floats2d, Callable]:
    if not any(len(doc) for doc in docs):
        return model.ops.alloc2f(len(docs), model.get_dim("nO")), lambda dY: []
    (pooled,), ops = model.layers, model.ops
    tok2vec, _, mean = pooled.layers
    words = None if is_train else group_tokens([tok2vec], docs)
    # Thinc's products have locks too.
    with this_thread.passing:
        if words is None:
            return pooled(docs, is_train)
        (vectors,), backprop_types = tok2vec(words.types(), is_train)
    tokens = Ragged(words.spread(ops, vectors), ops.asarray1i(words.lengths))
    Y, backprop_mean = mean(tokens, is_train)
    return Y, lambda dY: backprop_types([words.sum(ops, backprop_mean(dY).data)])


def _init_any_batch(model: Model, X: Any = None, Y: Any = None) -> None:
    layer = model.layers[0].initialize(X=X)
    if layer.has_dim("nO"):
        model.set_dim("nO", layer.get_dim("nO"))


def with_labels(model: Model, tok2vec: Tok2Vec, nO: Optional[int]) -> Model:
    """Set the refs by which spaCy finds the parts, and the number of labels if it was given."""
    model.set_ref("tok2vec", tok2vec)
    if nO is not None:
        # From this dim, spaCy refuses a label too many (E922).
        model.set_dim("nO", nO)
    return model


def softmax_output(nO: Optional[int] = None) -> Model[Floats2d, Floats2d]:
    """Logits to probabilities.

    The gradient is passed through unchanged: what spaCy hands back for exclusive classes,
    probabilities minus truth, already is the gradient with respect to the logits.

    nO (int): The number of labels that the config expects. None takes it from the data.
    RETURNS (Model): From an array (rows, nO) to one of the same shape.

    Raises ValueError from `initialize` if the data has another number of labels than the config or
    than the network has columns.
    """
    return Model(
        "softmax_output",
        _forward_softmax,
        init=_init_output,
        dims={"nO": None, "nI": None},
        attrs={"expected_nO": nO},
    )


def logistic_output(nO: Optional[int] = None) -> Model[Floats2d, Floats2d]:
    """Logits to a probability for each class by itself, as Thinc's Logistic.

    nO (int): As for `softmax_output`, and so are the errors.
    RETURNS (Model): From an array (rows, nO) to one of the same shape.
    """
    return Model(
        "logistic_output",
        _forward_logistic,
        init=_init_output,
        dims={"nO": None, "nI": None},
        attrs={"expected_nO": nO},
    )


def _forward_softmax(
    model: Model[Floats2d, Floats2d], X: Floats2d, is_train: bool
) -> Tuple[Floats2d, Callable[[Floats2d], Floats2d]]:
    return model.ops.softmax(X), lambda dY: dY


def _forward_logistic(
    model: Model[Floats2d, Floats2d], X: Floats2d, is_train: bool
) -> Tuple[Floats2d, Callable[[Floats2d], Floats2d]]:
    Y = model.ops.sigmoid(X)
    return Y, lambda dY: dY * model.ops.dsigmoid(Y)


def _init_output(model: Model, X: Any = None, Y: Any = None) -> None:
    if Y is not None:
        expected, labels = model.attrs["expected_nO"], get_width(Y)
        if expected not in (None, labels):
            raise ValueError(
                f"The model has nO = {expected}, but the data has {labels} labels. "
                "Set nO = null in the config, and it is taken from the data."
            )
        if X is not None and get_width(X) != labels:
            raise ValueError(
                f"The network gives {get_width(X)} columns, but the data has {labels} labels."
            )
        model.set_dim("nO", labels)
        model.set_dim("nI", labels)
