"""spaCy's `train` in several processes: what each of them calls, however they were started."""

from __future__ import annotations

import contextlib
import io
import random
import sys
from pathlib import Path
from typing import IO, Iterator, Optional, Tuple

from spacy.language import Language
from spacy.training import loop as spacys
from spacy.training.initialize import init_nlp
from thinc.api import Config, fix_random_seed

from .agreement import check_settings, labels, settings
from .group import Group
from .loop import Run, in_the_loop
from .output import Output
from .progress import Progress


def initialized(config: Config, group: Group, use_gpu: int = -1) -> Language:
    """The pipeline of a config, with the same weights in every process.

    config: As spaCy's `init_nlp` takes it.
    use_gpu: The number of this process's GPU; -1 if it trains on CPU.
    """
    # Without a seed, each process would begin anywhere. All exchange one, whatever their configs
    # say, which they have not compared yet.
    seed = group.from_first(random.getrandbits(31))
    if config.interpolate().get("training", {}).get("seed") is None:
        fix_random_seed(seed)
    return init_nlp(config, use_gpu=use_gpu)


def train(
    nlp: Language,
    output_path: Optional[Path],
    group: Group,
    *,
    use_gpu: int = -1,
    resume: bool = False,
    stdout: IO[str] = sys.stdout,
    stderr: IO[str] = sys.stderr,
) -> Tuple[Language, Optional[Path]]:
    """spaCy's `train`, in each of the processes of a group. That of rank 0 evaluates, writes and
    prints.

    nlp: From `initialized`.
    output_path: Where the process of rank 0 saves the pipeline. None to save nothing.
    resume: Whether to go on from the checkpoint that is there.
    use_gpu, stdout, stderr: As spaCy's.
    Returns the pipeline, and where it was saved.

    Raises DisagreementError, in all processes, if they do not train the same; RefusedError if a
    component cannot be trained in several; and ResumeError, in all of them, if the training
    cannot go on from what is there.
    """
    # All save, or resume, or none: each takes part in what the others send then.
    check_settings(nlp, group, output=output_path is not None, resume=resume)
    output = None if output_path is None else Output(output_path)
    progress = Progress(group, settings(nlp), lambda: labels(nlp), output)
    if resume:
        progress.resume()
    if group.rank:
        stdout, stderr = io.StringIO(), io.StringIO()
    with in_the_loop(Run(nlp, group, progress)), _logger_of(nlp, group):
        if output is None or group.rank:
            return spacys.train(nlp, None, use_gpu=use_gpu, stdout=stdout, stderr=stderr)
        with output.writing():
            nlp, _ = spacys.train(
                nlp, output.scratch, use_gpu=use_gpu, stdout=output.named_on(stdout), stderr=stderr
            )
            output.publish()
            output.remove_checkpoint()
        return nlp, output.path / spacys.DIR_MODEL_LAST


@contextlib.contextmanager
def _logger_of(nlp: Language, group: Group) -> Iterator[None]:
    """The logger of the config writes files, or reports to a server, from rank 0 alone."""
    training = nlp.config["training"]
    logger = training["logger"]
    try:
        if group.rank:
            training["logger"] = {"@loggers": "spacy.ConsoleLogger.v1"}
        yield
    finally:
        training["logger"] = logger
