"""The group of commands. What a command runs is imported when it runs."""

from __future__ import annotations

import typer
from spacy.cli._util import app

from .train import train_cli

group = typer.Typer(no_args_is_help=True)
# What the command does not know are settings of the config.
_OVERRIDES = {"allow_extra_args": True, "ignore_unknown_options": True}


@group.callback()
def frameworks() -> None:
    """Commands of spacy-frameworks."""


group.command("train", context_settings=_OVERRIDES)(train_cli)
app.add_typer(group, name="frameworks")
