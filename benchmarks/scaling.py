"""How fast two processes train, next to one, and what to expect of more.

    python -m benchmarks.scaling FOLDER

From the root of the repository. FOLDER has ewt-train.spacy, a treebank. Both ways are timed in turn
in one run, each process on one thread, with the same batches and with the hook's kernels: one
process trains while the other waits, then both train together.
"""

from __future__ import annotations

import io
import json
import math
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy
import typer
from spacy.cli.init_config import init_config
from spacy.language import Language
from spacy.util import load_config, registry
from spacy_frameworks.training.parallel.gradients import Gradients, parameters_of
from spacy_frameworks.training.parallel.group import Group, TorchGroup
from spacy_frameworks.training.parallel.loop import trained_models
from spacy_frameworks.training.parallel.train import initialized, train
from spacy_frameworks.wrappers import FRAMEWORKS
from thinc.api import Config, Linear, chain

ROOT = Path(__file__).parent.parent
STOCK = "spaCy's"
HOOK = {"@callbacks": "spacy-frameworks.use_framework.v1"}
# Between machines: 10 Gbit/s, of which gloo uses about 0.7, and 0.1 ms for a message there.
BYTES_PER_SECOND, SECONDS_PER_MESSAGE = 0.7 * 1.25e9, 1e-4
MORE = (4, 8, 16, 64)

# By the clock and of the processor, at the beginning of each step.
times: List[Tuple[float, float]] = []


@registry.callbacks("benchmark.note_time.v1")
def note_time() -> Callable[[Language, Any], None]:
    def before_update(nlp: Language, _: Any) -> None:
        times.append((time.perf_counter(), time.process_time()))

    return before_update


class TimedGroup(TorchGroup):
    """Notes how long each sum takes, the wait for the other process included."""

    def __init__(self) -> None:
        super().__init__()
        self.took: List[float] = []

    def sum(self, numbers: Any) -> None:
        begun = time.perf_counter()
        super().sum(numbers)
        self.took.append(time.perf_counter() - begun)


def config_of(what: str, folder: Path, batch: int, steps: int) -> Config:
    """The config of a tagger: spaCy's, or ours on a framework."""
    overrides: Dict[str, Any] = {
        "paths.train": str(folder / "ewt-train.spacy"),
        "paths.dev": None,
        "nlp.before_creation": HOOK,
        "training.max_steps": steps,
        "training.eval_frequency": 10 * steps,
        "training.before_update": {"@callbacks": "benchmark.note_time.v1"},
        "training.batcher": {"@batchers": "spacy.batch_by_sequence.v1", "size": batch},
    }
    # A corpus of as many docs as are trained on, which is read in no time.
    corpus = {
        "@readers": "spacy-frameworks.Corpus.v1",
        "path": "${paths.train}",
        "limit": batch * steps,
    }
    overrides["corpora.train"] = corpus
    overrides["corpora.dev"] = {**corpus, "limit": 1}
    if what == STOCK:
        config = init_config(lang="en", pipeline=["tagger"], silent=True)
    else:
        config = load_config(ROOT / "configs" / "tagger.cfg", {"vars.framework": what})
    return Config().from_str(config.to_str(), overrides=overrides, interpolate=False)


def step_seconds(nlp: Language, group: Group) -> Tuple[float, float]:
    """Train, and return how long the step of the middle took, and how much of the processor's time
    a step took in the process in which it took more."""
    times.clear()
    train(nlp, None, group, stdout=io.StringIO())
    # The first step is evaluated.
    by_clock, of_processor = numpy.diff(times, axis=0)[1:].T
    in_each = numpy.array(group.gathered(of_processor.tolist()))
    return statistics.median(by_clock), in_each.max(axis=0).mean()


def compare(what: str, folder: Path, batch: int, steps: int, rounds: int, group: TimedGroup) -> Any:
    """Seconds of a step alone and together, and of the sum in it, as rank 0 sees them."""
    config = config_of(what, folder, batch, steps)
    alone, together = (initialized(config, group) for _ in range(2))
    words = sum(len(eg) for eg in registry.resolve(config.interpolate())["corpora"]["train"](alone))
    one, two, sums = [], [], []
    for i in range(rounds + 1):
        one.append(step_seconds(alone, Group()) if group.rank == 0 else (1.0, 1.0))
        group.from_first(None)
        group.took.clear()
        two.append(step_seconds(together, group))
        sums.append(statistics.median(group.took))
        if i == 0:
            # Kernels are compiled and chosen.
            one, two, sums = [], [], []
    return {
        "what": what,
        "batch": batch,
        "words": words / steps,
        # The middle of what is timed one after the other.
        "speedup": statistics.median(a / b for (a, _), (b, _) in zip(one, two)),
        "of_processor": statistics.median(a / b for (_, a), (_, b) in zip(one, two)),
        "one": min(one)[0],
        "two": min(two)[0],
        "sum": min(sums),
        "floats": sum(math.prod(p.shape) for p in parameters_of(trained_models(alone))),
    }


def time_sum(group: Group) -> Dict[str, float]:
    """Seconds for the gradients of thirty layers, all that happens for them included."""
    layers = chain(*(Linear(126, 126) for _ in range(30)))
    gradients = Gradients(group, parameters_of({"layers": layers.initialize()}))
    for parameter in gradients.parameters:
        parameter.set(numpy.zeros(parameter.shape, "float32"))
    took = []
    for _ in range(100):
        begun = time.perf_counter()
        gradients.sum(numpy.zeros(group.size))
        took.append(time.perf_counter() - begun)
    floats = sum(math.prod(parameter.shape) for parameter in gradients.parameters)
    return {"floats": floats, "seconds": statistics.median(took), "best": min(took)}


def work(folder: Path, output: Path, names: List[str], batches: List[int], steps: int) -> None:
    """What each of the two processes does."""
    group = TimedGroup()
    found = {"sum": time_sum(group), "rows": []}
    for name in names:
        for batch in batches:
            row = compare(name, folder, batch, steps, 3, group)
            found["rows"].append(row)
            if group.rank == 0:
                print(row, file=sys.stderr)
    if group.rank == 0:
        output.write_text(json.dumps(found))
    group.leave()


def expected(rows: List[Dict[str, Any]], processes: int) -> List[float]:
    """How many times as fast as one so many processes are expected to be: with the larger batch
    for all of them together, and with one of that size for each."""
    small, large = rows
    # A step takes a time of its own, and one for each word.
    per_word = (large["one"] - small["one"]) / (large["words"] - small["words"])
    own = large["one"] - per_word * large["words"]
    # What two processes take longer than that: flattening, and waiting for the slower.
    overhead = max(0.0, large["two"] - (own + per_word * large["words"] / 2))
    # A ring: each process sends all numbers twice, in parts.
    sent = 2 * (processes - 1) / processes * 4 * large["floats"]
    sums = sent / BYTES_PER_SECOND + 2 * (processes - 1) * SECONDS_PER_MESSAGE
    shared = own + per_word * large["words"] / processes + overhead + sums
    for_each = large["one"] + overhead + sums
    return [large["one"] / shared, processes * large["one"] / for_each]


def table(header: List[str], rows: List[List[Any]]) -> None:
    for row in (header, ["---"] * len(header), *rows):
        print(f"| {' | '.join(map(str, row))} |")
    print()


def report(found: Dict[str, Any]) -> None:
    by_name: Dict[str, List[Dict[str, Any]]] = {}
    for row in found["rows"]:
        by_name.setdefault(row["what"], []).append(row)
    table(
        [
            "tagger",
            "docs in a batch",
            "step of one",
            "words/s",
            "of two",
            "times",
            "by the processor's time",
            "sum, of a step",
        ],
        [
            [
                row["what"],
                row["batch"],
                f"{row['one'] * 1000:.0f} ms",
                f"{row['words'] / row['one']:,.0f}",
                f"{row['words'] / row['two']:,.0f}",
                f"{row['speedup']:.2f}",
                f"{row['of_processor']:.2f}",
                f"{row['sum'] / row['two']:.0%}",
            ]
            for row in found["rows"]
        ],
    )
    took = found["sum"]
    print(
        f"Sum of {took['floats']:,} gradients: {took['seconds'] * 1000:.1f} ms "
        f"(best {took['best'] * 1000:.1f}).\n"
    )
    expectations = {
        name: [expected(rows[-2:], n) for n in MORE]
        for name, rows in by_name.items()
        if len(rows) > 1
    }
    table(
        ["tagger", "batch", *(f"{n} processes" for n in MORE)],
        [
            [name, which, *(f"{factors[i]:.1f}" for factors in each)]
            for name, each in expectations.items()
            for i, which in enumerate(("the same", "for each"))
        ],
    )


def main(
    folder: Path,
    tagger: Optional[List[str]] = typer.Option(None, help="spaCy's and a framework's; all of them"),
    batch: List[int] = typer.Option([16, 64], help="Docs in a batch of both processes"),
    steps: int = 16,
    output: Path = Path("scaling.json"),
) -> None:
    """Time all of it and print Markdown tables."""
    names = tagger or [STOCK, *(fw.token for fw in FRAMEWORKS)]
    if "RANK" in os.environ:
        work(folder, output, names, batch, steps)
        return
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    arguments = ["-m", "benchmarks.scaling", *sys.argv[1:]]
    env = {**os.environ, **threads}
    subprocess.run([sys.executable, *torchrun, *arguments], env=env, check=True)
    report(json.loads(output.read_text()))


if __name__ == "__main__":
    typer.run(main)
