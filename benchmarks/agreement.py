"""How far each framework's networks are from float64, and from Thinc's after training.

    python -m benchmarks.agreement

From the root of the repository, because networks, data and the float64 reference are those of the
tests. That takes autograd and pytest too.
"""

from __future__ import annotations

import dataclasses
from typing import Any, List, Optional

import typer
from rich.console import Console
from spacy_frameworks.wrappers.framework import FRAMEWORKS, THINC

from tests.architectures.test_networks import NETWORKS, STEPS, errors, trained

TOKENS = [fw.token for fw in (*FRAMEWORKS, THINC)]
COLUMNS = [
    "network",
    "framework",
    "output",
    "input gradient",
    "parameter gradients",
    f"parameters after {STEPS} steps",
    "the same, dropout 0.3",
]


def measure(network: Any, framework: str) -> List[float]:
    """The largest errors relative to the reference's largest value, and the largest differences
    of parameters from Thinc's."""
    found = errors(framework, network)
    output = max(found.pop("output"), found.pop("predicted"))
    return [
        output,
        found.pop("input gradient"),
        max(found.values()),
        *(from_thinc(network, framework, dropout) for dropout in (0.0, 0.3)),
    ]


def from_thinc(network: Any, framework: str, dropout: float) -> float:
    expected = trained("Thinc", network, dropout)
    came = trained(framework, network, dropout)
    return max(abs(came[key] - value).max() for key, value in expected.items())


def short(network: Any) -> str:
    """The network without what is left at its default."""
    values = [
        f"{field.name}={getattr(network, field.name)}"
        for field in dataclasses.fields(network)
        if getattr(network, field.name) != field.default
    ]
    return f"{type(network).__name__}({', '.join(values)})"


def main(
    framework: Optional[List[str]] = typer.Option(None, help="All four by default."),
) -> None:
    """Print a Markdown table of errors."""
    console = Console(stderr=True)
    rows = []
    for network in NETWORKS:
        for fw in framework or TOKENS:
            rows.append([f"`{short(network)}`", fw, *(f"{e:.0e}" for e in measure(network, fw))])
            console.print(" | ".join(rows[-1]))
    for row in (COLUMNS, ["---"] * len(COLUMNS), *rows):
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    typer.run(main)
