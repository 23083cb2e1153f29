"""What a framework does on this machine, found out in a process of its own."""

from __future__ import annotations

import json
from typing import Any, Dict, cast

import numpy


def main(name: str) -> None:
    """Print what was found out about a framework as a line of JSON."""
    print(json.dumps(probed(name)))


def probed(name: str) -> Dict[str, Any]:
    """What a framework is and does here.

    name: Its id, or "numpy" or "thinc".
    Returns JSON values: "installed" (the version), "works" (True, or the error), "device",
    "threads", "kernel" and "why", "allocator".
    """
    from ..wrappers.framework import NUMPY, THINC, get_framework

    fw = get_framework(name, (NUMPY,))
    found: Dict[str, Any] = {"installed": _version(fw), "works": True}
    try:
        if fw not in (NUMPY, THINC):
            _take_a_step(fw.id)
            found["device"] = _device(fw.id)
        found.update(_kernels(fw.token), threads=_threads(), allocator=_allocator(fw.id))
    except Exception as error:
        # Whatever it is, that is the answer.
        found["works"] = f"{type(error).__name__}: {error}"
    return found


def _version(fw: Any) -> str:
    from importlib import import_module

    from ..wrappers.framework import THINC, require

    module = import_module(fw.module) if fw.id in ("numpy", THINC.id) else require(fw.id)
    return str(getattr(module, "__version__", "unknown"))


def _take_a_step(name: str) -> None:
    """A network of ours predicts and is trained for a step, and its parameters move."""
    from thinc.api import Adam

    from ..architectures.encoders import build_feed_forward
    from ..wrappers.framework import get_framework

    model = build_feed_forward(get_framework(name).token, width=4)
    X: Any = [numpy.ones((3, 4), dtype="float32")]
    model.initialize(X=X, Y=X)
    before: Any = model.predict(X)[0].copy()
    _, backprop = model.begin_update(X)
    backprop(X)
    model.finish_update(Adam(0.1))
    after: Any = model.predict(X)[0]
    if numpy.allclose(before, after):
        raise RuntimeError("A training step changed nothing.")


def _device(name: str) -> str:
    from ..wrappers.module import module_class

    return str(module_class(name).default_device())


def _threads() -> int:
    """How many threads kernels take, at most, of the libraries that are loaded."""
    from threadpoolctl import threadpool_info

    return max((pool["num_threads"] for pool in threadpool_info()), default=1)


def _kernels(token: str) -> Dict[str, str]:
    """Which library multiplies under Thinc's layers with the ops of this framework, and why."""
    from ..wrappers.framework import NUMPY, THINC, get_framework
    from ..wrappers.ops import FasterNumpyOps, get_framework_ops, has_kernels

    fw = get_framework(token, (NUMPY,))
    if fw == THINC:
        return {"kernel": "blis", "why": "Thinc's own."}
    kernel = str(cast(FasterNumpyOps, get_framework_ops(token)).kernel)
    reasons = {
        "onednn": "this processor is AMD's with AVX-512, of which MKL leaves that alone",
        "mm": "PyTorch's own choice is the fastest on this processor",
        "tensorflow": "its products are faster than NumPy's from some size on",
        "numpy": "NumPy's BLAS is faster than Thinc's",
        "thinc": "this NumPy has no fast BLAS",
    }
    why = reasons[kernel]
    if fw != NUMPY and not has_kernels(fw):
        why = f"{token} has none to lend, so they are NumPy's"
    return {"kernel": kernel, "why": f"{why}."}


def _allocator(name: str) -> str:
    from thinc import compat

    from ..wrappers.allocator import current_gpu_allocator

    if not compat.has_cupy_gpu:
        return "no GPU"
    return current_gpu_allocator() or "CuPy's own"
