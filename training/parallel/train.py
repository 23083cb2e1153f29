"""spaCy's `train` in several processes: what each of them calls, however they were started."""

from __future__ import annotations

import io
import random
import sys
from pathlib import Path
from typing import IO, Optional, Tuple

from spacy.language import Language
from spacy.training import loop as spacys
from spacy.training.initialize import init_nlp
from thinc.api import Config, fix_random_seed

from .agreement import check_settings
from .group import Group
from .loop import Run, in_the_loop


def initialized(config: Config, group: Group, use_gpu: int = -1) -> Language:
    """The pipeline of a config, with the same weights in every process.

    config: As spaCy's `init_nlp` takes it.
    use_gpu: The number of this process's GPU; -1 if it trains on CPU.
    """
    if config.interpolate().get("training", {}).get("seed") is None:
        # Without a seed, each process would begin anywhere.
        fix_random_seed(group.from_first(random.getrandbits(31)))
    return init_nlp(config, use_gpu=use_gpu)


def train(
    nlp: Language,
    output_path: Optional[Path],
    group: Group,
    *,
    use_gpu: int = -1,
    stdout: IO[str] = sys.stdout,
    stderr: IO[str] = sys.stderr,
) -> Tuple[Language, Optional[Path]]:
    """spaCy's `train`, in each of the processes of a group. That of rank 0 evaluates, writes and
    prints.

    nlp: From `initialized`.
    output_path: Where the process of rank 0 saves the pipeline. None to save nothing.
    use_gpu, stdout, stderr: As spaCy's.
    Returns the pipeline, and where it was saved.

    Raises DisagreementError, in all processes, if they do not train the same, and ValueError if a
    component cannot be trained in several.
    """
    check_settings(nlp, group)
    if group.rank:
        output_path, stdout, stderr = None, io.StringIO(), io.StringIO()
        # Others write files, or report to a server.
        nlp.config["training"]["logger"] = {"@loggers": "spacy.ConsoleLogger.v1"}
    with in_the_loop(Run(nlp, group)):
        return spacys.train(nlp, output_path, use_gpu=use_gpu, stdout=stdout, stderr=stderr)
