"""Where the generators of random numbers are, so that a training can go on from there."""

from __future__ import annotations

import json
import random
import sys
from typing import Any, Dict, Iterable

import numpy
from thinc.api import Model, get_current_ops

from ...wrappers.generators import kept_generators
from ...wrappers.shim import FrameworkShim


def state() -> bytes:
    """Where the generators of this process are that can tell: Python's, NumPy's and PyTorch's. JAX
    has none; for the others there is `begin_anew`."""
    numpys: Any = numpy.random.get_state(legacy=False)
    numpys["state"]["key"] = numpys["state"]["key"].tolist()
    found = {"python": random.getstate(), "numpy": numpys}
    return json.dumps({**found, **_state_of_pytorch()}).encode()


def set_state(data: bytes) -> None:
    """Have them where they were when `state` told."""
    found = json.loads(data)
    version, internal, gauss = found["python"]
    random.setstate((version, tuple(internal), gauss))
    numpys = found["numpy"]
    numpys["state"]["key"] = numpy.array(numpys["state"]["key"], dtype="uint32")
    numpy.random.set_state(numpys)
    if "torch" in found:
        torch = sys.modules["torch"]
        torch.set_rng_state(torch.tensor(found["torch"], dtype=torch.uint8))
        if "cuda" in found:
            torch.cuda.set_rng_state(torch.tensor(found["cuda"], dtype=torch.uint8))


def _state_of_pytorch() -> Dict[str, Any]:
    # Where nobody has imported it, nobody draws from it.
    torch = sys.modules.get("torch")
    if torch is None:
        return {}
    found = {"torch": torch.get_rng_state().tolist()}
    if torch.cuda.is_initialized():
        found["cuda"] = torch.cuda.get_rng_state().tolist()
    return found


def begin_anew(models: Iterable[Model]) -> None:
    """Have the generators that cannot tell where they are begin anew: CuPy's, TensorFlow's and
    MXNet's. NumPy's decides where they begin, and stays where it is."""
    shims = {
        id(shim): shim
        for model in models
        for node in model.walk()
        for shim in node.shims
        if isinstance(shim, FrameworkShim)
    }
    with kept_generators():
        xp = get_current_ops().xp
        if xp is not numpy:
            xp.random.seed(numpy.random.randint(2**31))
        for shim in shims.values():
            shim.seed_passes()
