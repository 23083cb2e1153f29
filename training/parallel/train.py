"""spaCy's `train`, in each of the processes that train together."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO, Optional, Tuple

from spacy.language import Language
from spacy.training import loop as spacys

from . import checkpoint, loop
from .group import Group
from .output import Named, Output
from .progress import Progress


def train(
    nlp: Language,
    output_path: Optional[Path] = None,
    *,
    group: Optional[Group] = None,
    use_gpu: int = -1,
    resume: bool = False,
    stdout: IO[str] = sys.stdout,
    stderr: IO[str] = sys.stderr,
) -> Tuple[Language, Optional[Path]]:
    group = group or Group()
    output = None if output_path is None else Output(output_path)
    resumed = None
    if resume:
        data = output.read_checkpoint() if group.rank == 0 else None
        resumed = checkpoint.read(group.from_first(data), output.checkpoint)
    run = loop.Run(group, Progress(group, nlp, output, resumed))
    names = ("train_while_improving", "subdivide_batch")
    before = {n: getattr(spacys, n) for n in names}
    for n in names:
        setattr(spacys, n, getattr(run, n))
    try:
        if output is None or group.rank > 0:
            return spacys.train(nlp, None, use_gpu=use_gpu, stdout=stdout, stderr=stderr)
        with output.writing():
            trained, _ = spacys.train(
                nlp, output.scratch, use_gpu=use_gpu, stdout=Named(stdout, output), stderr=stderr
            )
            output.publish()
            output.finish()
        return trained, output.path / spacys.DIR_MODEL_LAST
    finally:
        for n in names:
            setattr(spacys, n, before[n])
