"""Scores of spaCy's own components on the encoders, per framework, on the embedded sample.

    python -m benchmarks.components

From the root of the repository. The trainings are those of the tests.
"""

from __future__ import annotations

from typing import List, Optional

import typer
from rich.console import Console

from tests.architectures.components import COMPONENTS, ENCODERS, TOKENS, train_component


def main(
    component: Optional[List[str]] = typer.Option(None, help="All of them by default."),
    encoder: Optional[List[str]] = typer.Option(None, help="All four by default."),
    framework: Optional[List[str]] = typer.Option(None, help="All four by default."),
) -> None:
    """Train everything on everything and print a Markdown table of scores."""
    console = Console(stderr=True)
    frameworks = framework or TOKENS
    rows = []
    for name in component or COMPONENTS:
        for encode in encoder or ENCODERS:
            scores = []
            for fw in frameworks:
                losses, score, majority = train_component(name, encode, fw)
                scores.append(f"{score:.3f}")
                console.print(
                    f"{name} on {encode} in {fw}: loss {losses[0]:.1f} to {losses[-1]:.1f}, "
                    f"{COMPONENTS[name].metric} {score:.3f}, majority {majority:.3f}",
                    soft_wrap=True,
                )
            rows.append((name, encode, *scores, f"{majority:.3f}"))
    header = ("component", "encoder", *frameworks, "majority")
    for row in (header, ["---"] * len(header), *rows):
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    typer.run(main)
