"""What Thinc computes outside of its ops, on ours. `patches.py` has the places that it takes."""

from __future__ import annotations

import functools
from typing import Any, Callable, Dict, List, Tuple, cast

import numpy
import thinc.backends
import thinc.layers.layernorm
import thinc.layers.maxout
from thinc.api import Model, NumpyOps, Ops

from .ops import FasterNumpyOps

# Rows from which on maxout is faster with the pieces apart, although the parameters are copied.
APART = 128


def get_array_ops(array: Any) -> Ops:
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


# What tells that an original is the one whose place ours can take


class _Layer:
    """What a forward pass asks of its model. A model of Thinc's would take one of Thinc's ids, with
    which embeddings hash."""

    def __init__(self, **params: Any):
        self.ops = FasterNumpyOps()
        self.params = params
        self.grads: Dict[str, Any] = {}

    def get_param(self, name: str) -> Any:
        return self.params[name]

    def get_dim(self, name: str) -> int:
        return dict(zip(("nO", "nP", "nI"), self.params["W"].shape))[name]

    def inc_grad(self, name: str, value: Any) -> None:
        self.grads[name] = value


def gets_numpy_ops(original: Any) -> bool:
    return type(original(numpy.zeros(1, "float32"))) is NumpyOps


def is_layer_norm(original: Any) -> bool:
    X = _numbers(4, 3)
    # In such a row, it counts how much is added to the variance.
    X[0] *= 1e-4
    return _do_the_same(original, _layer_norm, X, X[::-1], G=_numbers(3), b=_numbers(3))


def is_maxout(original: Any) -> bool:
    X, W = _numbers(APART, 3), _numbers(2, 2, 3)
    # Of equal pieces, the first one counts.
    W[0, 1] = W[0, 0]
    return _do_the_same(original, _maxout, X, X[:, :2], W=W, b=numpy.zeros((2, 2), "float32"))


def _numbers(*shape: int) -> Any:
    return numpy.random.RandomState(0).uniform(-1, 1, shape).astype("float32")


def _do_the_same(original: Any, ours: Any, X: Any, dY: Any, **params: Any) -> bool:
    """Whether two forward passes and the passes back from them give the same, to rounding."""
    results = []
    for forward in (original, ours):
        layer = _Layer(**params)
        Y, backprop = forward(layer, X.copy(), True)
        dX = backprop(dY.copy())
        results.append([Y, dX, *(layer.grads[name] for name in sorted(params))])
    return all(numpy.allclose(a, b, rtol=1e-3, atol=1e-5) for a, b in zip(*results))
