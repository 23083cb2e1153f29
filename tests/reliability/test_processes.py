"""Pipelines in several processes: the same annotations, or an error at once, and never a hang."""

from __future__ import annotations

import json
import multiprocessing
import os

import pytest
from spacy_frameworks.wrappers import FRAMEWORKS

from ..frameworks import ALL, FORKS_NOT, ring

pytestmark = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork here"
)

IS_FULL = bool(os.environ.get("RUN_SLOW"))
# Each process that is started afresh takes seconds to import the framework.
METHODS = ["fork", "spawn", "forkserver"] if IS_FULL else ["fork"]
FORKS = 100 if IS_FULL else 6
# Each framework with the next one; or the pair of those that have the most threads.
TOGETHER = ring([fw.token for fw in FRAMEWORKS])[slice(None) if IS_FULL else slice(1, 2)]

RUN = """
import json, sys
from tests.reliability.processes import main
main(*json.loads(sys.argv[1]))
"""


@pytest.mark.parametrize("framework", ALL)
def test_every_way_to_start_processes_gives_the_same(framework, run_python):
    arguments = [framework, framework, True, METHODS, FORKS]
    found = json.loads(run_python(RUN, json.dumps(arguments)).splitlines()[-1])
    assert found["count"] == len(METHODS) + 1 + FORKS
    assert found["differ"] == {}
    if framework == "Thinc":
        return
    predicted, went_back, seconds = found["own"]
    assert seconds < 30
    if framework in [case.values[0] for case in FORKS_NOT]:
        for said in (predicted, went_back):
            assert said.startswith(f"RuntimeError: {framework} hangs") and "n_process=1" in said
    else:
        assert predicted < 1e-5


@pytest.mark.parametrize(("first", "second"), TOGETHER)
def test_two_frameworks_together(first, second, run_python):
    arguments = [first, second, True, METHODS, FORKS]
    found = json.loads(run_python(RUN, json.dumps(arguments)).splitlines()[-1])
    assert found["count"] > FORKS and found["differ"] == {}
