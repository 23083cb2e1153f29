"""Random numbers: what is drawn for the data is the same in every process, and what is drawn in
training, as for dropout, is another in each. Where the generators are can be saved."""

from __future__ import annotations

import json
import random
import sys
from typing import Any, Dict, Iterable, Iterator, Mapping, Tuple, TypeVar

import numpy
from thinc.api import Model, fix_random_seed, get_current_ops

from ...wrappers.generators import kept_generators
from ...wrappers.shim import FrameworkShim

T = TypeVar("T")


def drawn_alike(data: Iterable[T], models: Mapping[str, Model], rank: int) -> Iterator[T]:
    """What is given, which draws from Python's and NumPy's generators, the same in every process in
    which these are at the same place now.

    Components draw from the same generators while they train, each process for its own docs. So
    the data has states of its own, which are put in place while it is asked for the next batch.
    """
    batches = iter(data)
    batch = next(batches, None)
    for_data = _state()
    if rank:
        _seed_for(rank, models)
    while batch is not None:
        yield batch
        for_training = _state()
        _set_state(for_data)
        batch = next(batches, None)
        for_data = _state()
        _set_state(for_training)


def _seed_for(rank: int, models: Mapping[str, Model]) -> None:
    """Draw something else in each process from here on. It follows from the seed of the config, in
    which all generators began."""
    common = numpy.random.randint(2**31)
    fix_random_seed(int(numpy.random.SeedSequence([common, rank]).generate_state(1)[0]))
    begin_anew(models)


def _state() -> Tuple[Any, Any]:
    return random.getstate(), numpy.random.get_state()


def _set_state(state: Tuple[Any, Any]) -> None:
    random.setstate(state[0])
    numpy.random.set_state(state[1])


# All generators, for files.


def saved_state() -> bytes:
    """Where the generators of this process are that can tell: Python's, NumPy's and PyTorch's. JAX
    has none; for the others there is `begin_anew`."""
    numpys: Any = numpy.random.get_state(legacy=False)
    numpys["state"]["key"] = numpys["state"]["key"].tolist()
    found = {"python": random.getstate(), "numpy": numpys}
    return json.dumps({**found, **_state_of_pytorch()}).encode()


def restore_state(data: bytes) -> None:
    """Have them where they were.

    data: From `saved_state`.
    """
    found = json.loads(data)
    version, internal, gauss = found["python"]
    random.setstate((version, tuple(internal), gauss))
    numpys = found["numpy"]
    numpys["state"]["key"] = numpy.array(numpys["state"]["key"], dtype="uint32")
    numpy.random.set_state(numpys)
    if "torch" in found:
        import torch

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


def begin_anew(models: Mapping[str, Model]) -> None:
    """Have the generators that cannot tell where they are begin anew: CuPy's, and those that models
    of TensorFlow and MXNet draw from. NumPy's decides where, and stays where it is.

    models: By the name of their component.
    """
    shims = {
        id(shim): shim
        for model in models.values()
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
