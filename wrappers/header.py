"""What a shim writes beside its weights, and what is believed of it when it is read.

A checksum shows damage, and no intent: who crafts a file computes it too. So each value has to be
of the type that it is written in. What is made in the sizes that it tells is bounded by the numbers
that the file itself holds, or by the constants here, where these are few.
"""

from __future__ import annotations

import copy
from typing import Any, Dict, Mapping, Optional, Tuple

import numpy

from .tree import described_arrays, limit_rows

# Of nO and nI, with which a model is built, and of their product: as many float32 take a GB.
MOST_DIM, MOST_PRODUCT = 2**20, 2**28
# Of the inputs of a model that makes its parameters when it is called: bytes, and the length of
# each dimension behind the rows, by which parameters grow.
MOST_INPUTS, MOST_WIDTH = 2**24, 2**16

_TYPES: Dict[str, type] = {
    "framework": str,
    "dims": dict,
    "config": dict,
    "complete": bool,
    "dtypes": dict,
}


def checked(header: Mapping[str, Any], tensors: Mapping[str, numpy.ndarray]) -> Dict[str, Any]:
    """The header of these tensors, for the use of a shim.

    framework: The id.
    dims: nO and nI, each a number or None.
    config: A dict.
    complete: Whether there was a model, and it had all its parameters.
    dtypes: The name of a dtype for each tensor.
    inputs: What the model was first called with, as `describe` describes it, or None.
    Raises ValueError if a value is missing, or cannot be what a shim has written.
    """
    header = {"dtypes": {}, **header}
    for key, kind in _TYPES.items():
        _expect(type(header.get(key)) is kind, key, kind.__name__, header)
    dims, dtypes = header["dims"], header["dtypes"]
    is_dims = set(dims) == {"nO", "nI"} and all(map(_is_dim, dims.values()))
    _expect(is_dims, "dims", "a number or null for each of nO and nI", header)
    is_dtypes = set(dtypes) == set(tensors) and all(type(name) is str for name in dtypes.values())
    _expect(is_dtypes, "dtypes", f"the dtypes of {list(tensors)}", header)
    if header.setdefault("inputs", None) is not None:
        described_arrays(header["inputs"])
        _expect("args" in header["inputs"], "inputs", "args and kwargs", header)
    return header


def inputs_to_call(header: Mapping[str, Any], tensors: Mapping[str, numpy.ndarray]) -> Any:
    """The inputs, for a model that makes its parameters when it is called. There are fewer rows in
    them, if they would take too much memory.

    Raises ValueError if single rows would.
    """
    inputs = copy.deepcopy(header["inputs"])
    size = sum(tensor.nbytes for tensor in tensors.values())
    widest = max(MOST_WIDTH, _numbers(tensors))
    limit_rows(described_arrays(inputs), max(MOST_INPUTS, size), widest)
    return inputs


def _expect(is_right: bool, key: str, expected: str, header: Mapping[str, Any]) -> None:
    if not is_right:
        raise ValueError(
            f"Expected in the header of the file as {key!r} {expected}, got "
            f"{header.get(key)!r:.200}. The file was changed or written by something else: save "
            "the model again with to_bytes() or to_disk()."
        )


def _is_dim(dim: Any) -> bool:
    return dim is None or (type(dim) is int and dim >= 0)


def dims_to_build(
    header: Mapping[str, Any], tensors: Mapping[str, numpy.ndarray]
) -> Tuple[int, int]:
    """The dims (nO, nI) of a model that is built for these tensors.

    Raises ValueError if they are unset, or so large that the tensors cannot be those of the model.
    """
    nO: Optional[int] = header["dims"]["nO"]
    nI: Optional[int] = header["dims"]["nI"]
    if nO is None or nI is None:
        raise ValueError(
            f"The file holds weights of a model, but not its dims: nO is {nO} and nI is {nI}. "
            "Initialize the model before you load the file."
        )
    numbers = _numbers(tensors)
    if max(nO, nI) > max(MOST_DIM, numbers) or nO * nI > max(MOST_PRODUCT, numbers):
        raise ValueError(
            f"The file says that its model has nO={nO} and nI={nI}, which is too much for the "
            f"{numbers} numbers that it holds. If it is right, initialize the model before you "
            "load the file."
        )
    return nO, nI


def _numbers(tensors: Mapping[str, numpy.ndarray]) -> int:
    return sum(tensor.size for tensor in tensors.values())
