"""Nested inputs and outputs: lists, tuples, dicts and ArgsKwargs with arrays or tensors in them."""

from __future__ import annotations

from typing import Any, Callable, List

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
        return {type(tree).__name__: [describe(item) for item in tree]}
    elif isinstance(tree, dict):
        return {"dict": {key: describe(value) for key, value in tree.items()}}
    else:
        return {"value": tree}


def zeros(spec: Any) -> Any:
    """Zero-filled NumPy arrays in a nest that `describe` described."""
    if "shape" in spec:
        return numpy.zeros(spec["shape"], dtype=spec["dtype"])
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
