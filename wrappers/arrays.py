"""What the frameworks' conversions of arrays share."""

from __future__ import annotations

from typing import Any

import numpy


def native(array: Any) -> numpy.ndarray:
    """The array in this machine's byte order, which is the only one the frameworks read."""
    array = numpy.asarray(array)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
