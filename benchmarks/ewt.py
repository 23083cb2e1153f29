"""Scores on a treebank, per framework and seed: of the flat taggers and textcats, or of a config.

    python benchmarks/ewt.py PATH_TO_THE_TREEBANK
    python benchmarks/ewt.py PATH_TO_THE_TREEBANK --config configs/tagger_window.cfg

The folder has ewt-train.spacy and ewt-dev.spacy; gold tokens. The flat models are trained in
batches of 8 docs with dropout 0.1, a config as its [training] says.
"""

from __future__ import annotations

import contextlib
import random
import statistics
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional

import spacy
import typer
from rich.console import Console
from spacy.schemas import ConfigSchemaTraining
from spacy.tokens import DocBin
from spacy.training import Example
from spacy.util import (
    fix_random_seed,
    load_config,
    load_model_from_config,
    minibatch,
    registry,
)
from spacy_frameworks.wrappers.framework import FRAMEWORKS, THINC
from thinc.api import Optimizer

TOKENS = [fw.token for fw in (*FRAMEWORKS, THINC)]


class Run(NamedTuple):
    """A pipeline that is still to be trained, and how.

    make_optimizer: Called after the pipeline is initialized.
    metrics: The names of the scores that count, with their weights.
    """

    nlp: spacy.Language
    make_optimizer: Callable[[spacy.Language], Optimizer]
    batch: Callable[[List[Example]], Any]
    dropout: float
    epochs: int
    metrics: Dict[str, float]


def flat(architecture: str, settings: Dict[str, Any], epochs: int, metric: str) -> Callable:
    """A flat model with its default sizes."""

    def run(framework: str) -> Run:
        model = {"@architectures": f"spacy-frameworks.{framework}{architecture}.v1", **settings}
        nlp = spacy.blank("en")
        nlp.add_pipe(architecture.lower(), config={"model": {"nO": None, **model}})
        return Run(
            nlp,
            lambda nlp: nlp.create_optimizer(),
            lambda examples: minibatch(examples, size=8),
            0.1,
            epochs,
            {metric: 1.0},
        )

    return run


FLAT = {
    "tagger": flat("Tagger", {}, 2, "tag_acc"),
    "textcat": flat("TextCat", {"exclusive_classes": True}, 4, "cats_macro_f"),
}


def from_config(path: Path) -> Callable:
    """A config's pipeline, trained as its [training] says, up to `max_epochs`."""

    def run(framework: str) -> Run:
        config = load_config(path, overrides={"vars.framework": framework}, interpolate=True)
        nlp = load_model_from_config(config)
        training = registry.resolve(config["training"], schema=ConfigSchemaTraining)
        return Run(
            nlp,
            lambda nlp: training["optimizer"],
            training["batcher"],
            training["dropout"],
            training["max_epochs"],
            {name: weight for name, weight in training["score_weights"].items() if weight},
        )

    return run


def read(path: Path, nlp: spacy.Language) -> List[Example]:
    """Examples with the treebank's own tokens."""
    docs = DocBin().from_disk(path).get_docs(nlp.vocab)
    return [
        Example(
            spacy.tokens.Doc(nlp.vocab, [t.text for t in d], [bool(t.whitespace_) for t in d]), d
        )
        for d in docs
    ]


def score(
    run: Run, data: Path, split: str, seed: int, epochs: int, title: str, console: Console
) -> tuple[float, float]:
    """Train, and return the score and the training speed in words per second."""
    random.seed(seed)
    nlp, words, seconds = run.nlp, 0, 0.0
    train, held_out = (read(data / f"ewt-{name}.spacy", nlp) for name in ("train", split))
    nlp.initialize(lambda: train)
    optimizer = run.make_optimizer(nlp)
    for epoch in range(epochs):
        random.shuffle(train)
        losses: dict[str, float] = {}
        start = time.perf_counter()
        for batch in run.batch(train):
            nlp.update(batch, sgd=optimizer, drop=run.dropout, losses=losses)
            optimizer.step_schedules()
            words += sum(len(example) for example in batch)
        seconds += time.perf_counter() - start
        loss = sum(losses.values())
        console.print(f"{title}: epoch {epoch + 1}, loss {loss:.1f}, {seconds:.0f} s")
    averages = optimizer.averages
    with nlp.use_params(averages) if averages else contextlib.nullcontext():
        scores = nlp.evaluate(held_out)
    return sum(scores[name] * weight for name, weight in run.metrics.items()), words / seconds


def main(
    data: Path = typer.Argument(..., exists=True, file_okay=False, help="Folder of the treebank."),
    task: Optional[List[str]] = typer.Option(None, help="tagger, textcat; both by default."),
    config: Optional[List[Path]] = typer.Option(None, help="Configs, in place of the tasks."),
    framework: Optional[List[str]] = typer.Option(None, help="All by default."),
    seeds: int = typer.Option(3, help="How many seeds."),
    epochs: Optional[int] = typer.Option(
        None, help="Tagger: 2, textcat: 4, a config: its max_epochs."
    ),
    split: str = typer.Option("dev", help="dev, or test for a final figure."),
) -> None:
    """Train on the treebank and print a Markdown table of scores."""
    console = Console(stderr=True)
    tasks = {path.stem: from_config(path) for path in config or []} or {
        name: FLAT[name] for name in task or FLAT
    }
    rows = []
    for name, make in tasks.items():
        for fw in framework or TOKENS:
            results = []
            for seed in range(seeds):
                fix_random_seed(seed)
                run = make(fw)
                title = f"{name} {fw} seed {seed}"
                results.append(score(run, data, split, seed, epochs or run.epochs, title, console))
                console.print(f"{title}: {results[-1][0]:.4f}")
            scores = [result[0] for result in results]
            rows.append(
                (
                    name,
                    fw,
                    f"{statistics.mean(scores):.4f}",
                    " ".join(f"{value:.4f}" for value in scores),
                    f"{statistics.median(result[1] for result in results):,.0f}",
                )
            )
    print(
        "| task | framework | mean | per seed | training words/s |\n| --- | --- | --- | --- | --- |"
    )
    for row in rows:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    typer.run(main)
