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

group = typer.Typer(
    name="frameworks",
    help="PyTorch, TensorFlow, MXNet and JAX models in spaCy pipelines.",
    no_args_is_help=True,
)
group.command("info")(info_cli)
group.command("swap")(swap_cli)
group.command("convert")(convert_cli)
group.command("summary")(summary_cli)
# Values of the config are options, too.
OVERRIDES = {"allow_extra_args": True, "ignore_unknown_options": True}
group.command("compare", context_settings=OVERRIDES)(compare_cli)
group.command("train", context_settings=OVERRIDES)(train_cli)
app.add_typer(group)
