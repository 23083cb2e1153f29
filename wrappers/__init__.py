"""Models of other frameworks as Thinc models that behave like native ones.

What is called after a framework (`PyTorchWrapper`, `xp2torch`) comes from the framework's folder:
what its `__init__.py` lists. Importing this imports no framework (PyTorch aside where Thinc itself
imports it); that happens when something of a framework is built.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from . import allocator as _allocator
from . import patches as _patches
from .allocator import current_gpu_allocator, set_gpu_allocator
from .framework import FRAMEWORKS, Framework, all_frameworks, get_framework, is_installed
from .mask import with_mask
from .ops import set_framework_ops, undo_framework, use_framework_ops
from .resize import resize_wrapper

if TYPE_CHECKING:
    # For type checkers and editors, which do not run `__getattr__`.
    from .jax import *  # noqa: F403
    from .mxnet import *  # noqa: F403
    from .pytorch import *  # noqa: F403
    from .tensorflow import *  # noqa: F403

# Thinc and spaCy share the GPU's memory by our allocators.
_allocator.install()
# Thinc's functions choose ours, and `import mxnet` works on today's NumPy and Python, as long as
# the process lives. All other changes are entered and left.
_patches.Held().enter(*_patches.ALLOCATORS, *_patches.MXNET)

_OF_FRAMEWORKS = {
    name: f"{__name__}.{fw.id}"
    for fw in FRAMEWORKS
    for name in importlib.import_module(f".{fw.id}", __name__).__all__
}


def __getattr__(name: str) -> Any:
    if name not in _OF_FRAMEWORKS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_OF_FRAMEWORKS[name]), name)


__all__ = [
    "FRAMEWORKS",
    "Framework",
    "all_frameworks",
    "current_gpu_allocator",
    "get_framework",
    "is_installed",
    "resize_wrapper",
    "set_framework_ops",
    "set_gpu_allocator",
    "undo_framework",
    "use_framework_ops",
    "with_mask",
    *_OF_FRAMEWORKS,
]
