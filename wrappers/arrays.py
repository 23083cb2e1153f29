"""What the frameworks' conversions of arrays share."""

from __future__ import annotations

from typing import Any

import numpy
from thinc.compat import cupy


def native(array: Any) -> numpy.ndarray:
    """The array in this machine's byte order, which is the only one the frameworks read."""
    array = numpy.asarray(array)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def to_dlpack(array: Any) -> Any:
    """A CuPy array as a DLPack capsule, for a framework that computes on a stream of its own and
    knows nothing of CuPy's: what is queued for the array is done first."""
    cupy.cuda.get_current_stream().synchronize()
    return array.toDlpack()
