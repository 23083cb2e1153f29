"""The group of commands. What a command runs is imported when it runs."""

from __future__ import annotations

import typer
from spacy.cli._util import app

from .train import train_cli

group = typer.Typer(
    name="frameworks",
    help="Commands of spacy-frameworks: train in several processes.",
    no_args_is_help=True,
)
group.command("train", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
    train_cli
)
app.add_typer(group)
