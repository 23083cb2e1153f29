"""spaCy's training loop, of which every process runs its part.

spaCy's own `train` runs in each process. Three functions that it calls are ours meanwhile:

- `create_train_batches`: the corpora of the processes are compared before the first step;
- `train_while_improving`: each process is given its part of each batch; the process of rank 0
  evaluates; losses and words are sums;
- `subdivide_batch`: behind the last part of a batch, the gradients are summed.
"""

from __future__ import annotations

import contextlib
import random
import zlib
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Tuple

import numpy
from spacy.language import Language
from spacy.training import Example
from spacy.training import loop as spacys
from thinc.api import Model, Optimizer

from .gradients import Gradients
from .group import Group
from .progress import Progress

Batches = Iterable[Tuple[int, List[Example]]]
Step = Tuple[List[Example], Dict[str, Any], Optional[bool]]

# This module is imported before they are replaced.
_create_train_batches = spacys.create_train_batches
_train_while_improving = spacys.train_while_improving
_subdivide_batch = spacys.subdivide_batch


class Run:
    """One training, as one of the processes sees it."""

    def __init__(self, group: Group, progress: Progress):
        self.group, self.progress = group, progress
        self.gradients = Gradients(group)
        self.words = 0
        self._models: Dict[str, Model] = {}
        self._checksum = 0

    def train_while_improving(
        self,
        nlp: Language,
        optimizer: Optimizer,
        train_data: Batches,
        evaluate: Callable[[], Tuple[float, Dict[str, float]]],
        *,
        exclude: List[str],
        **options: Any,
    ) -> Iterator[Step]:
        self._models = trained_models(nlp, exclude)
        steps = _train_while_improving(
            nlp,
            optimizer,
            self._parts(train_data),
            self._evaluated_once(evaluate),
            exclude=exclude,
            **options,
        )
        self.progress.catch_up(steps, self._models, optimizer)
        for batch, info, is_best in steps:
            info = {**info, "words": self.words, "seconds": self.progress.seconds}
            if is_best is not None:
                info["losses"] = self._total(info["losses"])
            yield batch, info, is_best
            if is_best is not None:
                # spaCy has written the models, and asks for the next step.
                self.progress.save(info, self._models, optimizer)

    def subdivide_batch(self, batch: List[Example], count: int) -> Iterator[List[Example]]:
        yield from _subdivide_batch(batch, count)
        if self.group.size > 1 and not self.progress.is_catching_up:
            self._sum_gradients()

    def _parts(self, train_data: Batches) -> Batches:
        """This process's part of each batch.

        What is drawn for the data is the same in every process: between two batches, components
        may draw from the same generators, each process for its own docs.
        """
        generators = Generators()
        for epoch, batch in generators.drawing(train_data):
            batch = list(batch)
            self.words += sum(map(len, batch))
            self._checksum = checksum(batch)
            self.progress.drawn(self._checksum)
            part = part_of(batch, self.group.rank, self.group.size)
            yield epoch, [] if self.progress.is_catching_up else part

    def _sum_gradients(self) -> None:
        # A place for each process.
        notes = numpy.zeros(self.group.size)
        notes[self.group.rank] = self._checksum
        notes = self.gradients.sum(self._models, notes)
        if len(set(notes)) > 1:
            raise ValueError(f"The processes were given other batches: {notes}")

    def _evaluated_once(self, evaluate: Callable[[], Any]) -> Callable[[], Any]:
        def scores() -> Any:
            return self.group.from_first(evaluate() if self.group.rank == 0 else None)

        return lambda: self.progress.scores(scores)

    def _total(self, losses: Dict[str, float]) -> Dict[str, float]:
        total: Dict[str, float] = {}
        for own in self.group.gathered({name: float(loss) for name, loss in losses.items()}):
            for name, loss in own.items():
                total[name] = total.get(name, 0.0) + loss
        return total


class Generators:
    """Python's and NumPy's generators of random numbers, which the data has for itself."""

    def drawing(self, train_data: Batches) -> Batches:
        """What is given, drawn from generators of its own, which begin where the global ones are.
        They are the global ones again while a batch is trained on."""
        data = iter(train_data)
        for_data = _state()
        while True:
            for_training = _state()
            _set_state(for_data)
            try:
                batch = next(data, None)
            finally:
                for_data = _state()
                _set_state(for_training)
            if batch is None:
                return
            yield batch


def _state() -> Tuple[Any, Any]:
    return random.getstate(), numpy.random.get_state()


def _set_state(state: Tuple[Any, Any]) -> None:
    random.setstate(state[0])
    numpy.random.set_state(state[1])


def part_of(batch: List[Example], rank: int, size: int) -> List[Example]:
    """A process's part of a batch: as many docs as the others have, or one less, and about as many
    tokens."""
    by_length = sorted(batch, key=len, reverse=True)
    # There and back again: whoever has the longest of one round has the shortest of the next.
    rounds = [by_length[i : i + size] for i in range(0, len(by_length), size)]
    turned = [part if i % 2 == 0 else part[::-1] for i, part in enumerate(rounds)]
    return [part[rank] for part in turned if rank < len(part)]


def checksum(batch: List[Example]) -> int:
    """A number of 24 bits, which float32 holds exactly."""
    lengths = [len(example) for example in batch]
    return zlib.crc32(repr(lengths).encode()) & 0xFFFFFF


def trained_models(nlp: Language, exclude: List[str]) -> Dict[str, Model]:
    """The models that spaCy's loop updates."""
    return {
        name: pipe.model
        for name, pipe in nlp.pipeline
        if name not in exclude
        and getattr(pipe, "is_trainable", False)
        and getattr(pipe, "model", None) not in (True, False, None)
    }
