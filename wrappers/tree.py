"""Nested inputs and outputs: lists, tuples, dicts and ArgsKwargs with arrays or tensors in them."""

from __future__ import annotations

import math
import re
from typing import Any, Callable, Dict, List

import numpy
from thinc.types import ArgsKwargs
from thinc.util import is_xp_array


def leaves(is_leaf: Callable[[Any], bool], tree: Any) -> List[Any]:
    """All leaves in order."""
    # In a fifth of the time of Thinc's iterate_recursive: every pass asks for some.
    if is_leaf(tree):
        return [tree]
    elif isinstance(tree, ArgsKwargs):
        items = [*tree.args, *tree.kwargs.values()]
    elif isinstance(tree, dict):
        items = list(tree.values())
    elif isinstance(tree, (list, tuple)):
        items = list(tree)
    else:
        return []
    found = []
    for item in items:
        if is_leaf(item):
            found.append(item)
        else:
            found.extend(leaves(is_leaf, item))
    return found


def as_args_kwargs(inputs: Any) -> ArgsKwargs:
    """How Thinc's wrappers pass inputs on: a dict as keywords, a list or tuple as arguments."""
    if isinstance(inputs, ArgsKwargs):
        return inputs
    elif isinstance(inputs, dict):
        return ArgsKwargs(args=(), kwargs=inputs)
    elif isinstance(inputs, (tuple, list)):
        return ArgsKwargs(args=tuple(inputs), kwargs={})
    else:
        return ArgsKwargs(args=(inputs,), kwargs={})


def like_inputs(inputs: Any, converted: ArgsKwargs) -> Any:
    """The reverse of `as_args_kwargs`: the part of `converted` that corresponds to `inputs`."""
    if isinstance(inputs, ArgsKwargs):
        return converted
    elif isinstance(inputs, dict):
        return converted.kwargs
    elif isinstance(inputs, (tuple, list)):
        return converted.args
    else:
        return converted.args[0]


def describe(tree: Any) -> Any:
    """The shapes and dtypes of a nest of arrays, as JSON values that `zeros` understands."""
    if is_xp_array(tree):
        return {"shape": list(tree.shape), "dtype": tree.dtype.name}
    elif isinstance(tree, ArgsKwargs):
        return {"args": describe(list(tree.args)), "kwargs": describe(tree.kwargs)}
    elif isinstance(tree, (list, tuple)):
        kind = "list" if isinstance(tree, list) else "tuple"
        return {kind: [describe(item) for item in tree]}
    elif isinstance(tree, dict):
        return {"dict": {key: describe(value) for key, value in tree.items()}}
    else:
        return {"value": tree}


def zeros(spec: Any) -> Any:
    """Zero-filled NumPy arrays in a nest that `describe` described."""
    if "shape" in spec:
        dtype = _dtype(spec["dtype"])
        return numpy.full(spec["shape"], "" if dtype.hasobject else 0, dtype)
    elif "args" in spec:
        return ArgsKwargs(args=tuple(zeros(spec["args"])), kwargs=zeros(spec["kwargs"]))
    elif "list" in spec:
        return [zeros(item) for item in spec["list"]]
    elif "tuple" in spec:
        return tuple(zeros(item) for item in spec["tuple"])
    elif "dict" in spec:
        return {key: zeros(value) for key, value in spec["dict"].items()}
    else:
        return spec["value"]


def _dtype(name: str) -> numpy.dtype:
    return numpy.dtype("object" if _is_string(name) else name)


def _is_string(dtype: str) -> bool:
    # TensorFlow has them. They are objects, or of a fixed length.
    return re.fullmatch(r"object|(str|bytes)\d+", dtype) is not None


# Descriptions that were read from a file

_DTYPES = ["bool", "float16", "float32", "float64", "complex64", "complex128"]
_DTYPES += [f"{sign}int{size}" for sign in ("", "u") for size in (8, 16, 32, 64)]
# NumPy's arrays have no more dimensions.
_MOST_DIMENSIONS = 32


def described_arrays(spec: Any) -> List[Dict[str, Any]]:
    """The descriptions of the arrays in what `describe` wrote, in order.

    Raises ValueError if it has not written this.
    """
    kinds = frozenset(spec) if isinstance(spec, dict) else None
    if kinds == {"shape", "dtype"} and _is_shape(spec["shape"]) and _is_dtype(spec["dtype"]):
        return [spec]
    elif (
        kinds == {"args", "kwargs"}
        and _is(spec["args"], "list", list)
        and _is(spec["kwargs"], "dict", dict)
    ):
        nodes = [spec["args"], spec["kwargs"]]
    elif _is(spec, "list", list) or _is(spec, "tuple", list):
        (nodes,) = spec.values()
    elif _is(spec, "dict", dict):
        nodes = [*spec["dict"].values()]
    elif kinds == {"value"}:
        nodes = []
    else:
        raise ValueError(
            "Expected in the header of the file the shapes and dtypes of inputs, got "
            f"{spec!r:.200}. The file was changed or written by something else: save the model "
            "again with to_bytes() or to_disk()."
        )
    return [array for node in nodes for array in described_arrays(node)]


def _is_dtype(name: Any) -> bool:
    return isinstance(name, str) and (name in _DTYPES or _is_string(name))


def _is(spec: Any, kind: str, inner: type) -> bool:
    return isinstance(spec, dict) and [*spec] == [kind] and isinstance(spec[kind], inner)


def _is_shape(shape: Any) -> bool:
    is_short_list = isinstance(shape, list) and len(shape) <= _MOST_DIMENSIONS
    return is_short_list and all(type(n) is int and n >= 0 for n in shape)


def limit_rows(described: List[Dict[str, Any]], most: int, widest: int) -> None:
    """Give arrays that together take more memory than that fewer rows, in their descriptions: a
    model that makes its parameters when it is called makes the same ones for any number of rows.

    most: In bytes.
    widest: How long the dimensions behind the rows may be.
    Raises ValueError if one is longer, or single rows take more memory.
    """
    row = sum(_size(array["shape"][1:], array["dtype"]) for array in described)
    if row > most or any(n > widest for array in described for n in array["shape"][1:]):
        shapes = ", ".join(str(tuple(array["shape"])) for array in described)
        raise ValueError(
            f"The file says that the model was first called with inputs of shape {shapes:.200}, "
            "which is too much for the weights that it holds. If it is right, call the model "
            "before you load the file."
        )
    if sum(_size(array["shape"], array["dtype"]) for array in described) > most:
        for array in described:
            array["shape"][:1] = [min(n, most // row) for n in array["shape"][:1]]


def _size(shape: List[int], dtype: str) -> int:
    return math.prod(shape) * _dtype(dtype).itemsize
