"""One training of a comparison, in a process of its own: `python -m spacy_frameworks.commands.trial
FILE`, where the file has the settings of a `Trial` as JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from .launch import end_with

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.training import Example
    from thinc.api import Optimizer

# Steps that are not timed: tracing, compiling, first allocations.
WARM_UP = 3
# How many labels a matrix of confusions has at most.
LABELS = 15


class Trial(NamedTuple):
    """What is trained.

    config: Path of the config.
    folder: Where the pipeline, the curve and the result are written.
    seed: Of all that is random.
    overrides: Values that replace those of the config, by their names with dots.
    code: Path of a Python file that is imported first.
    use_gpu: ID of the GPU, or -1 for the CPU.
    """

    config: str
    folder: str
    seed: int
    overrides: Dict[str, Any]
    code: Optional[str]
    use_gpu: int

    @property
    def curve(self) -> Path:
        """A line of JSON for each evaluation, as the logger writes it."""
        return Path(self.folder) / "curve.jsonl"

    @property
    def result(self) -> Path:
        """What came out. It is there when all of it is there."""
        return Path(self.folder) / "result.json"


def main(path: str) -> None:
    """Run a trial."""
    # It is not to write into the folder of a comparison that was killed and goes on.
    end_with(os.getppid())
    trial = Trial(**json.loads(Path(path).read_text(encoding="utf8")))
    result = run(trial)
    beside = trial.result.with_suffix(".new")
    beside.write_text(json.dumps(result), encoding="utf8")
    beside.replace(trial.result)


def run(trial: Trial) -> Dict[str, Any]:
    """Train, and measure what was trained.

    Returns JSON values: "score" (the best of training's evaluations), "scores" (of the best
    pipeline, by name), "confusions" (by component: labels, and counts by gold and predicted
    label), "training" (words per second of its steps, see `timed_steps`) and "prediction" (words
    per second), "seconds" (of the whole training), "memory" (bytes; None where the system does not
    tell) and "size" (bytes), "curve" (what the logger wrote).
    """
    import statistics

    import spacy
    from spacy.cli._util import setup_gpu, show_validation_error
    from spacy.training.initialize import init_nlp
    from spacy.training.loop import train
    from spacy.util import import_file, load_config, resolve_dot_names

    if trial.code:
        import_file("python_code", trial.code)
    setup_gpu(trial.use_gpu)
    overrides = {**trial.overrides, "training.seed": trial.seed}
    # The last line that it prints says what is wrong; that of the error itself is a whole section.
    with show_validation_error(trial.config, show_config=False, hint_fill=False):
        config = load_config(trial.config, overrides, interpolate=False)
        nlp = init_nlp(config, use_gpu=trial.use_gpu)
    nlp.config["training"]["logger"] = {
        "@loggers": "spacy-frameworks.Logger.v1",
        "progress": False,
        "jsonl": str(trial.curve),
    }
    begun = time.perf_counter()
    folder = Path(trial.folder)
    with timed_steps(nlp) as steps:
        train(nlp, folder, use_gpu=trial.use_gpu, stdout=sys.stdout, stderr=sys.stderr)
    seconds = time.perf_counter() - begun
    curve = [json.loads(line) for line in trial.curve.read_text().splitlines()]

    best = folder / "model-best"
    nlp = spacy.load(best)
    config = nlp.config.interpolate()
    (corpus,) = resolve_dot_names(config, [config["training"]["dev_corpus"]])
    evaluated = [nlp.evaluate(list(corpus(nlp))) for _ in range(3)]
    timed = steps[WARM_UP:] or steps
    words, spent = (sum(column) for column in zip(*timed))
    return {
        "score": max(line["score"] for line in curve),
        "scores": {name: value for name, value in evaluated[0].items() if name != "speed"},
        "confusions": _confusions(nlp, list(corpus(nlp))),
        "training": words / spent,
        "prediction": statistics.median(scores["speed"] for scores in evaluated),
        "seconds": seconds,
        "memory": _peak_memory(),
        "size": sum(file.stat().st_size for file in best.rglob("*") if file.is_file()),
        "curve": curve,
    }


@contextmanager
def timed_steps(nlp: Language) -> Iterator[List[Tuple[int, float]]]:
    """Words and seconds of each step of a training in the block, in a list that grows with them.

    In them are the passes forward and back, and what spaCy's loop calls after them: the optimizer,
    its averages, and the copies of parameters that go with it. Reading, evaluating and saving are
    not. Where gradients are accumulated, each batch of a step is a step here.
    """
    from thinc.api import Optimizer

    steps: List[Tuple[int, float]] = []
    ended = 0.0
    update, step_schedules = nlp.update, Optimizer.step_schedules

    def timed_update(examples: List[Example], **kwargs: Any) -> Any:
        nonlocal ended
        start = time.perf_counter()
        losses = update(examples, **kwargs)
        ended = time.perf_counter()
        steps.append((sum(map(len, examples)), ended - start))
        return losses

    def timed_end(optimizer: Optimizer) -> None:
        # Between the two, each component has finished its update, and nothing else was done. Some
        # of spaCy's components, such as its parser, let nobody set their own method.
        if steps:
            words, seconds = steps[-1]
            steps[-1] = words, seconds + time.perf_counter() - ended
        step_schedules(optimizer)

    nlp.update = timed_update
    Optimizer.step_schedules = timed_end  # type: ignore[method-assign]
    try:
        yield steps
    finally:
        nlp.update = update
        Optimizer.step_schedules = step_schedules  # type: ignore[method-assign]


def _peak_memory() -> Optional[int]:
    """Bytes that this process had at most; None on Windows, which has another way to tell."""
    try:
        import resource
    except ModuleNotFoundError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _confusions(nlp: Language, examples: List[Example]) -> Dict[str, Any]:
    """For tags and exclusive categories: how often which label was predicted in place of which."""
    pairs: Dict[str, Counter] = {}
    docs = nlp.pipe([example.predicted for example in examples])
    for example, doc in zip(examples, docs):
        example.predicted = doc
        if "tagger" in nlp.pipe_names:
            gold = example.get_aligned("TAG", as_string=True)
            tags = [(g, token.tag_) for g, token in zip(gold, doc) if g]
            pairs.setdefault("tagger", Counter()).update(tags)
        right = [label for label, value in example.reference.cats.items() if value == 1.0]
        if "textcat" in nlp.pipe_names and len(right) == 1 and doc.cats:
            predicted = max(doc.cats, key=doc.cats.__getitem__)
            pairs.setdefault("textcat", Counter()).update([(right[0], predicted)])
    return {name: _matrix(counted) for name, counted in pairs.items()}


def _matrix(counted: Counter) -> Dict[str, Any]:
    """The counts of the labels that are most often confused."""
    often: Counter = Counter()
    for (gold, predicted), n in counted.items():
        often.update({gold: n, predicted: n} if gold != predicted else {gold: 0})
    labels = sorted(label for label, _ in often.most_common(LABELS))
    rows = [[counted[gold, predicted] for predicted in labels] for gold in labels]
    return {"labels": labels, "counts": rows, "of": len(often)}


if __name__ == "__main__":
    main(sys.argv[1])
