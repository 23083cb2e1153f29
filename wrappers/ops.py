"""Thinc's CPU ops with a framework's kernels: what the frameworks' ops share."""

from __future__ import annotations

import importlib
import math
from typing import Any, Callable, Optional, Tuple, cast

import numpy
import thinc.backends
import thinc.layers.layernorm
import thinc.optimizers
from thinc.api import Model, NumpyOps, Ops, get_current_ops, get_ops, set_current_ops
from thinc.types import DeviceTypes, FloatsXd, Shape

from .framework import THINC, get_framework, require
from .process import runs_here
from .threads import check_threads, numpy_threads

# As in Thinc's layer.
LAYER_NORM_EPS = 1e-8

# For fewer multiplications than these, OpenBLAS takes one thread by itself.
ONE_THREAD = 2**18


class FrameworkOps(NumpyOps):
    """Thinc's CPU ops, made faster: what every framework's ops share.

    Products are NumPy's, whose BLAS is two to three times as fast as the one that Thinc brings,
    or the framework's where that is faster still. Results are NumpyOps's, to float32 rounding, and
    random masks are the same bit for bit. In a forked process in which the framework cannot run,
    products are NumpyOps's.
    """

    # Names that Thinc's Ops lacks begin with an underscore: Thinc's tests ask for that.
    _framework: str
    # From how many multiplications on a product is the framework's, and not NumPy's: below, what
    # it takes to call the framework and hand the arrays over is more than what its kernel gains.
    _min_products: float = math.inf
    # The same for what is done to each element: the size of the array.
    _min_size: int = 0

    def __init__(
        self,
        device_type: DeviceTypes = "cpu",
        device_id: int = -1,
        *,
        threads: int = 1,
        **kwargs: Any,
    ):
        """
        threads: How many threads a kernel runs on.
        """
        self.threads = check_threads(threads)
        super().__init__(device_type, device_id, **kwargs)
        _speed_up_thinc()

    def _product(self, x: Any, y: Any, out: Optional[Any]) -> Any:
        """The framework's product of two float32 matrices that are not empty, of any strides."""
        raise NotImplementedError

    def _layer_norm(self, X: Any, G: Any, b: Any) -> Tuple[Any, Callable[[Any], Tuple]]:
        """Rows of a matrix moved to mean 0 and variance 1, times G plus b, in a third of Thinc's
        passes over the memory; and a function from dY to (dX, dG, db)."""
        nO = X.shape[1]
        Xhat = X - X.mean(axis=1, keepdims=True)
        scale = 1 / numpy.sqrt(numpy.einsum("ij,ij->i", Xhat, Xhat) / nO + LAYER_NORM_EPS)
        scale = scale.astype("float32", copy=False)[:, None]
        Xhat *= scale
        Y = Xhat * G
        Y += b

        def get_gradients(dY: Any) -> Tuple:
            dX = dY * G
            along = numpy.einsum("ij,ij->i", dX, Xhat)[:, None] / nO
            dX -= dX.mean(axis=1, keepdims=True)
            dX -= Xhat * along
            dX *= scale
            return dX, numpy.einsum("ij,ij->j", dY, Xhat), dY.sum(axis=0)

        return Y, get_gradients

    def gemm(
        self,
        x: Any,
        y: Any,
        *,
        out: Optional[Any] = None,
        trans1: bool = False,
        trans2: bool = False,
    ) -> Any:
        """The product of two float32 matrices, the first or the second transposed on request.

        out: Where to write the result, of any strides; returned.
        Raises ValueError if an array has other than two dimensions, another dtype or a shape that
        does not fit.
        """
        if not runs_here(self._framework):
            return super().gemm(x, y, out=out, trans1=trans1, trans2=trans2)
        for name, array in (("x", x), ("y", y), ("out", out)):
            if array is not None and (array.ndim != 2 or array.dtype != numpy.float32):
                raise ValueError(
                    f"Expected {name!r} to be a float32 array of 2 dimensions, got {array.dtype} "
                    f'and {array.ndim}. Cast it with array.astype("float32").'
                )
        a = x.T if trans1 else x
        b = y.T if trans2 else y
        (m, k), n = a.shape, b.shape[1]
        if k != b.shape[0]:
            raise ValueError(
                f"Cannot multiply matrices of shapes {a.shape} and {b.shape}"
                f"{' (transposed as asked)' if trans1 or trans2 else ''}: expected as many rows "
                "in the second as the first has columns."
            )
        if out is not None and out.shape != (m, n):
            raise ValueError(f"Expected 'out' to have shape {(m, n)}, got {out.shape}.")
        if m * n * k >= self._min_products:
            return self._product(a, b, out)
        product = self._numpys_product(a, b)
        if out is None:
            return product
        out[...] = product
        return out

    def _numpys_product(self, a: Any, b: Any) -> Any:
        if a.size * b.shape[1] < ONE_THREAD:
            return numpy.dot(a, b)
        numpy_threads.limit(self.threads)
        try:
            return numpy.dot(a, b)
        finally:
            numpy_threads.release(self.threads)

    def get_dropout_mask(self, shape: Shape, drop: Optional[float]) -> FloatsXd:
        """The same mask as NumpyOps gives, without its float64 divisions."""
        if drop is None or not 0 < drop < 1:
            return super().get_dropout_mask(shape, drop)
        kept = numpy.random.random_sample(shape) >= drop
        scale = numpy.float32(1.0 / (1.0 - drop))
        return cast(FloatsXd, numpy.multiply(kept, scale, dtype="float32"))


class use_framework_ops:  # noqa: N801
    """Have Thinc's layers on CPU run on a framework's kernels: models that are made, loaded or
    copied from now on, and optimizers. In a `with` block, until the block is left.

        use_framework_ops("PyTorch")
        nlp = spacy.load("en_core_web_sm")

    Like Thinc's `set_current_ops`, it holds in the current thread and context. Where Thinc runs on
    a GPU, nothing is changed.
    """

    def __init__(self, framework: str, threads: int = 1):
        """
        framework: "PyTorch", "TensorFlow", "MXNet", or "Thinc" for Thinc's own ops.
        threads: How many threads a kernel of the framework's or NumPy's runs on. More than one is
            faster only where no other process wants the cores.

        Raises ValueError if the name is unknown, ImportError if the framework is not installed.
        """
        self._before = get_current_ops()
        ops = get_framework_ops(framework, threads)
        if isinstance(self._before, NumpyOps):
            set_current_ops(ops)

    def __enter__(self) -> Ops:
        return get_current_ops()

    def __exit__(self, *exception: Any) -> None:
        set_current_ops(self._before)


def get_framework_ops(framework: str, threads: int = 1) -> Ops:
    """A framework's CPU ops, or Thinc's own.

    framework: "PyTorch", "TensorFlow", "MXNet", or "Thinc".
    threads: How many threads a kernel of the framework's or NumPy's runs on.
    Raises ValueError if the name is unknown, ImportError if the framework is not installed.
    """
    fw = get_framework(framework)
    if fw == THINC:
        return get_ops("cpu")
    require(fw.id)
    module = importlib.import_module(f".{fw.id}.ops", __package__)
    return cast(Ops, getattr(module, f"{fw.token}Ops")(threads=threads))


def _speed_up_thinc() -> None:
    """Have what Thinc computes outside of its ops take note of ours. Without ours, all of it is
    as it was."""
    vars(thinc.optimizers)["get_array_ops"] = _get_array_ops
    vars(thinc.layers.layernorm)["forward"] = _layer_norm


def _get_array_ops(array: Any) -> Ops:
    """Thinc's optimizers ask for an array's ops, and get NumpyOps whatever the current ops are."""
    current = thinc.backends.context_ops.get()
    if isinstance(current, FrameworkOps) and isinstance(array, numpy.ndarray):
        return current
    return thinc.backends.get_array_ops(array)


_thincs_layer_norm = thinc.layers.layernorm.forward


def _layer_norm(model: Model, X: Any, is_train: bool) -> Tuple[Any, Callable[[Any], Any]]:
    """The forward pass of Thinc's LayerNorm, by our ops where they are the model's."""
    ops = model.ops
    if not isinstance(ops, FrameworkOps) or X.dtype != numpy.float32 or X.ndim != 2:
        return _thincs_layer_norm(model, X, is_train)
    Y, get_gradients = ops._layer_norm(X, model.get_param("G"), model.get_param("b"))

    def backprop(dY: Any) -> Any:
        dX, dG, db = get_gradients(dY)
        model.inc_grad("b", db)
        model.inc_grad("G", dG)
        return dX

    return Y, backprop
