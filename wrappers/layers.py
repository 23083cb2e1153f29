"""What Thinc computes outside of its ops, on ours."""

from __future__ import annotations

import functools
from typing import Any, Callable, List, Tuple, cast

import numpy
import thinc.backends
import thinc.layers.layernorm
import thinc.layers.maxout
import thinc.optimizers
from thinc.api import Model, Ops

from .ops import FasterNumpyOps

# Rows from which on maxout is faster with the pieces apart, although the parameters are copied.
APART = 128


def speed_up_thinc() -> None:
    """Have what Thinc computes outside of its ops take note of ours. Without ours, all of it is
    as it was."""
    vars(thinc.optimizers)["get_array_ops"] = _get_array_ops
    vars(thinc.layers.layernorm)["forward"] = _layer_norm
    vars(thinc.layers.maxout)["forward"] = _maxout


def _get_array_ops(array: Any) -> Ops:
    """Thinc's optimizers ask for an array's ops, and get NumpyOps whatever the current ops are."""
    current = thinc.backends.context_ops.get()
    if isinstance(current, FasterNumpyOps) and isinstance(array, numpy.ndarray):
        return current
    return thinc.backends.get_array_ops(array)


_thincs_layer_norm = thinc.layers.layernorm.forward
_thincs_maxout = thinc.layers.maxout.forward


def _is_ours(model: Model, X: Any) -> bool:
    return isinstance(model.ops, FasterNumpyOps) and X.dtype == numpy.float32 and X.ndim == 2


def _layer_norm(model: Model, X: Any, is_train: bool) -> Tuple[Any, Callable[[Any], Any]]:
    """The forward pass of Thinc's LayerNorm, by our ops where they are the model's."""
    if not _is_ours(model, X):
        return _thincs_layer_norm(model, X, is_train)
    ops: Any = model.ops
    Y, get_gradients = ops._layer_norm(X, model.get_param("G"), model.get_param("b"))

    def backprop(dY: Any) -> Any:
        dX, dG, db = get_gradients(dY)
        model.inc_grad("b", db)
        model.inc_grad("G", dG)
        return dX

    return Y, backprop


def _maxout(model: Model, X: Any, is_train: bool) -> Tuple[Any, Callable[[Any], Any]]:
    """The forward pass of Thinc's Maxout. Thinc has the pieces of a unit side by side, and
    compares them number by number; with the pieces apart, whole rows are compared at once."""
    if not _is_ours(model, X) or len(X) < APART:
        return _thincs_maxout(model, X, is_train)
    ops: Any = model.ops
    W, b = (cast(Any, model.get_param(name)) for name in "Wb")
    nO, nP, nI = W.shape
    W_apart = W.transpose(1, 0, 2).reshape(nP * nO, nI)
    Z = ops.affine(X, W_apart, b.T.reshape(nP * nO))
    pieces = [Z[:, i * nO : (i + 1) * nO] for i in range(nP)]
    Y = functools.reduce(numpy.maximum, pieces)

    def backprop(dY: Any) -> Any:
        # From here on as in Thinc's layer, with the pieces side by side.
        dZ = ops.backprop_maxout(dY, _first_largest(pieces), nP)
        model.inc_grad("b", dZ.sum(axis=0))
        dZ = dZ.reshape(len(dZ), nO * nP)
        model.inc_grad("W", ops.gemm(dZ, X, trans1=True).reshape(nO, nP, nI))
        return ops.gemm(dZ, W.reshape(nO * nP, nI))

    return Y, backprop


def _first_largest(pieces: List[Any]) -> Any:
    """For each unit, which of its pieces is the largest; the first, where several are."""
    which = numpy.zeros(pieces[0].shape, "uint8")
    largest = pieces[0]
    for i, piece in enumerate(pieces[1:], start=1):
        numpy.maximum(which, (piece > largest) * numpy.uint8(i), out=which)
        largest = numpy.maximum(largest, piece)
    return which.astype("int32")
