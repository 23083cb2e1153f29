"""What the processor can do, and which of PyTorch's kernels is the fastest on it."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any, Dict

CPUINFO = Path("/proc/cpuinfo")

# From how many multiplications on oneDNN is called by its name: that takes 40 microseconds.
ONEDNN_PRODUCTS = 4_000_000


def is_faster_on_onednn() -> bool:
    """Whether products of float32 are faster by oneDNN than by MKL, which `torch.mm` calls. On
    AMD's processors, MKL leaves AVX-512 alone, and with that half of the speed. A rule and no
    measurement: it gives the same in every run, whatever else the machine is doing."""
    found = capabilities()
    return str(found["cpu_name"]).startswith("AMD") and bool(found["avx512_f"]) and has_onednn()


def has_bfloat16() -> bool:
    """Whether the processor has instructions for products of bfloat16."""
    found = capabilities()
    return any(found.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


@functools.cache
def capabilities() -> Dict[str, Any]:
    """The processor's name ("cpu_name") and its instructions, by PyTorch's names for them."""
    import torch

    # Newer versions have it.
    if hasattr(torch.cpu, "get_capabilities"):
        return {"cpu_name": "", "avx512_f": False, **torch.cpu.get_capabilities()}
    text = CPUINFO.read_text() if CPUINFO.exists() else ""
    name = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*: (.*)$", text, re.MULTILINE)
    words = flags.group(1).split() if flags else []
    found: Dict[str, Any] = dict.fromkeys(words, True)
    return {**found, "cpu_name": name.group(1) if name else "", "avx512_f": "avx512f" in words}


@functools.cache
def has_onednn() -> bool:
    """Whether PyTorch has oneDNN's linear layer as we call it: the name is not public, and that of
    2.0 knows no layer without an activation."""
    import torch

    if not torch.backends.mkldnn.is_available():
        return False
    operator = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    known = (
        "mkldnn::_linear_pointwise(Tensor X, Tensor W, Tensor? B, str attr, Scalar?[] scalars, "
        "str? algorithm) -> Tensor Y"
    )
    if operator is None or str(operator.default._schema) != known:
        return False
    from .linear import onednn_linear

    try:
        # Of no rows, so that oneDNN computes nothing: it would settle how many kernels it keeps.
        onednn_linear(torch.empty((0, 1)), torch.empty((1, 1)), None)
    except RuntimeError:
        return False
    return True
