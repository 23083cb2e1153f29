"""The group of commands. What a command runs is imported when it runs."""

from __future__ import annotations

import typer
from spacy.cli._util import app

from .compare import compare_cli
from .convert import convert_cli
from .info import info_cli
from .summary import summary_cli
from .swap import swap_cli
from .train import train_cli

group = typer.Typer(no_args_is_help=True)
# What the command does not know are settings of the config.
_OVERRIDES = {"allow_extra_args": True, "ignore_unknown_options": True}


@group.callback()
def frameworks() -> None:
    """PyTorch, TensorFlow, MXNet and JAX models in spaCy pipelines."""


group.command("info")(info_cli)
group.command("swap")(swap_cli)
group.command("convert")(convert_cli)
group.command("summary")(summary_cli)
group.command("compare", context_settings=_OVERRIDES)(compare_cli)
group.command("train", context_settings=_OVERRIDES)(train_cli)
app.add_typer(group, name="frameworks")
