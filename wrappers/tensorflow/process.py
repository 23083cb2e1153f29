"""TensorFlow in a process: its import, and after a fork."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import sys
from pathlib import Path
from typing import Iterator

from ..stderr import leave_out

# What TensorFlow's build for GPUs writes whatever level was chosen, or as an error that is none:
# messages of the levels info and warning, what precedes the first of them, what says that two of
# its libraries share their plugins (2.16 to 2.19), and what follows from there being no driver.
NOTICES = (
    r"^WARNING: All log messages before absl::InitializeLog"
    r"|^[IW]\d{4} [\d:.]+ +\d+ "
    r"|^\d{4}-\d\d-\d\d [\d:.]+: [IW] "
    r"|Unable to register cu\w+ factory"
)
NO_DRIVER = r"failed call to cuInit"


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """For the time of the import of TensorFlow: leave out what it writes to stderr, now and later,
    if it is no error. If the user has set TF_CPP_MIN_LOG_LEVEL, everything is left to it, and so is
    a TensorFlow that is imported already."""
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ or "tensorflow" in sys.modules:
        yield
        return
    # Errors alone. TensorFlow reads it once, in its import.
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    if not _is_for_gpus():
        yield
    elif _has_driver():
        with leave_out(NOTICES):
            yield
    else:
        with leave_out(f"{NOTICES}|{NO_DRIVER}"):
            yield
            import tensorflow as tf

            # It looks for GPUs when it is first asked to compute, and then it would complain.
            tf.config.list_physical_devices()


def _is_for_gpus() -> bool:
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or spec.origin is None:
        return False
    info = Path(spec.origin).parent / "python" / "platform" / "build_info.py"
    return info.exists() and "('is_cuda_build', True)" in info.read_text()


def _has_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def after_fork() -> bool:
    """Whether TensorFlow can run in a forked child: whatever runs there waits for threads that only
    the parent has, so nothing may."""
    return False
