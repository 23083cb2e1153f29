"""Memory and speed of a training run on an NVIDIA GPU, by where CuPy draws its memory from.

    python -m benchmarks.gpu_memory PATH_TO_THE_TREEBANK

prints the table and writes it into benchmarks/README.md. A tagger on MultiHashEmbed and PyTorch's
transformer encoder; each allocator has a process of its own.
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any, Dict, List

import spacy
import typer
from spacy.util import fix_random_seed
from spacy_frameworks.wrappers import set_gpu_allocator
from thinc import compat
from thinc.api import require_gpu

from .ewt import read
from .speed import in_process, table, tagger_on, versions, write

ALLOCATORS = {
    "none: two pools": "none",
    "Thinc's": "thinc",
    "pytorch": "pytorch",
    "cuda_async": "cuda_async",
}
COLUMNS = ["allocator", "peak of the device, MiB", "steps/s"]


def choose(allocator: str) -> None:
    """Have CuPy draw its memory from there."""
    cuda = compat.cupy.cuda
    if allocator == "none":
        # Another pool than CuPy's own counts as a choice, so that the wrappers leave it alone.
        cuda.set_allocator(cuda.MemoryPool().malloc)
    elif allocator == "thinc":
        from thinc.backends import cupy_pytorch_allocator

        cuda.set_allocator(cuda.MemoryPool(allocator=cupy_pytorch_allocator).malloc)
    else:
        set_gpu_allocator(allocator)


def measure(allocator: str, data: Path, steps: int) -> List[Any]:
    """Train for so many steps; the peak is the least memory that was free after any of them."""
    require_gpu()
    choose(allocator)
    fix_random_seed(0)
    nlp = spacy.blank("en")
    encode = {
        "@architectures": "spacy-frameworks.PyTorchTransformerEncoder.v1",
        "width": 256,
        "depth": 4,
    }
    nlp.add_pipe("tagger", config={"model": tagger_on(encode, [5000, 1000, 2500, 2500])})
    examples = read(data / "ewt-train.spacy", nlp)
    nlp.initialize(lambda: examples)
    optimizer = nlp.create_optimizer()
    runtime = compat.cupy.cuda.runtime
    draw, least, begin = random.Random(0), runtime.memGetInfo()[0], 0.0
    for step in range(steps):
        if step == steps // 10:
            begin = time.perf_counter()
        nlp.update(draw.sample(examples, draw.choice((16, 64, 256))), sgd=optimizer)
        least = min(least, runtime.memGetInfo()[0])
    speed = (steps - steps // 10) / (time.perf_counter() - begin)
    return [f"{(runtime.memGetInfo()[1] - least) / 2**20:,.0f}", f"{speed:.2f}"]


def main(
    data: Path = typer.Argument(..., exists=True, file_okay=False, help="Folder of the treebank."),
    steps: int = typer.Option(200, help="Updates per allocator; a tenth are not timed."),
) -> None:
    """Print the table, and write it into benchmarks/README.md."""
    if not compat.has_cupy_gpu:
        raise SystemExit("This needs an NVIDIA GPU, and CuPy built for its version of CUDA.")
    rows = []
    for title, allocator in ALLOCATORS.items():
        call = f"measure({allocator!r}, Path({str(data)!r}), {steps})"
        setting: Dict[str, str] = {}
        if allocator == "cuda_async":
            setting = {"PYTORCH_CUDA_ALLOC_CONF": "backend:cudaMallocAsync"}
        rows.append([title, *in_process(call, "gpu_memory", **setting)])
        typer.echo(rows[-1], err=True)
    card = compat.cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    found = f"{card}; cupy {compat.cupy.__version__}, {', '.join(versions())}."
    text = f"{found}\n\n{table(COLUMNS, rows)}"
    print(f"\n{text}\n")
    write("gpu-memory", text)


if __name__ == "__main__":
    typer.run(main)
