"""How many kernels are kept that a framework compiles for a shape."""

from __future__ import annotations

import os

# A training step of the largest of our networks takes 70. A process that sees new shapes all the
# time has no use for the others, and would keep a hundred MB of them.
MOST_KERNELS = 128


def keep_few_kernels() -> None:
    """Let oneDNN, which PyTorch and MXNet bring, keep so many, in place of 1,024. What the user has
    set stays. It is read when oneDNN first computes, so this has to be called before that."""
    os.environ.setdefault("DNNL_PRIMITIVE_CACHE_CAPACITY", str(MOST_KERNELS))
