"""How many kernels a framework keeps that it compiles for a shape."""

from __future__ import annotations

import os

# A training step of the largest of our networks takes 70. A process that sees new shapes all the
# time has no use for the others, and would keep a hundred MB of them.
MOST_KERNELS = 128


def keep_few_kernels() -> None:
    """Let oneDNN, which PyTorch and MXNet bring, keep so many, in place of 1,024, and MXNet beside
    it, in place of all. What the user has set stays. It is read when oneDNN and MXNet first
    compute, so networks for which much is compiled call it when they are built."""
    for name in ("DNNL_PRIMITIVE_CACHE_CAPACITY", "MXNET_MKLDNN_CACHE_NUM"):
        os.environ.setdefault(name, str(MOST_KERNELS))
