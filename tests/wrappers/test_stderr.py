"""Frameworks write nothing to stderr that nobody asked for, and errors all the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .. import python_path
from ..frameworks import WRAPPED
from .conftest import ROOT

LEVEL = "TF_CPP_MIN_LOG_LEVEL"


def run(*arguments: object, **variables: object) -> subprocess.CompletedProcess[str]:
    """Run Python as a user does, who has set no level."""
    env = {**os.environ, "PYTHONPATH": python_path(ROOT)}
    env.pop(LEVEL, None)
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**env, **{name: str(value) for name, value in variables.items()}},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


# What comes first in a process, and so imports the framework.
SITUATIONS = {
    "training": """
import numpy
from spacy_frameworks.architectures import FeedForward, build_network
model = build_network({framework!r}, FeedForward(4), 0.1, 3, 4)
X, Y = numpy.zeros((3, 4), "f"), numpy.zeros((3, 3), "f")
model.initialize(X, Y)
model.begin_update(X)[1](Y)
model.predict(X)
""",
    "array": """
import importlib, numpy
from spacy_frameworks.wrappers import get_framework
fw = get_framework({framework!r})
arrays = importlib.import_module(f"spacy_frameworks.wrappers.{{fw.id}}.arrays")
arrays.xp2tensor(numpy.zeros((3, 4), "f"))
""",
    "product": """
import numpy
from spacy_frameworks.wrappers.ops import get_framework_ops
ops = get_framework_ops({framework!r})
# MXNet's leave all products to NumPy.
if ops._min_products < float("inf"):
    ops._min_products = 1
ops.gemm(numpy.zeros((3, 4), "f"), numpy.zeros((4, 3), "f"))
""",
}


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("framework", WRAPPED)
def test_a_process_writes_nothing(framework, situation):
    done = run("-c", SITUATIONS[situation].format(framework=framework))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("framework", WRAPPED)
def test_training_from_the_command_line_writes_nothing(framework):
    settings = ("--vars.framework", framework, "--training.max_steps", "2")
    done = run("-m", "spacy", "train", "configs/tagger.cfg", *settings)
    assert (done.returncode, done.stderr) == (0, "")


REQUIRE = "from spacy_frameworks.wrappers.framework import require; require('tensorflow')"


@pytest.mark.tensorflow
def test_a_level_that_the_user_chose_holds():
    assert "cpu_feature_guard" in run("-c", REQUIRE, **{LEVEL: "0"}).stderr
    printed = f"{REQUIRE}; import os; print(os.environ[{LEVEL!r}])"
    assert run("-c", printed, **{LEVEL: "1"}).stdout == "1\n"


# What TensorFlow 2.21 for GPUs, which is 2 GB, wrote where there is no GPU, and what 2.17 did.
NOTICES = [
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
    "I0000 00:00:1795549505.294590   12309 cudart_stub.cc:31] Could not find cuda drivers on your "
    "machine, GPU will not be used.",
    "2024-08-01 10:00:00.123456: I external/local_tsl/tsl/cuda/cudart_stub.cc:32] Could not find "
    "cuda drivers on your machine, GPU will not be used.",
    "E0000 00:00:1722500000.123456   12309 cuda_fft.cc:485] Unable to register cuFFT factory: "
    "Attempting to register factory for plugin cuFFT when one has already been registered",
]
NO_DRIVER = (
    "E0000 00:00:1795549510.911670   12309 cuda_platform.cc:52] failed call to cuInit: INTERNAL: "
    "CUDA error: Failed call to cuInit: UNKNOWN ERROR (303)"
)
ERROR = "E0000 00:00:1795549510.911670   12309 some_kernel.cc:52] out of luck"
LIKE_FOR_GPUS = f"""
import os
from types import SimpleNamespace
def write(*lines):
    os.write(2, "".join(line + "\\n" for line in lines).encode())
write(*{NOTICES!r}, {ERROR!r})
config = SimpleNamespace(list_physical_devices=lambda: write({NO_DRIVER!r}))
"""


@pytest.fixture
def like_for_gpus(tmp_path: Path) -> Path:
    """A folder with a module that writes at its import what TensorFlow for GPUs does."""
    platform = tmp_path / "tensorflow" / "python" / "platform"
    platform.mkdir(parents=True)
    (platform / "build_info.py").write_text("build_info = dict([('is_cuda_build', True)])")
    (tmp_path / "tensorflow" / "__init__.py").write_text(LIKE_FOR_GPUS)
    return tmp_path


@pytest.mark.skipif(
    Path("/dev/nvidiactl").exists(), reason="with a driver, nobody asks for devices early"
)
def test_notices_of_a_build_for_gpus_are_left_out_and_errors_are_not(like_for_gpus):
    done = run("-c", REQUIRE, PYTHONPATH=like_for_gpus)
    assert (done.returncode, done.stderr) == (0, ERROR + "\n")


def test_a_level_that_the_user_chose_holds_for_a_build_for_gpus(like_for_gpus):
    done = run("-c", REQUIRE, PYTHONPATH=like_for_gpus, **{LEVEL: "2"})
    assert done.stderr.splitlines() == [*NOTICES, ERROR]


def test_an_import_that_fails_tells_everything(like_for_gpus):
    with (like_for_gpus / "tensorflow" / "__init__.py").open("a") as file:
        file.write("raise RuntimeError('broken')")
    done = run("-c", REQUIRE, PYTHONPATH=like_for_gpus)
    assert done.returncode == 1
    assert done.stderr.splitlines()[: len(NOTICES) + 1] == [ERROR, *NOTICES]
    assert done.stderr.endswith("RuntimeError: broken\n")


# What leaves lines out


LEAVE_OUT = """
import os, sys
from spacy_frameworks.wrappers.stderr import leave_out
with leave_out("^notice"):
    os.write(2, b"notice one\\nother\\n")
    print("by Python", file=sys.stderr)
    print("notice by Python", file=sys.stderr)
    os.system("echo by a child >&2; echo notice by a child >&2")
    {end}
os.write(2, b"notice afterwards\\n")
"""
PASSED = ["other", "by Python", "by a child"]
HELD = ["notice one", "notice by Python", "notice by a child"]


def test_lines_are_left_out_whoever_writes_them():
    done = run("-c", LEAVE_OUT.format(end="pass"))
    assert done.stderr.splitlines() == [*PASSED, "notice afterwards"]


def test_a_crash_loses_nothing():
    done = run("-c", LEAVE_OUT.format(end="os.abort()"))
    assert done.returncode != 0
    # The other process may still be writing when this one is gone, but holds stderr open.
    assert done.stderr.splitlines() == [*PASSED, *HELD]


def test_an_error_loses_nothing():
    done = run("-c", LEAVE_OUT.format(end="raise KeyError('inside')"))
    lines = done.stderr.splitlines()
    assert lines[:6] == [*PASSED, *HELD]
    assert lines[-1] == "KeyError: 'inside'"


def test_a_last_line_without_an_end_is_written():
    done = run("-c", LEAVE_OUT.format(end="os.write(2, b'no end')"))
    assert done.stderr.splitlines() == [*PASSED, "no endnotice afterwards"]


@pytest.mark.parametrize("executable", ["", "/no/where/python", "/bin/cat"])
def test_without_a_python_to_run_nothing_is_left_out(executable):
    code = LEAVE_OUT.format(end="pass").replace("with", f"sys.executable = {executable!r}\nwith", 1)
    done = run("-c", code)
    assert (done.returncode, done.stderr.count("notice")) == (0, 4)


def test_stderr_may_be_closed():
    code = "import os; from spacy_frameworks.wrappers.stderr import leave_out; os.close(2)"
    assert run("-c", f"{code}\nwith leave_out('x'): print('entered')").stdout == "entered\n"
