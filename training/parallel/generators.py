"""Random numbers: what is drawn for the data is the same in every process, and what is drawn in
training, as for dropout, is another in each."""

from __future__ import annotations

import random
from typing import Any, Iterable, Iterator, Sequence, Tuple, TypeVar

import numpy
from thinc.api import fix_random_seed

from ...wrappers.shim import FrameworkShim
from .gradients import Parameter
from .group import Group

T = TypeVar("T")


def drawn_alike(data: Iterable[T], parameters: Sequence[Parameter], group: Group) -> Iterator[T]:
    """What is given, which draws from Python's and NumPy's generators, the same in every process.

    Components draw from the same generators while they train, each process for its own docs. So
    the data has states of its own, which are put in place while it is asked for the next batch.
    """
    _set_state(group.from_first(_state()))
    batches = iter(data)
    batch = next(batches, None)
    for_data = _state()
    if group.rank:
        _seed_for(group.rank, parameters)
    while batch is not None:
        yield batch
        for_training = _state()
        _set_state(for_data)
        batch = next(batches, None)
        for_data = _state()
        _set_state(for_training)


def _seed_for(rank: int, parameters: Sequence[Parameter]) -> None:
    """Draw something else in each process from here on. It follows from the seed of the config, in
    which all generators began."""
    common = numpy.random.randint(2**31)
    fix_random_seed(int(numpy.random.SeedSequence([common, rank]).generate_state(1)[0]))
    owners = (parameter.owner for parameter in parameters)
    for shim in dict.fromkeys(owner for owner in owners if isinstance(owner, FrameworkShim)):
        shim.reseed()


def _state() -> Tuple[Any, Any]:
    return random.getstate(), numpy.random.get_state()


def _set_state(state: Tuple[Any, Any]) -> None:
    random.setstate(state[0])
    numpy.random.set_state(state[1])
