"""A shim's bytes: a safetensors file whose metadata holds one JSON header. No code runs on load."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Dict, Mapping, Tuple

import numpy
from safetensors import SafetensorError
from safetensors.numpy import load, save

FORMAT = 1
KEY = "spacy-frameworks"

# (shape, dtype) of one parameter; dtypes are named as NumPy names them, and "bfloat16".
Spec = Tuple[Tuple[int, ...], str]


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
    return save(arrays, metadata={KEY: json.dumps(header, sort_keys=True)})


def unpack(data: bytes) -> Tuple[Dict[str, numpy.ndarray], Dict[str, Any]]:
    """Read what `pack` wrote.

    Raises ValueError if the bytes are not of this package, damaged, or of a later format.
    """
    try:
        size = int.from_bytes(data[:8], "little")
        header = json.loads(json.loads(data[8 : 8 + size])["__metadata__"][KEY])
        came, is_later = header.pop("checksum"), header["format"] > FORMAT
        # Nothing but the header is known of a later format.
        tensors = {} if is_later else load(data)
    except (SafetensorError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(
            "Expected the bytes of a wrapped model of spacy-frameworks, but these are damaged or "
            f"were written by something else ({type(error).__name__}: {error}). "
            "Save the model again with to_bytes() or to_disk()."
        ) from None
    if is_later:
        raise ValueError(
            f"Expected format {FORMAT} or earlier, but the file has format {header['format']}. "
            "Load it with a newer version of spacy-frameworks."
        )
    if checksum(tensors, header) != came:
        raise ValueError(
            "The checksum in the file is not that of its contents: the file is damaged. "
            "Copy or save it again."
        )
    return tensors, header


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
                f"Parameter {name!r}: expected shape {spec[0]} and dtype {spec[1]}, but the file "
                f"has shape {came[name][0]} and dtype {came[name][1]}. "
                "Build the model with the settings that it was saved with."
            )
