"""Modules for padded sequences and a mask, such as a transformer's encoder, under lists of docs."""

from __future__ import annotations

from typing import Any, Callable, List, Optional, Tuple

from thinc.api import Model, get_width
from thinc.types import ArgsKwargs, Floats2d
from thinc.util import is_xp_array

from .position import passes_on

Docs = List[Floats2d]


def with_mask(
    layer: Model[Any, Any],
    keyword: Optional[str] = None,
    *,
    padding: bool = False,
    dtype: str = "bool",
) -> Model[Docs, Docs]:
    """Pad docs for a module that takes (batch, time, width) and a mask, and take the padding away
    from its output, (batch, time, nO).

    layer (Model): A wrapper of any framework.
    keyword (str): The argument of the module that the mask is handed to. If None, it is the second.
    padding (bool): Mask the padding, as PyTorch's `src_key_padding_mask` wants it. If False, the
        tokens are masked, as Keras's attention wants it.
    dtype (str): Of the mask. What is masked is True, or 1; everything else False, or 0.
    RETURNS (Model): From a list of arrays (tokens, nI) to one of arrays (tokens, nO). Docs without
        tokens are not shown to the module.

    Raises ValueError from a call if the module's output is not of that shape, and, in a batch
    without any token, if nO is not known yet.
    """
    return Model(
        f"with_mask({layer.name})",
        _forward,
        init=_init,
        layers=[layer],
        dims={dim: layer.maybe_get_dim(dim) for dim in ("nO", "nI")},
        attrs={"keyword": keyword, "padding": padding, "dtype": dtype},
    )


def _forward(model: Model[Docs, Docs], Xs: Docs, is_train: bool) -> Tuple[Docs, Callable]:
    layer, ops = model.layers[0], model.ops
    docs = [i for i, X in enumerate(Xs) if len(X)]
    lengths = [len(Xs[i]) for i in docs]
    _set_width(layer, Xs)
    if docs:
        Y, get_dX = layer(_inputs(model, [Xs[i] for i in docs]), is_train)
        _check_output(model, Y, (len(docs), max(lengths)))
        Ys = _collect(model, Y, docs, lengths, Y.shape[-1], len(Xs))
    else:
        Ys = [ops.alloc2f(0, _known_width(model)) for _ in Xs]
    _take_dims(model)

    def backprop(dYs: Docs) -> Docs:
        if not docs:
            return [ops.alloc2f(*X.shape) for X in Xs]
        d_inputs = get_dX(ops.pad([dYs[i] for i in docs]))
        return _collect(model, d_inputs.args[0], docs, lengths, get_width(Xs[docs[0]]), len(Xs))

    return Ys, backprop


@passes_on
def _init(model: Model[Docs, Docs], X: Optional[Docs] = None, Y: Any = None) -> None:
    layer = model.layers[0]
    _set_width(layer, X or [])
    sample = [doc for doc in X or [] if len(doc)]
    if isinstance(Y, (list, tuple)):
        # Of the truth, only the width counts.
        Y = model.ops.flatten(Y) if len(Y) else None
    layer.initialize(X=_inputs(model, sample) if sample else None, Y=Y)
    _take_dims(model)


def _inputs(model: Model, docs: Docs) -> ArgsKwargs:
    """The docs, none of which is empty, as the module takes them."""
    ops, keyword = model.ops, model.attrs["keyword"]
    lengths: Any = ops.asarray1i([len(doc) for doc in docs])
    padded: Any = ops.pad(docs)
    is_token = ops.xp.arange(padded.shape[1]) < lengths[:, None]
    mask = (~is_token if model.attrs["padding"] else is_token).astype(model.attrs["dtype"])
    if keyword is None:
        return ArgsKwargs(args=(padded, mask), kwargs={})
    return ArgsKwargs(args=(padded,), kwargs={keyword: mask})


def _collect(
    model: Model, padded: Any, docs: List[int], lengths: List[int], width: int, total: int
) -> Docs:
    """The rows of each of `total` docs. Those in `docs` are in what is padded, the others empty."""
    found = [model.ops.alloc2f(0, width) for _ in range(total)]
    for row, (doc, length) in enumerate(zip(docs, lengths)):
        found[doc] = padded[row, :length]
    return found


def _check_output(model: Model, Y: Any, shape: Tuple[int, int]) -> None:
    if not is_xp_array(Y) or Y.ndim != 3 or Y.shape[:2] != shape:
        came = f"shape {Y.shape}" if is_xp_array(Y) else f"a {type(Y).__name__}"
        raise ValueError(
            f"Expected from the module of '{model.layers[0].name}' an output of shape (batch, "
            f"time, nO), here {(*shape, 'nO')}, got {came}. Let it take and return the batch first "
            "(batch_first=True in PyTorch), one row for each token, and nothing besides."
        )


# Dims. They are the wrapper's, which infers no nI by itself from several inputs.


def _set_width(layer: Model, docs: Docs) -> None:
    if docs and layer.has_dim("nI") is None and get_width(docs[0]):
        layer.set_dim("nI", get_width(docs[0]))


def _take_dims(model: Model) -> None:
    for dim in ("nO", "nI"):
        value = model.layers[0].maybe_get_dim(dim)
        if value is not None and model.has_dim(dim) is None:
            model.set_dim(dim, value)


def _known_width(model: Model) -> int:
    nO = model.layers[0].maybe_get_dim("nO")
    if nO is None:
        raise ValueError(
            f"The batch has no tokens and nO of '{model.layers[0].name}' is unset, so the width of "
            "its output is not known. Call initialize() with a sample first, or give nO to the "
            "wrapper."
        )
    return nO


def check_sequence(module: Any, output: Any, is_sequence: bool, returns: str) -> None:
    """Raise ValueError if a module for recurrent ones returned something else.

    returns: What it has to return.
    """
    if not is_sequence:
        raise ValueError(
            f"Expected {type(module).__name__} to return {returns}, as recurrent modules do, got "
            f"{type(output).__name__}. A module that is not recurrent, such as a transformer's "
            "encoder, is run on padded sequences by with_mask(wrapper), which hands it a mask."
        )
