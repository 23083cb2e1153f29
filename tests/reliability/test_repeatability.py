"""One seed gives the same losses in every framework, and the same bytes in every process."""

from __future__ import annotations

import json
import os

import pytest
from numpy.testing import assert_allclose

from .. import THREADS
from ..frameworks import WRAPPED
from ..pipelines import NAMES

# `tox -e full` trains all configs, and on two threads too.
CONFIGS = NAMES if os.environ.get("RUN_SLOW") else ["tagger"]
COUNTS = [1, 2] if os.environ.get("RUN_SLOW") else [1]

# What `spacy train` does, with dropout, in a process that has imported no framework yet: it does
# that after spaCy has set the seed.
TRAIN = """
import hashlib, json, sys
from pathlib import Path
from tests.pipelines import train_config

out, config, threads, *frameworks = sys.argv[1:]
for framework in frameworks:
    folder = Path(out) / framework
    train_config(
        config,
        framework,
        folder,
        **{
            "nlp.before_creation.threads": int(threads),
            "training.dropout": 0.2,
            "training.eval_frequency": 1,
            "training.logger.@loggers": "spacy.ConsoleLogger.v2",
            "training.logger.output_file": str(folder / "log.jsonl"),
        },
    )
    logged = [json.loads(line)["losses"] for line in (folder / "log.jsonl").open()]
    losses = [loss for step in logged for loss in step.values()]
    model = sorted((folder / "model-last").rglob("model"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in model)).hexdigest()
    print(json.dumps([losses, digest]))
"""


@pytest.mark.parametrize("threads", COUNTS)
@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("framework", WRAPPED)
def test_one_seed_gives_the_same_training_everywhere(
    framework, config, threads, run_python, tmp_path
):
    env = dict.fromkeys(THREADS, str(threads))

    def train(name, *frameworks):
        printed = run_python(TRAIN, tmp_path / name, config, threads, *frameworks, env=env)
        return [json.loads(line) for line in printed.splitlines() if line.startswith("[[")]

    (losses, digest), (of_thinc, _) = train("first", framework, "Thinc")
    assert len(losses) >= 3 and len(set(losses)) > 1
    assert_allclose(losses, of_thinc, rtol=1e-4)
    assert train("second", framework) == [[losses, digest]]
