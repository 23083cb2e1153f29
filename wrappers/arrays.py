"""What the frameworks' conversions of arrays share."""

from __future__ import annotations

import math
from typing import Any

import numpy
from thinc.api import get_array_module
from thinc.compat import cupy
from thinc.util import is_numpy_array

# Up to how many numbers a sum is faster than to look at each.
FEW = 4096


def is_finite(array: Any) -> bool:
    """Whether no number of an array of floats is NaN or infinite."""
    if array.size <= FEW and is_numpy_array(array):
        # Of finite numbers, it may overflow.
        total = numpy.add.reduce(array, axis=None)
        if math.isfinite(total):
            return True
    return bool(get_array_module(array).isfinite(array).all())


def has_nan(array: Any) -> bool:
    """Whether an array has NaN in it."""
    if array.dtype.kind != "f" or not array.size:
        return False
    # The minimum is the cheapest number in which NaN survives.
    least = numpy.minimum.reduce(array, axis=None) if is_numpy_array(array) else array.min()
    return bool(least != least)


def native(array: Any) -> numpy.ndarray:
    """The array in this machine's byte order, which is the only one the frameworks read."""
    array = numpy.asarray(array)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def to_dlpack(array: Any) -> Any:
    """A CuPy array as a DLPack capsule, for a framework that computes on a stream of its own and
    knows nothing of CuPy's: what is queued for the array is done first."""
    cupy.cuda.get_current_stream().synchronize()
    return array.toDlpack()
