"""CuPy's memory from the frameworks' pools. Where there is no GPU, a stand-in for CuPy draws on the
frameworks' CPU allocators; what only a GPU can show is in tests/gpu."""

import ctypes
import os
import sys
import weakref
from itertools import pairwise

import pytest
import thinc.api
import thinc.backends
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spacy_frameworks.wrappers import (
    FRAMEWORKS,
    PyTorchWrapper,
    allocator,
    current_gpu_allocator,
    get_framework,
    set_gpu_allocator,
)
from spacy_frameworks.wrappers.arrays import from_dlpack, to_dlpack
from thinc import compat
from thinc.api import CupyOps, set_current_ops

from .. import stand_in_gpu
from ..frameworks import SHIPPED_IDS

NAMES = [*(fw.id for fw in FRAMEWORKS), "cuda_async"]
# Bytes that are there in all, so that requests fail in the middle of a sequence.
MEMORY = 8_000


class Host:
    """Counts what a framework's CPU allocator gives out, and gives no more than MEMORY."""

    def __init__(self):
        self.live = {}
        self.given = self.freed = 0

    def give(self, size):
        if sum(self.live.values()) + size > MEMORY:
            raise RuntimeError(f"no {size} bytes are left")
        self.given += 1
        self.live[self.given] = size
        return self.given

    def free(self, number):
        del self.live[number]
        self.freed += 1


class Held:
    """A framework's tensor, noticed when it is gone."""

    def __init__(self, host, size, tensor):
        self.tensor = tensor
        weakref.finalize(self, host.free, host.give(size))


def on_host(framework, monkeypatch):
    """A framework's allocator with its CPU allocator in place of the GPU's, and what it holds."""
    host = Host()
    ours = allocator._make(get_framework(framework))
    monkeypatch.setattr(ours, "sees_gpu", lambda: True)
    monkeypatch.setitem(allocator._framework_allocators, framework, ours)
    monkeypatch.setitem(allocator._allocators, framework, ours)
    if framework == "pytorch":
        import torch

        blocks = {}

        def alloc(size, device, stream):
            number = host.give(size)
            tensor = torch.empty(size + 511, dtype=torch.uint8)
            address = tensor.data_ptr() + -tensor.data_ptr() % 512
            blocks[address] = number, tensor
            return address

        monkeypatch.setattr(torch.cuda, "caching_allocator_alloc", alloc)
        monkeypatch.setattr(
            torch.cuda, "caching_allocator_delete", lambda ptr: host.free(blocks.pop(ptr)[0])
        )
    else:
        monkeypatch.setattr(ours, "_device_type", "CPU" if framework == "tensorflow" else "cpu")
        empty = ours.empty

        def counted(size, device_id):
            tensor, address = empty(size, device_id)
            return Held(host, size, tensor), address

        monkeypatch.setattr(ours, "empty", counted)
    return ours, host


# As many take half a minute.
EXAMPLES = 10_000 if os.environ.get("RUN_SLOW") else 1_000
# What happens to the memory: a request of so many bytes, one of the blocks given back, or the GPU
# catching up with what is queued.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, 6_000)),
        st.tuples(st.just("drop"), st.integers(0, 30)),
        st.tuples(st.just("catch up"), st.just(0)),
    ),
    max_size=30,
)


@pytest.mark.parametrize("framework", SHIPPED_IDS)
def test_blocks_through_a_stand_in_for_cupy_and_cpu_memory(framework, gpu, monkeypatch):
    ours, host = on_host(framework, monkeypatch)
    stream = gpu.cuda.get_current_stream()
    failures = []

    def check(block):
        pointer, size, byte = block
        assert ctypes.string_at(pointer.ptr, size) == bytes([byte]) * size

    @settings(max_examples=EXAMPLES, database=None, suppress_health_check=list(HealthCheck))
    @given(STEPS)
    def run(steps):
        blocks = []
        for number, (step, value) in enumerate(steps):
            if step == "ask":
                try:
                    pointer = ours.malloc(value)
                except RuntimeError as error:
                    failures.append(str(error))
                    continue
                assert pointer.mem.device_id == 0 and pointer.ptr % allocator.ALIGNMENT == 0
                ctypes.memset(pointer.ptr, number, value)
                blocks.append((pointer, value, number))
            elif step == "drop" and blocks:
                block = blocks.pop(value % len(blocks))
                check(block)
                del block
                pointer = None
            elif step == "catch up":
                stream.synchronize()
        spans = sorted((p.ptr, p.ptr + size) for p, size, _ in blocks if size)
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))
        for block in blocks:
            check(block)
        asked = sum(size for _, size, _ in blocks)
        del blocks, spans
        block = pointer = None
        if isinstance(ours, allocator.TensorAllocator):
            ours.free_all_blocks()
        assert asked <= MEMORY and host.live == {} and host.given == host.freed

    run()
    assert host.freed > EXAMPLES and "bytes are left" in failures[0]


@pytest.mark.parametrize("framework", SHIPPED_IDS[1:])
def test_a_tensor_goes_back_after_the_stand_ins_queued_kernels(framework, gpu, monkeypatch):
    ours, host = on_host(framework, monkeypatch)
    block = ours.malloc(MEMORY - 10 * allocator.ALIGNMENT)
    block = None
    assert block is None and len(host.live) == 1
    # Nothing else is left, so a request waits for what is queued.
    again = ours.malloc(MEMORY - 10 * allocator.ALIGNMENT)
    assert again.mem.size and len(host.live) == 1
    again = None
    gpu.cuda.get_current_stream().synchronize()
    ours.malloc(1)
    assert [size for size in host.live.values() if size > MEMORY / 2] == []


@pytest.mark.parametrize("framework", SHIPPED_IDS)
def test_choosing_and_switching_on_a_stand_in_for_cupy(framework, gpu, monkeypatch):
    ours, _ = on_host(framework, monkeypatch)
    freed = []
    monkeypatch.setattr(ours, "free_all_blocks", lambda: freed.append(framework))
    pool = gpu.get_default_memory_pool()
    assert current_gpu_allocator() is None
    set_gpu_allocator(framework)
    set_gpu_allocator(framework)
    assert current_gpu_allocator() == framework and pool.freed == 1 and freed == []
    assert gpu.cuda.get_allocator()(100).mem.size == 100
    gpu.cuda.set_allocator(pool.malloc)
    set_gpu_allocator(framework)
    allocator._take(pool.malloc)
    assert freed == [framework] and current_gpu_allocator() is None


@pytest.mark.parametrize("framework", ["pytorch", "tensorflow"])
def test_thincs_own_call_chooses_ours_on_a_stand_in_for_cupy(framework, gpu, monkeypatch):
    ours = allocator._framework_allocators[framework]
    monkeypatch.setattr(ours, "check", lambda: None)
    # As spaCy imports it.
    thinc.api.set_gpu_allocator(framework)
    assert current_gpu_allocator() == framework
    assert thinc.backends.context_pools.get()[framework] is ours


def test_what_thinc_chose_before_becomes_ours_on_a_stand_in_for_cupy(gpu, monkeypatch):
    for name in ("_allocators", "_framework_allocators"):
        monkeypatch.setattr(allocator, name, {})
    thincs = stand_in_gpu.MemoryPool()
    thinc.backends.context_pools.get()["pytorch"] = thincs
    gpu.cuda.set_allocator(thincs.malloc)
    monkeypatch.setattr(allocator.FrameworkAllocator, "check", lambda self: None)
    allocator.install()
    assert current_gpu_allocator() == "pytorch" and thincs.freed == 1
    assert thinc.backends.context_pools.get()["pytorch"] is not thincs


@pytest.mark.pytorch
def test_thincs_pytorch_shim_leaves_the_choice_alone_on_a_stand_in_for_cupy(
    gpu, cupy_ops, monkeypatch
):
    import torch

    monkeypatch.setattr(CupyOps, "xp", gpu)
    monkeypatch.setitem(sys.modules, "cupy", gpu)
    monkeypatch.setattr(allocator._allocators["mxnet"], "check", lambda: None)
    set_gpu_allocator("mxnet")
    thinc.api.PyTorchShim(torch.nn.Linear(1, 1), device=torch.device("cpu"))
    assert current_gpu_allocator() == "mxnet"


@pytest.mark.pytorch
def test_a_wrapper_pairs_itself_unless_there_is_a_choice_on_a_stand_in_for_cupy(
    gpu, cupy_ops, monkeypatch
):
    import torch

    def wrap():
        return PyTorchWrapper(torch.nn.Linear(1, 1), device="cpu")

    wrap()
    assert current_gpu_allocator() is None, "PyTorch sees no GPU"
    on_host("pytorch", monkeypatch)
    set_current_ops(thinc.api.NumpyOps())
    wrap()
    assert current_gpu_allocator() is None, "the pipeline is not on the GPU"
    set_current_ops(CupyOps())
    own = stand_in_gpu.MemoryPool()
    gpu.cuda.set_allocator(own.malloc)
    wrap()
    assert current_gpu_allocator() is None, "a pool of the user's own"
    gpu.cuda.set_allocator(gpu.get_default_memory_pool().malloc)
    wrap()
    assert current_gpu_allocator() == "pytorch"
    allocator.pair_gpu_allocator("mxnet")
    assert current_gpu_allocator() == "pytorch", "the first one wins"


@pytest.mark.parametrize("name", NAMES)
def test_without_a_gpu_every_name_is_accepted_and_changes_nothing(name):
    if compat.has_cupy_gpu:
        pytest.skip("there is a GPU: tests/gpu")
    before = dict(thinc.backends.context_pools.get())
    set_gpu_allocator(name)
    assert current_gpu_allocator() is None
    assert thinc.backends.context_pools.get() == before


def test_an_unknown_name_is_an_error_with_the_names_that_exist():
    with pytest.raises(ValueError, match=rf"{', '.join(NAMES)}\. Did you mean"):
        set_gpu_allocator("PyTorch")


@pytest.mark.parametrize("framework", [fw.id for fw in FRAMEWORKS])
def test_a_missing_framework_is_an_error_on_a_stand_in_for_cupy(framework, gpu, monkeypatch):
    monkeypatch.setitem(sys.modules, get_framework(framework).module, None)
    with pytest.raises(ImportError, match=r"is not installed.*pip install"):
        set_gpu_allocator(framework)
    assert current_gpu_allocator() is None


@pytest.mark.parametrize("framework", SHIPPED_IDS)
def test_a_framework_that_sees_no_gpu_is_an_error_on_a_stand_in_for_cupy(framework, gpu):
    with pytest.raises(RuntimeError, match=r"sees none.*Install a build"):
        set_gpu_allocator(framework)
    assert current_gpu_allocator() is None


@pytest.mark.tensorflow
def test_tensorflow_without_the_device_is_an_error_and_no_host_memory(gpu):
    ours = allocator._make(get_framework("tensorflow"))
    with pytest.raises(Exception, match="GPU:0"):
        ours.malloc(100)


@pytest.mark.pytorch
def test_pytorch_on_another_pool_is_an_error_with_the_line_on_a_stand_in_for_cupy(gpu, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_allocator_backend", lambda: "native")
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:128")
    line = "export PYTORCH_CUDA_ALLOC_CONF=backend:cudaMallocAsync,max_split_size_mb:128"
    with pytest.raises(RuntimeError, match=line):
        set_gpu_allocator("cuda_async")
    assert current_gpu_allocator() is None
    monkeypatch.setattr(torch.cuda, "get_allocator_backend", lambda: "cudaMallocAsync")
    set_gpu_allocator("cuda_async")
    assert current_gpu_allocator() == "cuda_async"


START = """
import os, sys
{imported}
from spacy_frameworks.wrappers import allocator, current_gpu_allocator, set_gpu_allocator
from thinc import compat
from tests import stand_in_gpu

compat.cupy, compat.has_cupy_gpu = stand_in_gpu.cupy(), True
allocator._framework_allocators["{framework}"].sees_gpu = lambda: "none" not in sys.argv
if "first" in sys.argv:
    {first}
set_gpu_allocator("cuda_async")
print(current_gpu_allocator(), os.environ["TF_GPU_ALLOCATOR"])
"""


@pytest.mark.parametrize(
    ("framework", "imported", "first"),
    [
        pytest.param(
            "tensorflow", "import tensorflow as tf", "tf.ones(1)", marks=pytest.mark.tensorflow
        ),
        pytest.param("jax", "import jax", "jax.numpy.ones(1)", marks=pytest.mark.jax),
    ],
)
def test_before_and_after_a_frameworks_start_on_a_stand_in_for_cupy(
    framework, imported, first, run_python
):
    code = START.format(framework=framework, imported=imported, first=first)
    chosen = "cuda_async cuda_malloc_async\n"
    assert run_python(code) == chosen
    assert run_python(code, "first", "none") == chosen
    assert run_python(code, "first", env={"TF_GPU_ALLOCATOR": "cuda_malloc_async"}) == chosen
    with pytest.raises(AssertionError, match="export TF_GPU_ALLOCATOR=cuda_malloc_async"):
        run_python(code, "first")


REQUIRED = """
import os, jax
from spacy_frameworks.wrappers import framework
from thinc import compat

compat.has_cupy_gpu = True
framework.require("jax")
print(os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"])
"""


@pytest.mark.jax
def test_jax_leaves_memory_to_cupy_also_where_others_have_imported_it(run_python, monkeypatch):
    monkeypatch.delenv("XLA_PYTHON_CLIENT_PREALLOCATE", raising=False)
    assert run_python(REQUIRED) == "false\n"
    assert run_python(REQUIRED, env={"XLA_PYTHON_CLIENT_PREALLOCATE": "true"}) == "true\n"


def test_arrays_cross_to_other_streams_when_they_are_copied_on_a_stand_in_for_cupy(
    gpu, monkeypatch
):
    stream = gpu.cuda.get_current_stream()
    monkeypatch.setattr("spacy_frameworks.wrappers.arrays.cupy", gpu)

    class Array:
        def copy(self):
            self.copied = stream.record(gpu.cuda.Event())
            return self

        def toDlpack(self):
            return self.copied.done

    assert to_dlpack(Array()) is True
    monkeypatch.setattr(gpu, "from_dlpack", lambda lent: lent)
    assert from_dlpack(Array()).copied.done


@pytest.mark.parametrize("framework", SHIPPED_IDS)
def test_blocks_that_are_left_when_python_ends_are_no_error(framework, run_python):
    code = f"""
import pytest, warnings
from spacy_frameworks.wrappers import allocator
from thinc import compat
from tests import stand_in_gpu
from tests.wrappers.test_allocator import on_host

compat.cupy, compat.has_cupy_gpu = stand_in_gpu.cupy(), True
ours, host = on_host({framework!r}, pytest.MonkeyPatch())
stand_in_gpu.left = ours.malloc(100)
print(len(host.live))
"""
    assert run_python(code) == "1\n"
