"""No file does harm. One that is damaged or crafted is a ValueError, and the model as it was; or
it loads as what it holds, numbers. No code runs, and memory goes by the size of the file."""

from __future__ import annotations

import gc
import io
import json
import os
import pickle
import random
import struct
import sys
import zipfile
from pathlib import Path
from typing import Any, Callable, Iterator

import numpy
import pytest
import safetensors.numpy
import srsly
from numpy.testing import assert_array_equal
from spacy_frameworks.wrappers.header import checked, dims_to_build
from spacy_frameworks.wrappers.weights import FORMAT, KEY, pack, unpack
from thinc.api import Linear, chain

from ..frameworks import WRAPPED_IDS
from ..wrappers.conftest import modules_of
from ..wrappers.helpers import normal, weights
from . import memory, mutations

# `tox -e fuzz` asks for a million.
MUTATIONS = int(os.environ.get("MUTATIONS", "3000"))
STORED = Path(__file__).parents[1] / "stored"
# In bytes: what a header may take, and a small model, beside twice the size of its file.
SMALL = 2**26


def assert_same(came: Any, expected: Any) -> None:
    assert came.keys() == expected.keys()
    for name, array in expected.items():
        assert came[name].dtype == array.dtype
        assert_array_equal(came[name], array)


# Mutations


@pytest.mark.parametrize("kind", sorted({kind.__name__ for kind in mutations.KINDS}))
def test_headers_that_are_almost_right(kind):
    mutate: Callable[..., bytes] = getattr(mutations, kind)
    shape = {"shape": [9, 4], "dtype": "float32"}
    described = {"args": {"list": [shape]}, "kwargs": {"dict": {"mask": {"value": None}}}}
    arrays = {"W": normal(3, 4), "b": normal(3), "n": numpy.array(7)}
    header = {
        "framework": "pytorch",
        "dims": {"nO": 3, "nI": 4},
        "config": {"network": {"name": "FeedForward", "depth": 1}},
        "inputs": described,
        "complete": True,
        "dtypes": {"W": "float32", "b": "bfloat16", "n": "int64"},
    }
    good = pack(arrays, header)
    loads = 0
    for number in range(MUTATIONS // len(set(mutations.KINDS))):
        # By its number, a case can be looked at alone.
        bad = mutate(good, random.Random(f"{kind} {number}"))
        try:
            tensors, came = unpack(bad)
            came = checked(came, tensors)
            dims_to_build(came, tensors)
        except ValueError:
            continue
        loads += 1
        assert_same(tensors, safetensors.numpy.load(bad))
        if kind in ("any_bytes", "safetensors_header"):
            # The checksum is the old one, so nothing can have changed.
            assert_same(tensors, arrays)
    assert loads < MUTATIONS / 2


def targets(fw: Any) -> list[tuple[Callable[[], Any], bytes]]:
    """Functions that make the wrappers that files are loaded into, each with a good file."""
    kept = [fw.Wrapper(fw.sequential(*(array * 0 for array in weights())))]
    kept += [fw.Wrapper(fw.batch_norm(4))]
    saved = [fw.Wrapper(fw.sequential(*weights())), fw.Wrapper(fw.batch_norm(4))]
    saved += [fw.Wrapper(fw.builder, nO=3, nI=4), fw.Wrapper(fw.lazy(3))]
    for model in saved:
        model.initialize(normal(2, 4))
    make = [lambda: kept[0], lambda: kept[1]]
    make += [lambda: fw.Wrapper(fw.builder), lambda: fw.Wrapper(fw.lazy(3))]
    return list(zip(make, [model.shims[0].to_bytes() for model in saved]))


@pytest.mark.parametrize("framework", WRAPPED_IDS)
def test_files_that_are_almost_right(framework):
    cases = targets(modules_of(framework))
    # What has to be made first takes longest.
    often = [*[0] * 120, *[1] * 70, *[2] * 8, 3]
    for number in range(MUTATIONS):
        rng = random.Random(f"{framework} {number}")
        make, good = cases[rng.choice(often)]
        bad, shim = mutations.mutated(good, rng), make().shims[0]
        before = shim.to_bytes()
        try:
            with memory.peak() as grown:
                shim.from_bytes(bad)
        except ValueError:
            assert shim.to_bytes() == before, number
        else:
            tensors, _ = unpack(shim.to_bytes())
            expected = safetensors.numpy.load(bad)
            assert_same({name: tensors[name] for name in expected}, expected)
            shim.from_bytes(good)
        assert grown[0] < 2 * len(bad) + SMALL, number


@pytest.mark.parametrize("framework", WRAPPED_IDS)
def test_what_is_around_a_file_leaves_it_old_or_new(framework):
    """Thinc's bytes of a whole model are msgpack, which Thinc loads node by node."""
    fw = modules_of(framework)

    def make(scale: float) -> Any:
        return chain(Linear(4, 4), fw.Wrapper(fw.sequential(*(w * scale for w in weights()))))

    good, old = make(1.0).to_bytes(), unpack(make(2.0).layers[1].shims[0].to_bytes())[0]
    new = unpack(srsly.msgpack_loads(good)["shims"][2][0])[0]
    model = make(2.0)
    failed = 0
    for number in range(MUTATIONS // 30):
        rng = random.Random(f"{framework} {number}")
        bad = rng.choice([mutations.any_bytes, mutations.around])(good, rng)
        shim = model.layers[1].shims[0]
        try:
            with memory.peak() as grown:
                model.from_bytes(bad)
        except Exception:
            failed += 1
            # srsly leaves it off.
            gc.enable()
        tensors, _ = unpack(shim.to_bytes())
        name = sorted(old)[1]
        assert_same(tensors, old if numpy.array_equal(tensors[name], old[name]) else new)
        assert grown[0] < 2 * len(bad) + SMALL, number
        model = make(2.0)
    assert failed > MUTATIONS // 100


# Sizes


def test_headers_take_no_memory_by_what_they_claim():
    large = 2**24
    names = b",".join(b'"%d":0' % number for number in range(large // 12))
    texts = {
        "brackets": b"[" * large,
        "empty lists": b"[" + b"[]," * (large // 3) + b"[]]",
        "names": b"{" + names + b"}",
        "one long string": b'{"__metadata__":{"a":"' + b"a" * large + b'"}}',
        "spaces": b" " * large + b"{}",
        "what is no JSON": b"\xff" * large,
    }
    for what, text in texts.items():
        for size in (len(text), 2**64 - 1):
            data = size.to_bytes(8, "little") + text
            with memory.peak() as grown, pytest.raises(ValueError, match=r"take \d+ bytes"):
                unpack(data)
            assert grown[0] < SMALL, what
    with pytest.raises(ValueError, match=r"take \d+ bytes"):
        pack({}, {"config": {"words": "x" * 2**22}})
    # Where there is as much in the file besides, it is all right.
    tensors = {"W": numpy.zeros(2**25, "uint8")}
    assert unpack(pack(tensors, {"config": "x" * 2**19}))[1]["config"] == "x" * 2**19


def test_json_may_be_nested_deep_where_the_limit_of_recursion_is_high(run_python):
    """Python's parser then ends the process: it has a limit of its own from 3.12 on."""
    run_python(
        "import sys, struct\n"
        "from spacy_frameworks.wrappers.weights import unpack\n"
        "sys.setrecursionlimit(10**6)\n"
        "for text in (b'[' * 10**6, b'{\"\":' * 10**5, b'\"\\\\\\\\\"' * 10 + b'[' * 10**6):\n"
        "    try:\n"
        "        unpack(struct.pack('<Q', len(text)) + text)\n"
        "    except ValueError as error:\n"
        "        assert 'nested' in str(error), error\n"
        "    else:\n"
        "        sys.exit('it was taken')\n"
    )


@pytest.mark.parametrize("framework", WRAPPED_IDS)
def test_a_large_file_takes_at_most_twice_its_size(framework):
    fw = modules_of(framework)
    W, b = numpy.ones((4096, 2048), "float32"), numpy.ones(4096, "float32")
    data = fw.Wrapper(fw.linear(W, b)).shims[0].to_bytes()
    shim = fw.Wrapper(fw.linear(W * 0, b)).shims[0]
    shim.from_bytes(data)
    for bad in (data, data[:-1], data + b"x", data[:-1] + b"\1"):
        try:
            with memory.peak() as grown:
                shim.from_bytes(bad)
        except ValueError:
            assert bad is not data
        # The contents as they were read, and the parameter that takes them: TensorFlow's and JAX's
        # is another array than the one before. Other threads may have taken a little meanwhile.
        assert grown[0] < 2 * len(data) + 2**20


# Known holes of other formats, and of files that are two things at once


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path):
        self.path = str(path)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


def zipped(**files: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


def from_pytorch(path: Path, trap: Path) -> None:
    """CVE-2025-32434: torch.load unpickled with weights_only=True too."""
    import torch

    torch.save({"weight": Payload(trap)}, path)


def from_old_pytorch(path: Path, trap: Path) -> None:
    import torch

    torch.save({"weight": Payload(trap)}, path, _use_new_zipfile_serialization=False)


def _keras_archive(layer: Any) -> bytes:
    config = {"class_name": "Sequential", "config": {"layers": [layer]}}
    return zipped(**{"config.json": json.dumps(config).encode(), "metadata.json": b"{}"})


def from_keras_lambda(path: Path, trap: Path) -> None:
    """A Lambda layer is marshalled code. CVE-2025-9905: in HDF5, safe_mode was ignored."""
    import keras

    layer = keras.layers.Lambda(lambda X, trap=str(trap): __import__("os").mkdir(trap) or X)
    keras.Sequential([layer]).save(path)


def from_keras_torch_module(path: Path, trap: Path) -> None:
    """CVE-2025-49655: TorchModuleWrapper unpickles what its config holds."""
    module = {"class_name": "__bytes__", "config": {"value": pickle.dumps(Payload(trap)).hex()}}
    layer = {"class_name": "TorchModuleWrapper", "config": {"module": module}}
    path.write_bytes(_keras_archive(layer))


def from_keras_saved_model(path: Path, trap: Path) -> None:
    """CVE-2026-1462: TFSMLayer loads the graph of another file, in safe mode too."""
    path.write_bytes(_keras_archive({"class_name": "TFSMLayer", "config": {"filepath": str(trap)}}))


def from_gluon(path: Path, trap: Path) -> None:
    import mxnet as mx

    mx.nd.save(str(path), {"W": mx.nd.ones((2, 2))})


def from_gluon_symbols(path: Path, trap: Path) -> None:
    """A graph names the libraries' operators that are run."""
    node = {"op": "Custom", "name": "x", "attrs": {"op_type": str(trap)}, "inputs": []}
    path.write_text(json.dumps({"nodes": [node], "arg_nodes": [], "heads": [[0, 0, 0]]}))


def from_pickle(path: Path, trap: Path) -> None:
    path.write_bytes(pickle.dumps(Payload(trap)))


def from_numpy(path: Path, trap: Path) -> None:
    with path.open("wb") as file:
        numpy.save(file, numpy.array([Payload(trap)], dtype=object), allow_pickle=True)


FOREIGN = [
    pytest.param(make, name, marks=mark, id=f"{make.__name__}-{name}")
    for make, name, mark in [
        (from_pytorch, "model.pt", pytest.mark.pytorch),
        (from_old_pytorch, "model.pt", pytest.mark.pytorch),
        (from_keras_lambda, "model.keras", pytest.mark.tensorflow),
        (from_keras_lambda, "model.h5", pytest.mark.tensorflow),
        (from_keras_torch_module, "model.keras", pytest.mark.thinc),
        (from_keras_saved_model, "model.keras", pytest.mark.thinc),
        (from_gluon, "model.params", pytest.mark.mxnet),
        (from_gluon_symbols, "model.json", pytest.mark.thinc),
        (from_pickle, "model.pkl", pytest.mark.thinc),
        (from_numpy, "model.npy", pytest.mark.thinc),
    ]
]


@pytest.mark.parametrize(("make", "name"), FOREIGN)
def test_files_of_other_formats_are_refused_and_not_run(make, name, tmp_path):
    trap, path = tmp_path / "trap", tmp_path / name
    make(path, trap)
    foreign = path.read_bytes()
    good = pack({"W": normal(2)}, {})
    size = int.from_bytes(good[:8], "little")
    for data in (
        foreign,
        good + foreign,
        foreign + good,
        len(foreign).to_bytes(8, "little") + foreign,
        good[: 8 + size] + foreign,
    ):
        with pytest.raises(ValueError, match="damaged or were written by something else"):
            unpack(data)
    assert not trap.exists()


# What Python tells its audit hooks when code is made, found or run. A hook cannot be taken away.
CODE = ("exec", "compile", "pickle.", "marshal.", "import", "open", "os.", "subprocess.", "socket.")
heard: list[str] = []
is_listening = False


def _hear(event: str, _: Any) -> None:
    if is_listening and event.startswith(CODE):
        heard.append(event)


@pytest.fixture(scope="module")
def listener():
    sys.addaudithook(_hear)


@pytest.mark.parametrize("framework", WRAPPED_IDS)
def test_no_code_runs_and_no_other_file_is_read(framework, listener, tmp_path):
    global is_listening
    fw, trap = modules_of(framework), tmp_path / "trap"
    model = fw.Wrapper(fw.linear(normal(3, 4), normal(3)))
    tensors, header = unpack(model.shims[0].to_bytes())
    # Numbers that are also an archive with a pickle in it, and settings that Keras would build.
    hidden = zipped(**{"archive/data.pkl": pickle.dumps(Payload(trap)), "archive/version": b"3"})
    hidden += b"\0" * (-len(hidden) % 4)
    name = next(name for name, array in tensors.items() if array.ndim == 1)
    config = {"class_name": "TFSMLayer", "config": {"filepath": str(trap)}}
    plain = pack(tensors, {**header, "config": config})
    both = pack({**tensors, "z": numpy.frombuffer(hidden, "float32")}, header)
    assert zipfile.ZipFile(io.BytesIO(both)).namelist()[0] == "archive/data.pkl"
    heard.clear()
    for data, is_good in ((plain, True), (both, False), (hidden, False)):
        is_listening = True
        try:
            model.shims[0].from_bytes(data)
            assert is_good
        except ValueError:
            assert not is_good
        finally:
            is_listening = False
    assert heard == []
    assert not trap.exists()
    assert model.shims[0].cfg == config
    assert_array_equal(unpack(model.shims[0].to_bytes())[0][name], tensors[name])


# Versions of the format


def stored_files() -> Iterator[bytes]:
    """The weights that released versions have saved."""
    for path in sorted(STORED.glob("*/*.zip")):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith("/model"):
                    for shims in srsly.msgpack_loads(archive.read(name))["shims"]:
                        yield from shims


def test_every_format_that_was_released_is_stored_and_readable():
    formats = set()
    for data in stored_files():
        tensors, header = unpack(data)
        formats.add(checked(header, tensors)["format"])
    assert formats == set(range(1, FORMAT + 1))


def test_a_newer_format_is_refused_by_its_number():
    good = pack({"W": normal(2)}, {})
    size = struct.unpack("<Q", good[:8])[0]
    outer = json.loads(good[8 : 8 + size])
    header = {**json.loads(outer["__metadata__"][KEY]), "format": FORMAT + 1, "what": "is new"}
    text = json.dumps({**outer, "__metadata__": {KEY: json.dumps(header)}}).encode()
    with pytest.raises(ValueError, match=f"has format {FORMAT + 1}. Load it with a newer version"):
        unpack(struct.pack("<Q", len(text)) + text + b"tensors of another kind")
