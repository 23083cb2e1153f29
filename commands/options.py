"""Options that several commands have."""

from __future__ import annotations

import typer

# As that of `spacy train`.
CODE = typer.Option(
    None,
    "--code",
    "-c",
    help="Path to Python file with additional code (registered functions) to be imported",
)
