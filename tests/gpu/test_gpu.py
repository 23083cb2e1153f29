"""What only a GPU can show: `pytest tests/gpu`, with CuPy and frameworks that are built for CUDA.

Each test runs in a process of its own: where memory comes from is a property of the process.
"""

import json
import os

import pytest
from thinc import compat

from ..conftest import ROOT
from ..frameworks import SHIPPED_IDS

pytestmark = pytest.mark.skipif(
    not compat.has_cupy_gpu, reason="needs an NVIDIA GPU, and CuPy built for its version of CUDA"
)

# CUDA takes some memory for itself, and processes that run side by side share what is left.
BEGIN = """
import gc, random
import cupy, numpy
import spacy_frameworks.wrappers as w
from spacy_frameworks.wrappers import allocator
from thinc.api import Adam, CupyOps, Linear, chain, require_gpu

require_gpu()
framework = {framework!r}
ours = allocator._framework_allocators.get(framework)
if ours and not ours.sees_gpu():
    print("sees no GPU")
    raise SystemExit
"""


@pytest.fixture
def on_gpu(run_python):
    """Run code in a process; skips if the framework that is named there sees no GPU."""

    def run(code, framework=None, env=None):
        out = run_python(BEGIN.format(framework=framework) + code, env=env)
        if "sees no GPU" in out:
            pytest.skip(f"{framework} sees no GPU: install a build for CUDA")
        return out.strip().splitlines()[-1]

    return run


TWO_STREAMS = """
w.set_gpu_allocator(framework)
draw, live = random.Random(0), []
streams = [cupy.cuda.Stream(non_blocking=True) for _ in range(2)]
for number in range(1000):
    stream = draw.choice(streams)
    with stream:
        array = cupy.full(draw.randrange(1, 1_000_000), number, dtype="int32")
    live.append((stream, array, number))
    del array
    while len(live) > draw.randrange(1, 30):
        stream, array, value = live.pop(draw.randrange(len(live)))
        with stream:
            assert bool((array == value).all()), value
        del array
for stream, array, value in live:
    with stream:
        assert bool((array == value).all()), value
print("right")
"""


@pytest.mark.parametrize("framework", SHIPPED_IDS)
def test_a_thousand_blocks_on_two_streams_keep_their_contents(framework, on_gpu):
    assert on_gpu(TWO_STREAMS, framework) == "right"


STATISTICS = """
import torch
w.set_gpu_allocator("pytorch")
before = torch.cuda.memory_allocated()
array = cupy.empty(1_000_000, dtype="float32")
held = torch.cuda.memory_allocated() - before
del array
print(4_000_000 <= held < 4_200_000, torch.cuda.memory_allocated() == before)
"""


@pytest.mark.pytorch
def test_pytorch_counts_cupys_blocks(on_gpu):
    assert on_gpu(STATISTICS, "pytorch") == "True True"


CROSSING = """
import importlib
arrays = importlib.import_module(f"spacy_frameworks.wrappers.{framework}.arrays")
to, back = arrays.xp2tensor, arrays.tensor2xp
array = cupy.arange(1_000_000, dtype="float32")
array += 1
tensor = to(array)
again = back(tensor)
print(again.data.ptr == array.data.ptr, bool((again == cupy.arange(1, 1_000_001)).all()))
"""


@pytest.mark.parametrize("framework", SHIPPED_IDS)
def test_arrays_cross_and_come_back_in_the_same_memory(framework, on_gpu):
    assert on_gpu(CROSSING, framework) == "True True"


# A small card: all but 700 MiB are taken. Thinc's layers want some 300 of them for a moment, and
# then PyTorch's 500.
SMALL_CARD = """
import torch
left = 700 << 20
torch.zeros((8, 8), device="cuda") @ torch.zeros((8, 8), device="cuda")
cupy.zeros((8, 8), dtype="float32").dot(cupy.zeros((8, 8), dtype="float32"))
if SHARED:
    w.set_gpu_allocator("pytorch")
else:
    cupy.cuda.set_allocator(cupy.cuda.MemoryPool().malloc)
free, total = cupy.cuda.runtime.memGetInfo()
ballast = cupy.cuda.runtime.malloc(free - left)
rows = 40_000
native = chain(Linear(1000, 64), Linear(64, 1000))
wrapped = w.PyTorchWrapper(
    torch.nn.Sequential(torch.nn.Linear(64, 1000), torch.nn.ReLU(), torch.nn.Linear(1000, 64))
)
X = cupy.ones((rows, 64), dtype="float32")
for model in (native, wrapped):
    model.initialize(X=X[:10], Y=X[:10])
optimizer = Adam(0.001)
try:
    for step in range(5):
        for model in (native, wrapped):
            Y, backprop = model.begin_update(X)
            backprop(Y)
            model.finish_update(optimizer)
            del Y, backprop
    print("trained")
except (torch.OutOfMemoryError, cupy.cuda.memory.OutOfMemoryError):
    print("out of memory")
"""


@pytest.mark.pytorch
@pytest.mark.parametrize(("shared", "expected"), [(True, "trained"), (False, "out of memory")])
def test_a_run_that_fits_only_when_the_pool_is_shared(shared, expected, on_gpu):
    assert on_gpu(SMALL_CARD.replace("SHARED", str(shared)), "pytorch") == expected


CUDA_ASYNC = """
try:
    w.set_gpu_allocator("cuda_async")
    print(w.current_gpu_allocator(), float(cupy.ones(10).sum()))
except RuntimeError as error:
    print(error)
"""


@pytest.mark.pytorch
def test_cuda_async_with_the_line_exported_and_without(on_gpu):
    line = {"PYTORCH_CUDA_ALLOC_CONF": "backend:cudaMallocAsync"}
    assert on_gpu(CUDA_ASYNC, "pytorch", env=line) == "cuda_async 10.0"
    told = on_gpu(CUDA_ASYNC, "pytorch", env={"PYTORCH_CUDA_ALLOC_CONF": ""})
    assert told.endswith("export PYTORCH_CUDA_ALLOC_CONF=backend:cudaMallocAsync")


TRAIN = """
from pathlib import Path
from spacy.cli.train import train
train({config!r}, Path({output!r}), use_gpu={gpu}, overrides={overrides!r})
"""


@pytest.mark.pytorch
def test_a_tagger_reaches_the_score_of_its_run_on_cpu(run_python, tmp_path):
    overrides = {"vars.framework": "PyTorch"}
    folder = os.environ.get("EWT")
    if folder:
        overrides |= {f"paths.{name}": f"{folder}/ewt-{name}.spacy" for name in ("train", "dev")}
        overrides["training.max_steps"] = 1000
    scores = []
    for gpu in (-1, 0):
        output = tmp_path / str(gpu)
        config = str(ROOT / "configs" / "tagger_window.cfg")
        run_python(TRAIN.format(config=config, output=str(output), gpu=gpu, overrides=overrides))
        meta = json.loads((output / "model-best" / "meta.json").read_text())
        scores.append(meta["performance"]["tag_acc"])
    assert scores[1] > scores[0] - 0.01
