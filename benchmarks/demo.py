"""Train the tagger and the textcat with every framework, and compare them in one table.

    python benchmarks/demo.py [TRAIN.spacy DEV.spacy]

Without files, on the embedded sample. Each training runs in a process of its own, with the configs
in `configs/`.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

import typer
from rich.console import Console
from rich.table import Table
from spacy_frameworks.wrappers.framework import FRAMEWORKS, THINC

CONFIGS = Path(__file__).parent.parent / "configs"
COMPONENTS = {"tagger": "tag_acc", "textcat": "cats_macro_f"}
TOKENS = [fw.token for fw in (*FRAMEWORKS, THINC)]
WARM_UP = 3  # updates that are not timed: tracing, hybridizing, first allocations

console = Console()


def main(
    train: Optional[Path] = typer.Argument(None, exists=True, help="Training data, .spacy."),
    dev: Optional[Path] = typer.Argument(None, exists=True, help="Data to evaluate on, .spacy."),
    output: Path = typer.Option(Path("demo-output"), help="Folder for the trained pipelines."),
    component: Optional[List[str]] = typer.Option(None, help="tagger, textcat; both by default."),
    framework: Optional[List[str]] = typer.Option(None, help="All four by default."),
    one: bool = typer.Option(False, hidden=True),
) -> None:
    """Train the tagger and the textcat with every framework, and compare them in one table."""
    if (train is None) != (dev is None):
        raise typer.BadParameter("give both files, for training and for evaluation, or none")
    components, frameworks = component or list(COMPONENTS), framework or TOKENS
    unknown = [x for x in (*components, *frameworks) if x not in (*COMPONENTS, *TOKENS)]
    if unknown:
        known = f"{', '.join(COMPONENTS)}; {', '.join(TOKENS)}"
        raise typer.BadParameter(f"unknown: {', '.join(unknown)}. There are: {known}")
    if one:
        (name,), (token,) = components, frameworks
        train_one(name, token, output / name / token, train, dev)
        return
    results = []
    for name in components:
        for token in frameworks:
            console.rule(f"{name} with {token}")
            arguments = ["--one", "--output", str(output), "--component", name]
            files = [str(path) for path in (train, dev) if path is not None]
            subprocess.run(
                [sys.executable, __file__, *arguments, "--framework", token, *files],
                check=True,
                env={"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ},
            )
            results.append(json.loads((output / name / token / "result.json").read_text()))
    console.print(table(results))
    console.print(f"The pipelines are in {output}, and load with spacy.load().")


def train_one(
    component: str, framework: str, output: Path, train: Optional[Path], dev: Optional[Path]
) -> None:
    """Train one pipeline, as `spacy train` does, and write what it reached to result.json."""
    import spacy
    from spacy.training.initialize import init_nlp
    from spacy.training.loop import train as train_nlp
    from spacy.util import load_config, resolve_dot_names

    overrides = {
        "vars.framework": framework,
        "paths.train": str(train) if train else None,
        "paths.dev": str(dev) if dev else None,
    }
    config = load_config(CONFIGS / f"{component}.cfg", overrides, interpolate=False)
    output.mkdir(parents=True, exist_ok=True)
    nlp = init_nlp(config)
    updates = time_updates(nlp)
    train_nlp(nlp, output, stdout=sys.stdout, stderr=sys.stderr)

    best = spacy.load(output / "model-best")
    (corpus,) = resolve_dot_names(best.config.interpolate(), ["corpora.dev"])
    scores = [best.evaluate(list(corpus(best))) for _ in range(3)]
    words, seconds = (sum(column) for column in zip(*updates[WARM_UP:]))
    result = {
        "component": component,
        "framework": framework,
        "score": scores[0][COMPONENTS[component]],
        "training": words / seconds,
        "prediction": statistics.median(score["speed"] for score in scores),
        "size": sum(f.stat().st_size for f in (output / "model-best").rglob("*") if f.is_file()),
    }
    (output / "result.json").write_text(json.dumps(result))


def time_updates(nlp: Any) -> List[tuple[int, float]]:
    """Words and seconds of each update from now on; reading and evaluating are not in them."""
    updates: List[tuple[int, float]] = []
    update = nlp.update

    def timed(examples: List[Any], **kwargs: Any) -> Any:
        start = time.perf_counter()
        losses = update(examples, **kwargs)
        updates.append((sum(len(eg) for eg in examples), time.perf_counter() - start))
        return losses

    nlp.update = timed
    return updates


def table(results: List[Dict[str, Any]]) -> Table:
    """The comparison, one row per component and framework."""
    caption = "dev score: accuracy of the tags, macro F of the categories"
    made = Table("component", "framework", title="Trained and evaluated", caption=caption)
    for column in ("dev score", "training words/s", "prediction words/s", "size on disk"):
        made.add_column(column, justify="right")
    for result in results:
        made.add_row(
            result["component"],
            result["framework"],
            f"{result['score']:.4f}",
            f"{result['training']:,.0f}",
            f"{result['prediction']:,.0f}",
            f"{result['size'] / 2**20:.2f} MiB",
        )
    return made


if __name__ == "__main__":
    typer.run(main)
