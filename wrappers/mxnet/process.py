"""MXNet in a process: its import."""

from __future__ import annotations

import contextlib
import os
from typing import Iterator

from ..kernels import MOST_KERNELS, keep_few_kernels


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Have MXNet keep few of the kernels that it compiles, one for each shape: it would keep all,
    beside those that oneDNN keeps. What the user has set stays. MXNet reads it when it first
    computes, so this may come after its import."""
    os.environ.setdefault("MXNET_MKLDNN_CACHE_NUM", str(MOST_KERNELS))
    keep_few_kernels()
    yield
