"""A shim's bytes: a safetensors file whose metadata holds one JSON header. No code runs on load."""

from __future__ import annotations

import hashlib
import json
import re
from itertools import accumulate
from typing import Any, Dict, List, Mapping, NamedTuple, Tuple

import numpy
from safetensors import SafetensorError
from safetensors.numpy import load, save

FORMAT = 1
KEY = "spacy-frameworks"
# How the bytes of a shim of Thinc's wrappers of PyTorch and MXNet begin: msgpack of {"config": ...,
# "state": ...}.
OF_THINC = b"\x82\xa6config"

# A crafted file must not take much more memory than it is large. Python's objects take up to 32
# times the memory of the JSON that they are read from. In bytes, and as a part of the file:
MOST_HEADER, HEADER_PART = 2**21, 32
# How deep JSON may be nested. Where somebody has raised the limit of recursion, Python's parser
# goes on until it has no stack left, and ends the process.
MOST_DEPTH = 100


class Spec(NamedTuple):
    """What one parameter is like.

    dtype: As NumPy names it, or "bfloat16" and the like, which NumPy does not have.
    stored: The name of the array's dtype: floats of less than 32 bits are stored in 32.
    """

    shape: Tuple[int, ...]
    dtype: str
    stored: str

    def __str__(self) -> str:
        stored = "" if self.stored == self.dtype else f" (stored as {self.stored})"
        return f"shape {self.shape} and dtype {self.dtype}{stored}"


def checksum(tensors: Mapping[str, numpy.ndarray], header: Mapping[str, Any]) -> str:
    """SHA-256 over the header, then names, dtypes, shapes and contents in the order of names."""
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        digest.update(array.reshape(-1).view("uint8").data if array.size else b"")
    return digest.hexdigest()


def pack(tensors: Mapping[str, Any], header: Dict[str, Any]) -> bytes:
    """Write arrays and a header of JSON values as one safetensors file.

    tensors: NumPy arrays by name, of any shape and memory layout.
    """
    # Row-major and little-endian, whatever the framework's memory looks like.
    arrays = {
        name: numpy.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
        for name, array in tensors.items()
    }
    header = {**header, "format": FORMAT}
    header["checksum"] = checksum(arrays, header)
    data = save(arrays, metadata={KEY: json.dumps(header, sort_keys=True)})
    _header_size(data)
    return data


def unpack(data: bytes) -> Tuple[Dict[str, numpy.ndarray], Dict[str, Any]]:
    """Read what `pack` wrote.

    Returns the arrays and the header. It is as somebody wrote it: `header.py` looks at the values.
    Raises ValueError if the bytes are not of this package, damaged, or of a later format.
    """
    try:
        outer = _parsed(data[8 : 8 + _header_size(data)])
        header = _parsed(outer["__metadata__"][KEY])
        came, number = header.pop("checksum"), header["format"]
        if type(number) is not int or number < 1:
            raise ValueError(f"expected the number of a format, got {number!r:.80}")
        is_later = number > FORMAT
        # Nothing but the header is known of a later format.
        tensors = {} if is_later else load(data)
    except (SafetensorError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(
            "Expected the bytes of a wrapped model of spacy-frameworks, but these are damaged or "
            f"were written by something else ({type(error).__name__}: {error}). {_what_to_do(data)}"
        ) from None
    if is_later:
        raise ValueError(
            f"Expected format {FORMAT} or earlier, but the file has format {number}. "
            "Load it with a newer version of spacy-frameworks."
        )
    if checksum(tensors, header) != came:
        raise ValueError(
            "The checksum in the file is not that of its contents: the file is damaged. "
            "Copy or save it again."
        )
    return tensors, header


def _what_to_do(data: Any) -> str:
    if isinstance(data, bytes) and data.startswith(OF_THINC):
        return (
            "They begin as those of a wrapper of thinc.api do: load the model with that wrapper, "
            "or in an environment where it works, and take the weights of its module along "
            "(docs/from_thinc.md)."
        )
    return "Save the model again with to_bytes() or to_disk()."


def _header_size(data: bytes) -> int:
    """How many bytes of JSON a safetensors file begins with, behind their number."""
    size = int.from_bytes(data[:8], "little")
    most = max(MOST_HEADER, len(data) // HEADER_PART)
    if size > most:
        raise ValueError(
            f"The names of the parameters and the settings take {size} bytes, expected at most "
            f"{most} in a file of {len(data)} bytes"
        )
    return size


def _parsed(text: Any) -> Any:
    """Values of JSON. Raises ValueError where they are nested too deep, or a name comes twice."""
    text = text.decode() if isinstance(text, bytes) else text
    # What is no bracket, or in a string, does not count.
    plain = "".join(text.replace("\\\\", "").replace('\\"', "").split('"')[::2])
    brackets = re.sub(r"[^][{}]", "", plain)
    depth = max(accumulate(1 if bracket in "[{" else -1 for bracket in brackets), default=0)
    if depth > MOST_DEPTH:
        raise ValueError(f"JSON is nested {depth} deep, expected at most {MOST_DEPTH}")
    return json.loads(text, object_pairs_hook=_without_repeats)


def _without_repeats(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    # Which of the two counts differs between parsers, and there is a second one here.
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name comes twice")
    return found


def check_names(expected: Mapping[str, Spec], came: Mapping[str, Spec]) -> None:
    """Raise ValueError naming the first parameter that is missing, unknown, or differs."""
    missing = [name for name in expected if name not in came]
    unknown = [name for name in came if name not in expected]
    if missing or unknown:
        raise ValueError(
            f"The file is of another architecture. Missing from it: {missing or 'none'}; "
            f"parameters that this model does not have: {unknown or 'none'}. "
            "Build the model with the settings that it was saved with."
        )
    for name, spec in expected.items():
        if came[name] != spec:
            raise ValueError(
                f"Parameter {name!r}: expected {spec}, but the file has {came[name]}. "
                "Build the model with the settings that it was saved with."
            )
