"""Batches of any number of rows on functions that are compiled for a few."""

from __future__ import annotations

from typing import Any, List, Optional, Sequence

import numpy

from .arrays import aligned, is_float, is_on_cpu, tensor2xp, xp2tensor

# For each new shape, JAX compiles a function anew, for some tenth of a second. So rows are filled
# up to the next of these sizes, and from there on to the next power of two or the middle between
# two: 32, 64, 128, 256, 384, 512, 768, 1024, 1536, ...
SMALL = (32, 64, 128, 256)

# What a sum may differ by that is added up in another order, as a part of the largest value: for
# floats of so many bytes.
TOLERANCE = {2: 5e-2, 4: 1e-4, 8: 1e-8}


def bucket(rows: int) -> int:
    """The number of rows that a batch of so many is filled up to."""
    for size in SMALL:
        if rows <= size:
            return size
    power = 2 ** (rows - 1).bit_length()
    return power * 3 // 4 if rows <= power * 3 // 4 else power


def count_rows(tensors: Sequence[Any]) -> Optional[int]:
    """How many rows the inputs have, each in its first dimension; None if not all have as many."""
    counts = {tensor.shape[0] for tensor in tensors if tensor.ndim}
    return counts.pop() if len(counts) == 1 else None


def fill_up(tensor: Any, rows: int, fill: Any = None) -> Any:
    """The tensor with more rows: copies of its last one, which whatever can be done with the rows
    can be done with, as opposed to zeros; or of another value. A number stays as it is."""
    if not tensor.ndim or len(tensor) == rows:
        return tensor
    array: Any = numpy.asarray(tensor) if is_on_cpu(tensor) else tensor2xp(tensor)
    count, shape = len(tensor), (rows, *array.shape[1:])
    if isinstance(array, numpy.ndarray):
        filled = aligned(shape, array.dtype)
    else:
        filled = type(array)(shape, array.dtype)
    filled[:count] = array
    filled[count:] = array[count - 1] if fill is None else fill
    if isinstance(filled, numpy.ndarray):
        return filled
    return xp2tensor(filled, device=_device(tensor))


def cut_off(tensor: Any, rows: int) -> Any:
    """The first rows of an output; on CPU as a NumPy array, of the same memory. JAX would compile
    that for each number."""
    if len(tensor) == rows:
        return tensor
    if is_on_cpu(tensor):
        return numpy.asarray(tensor)[:rows]
    return xp2tensor(tensor2xp(tensor)[:rows], device=_device(tensor))


def _device(tensor: Any) -> str:
    """The name of the GPU that a tensor is on."""
    return f"{tensor.device.platform}:{tensor.device.id}"


def other_rows(tensors: Sequence[Any], rows: int) -> Optional[List[Any]]:
    """The inputs filled up with other rows than `fill_up` takes; None if all rows are alike."""
    arrays = [numpy.asarray(tensor) for tensor in tensors]
    with_rows = [array for array in arrays if array.ndim]
    found = [i for i in range(len(with_rows[0])) for a in with_rows if (a[i] != a[-1]).any()]
    has_floats = any(map(is_float, with_rows))
    if not found and not has_floats:
        return None
    row = found[0] if found else 0
    return [fill_up(a, rows, numpy.nan if is_float(a) else a[row]) if a.ndim else a for a in arrays]


def are_equal(one: Any, other: Any) -> bool:
    """Whether two arrays are the same to the bit."""
    return numpy.array_equal(_comparable(one), _comparable(other), equal_nan=is_float(one))


def are_close(one: Any, other: Any) -> bool:
    """Whether two arrays are the same but for the order in which sums were added up."""
    if not is_float(one):
        return are_equal(one, other)
    tolerance = TOLERANCE[one.dtype.itemsize]
    one, other = (_comparable(array) for array in (one, other))
    largest = numpy.abs(one, where=numpy.isfinite(one), out=numpy.zeros_like(one)).max(initial=0)
    return numpy.allclose(one, other, rtol=0, atol=tolerance * largest, equal_nan=True)


def _comparable(tensor: Any) -> Any:
    array = numpy.asarray(tensor)
    return array.astype("float32") if is_float(array) and array.dtype.itemsize < 4 else array
