"""The picture of the README: the first plot of a report of `spacy frameworks compare`.

    spacy frameworks compare configs/tagger.cfg --seeds 3 --training.max_steps 120 \\
        --training.eval_frequency 10
    python -m benchmarks.picture comparison/report.html docs/images/compare.svg
"""

from __future__ import annotations

import re
from pathlib import Path

import typer

# A file has no text around it whose color it could take. This is read on white and on black.
INK = "#808890"


def main(report: Path, output: Path) -> None:
    """Write the first plot of a report to a file of its own."""
    found = re.search(r"<svg .*?</svg>", report.read_text(encoding="utf8"), re.DOTALL)
    if found is None:
        raise typer.BadParameter(f"There is no plot in {report}.")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(found[0].replace("currentColor", INK) + "\n", encoding="utf8")


if __name__ == "__main__":
    typer.run(main)
