"""`spacy frameworks train`: spaCy's `train`, in one process or in several."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Mapping, Optional

import typer
from spacy import util
from spacy.cli._util import (
    import_code,
    parse_config_overrides,
    setup_gpu,
    show_validation_error,
)
from wasabi import msg

if TYPE_CHECKING:
    from ..training.parallel.group import Group


def train_cli(
    ctx: typer.Context,
    config_path: Path = typer.Argument(
        ..., help="Path to config file", exists=True, allow_dash=True
    ),
    output_path: Optional[Path] = typer.Option(
        None,
        "--output",
        "--output-path",
        "-o",
        help="Output directory to store trained pipeline in",
    ),
    code_path: Optional[Path] = typer.Option(
        None,
        "--code",
        "-c",
        help="Path to Python file with additional code (registered functions) to be imported",
    ),
    verbose: bool = typer.Option(
        False,
        "--verbose",
        "-V",
        "-VV",
        help="Display more information for debugging purposes",
    ),
    use_gpu: int = typer.Option(
        -1, "--gpu-id", "-g", help="GPU ID or -1 for CPU; of several processes, the first one's"
    ),
    processes: int = typer.Option(
        1, "--processes", "-n", min=1, help="How many processes train together"
    ),
) -> None:
    """
    Train a pipeline like `spacy train`, with the same arguments and overrides, in several processes
    that share each batch. Either this command starts them on this machine (--processes), or
    torchrun starts this command, on one machine or many:

    torchrun --nproc-per-node 2 -m spacy frameworks train config.cfg --output out
    """
    from ..training.parallel.group import LOCAL_RANK, SIZE, joined

    if processes > 1 and SIZE not in os.environ:
        from .launch import launch

        if str(config_path) == "-":
            msg.fail("Several processes cannot read one config from stdin: write it to a file.")
            sys.exit(1)
        launch(processes)
        return
    if use_gpu >= 0:
        use_gpu += int(os.environ.get(LOCAL_RANK, "0"))
    if verbose:
        util.logger.setLevel(logging.DEBUG)
    overrides = parse_config_overrides(ctx.args)
    import_code(code_path)
    group = joined(use_gpu)
    train(config_path, output_path, group, use_gpu=use_gpu, overrides=overrides)
    # Where it has failed, others may be waiting for this process, and go when it has gone.
    group.leave()


def train(
    config_path: Path,
    output_path: Optional[Path],
    group: Group,
    *,
    use_gpu: int = -1,
    overrides: Mapping[str, Any],
) -> None:
    """What `spacy train` does, in each of the processes of a group. That of rank 0 prints.

    config_path, output_path, overrides: As spaCy's `train` takes them.
    use_gpu: The number of this process's GPU; -1 if it trains on CPU.
    Exits with 1 if the config is not valid, or if the processes do not train the same.
    """
    from ..training.parallel.agreement import DisagreementError
    from ..training.parallel.train import initialized
    from ..training.parallel.train import train as train_nlp

    if group.rank:
        msg.no_print = True
        util.logger.setLevel(logging.ERROR)
    if output_path is None:
        msg.info("No output directory provided")
    elif group.rank == 0:
        if not output_path.exists():
            output_path.mkdir(parents=True)
            msg.good(f"Created output directory: {output_path}")
        msg.info(f"Saving to output directory: {output_path}")
    setup_gpu(use_gpu, silent=group.rank > 0)
    with show_validation_error(config_path):
        config = util.load_config(config_path, overrides=dict(overrides), interpolate=False)
    msg.divider("Initializing pipeline")
    with show_validation_error(config_path, hint_fill=False):
        nlp = initialized(config, group, use_gpu)
    msg.good("Initialized pipeline")
    msg.divider("Training pipeline")
    try:
        train_nlp(nlp, output_path, group, use_gpu=use_gpu)
    except DisagreementError as error:
        msg.fail("The processes do not train the same", error)
        # Whoever goes first takes the others along, who may not have printed yet.
        group.from_first(None)
        sys.exit(1)
