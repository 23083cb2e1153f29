"""`spacy frameworks train`: spaCy's `train`, in one process or in several."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional

import typer
from spacy import util
from spacy.cli._util import (
    import_code,
    parse_config_overrides,
    setup_gpu,
    show_validation_error,
)
from wasabi import msg
from wasabi.printer import Printer

from .errors import as_messages
from .options import CODE

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
    code_path: Optional[Path] = CODE,
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
    by_ray: bool = typer.Option(
        False, "--ray", help="Have Ray start them, on its cluster if one is running"
    ),
    resume: bool = typer.Option(
        False, "--resume", "-r", help="Go on where the training in the output directory last saved"
    ),
) -> None:
    """
    Train a pipeline like `spacy train`, with the same arguments and overrides, in several processes
    that share each batch. Either this command starts them, on this machine (--processes) or by Ray
    (--ray), or torchrun starts this command, on one machine or many:

    torchrun --nproc-per-node 2 -m spacy frameworks train config.cfg --output out
    """
    from ..training.parallel.group import LOCAL_RANK, SIZE
    from . import launch, on_ray

    with as_messages():
        overrides = parse_config_overrides(ctx.args)
    arguments = {
        "config_path": config_path,
        "output_path": output_path,
        "code_path": code_path,
        "verbose": verbose,
        "resume": resume,
        "overrides": overrides,
    }
    size = os.environ.get(SIZE)
    is_one_of_many = size is not None
    if is_one_of_many and not by_ray and str(processes) not in ("1", size):
        msg.fail(
            f"Expected --processes {size}, as {SIZE} says in the environment, got {processes}.",
            f"Leave it out where torchrun starts this command; otherwise, unset {SIZE}.",
            exits=1,
        )
    if (processes > 1 or by_ray) and not is_one_of_many and str(config_path) == "-":
        msg.fail("Several processes cannot read one config from stdin: write it to a file.")
        sys.exit(1)
    if by_ray:
        with as_messages():
            on_ray.launch(processes, train_as_told, use_gpu, **arguments)
    elif processes > 1 and not is_one_of_many:
        with as_messages():
            launch.launch(processes)
    else:
        launch.end_with_launcher()
        if use_gpu >= 0:
            use_gpu += int(os.environ.get(LOCAL_RANK, "0"))
        train_as_told(use_gpu=use_gpu, **arguments)


def train_as_told(
    *,
    config_path: Path,
    output_path: Optional[Path],
    code_path: Optional[Path],
    verbose: bool,
    use_gpu: int,
    resume: bool,
    overrides: Dict[str, Any],
) -> None:
    """What the command does in each process."""
    from ..training.parallel.group import joined

    if verbose:
        util.logger.setLevel(logging.DEBUG)
    import_code(code_path)
    with as_messages():
        group = joined(use_gpu)
    train(config_path, output_path, group, use_gpu=use_gpu, resume=resume, overrides=overrides)
    # Where it has failed, others may be waiting for this process, and go when it has gone.
    group.leave()


def train(
    config_path: Path,
    output_path: Optional[Path],
    group: Group,
    *,
    use_gpu: int = -1,
    resume: bool = False,
    overrides: Mapping[str, Any],
) -> None:
    """What `spacy train` does, in each of the processes of a group. That of rank 0 prints.

    config_path, output_path, overrides: As spaCy's `train` takes them.
    use_gpu: The number of this process's GPU; -1 if it trains on CPU.
    Exits with 1, after a message, if the config is not valid, if something is not installed, if the
    processes do not train the same, or cannot, if the logger cannot write, or if there is nothing
    to resume. Other errors while the pipeline is made and trained are raised: they may be of a
    user's own code, and need their traceback.
    """
    from ..training.logger import LoggerError
    from ..training.parallel.agreement import DisagreementError
    from ..training.parallel.checkpoint import ResumeError
    from ..training.parallel.gradients import RefusedError
    from ..training.parallel.output import Output
    from ..training.parallel.train import initialized
    from ..training.parallel.train import train as train_nlp
    from ..wrappers.framework import NotInstalledError

    # What is wrong is said by each process: whoever goes first takes the others along, who may not
    # have said it yet.
    say = Printer(no_print=group.rank > 0)
    if group.rank:
        util.logger.setLevel(logging.ERROR)
    with as_messages():
        if output_path is None:
            say.info("No output directory provided")
        elif group.rank == 0:
            if not output_path.is_dir():
                output_path.mkdir(parents=True)
                say.good(f"Created output directory: {output_path}")
            say.info(f"Saving to output directory: {output_path}")
            if not resume and Output(output_path).checkpoint.exists():
                say.warn(
                    "A training in this directory was ended. What it saved is replaced when this "
                    "one saves for the first time. To go on with it instead, add --resume."
                )
        setup_gpu(use_gpu, silent=group.rank > 0)
        with show_validation_error(config_path):
            config = util.load_config(config_path, overrides=dict(overrides), interpolate=False)
    try:
        say.divider("Initializing pipeline")
        with show_validation_error(config_path, hint_fill=False):
            nlp = initialized(config, group, use_gpu)
        say.good("Initialized pipeline")
        say.divider("Training pipeline")
        train_nlp(
            nlp,
            output_path,
            group,
            use_gpu=use_gpu,
            resume=resume,
            stdout=sys.stdout,
            stderr=sys.stderr,
        )
    except DisagreementError as error:
        _fail_together("The processes do not train the same", error, group)
    except ResumeError as error:
        _fail_together("The training cannot be resumed", error, group)
    except (NotInstalledError, RefusedError, LoggerError) as error:
        # Maybe in this process alone, so that none of the others is waited for.
        msg.fail(str(error), exits=1)


def _fail_together(title: str, error: Exception, group: Group) -> None:
    """Exit where all processes have the same error."""
    if group.rank == 0:
        msg.fail(title, error)
        sys.stdout.flush()
    # Whoever goes first takes the others along, who may not have printed yet.
    group.from_first(None)
    sys.exit(1)
