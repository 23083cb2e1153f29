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
from cupy.testing import assert_allclose, assert_array_equal
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
shares = framework == "pytorch"
if not shares:
    array[...] = 0
again = back(tensor)
assert_array_equal(again, cupy.arange(1, 1_000_001))
assert (again.data.ptr == array.data.ptr) == shares
if not shares:
    again[...] = 0
    assert_array_equal(back(tensor), cupy.arange(1, 1_000_001))
X = cupy.random.normal(size=(60, 70)).astype("float32")
for view in (X[:, :5], X.T, X[::2], X[1:], X[::-1]):
    assert_array_equal(back(to(view) * 2), view * 2)
print("right")
"""


@pytest.mark.parametrize("framework", SHIPPED_IDS)
def test_arrays_and_views_cross_and_come_back(framework, on_gpu):
    assert on_gpu(CROSSING, framework) == "right"


# As Thinc's layers and optimizers do. The gradients of the two biases are one.
WRITTEN = """
import keras, tensorflow as tf

class Twice(tf.Module):
    def __init__(self):
        super().__init__()
        self.W = tf.Variable(tf.ones((4, 3)) / 4)
        self.a, self.b = tf.Variable(tf.zeros(3)), tf.Variable(tf.zeros(3))

    def __call__(self, X):
        return tf.tanh(X @ self.W + (self.a + self.b))

model = w.TensorFlowWrapper(Twice())
X, dY = cupy.random.normal(size=(5, 4)).astype("float32"), cupy.ones((5, 3), dtype="float32")
Y, backprop = model.begin_update(X)
inner = 1 - Y**2
Y += 1
dX = backprop(dY)
assert_allclose(dX, inner.sum(1, keepdims=True).repeat(4, 1) / 4, rtol=1e-4)
dX[...] = 0
model.finish_update(Adam(0.01))
module = model.shims[0].module
values = {name: module.get_value(handle) for name, handle in module.parameters().items()}
assert bool((values["a"] != 0).all())
assert_array_equal(values["a"], values["b"])

# With ids there is no dX to wait for, but the gradient's memory is taken by something else.
ids, dY = cupy.arange(1000), cupy.ones((1000, 500), dtype="float32")
model = w.TensorFlowWrapper(keras.layers.Embedding(1000, 500))
_, backprop = model.begin_update(ids)
backprop(dY)
dY[...] = 7
(gradient,) = map(model.shims[0].module.get_gradient, model.shims[0].module.parameters().values())
assert_array_equal(gradient, cupy.ones((1000, 500)))
print("right")
"""


@pytest.mark.tensorflow
def test_tensorflows_outputs_and_gradients_may_be_written_into(on_gpu):
    assert on_gpu(WRITTEN, "tensorflow") == "right"


SCALER = """
import torch
from thinc.api import PyTorchGradScaler, use_ops

def build(scaler=None):
    return w.PyTorchWrapper(torch.nn.Linear(4, 3), mixed_precision=True, grad_scaler=scaler)

def train(model, X):
    Y, backprop = model.begin_update(X)
    assert bool((backprop(Y * 1e-6) != 0).all())
    model.finish_update(Adam(0.01))
    return model.shims[0].module.leaves_overflows_out()

X = numpy.ones((5, 4), dtype="float32")
with use_ops("numpy"):
    model = build()
    found = [train(model, X)]
model.to_gpu(0)
found.append(train(model, cupy.asarray(X)))
model.to_cpu()
with use_ops("numpy"):
    found.append(train(model, X))
model = build(PyTorchGradScaler(True))
found.append(train(model, cupy.asarray(X)))
model.to_cpu()
with use_ops("numpy"):
    found.append(train(model, X))
print(*found)
"""


@pytest.mark.pytorch
def test_pytorchs_grad_scaler_is_on_where_a_model_is_on_a_gpu(on_gpu):
    assert on_gpu(SCALER, "pytorch") == "False True False True False"


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
