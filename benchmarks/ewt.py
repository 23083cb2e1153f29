"""Scores of the flat taggers and textcats on a treebank, per framework and seed.

    python benchmarks/ewt.py PATH_TO_THE_TREEBANK

The folder has ewt-train.spacy and ewt-dev.spacy. Batches of 8 docs, dropout 0.1, gold tokens.
"""

from __future__ import annotations

import random
import statistics
import time
from pathlib import Path
from typing import List, Optional

import spacy
import typer
from rich.console import Console
from spacy.tokens import DocBin
from spacy.training import Example
from spacy.util import fix_random_seed, minibatch
from spacy_frameworks.wrappers.framework import FRAMEWORKS, THINC

TOKENS = [fw.token for fw in (*FRAMEWORKS, THINC)]
TASKS = {"tagger": ("tag_acc", 2), "textcat": ("cats_macro_f", 4)}


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
    data: Path, task: str, framework: str, seed: int, epochs: int, console: Console
) -> tuple[float, float]:
    """Train, and return the score on dev and the training speed in words per second."""
    metric, _ = TASKS[task]
    fix_random_seed(seed)
    architecture = {"tagger": "Tagger", "textcat": "TextCat"}[task]
    model = {"@architectures": f"spacy-frameworks.{framework}{architecture}.v1", "nO": None}
    if task == "textcat":
        model["exclusive_classes"] = True
    nlp = spacy.blank("en")
    nlp.add_pipe(task, config={"model": model})
    train, dev = read(data / "ewt-train.spacy", nlp), read(data / "ewt-dev.spacy", nlp)
    optimizer = nlp.initialize(lambda: train)
    words = sum(len(example) for example in train)
    seconds = 0.0
    for epoch in range(epochs):
        random.shuffle(train)
        losses: dict[str, float] = {}
        start = time.perf_counter()
        for batch in minibatch(train, size=8):
            nlp.update(batch, sgd=optimizer, drop=0.1, losses=losses)
        seconds += time.perf_counter() - start
        console.print(f"{task} {framework} seed {seed} epoch {epoch + 1}: loss {losses[task]:.1f}")
    return nlp.evaluate(dev)[metric], words * epochs / seconds


def main(
    data: Path = typer.Argument(..., exists=True, file_okay=False, help="Folder of the treebank."),
    task: Optional[List[str]] = typer.Option(None, help="tagger, textcat; both by default."),
    framework: Optional[List[str]] = typer.Option(None, help="All four by default."),
    seeds: int = typer.Option(3, help="How many seeds."),
    epochs: Optional[int] = typer.Option(None, help="2 for the tagger, 4 for textcat by default."),
) -> None:
    """Train on the treebank and print a Markdown table of dev scores."""
    console = Console(stderr=True)
    rows = []
    for name in task or TASKS:
        for fw in framework or TOKENS:
            runs = [
                score(data, name, fw, seed, epochs or TASKS[name][1], console)
                for seed in range(seeds)
            ]
            scores = [run[0] for run in runs]
            rows.append(
                (
                    name,
                    fw,
                    f"{statistics.mean(scores):.4f}",
                    " ".join(f"{value:.4f}" for value in scores),
                    f"{statistics.median(run[1] for run in runs):,.0f}",
                )
            )
            console.print(" | ".join(rows[-1]))
    print(
        "| task | framework | mean | per seed | training words/s |\n| --- | --- | --- | --- | --- |"
    )
    for row in rows:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    typer.run(main)
