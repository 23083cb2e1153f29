"""Files that are almost right, as damage and as intent make them: of the bytes of a wrapped model,
which are a safetensors file with a JSON header of ours in its metadata."""

from __future__ import annotations

import json
import random
from typing import Any, Callable

import numpy
import srsly
from safetensors.numpy import load, save
from spacy_frameworks.wrappers.weights import KEY, checksum

# What a value of JSON may be replaced with.
VALUES: list[Any] = [
    *[None, True, False, 0, 1, -1, 2, 7, 2**31, 2**53 + 1, 10**30, 0.5, -0.0, 1e308, float("nan")],
    *["", "x", "float32", "float64", "bfloat16", "U9999999", "O", "F32", "F64", "BF16", "\ud800"],
    *[[], {}, [0], [1, 2], [100_000, 100_000], [2**62, 4], [[[[]]]], {"a": None}],
    *[{"shape": [3, 4], "dtype": "float32"}, {"shape": [100_000, 100_000], "dtype": "float32"}],
    *[{"nO": 3, "nI": 4}, {"nO": 50_000, "nI": 4}, {"nO": 10**9, "nI": 10**9}, {"value": 3}],
]
PIECES = [b"", b"\0", b"\xff" * 8, b"{}", b'"', b"[" * 200, b"PK\x05\x06", b"\x80\x04.", b"9" * 30]


def split(data: bytes) -> tuple[Any, bytes]:
    """The outer header and the tensors' bytes of a file that is right."""
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def joined(outer: Any, rest: bytes, rng: random.Random) -> bytes:
    text = json.dumps(outer).encode()
    size = len(text) if rng.random() < 0.9 else rng.choice([0, 1, len(text) - 1, 2**40, 2**64 - 1])
    return size.to_bytes(8, "little") + text + rest


def any_bytes(data: bytes, rng: random.Random) -> bytes:
    """Some bytes flipped, cut out, put in or repeated."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5])):
        start = rng.randrange(len(changed) + 1)
        stop = min(start + rng.choice([1, 1, 2, 8, 100]), len(changed))
        kind = rng.randrange(4)
        if kind == 0 and start < len(changed):
            changed[start] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del changed[start:stop]
        elif kind == 2:
            changed[start:start] = rng.choice(PIECES)
        else:
            changed[start:start] = changed[start:stop]
    return bytes(changed)


def any_value(tree: Any, rng: random.Random) -> Any:
    """The values of JSON with one of them replaced, left out, added or called otherwise."""
    if isinstance(tree, (dict, list)) and tree and rng.random() < 0.8:
        keys = list(tree) if isinstance(tree, dict) else range(len(tree))
        key = rng.choice(keys)
        changed: Any = dict(tree) if isinstance(tree, dict) else list(tree)
        kind = rng.randrange(10)
        if kind == 0:
            del changed[key]
        elif kind == 1 and isinstance(tree, dict):
            changed[rng.choice(["", "x", "shape", "args", str(key) + "x"])] = changed.pop(key)
        elif kind == 2 and isinstance(tree, list):
            changed.insert(key, rng.choice(VALUES))
        else:
            changed[key] = any_value(tree[key], rng)
        return changed
    return rng.choice(VALUES)


def safetensors_header(data: bytes, rng: random.Random) -> bytes:
    """A value in the header of safetensors changed: names, shapes, dtypes, offsets."""
    outer, rest = split(data)
    return joined(any_value(outer, rng), rest, rng)


def own_header(data: bytes, rng: random.Random) -> bytes:
    """A value in our header changed, and the checksum computed again most of the time."""
    outer, rest = split(data)
    header = any_value(json.loads(outer["__metadata__"][KEY]), rng)
    if isinstance(header, dict) and rng.random() < 0.9:
        header.pop("checksum", None)
        header["checksum"] = checksum(load(data), header)
    text = json.dumps(header)
    if rng.random() < 0.05:
        text = any_bytes(text.encode(), rng).decode("latin-1")
    outer["__metadata__"][KEY] = text
    return joined(outer, rest, rng)


def tensors(data: bytes, rng: random.Random) -> bytes:
    """A tensor of another name, shape, dtype or content, and a checksum that is right."""
    arrays = load(data)
    outer, _ = split(data)
    header = json.loads(outer["__metadata__"][KEY])
    header.pop("checksum")
    for _ in range(rng.choice([1, 1, 2])):
        name = rng.choice(sorted(arrays))
        kind = rng.randrange(6)
        if kind == 0:
            arrays[rng.choice(["x", "", name + "x"])] = arrays.pop(name)
        elif kind == 1:
            arrays[name] = arrays[name].astype(rng.choice(["f8", "f2", "i4", "u1", "b1"]))
        elif kind == 2:
            arrays[name] = arrays[name].reshape(rng.choice([(-1,), (1, -1), (-1, 1)]))
        elif kind == 3:
            arrays[name] = arrays[name][..., :-1].copy() if arrays[name].ndim else arrays[name]
        elif kind == 4 and len(arrays) > 1:
            del arrays[name]
        else:
            arrays[name] = numpy.full_like(arrays[name], rng.choice([0, 1, 100]))
    if rng.random() < 0.5:
        dtypes = header["dtypes"]
        header["dtypes"] = {name: dtypes.get(name, a.dtype.name) for name, a in arrays.items()}
    header["checksum"] = checksum(arrays, header)
    return save(arrays, {KEY: json.dumps(header)})


def around(data: bytes, rng: random.Random) -> bytes:
    """A value in the msgpack of a whole model changed, or some bytes of it."""
    try:
        return srsly.msgpack_dumps(any_value(srsly.msgpack_loads(data), rng))
    except (OverflowError, UnicodeEncodeError):
        # Something that msgpack has no bytes for.
        return any_bytes(data, rng)


KINDS: list[Callable[[bytes, random.Random], bytes]] = [
    any_bytes,
    safetensors_header,
    own_header,
    own_header,
    tensors,
]


def mutated(data: bytes, rng: random.Random) -> bytes:
    """One file that is almost this one."""
    return rng.choice(KINDS)(data, rng)
