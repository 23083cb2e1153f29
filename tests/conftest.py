"""Which frameworks a run tests.

`TEST_FRAMEWORKS` names them ("pytorch mxnet", or "none"); one that is named and missing fails the
run. Without it, those that are installed are tested.

So that the environments of tox share the work, each test runs in one of them. What needs no
framework (it has no mark, or `thinc`, or that of the toy framework) runs only with "none"; what
needs one, where it is the only one; and what needs several, where these are there. `TEST_ADAPTERS`
names frameworks whose adapters are tested beside others too, such as MXNet's, which have another
NumPy there: in what has to do with NumPy, or with `RUN_SLOW` in all. `RUN_SLOW` adds what takes
minutes.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import hypothesis
import pytest
import thinc.backends
from spacy_frameworks.wrappers import FRAMEWORKS, is_installed, undo_framework
from thinc import compat
from thinc.api import CupyOps, get_current_ops, set_current_ops

from . import python_path, stand_in_gpu
from .frameworks import FROM_OUTSIDE, IDS

# The first example pays for imports, and machines are shared: no time limit for an example.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

ASKED_FOR = os.environ.get("TEST_FRAMEWORKS")
HAS_AUTOGRAD = importlib.util.find_spec("autograd") is not None
ADAPTERS = os.environ.get("TEST_ADAPTERS", "").split()
# Of tests/wrappers, besides the framework's own folder.
OF_NUMPYS = ("test_bytes", "test_copies", "test_dtypes", "test_gradients", "test_inputs")
# Of so few tests, each that is not run says why. Of more, they are left out: to skip one takes ten
# milliseconds, and there are thousands.
FEW = 200
TESTS = Path(__file__).parent
ROOT = TESTS.parent
if ASKED_FOR is None:
    TESTED = [name for name in IDS if is_installed(name)]
else:
    TESTED = [name for name in IDS if name in ASKED_FOR.split()]


def pytest_configure(config: pytest.Config) -> None:
    for fw in FRAMEWORKS:
        config.addinivalue_line("markers", f"{fw.id}: needs {fw.token}")
    for name in FROM_OUTSIDE:
        config.addinivalue_line("markers", f"{name}: needs autograd, in which it computes")
    missing = [name for name in TESTED if not is_installed(name)]
    if missing:
        raise pytest.UsageError(f"TEST_FRAMEWORKS names {missing}, which is not installed")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # Else one process works at the last of them while the others have nothing left to do.
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
    reasons = {item: reason for item in items if (reason := why_not(item))}
    if len(items) < FEW:
        for item, reason in reasons.items():
            item.add_marker(pytest.mark.skip(reason=reason))
    elif reasons:
        config.hook.pytest_deselected(items=list(reasons))
        items[:] = [item for item in items if item not in reasons]


def why_not(item: pytest.Item) -> str:
    """Why this run leaves a test to another one; "" if it does not."""
    names = [name for name in IDS if item.get_closest_marker(name)]
    missing = [name for name in names if name not in TESTED]
    folder, *_ = item.path.relative_to(TESTS).parts
    is_of_numpys = item.path.stem in OF_NUMPYS or item.path.parent.name in ADAPTERS
    is_asked_for = (
        folder == "wrappers"
        and set(names) <= set(ADAPTERS)
        and (is_of_numpys or os.environ.get("RUN_SLOW"))
    )
    if any(map(item.get_closest_marker, FROM_OUTSIDE)) and not HAS_AUTOGRAD:
        return "autograd is not installed"
    if item.get_closest_marker("slow") and not os.environ.get("RUN_SLOW"):
        return "takes minutes: tox -e full"
    if missing:
        return f"{missing[0]} is not tested in this run"
    if ASKED_FOR not in (None, "none") and not names:
        return "TEST_FRAMEWORKS=none tests it"
    if ASKED_FOR is not None and len(names) == 1 < len(TESTED) and not is_asked_for:
        return f"TEST_FRAMEWORKS={names[0]} tests it"
    return ""


@pytest.fixture(autouse=True)
def kernels_are_thincs_again():
    """The hook of our configs holds for the whole process, and so beyond the test that trains one
    of them here."""
    yield
    undo_framework()


@pytest.fixture(autouse=True)
def jax_has_32_bits_again():
    """JAX has float64 and int64 for the whole process, or not at all."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_enable_x64", False)


@pytest.fixture(scope="session")
def ewt() -> Path:
    """The folder of the treebank, which is not part of the project."""
    folder = os.environ.get("EWT")
    if not folder:
        pytest.skip("the environment variable EWT names no treebank")
    return Path(folder)


@pytest.fixture
def gpu(monkeypatch):
    """Thinc finds a stand-in for CuPy, and a GPU."""
    if compat.has_cupy_gpu:
        pytest.skip("there is a GPU: tests/gpu")
    cupy = stand_in_gpu.cupy()
    monkeypatch.setattr(compat, "cupy", cupy)
    monkeypatch.setattr(compat, "has_cupy_gpu", True)
    # Choosing cuda_async sets it.
    monkeypatch.setenv("TF_GPU_ALLOCATOR", "")
    pools = thinc.backends.context_pools.get()
    before = dict(pools)
    yield cupy
    pools.clear()
    pools.update(before)


@pytest.fixture
def cupy_ops():
    before = get_current_ops()
    set_current_ops(CupyOps())
    yield
    set_current_ops(before)


@pytest.fixture
def run_python():
    """Run code in a process of its own and return what it printed."""

    def run(code, *args, env=None, cwd=None):
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, args)],
            env={**os.environ, **({} if cwd else {"PYTHONPATH": python_path(ROOT)}), **(env or {})},
            cwd=cwd or ROOT,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run
