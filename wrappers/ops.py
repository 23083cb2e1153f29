"""Thinc's CPU ops on NumPy's faster kernels, and what the frameworks' ops share."""

from __future__ import annotations

import functools
import math
import warnings
from contextvars import ContextVar
from typing import Any, Callable, Dict, List, Optional, Set, Tuple, Type, cast
from weakref import WeakKeyDictionary

import numpy
from numpy.random.bit_generator import ISeedSequence
from thinc.api import NumpyOps, Ops, get_current_ops, get_ops, registry, set_current_ops
from thinc.types import DeviceTypes, Floats1d, FloatsXd, Shape

from .framework import NUMPY, THINC, Framework, find_part, get_framework, require
from .patches import ARITHMETIC, Held, enter_for_good, leave_for_good
from .process import runs_here, this_thread
from .threads import check_threads, numpy_threads

# As in Thinc's layer.
LAYER_NORM_EPS = 1e-8

# For fewer multiplications than these, OpenBLAS takes one thread by itself.
ONE_THREAD = 2**18

# How many numbers an optimizer changes at a time, so that what is in between stays in the cache.
BLOCK = 2**16

# Libraries that NumPy may multiply with and that are faster than the BLIS that Thinc brings. A
# NumPy that somebody built without one has loops of its own, which are slower.
FAST_BLAS = ("openblas", "mkl", "accelerate", "armpl", "nvpl")

PRECISIONS = ("float32", "bfloat16")


@registry.ops("FasterNumpyOps")
class FasterNumpyOps(NumpyOps):
    """Thinc's CPU ops, made faster by what NumPy brings; the frameworks' ops inherit from it.

    Products are NumPy's, whose BLAS is two to three times as fast as the one that Thinc brings,
    or the framework's where that is faster still. Results are NumpyOps's, to float32 rounding. In
    a forked process in which the framework cannot run, products are NumpyOps's.
    """

    name = "faster_numpy"

    # Names that Thinc's Ops lacks begin with an underscore: Thinc's tests ask for that.
    _framework: str = NUMPY.id
    # The kernels that a product may run on; and from how many multiplications on it does so, and
    # not on NumPy's: below, what it takes to call the framework and hand the arrays over is more
    # than what its kernel gains.
    _kernels: Dict[str, float] = {"numpy": math.inf, "thinc": math.inf}
    _min_products: float
    # The same for what is done to each element: the size of the array.
    _min_size: int = 0

    def __init__(
        self,
        device_type: DeviceTypes = "cpu",
        device_id: int = -1,
        *,
        threads: int = 1,
        kernel: Optional[str] = None,
        precision: str = "float32",
        **kwargs: Any,
    ):
        """
        threads (int): How many threads a kernel runs on.
        kernel (str): Which library computes the large products. If None, the fastest on this
            processor.
        precision (str): "bfloat16" to multiply in it where the processor can.

        Raises ValueError if one of them is unknown.
        """
        self.threads = check_threads(threads)
        self.kernel = kernel = self._fastest_kernel() if kernel is None else kernel
        if kernel not in self._kernels:
            known = ", ".join(map(repr, self._kernels))
            raise ValueError(
                f"Unknown kernel {kernel!r} of {type(self).__name__}: expected one of {known}, or "
                "None for the fastest."
            )
        self.precision = self._possible_precision(check_precision(precision))
        self._min_products = self._kernels[kernel]
        super().__init__(device_type, device_id, **kwargs)

    def _fastest_kernel(self) -> str:
        return "numpy" if _has_fast_blas() else "thinc"

    def _possible_precision(self, precision: str) -> str:
        """The precision that was asked for, or the one that there is."""
        if precision != "float32":
            warn_once(
                f"{type(self).__name__} multiplies in float32: products in {precision} are "
                "PyTorch's, so they need its kernels."
            )
        return "float32"

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
        if self.kernel == "thinc" or not runs_here(self._framework):
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
            with this_thread.passing:
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
        """Zeros, with probability `drop`, and 1 / (1 - drop). NumPy's global generator decides, as
        with NumpyOps, but it is asked for a seed alone: 16 bits for each number come from a
        generator that is four times as fast as its 64. So the masks are others than NumpyOps's,
        and the same with all of our ops."""
        threshold = 0 if drop is None else round(drop * 2**16)
        if not 0 < threshold < 2**16:
            return super().get_dropout_mask(shape, drop)
        size = int(numpy.prod(shape))
        words = numpy.random.SFC64(cast(Any, _GlobalSeed())).random_raw(-(-size // 4))
        kept = words.view("uint16")[:size] >= threshold
        mask = kept.astype("float32")
        mask *= numpy.float32(1.0 / (1.0 - cast(float, drop)))
        return cast(FloatsXd, mask.reshape(shape))

    def adam(
        self,
        weights: Floats1d,
        gradient: Floats1d,
        mom1: Floats1d,
        mom2: Floats1d,
        beta1: float,
        beta2: float,
        eps: float,
        learn_rate: float,
        mod_rate: float = 1.0,
    ) -> Tuple[Floats1d, Floats1d, Floats1d, Floats1d]:
        """Thinc's Adam, block by block, in half of its time. The gradient is zero afterwards, as
        it is with NumpyOps."""
        arrays: Tuple[Any, ...] = (weights, gradient, mom1, mom2)
        if weights.size < BLOCK or any(array.shape != weights.shape for array in arrays):
            return super().adam(
                weights, gradient, mom1, mom2, beta1, beta2, eps, learn_rate, mod_rate
            )
        step = numpy.empty(BLOCK, "float32")
        for start in range(0, weights.size, BLOCK):
            W, dW, m1, m2 = (array[start : start + BLOCK] for array in arrays)
            out = step[: W.size]
            m1 *= beta1
            m1 += numpy.multiply(dW, 1 - beta1, out=out)
            m2 *= beta2
            numpy.multiply(dW, dW, out=out)
            out *= 1 - beta2
            m2 += out
            numpy.sqrt(m2, out=out)
            out += eps
            numpy.divide(m1, out, out=out)
            out *= learn_rate
            W -= out
        gradient.fill(0)
        return weights, gradient, mom1, mom2

    def clip_gradient(self, gradient: Any, threshold: float) -> Any:
        """The gradient, scaled in place to a norm of no more than the threshold."""
        if gradient.dtype != numpy.float32 or not gradient.flags.c_contiguous:
            return super().clip_gradient(gradient, threshold)
        flat = gradient.reshape(-1)
        norm = math.sqrt(numpy.dot(flat, flat))
        if norm >= threshold:
            gradient *= threshold / norm
        return gradient


class _GlobalSeed(ISeedSequence):
    """Seeds a generator with the next words of NumPy's global one."""

    def generate_state(self, n_words: int, dtype: Any = numpy.uint32) -> numpy.ndarray:
        return numpy.frombuffer(numpy.random.bytes(n_words * numpy.dtype(dtype).itemsize), dtype)


@functools.cache
def _has_fast_blas() -> bool:
    built = cast(Dict[str, Any], numpy.show_config(mode="dicts"))
    name = str(built.get("Build Dependencies", {}).get("blas", {}).get("name", "")).lower()
    return any(blas in name for blas in FAST_BLAS)


def check_precision(precision: str) -> str:
    """The name itself. Raises ValueError if it is none of a precision."""
    if precision not in PRECISIONS:
        known = " or ".join(map(repr, PRECISIONS))
        raise ValueError(f"Unknown precision {precision!r} of products: expected {known}.")
    return precision


@functools.cache
def warn_once(message: str) -> None:
    """Warn, once in a process."""
    warnings.warn(message, stacklevel=2)


def set_framework_ops(
    framework: str,
    threads: int = 1,
    kernel: Optional[str] = None,
    precision: str = "float32",
) -> None:
    """Have Thinc's layers on CPU run on a framework's kernels, until `undo_framework`: models that
    are made, loaded or copied from now on, and optimizers.

        set_framework_ops("PyTorch")
        nlp = spacy.load("en_core_web_sm")

    Like Thinc's `set_current_ops`, it holds in the current thread and context. What layers and
    optimizers compute outside of their ops is replaced in Thinc, for the whole process: see
    `patches.py`. Where Thinc runs on a GPU, nothing is changed.

    framework (str): Such as "PyTorch", "NumPy" for kernels that need no framework, or "Thinc" for
        Thinc's own ops. A framework without kernels of its own, such as JAX, takes NumPy's and is
        not imported.
    threads (int): How many threads a kernel of the framework's or NumPy's runs on. More than one is
        faster only where no other process wants the cores.
    kernel (str): Which library computes the large products, if it is not to be the fastest one on
        this processor: "mm" or "onednn" of PyTorch's, "numpy", or "thinc". The current ops have it
        as an attribute.
    precision (str): "bfloat16" to round the factors of large products to it, which doubles the
        speed where the processor has the instructions (AVX512_BF16, AMX); elsewhere, and with other
        kernels than PyTorch's, they stay in float32, with a warning. Everything that is stored
        is float32.

    Raises ValueError if a name is unknown, ImportError if the framework is needed and not
    installed.
    """
    use_framework_ops(framework, threads, kernel, precision)


class use_framework_ops:  # noqa: N801
    """The same in a `with` block, until the block is left:

        with use_framework_ops("PyTorch") as ops:
            nlp = spacy.load("en_core_web_sm")

    Models that were made in the block keep its ops. Blocks may overlap. Without `with`, it is
    `set_framework_ops`.
    """

    def __init__(
        self,
        framework: str,
        threads: int = 1,
        kernel: Optional[str] = None,
        precision: str = "float32",
    ):
        """
        The arguments are those of `set_framework_ops`, and so are the errors.
        """
        self._ops = get_framework_ops(framework, threads, kernel, precision)
        self._changes = ARITHMETIC if isinstance(self._ops, FasterNumpyOps) else ()
        self._before = get_current_ops()
        self._open: List[_Block] = []
        # Nobody can tell yet whether a `with` block follows.
        if self._set():
            _in_place_of[self._ops] = _in_place_of.get(self._before, self._before)
            self._for_good = enter_for_good(*self._changes)

    def _set(self) -> bool:
        """Take effect in this context. Returns whether that is possible."""
        if not isinstance(get_current_ops(), NumpyOps):
            return False
        set_current_ops(self._ops)
        return True

    def __enter__(self) -> Ops:
        block = _Block(get_current_ops())
        # What was for good so far is the block's from now on, and not `undo_framework`'s to take.
        was_for_good = _in_place_of.pop(self._ops, None) is not None
        if was_for_good and block.before is self._ops:
            block.before = self._before
            block.held.enter(*self._changes)
            self._for_good.leave(*self._changes)
        elif self._set():
            block.held.enter(*self._changes)
        self._open.append(block)
        _blocks.set((*_blocks.get(), block))
        return get_current_ops()

    def __exit__(self, *exception: Any) -> None:
        blocks = _blocks.get()
        block = ([each for each in blocks if each in self._open] or self._open)[-1]
        self._open.remove(block)
        block.held.leave_all()
        block.is_open = False
        # A generator may be closed in another context, whose ops are none of its own. Its block is
        # still among those of the context in which it was entered, and is dropped with the next.
        still_open = []
        for i, each in enumerate(blocks):
            if each.is_open:
                still_open.append(each)
            elif each is blocks[-1]:
                set_current_ops(each.before)
            else:
                # One that was entered later is not to go back to these ops.
                blocks[i + 1].before = each.before
        _blocks.set(tuple(still_open))


class _Block:
    """A `with` block that is open."""

    def __init__(self, before: Ops):
        """
        before: The ops to go back to.
        """
        self.before = before
        self.held = Held()
        self.is_open = True


# The blocks that were entered in a context and not left in it, in the order of their entry.
_blocks: ContextVar[Tuple[_Block, ...]] = ContextVar("blocks", default=())
# Ops that are set until `undo_framework`, and those in whose place they are.
_in_place_of: WeakKeyDictionary[Ops, Ops] = WeakKeyDictionary()


def undo_framework() -> None:
    """Leave what `set_framework_ops` or the hook `use_framework.v1` has entered: every attribute
    of Thinc and spaCy that was replaced is the original again, in the whole process, and the
    current context has the ops that it had before.

    A `with` block that is open keeps its own. Models keep the ops that they were made with, and
    give the same answers. What the GPU's memory is drawn from stays.
    """
    leave_for_good()
    for block in _blocks.get():
        block.before = _in_place_of.get(block.before, block.before)
    current = get_current_ops()
    set_current_ops(_in_place_of.get(current, current))


def get_framework_ops(
    framework: str,
    threads: int = 1,
    kernel: Optional[str] = None,
    precision: str = "float32",
) -> Ops:
    """The CPU ops of a framework, of NumPy, or Thinc's own. The arguments are those of
    `use_framework_ops`."""
    fw = get_framework(framework, (NUMPY,))
    if fw == THINC:
        return get_ops("cpu")
    if has_kernels(fw):
        require(fw.id)
    return ops_class(fw)(threads=threads, kernel=kernel, precision=precision)


def has_kernels(framework: Framework) -> bool:
    """Whether a framework has kernels of its own, for which it is needed; imports no framework."""
    return ops_class(framework) is not FasterNumpyOps


def kernels(framework: Framework) -> Set[str]:
    """The names of the kernels that a framework's ops can multiply on; imports no framework."""
    return set(ops_class(framework)._kernels)


def ops_class(framework: Framework) -> Type[FasterNumpyOps]:
    """The class of the CPU ops of a framework, or of NumPy; imports no framework. One that has no
    kernels of its own takes NumPy's."""
    part = None if framework == NUMPY else find_part(framework, "ops")
    if part is None:
        return FasterNumpyOps
    return cast(Type[FasterNumpyOps], getattr(part, f"{framework.token}Ops"))
