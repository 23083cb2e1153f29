"""A process that trains one pipeline after the other, alone or in a group: what `spacy frameworks
train` does, without new processes for each.

    python -m torch.distributed.run --nproc-per-node 2 -m tests.training.parallel.worker FOLDER

FOLDER has runs.json: by name, the config of a run, what is overridden in it, and in one rank alone,
and whether it ends in a ValueError in each process. What comes of it is written to came-RANK.json:
the error that ended it, or none, and what this process has seen.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any, Dict

from spacy.util import load_config
from spacy_frameworks.training.parallel.group import Group, joined
from spacy_frameworks.training.parallel.train import initialized, train
from spacy_frameworks.wrappers import undo_framework

from . import components


def run_all(folder: Path, group: Group) -> Dict[str, Any]:
    """Train each pipeline, and save it under `FOLDER/SIZE/NAME`, SIZE being that of the group."""
    came = {}
    for name, run in json.loads((folder / "runs.json").read_text()).items():
        components.rank = group.rank
        components.seen.clear()
        overrides = {**run["overrides"], **run.get(f"rank {group.rank}", {})}
        config = load_config(folder / run["config"], overrides, interpolate=False)
        output, error = folder / str(group.size) / name, ""
        output.mkdir(parents=True, exist_ok=True)
        try:
            nlp = initialized(config, group)
            train(nlp, output, group, stdout=io.StringIO())
        except ValueError as raised:
            if not run.get("is refused"):
                raise
            error = f"{type(raised).__name__}: {raised}"
        finally:
            # Of the next run, as the hook may have set them.
            undo_framework()
        came[name] = {"error": error, "seen": list(components.seen)}
    return came


if __name__ == "__main__":
    folder, group = Path(sys.argv[1]), joined()
    came = run_all(folder, group)
    (folder / f"came-{group.rank}.json").write_text(json.dumps(came))
    group.leave()
