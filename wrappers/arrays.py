"""What the frameworks' conversions of arrays share."""

from __future__ import annotations

from typing import Any

import numpy
from thinc.compat import cupy

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


def to_dlpack(array: Any) -> Any:
    """A CuPy array as a DLPack capsule, for a framework that computes on a stream of its own and
    knows nothing of CuPy's: what is queued for the array is done first."""
    cupy.cuda.get_current_stream().synchronize()
    return array.toDlpack()
