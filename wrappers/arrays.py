"""What the frameworks' conversions of arrays share."""

from __future__ import annotations

import math
from typing import Any, Iterable

import numpy
from thinc.api import get_array_module
from thinc.compat import cupy
from thinc.util import is_numpy_array

# How many numbers OpenBLAS multiplies on one thread.
FEW = 10_000


def plain(array: Any) -> Any:
    """The array without what a subclass of NumPy's makes of it. The frameworks see all numbers,
    those behind a mask too."""
    return numpy.asarray(array) if is_numpy_array(array) else array


def are_finite(arrays: Iterable[Any]) -> bool:
    """Whether no number in some arrays of floats is NaN or infinite."""
    is_all, squares, small = True, 0.0, []
    with numpy.errstate(over="ignore"):
        for array in map(plain, arrays):
            if array.size <= FEW and is_numpy_array(array):
                # In a third of the time of looking at each.
                row = array.reshape(-1)
                squares += row.dot(row)
                small.append(array)
            else:
                is_all = is_all and bool(get_array_module(array).isfinite(array).all())
    # The sum may have overflowed.
    return is_all and (
        math.isfinite(squares) or all(bool(numpy.isfinite(array).all()) for array in small)
    )


def has_nan(array: Any) -> bool:
    """Whether an array has NaN in it."""
    if array.dtype.kind != "f" or not array.size:
        return False
    # The minimum is the cheapest number in which NaN survives.
    least = plain(array).min()
    return bool(least != least)


# NumPy's codes of truth values, integers, floats of up to 64 bits, and complex numbers of them.
_NUMBERS = frozenset("?bBhHiIlLqQefdFD")


def native(array: Any) -> numpy.ndarray:
    """The array in this machine's byte order, which is the only one the frameworks read."""
    array = numpy.asarray(array)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def numbers(array: Any) -> numpy.ndarray:
    """The same of an array of numbers or truth values, for a framework that has nothing else.

    Raises ValueError if there is something else in it.
    """
    array = native(array)
    # Those of another library, such as bfloat16, are for the framework to know.
    if array.dtype.char not in _NUMBERS and array.dtype.isbuiltin != 2:
        raise ValueError(
            f"Expected an array of numbers, got one of dtype {array.dtype}. Convert it to numbers "
            'that the framework has, as with X.astype("float32").'
        )
    return array


# Arrays cross between CuPy and a framework that computes on a stream of its own, and knows nothing
# of CuPy's, as copies, as they do on CPU. What one of them still has to do with its own memory is
# not seen by the other: a backward pass reads inputs, outputs and gradients, and Thinc's layers and
# optimizers write into arrays.


def to_dlpack(array: Any) -> Any:
    """A copy of a CuPy array as a DLPack capsule: computed, without gaps and in order, as the
    frameworks want it, whatever view it was."""
    copy = array.copy()
    cupy.cuda.get_current_stream().synchronize()
    return copy.toDlpack()


def from_dlpack(lent: Any) -> Any:
    """A copy, as a CuPy array, of what a framework lends by DLPack."""
    seen = cupy.from_dlpack(lent)
    copy = seen.copy()
    # Before the framework gets its memory back, which it may write into.
    cupy.cuda.get_current_stream().synchronize()
    return copy
