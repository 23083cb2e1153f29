"""spaCy's training loop, of which every process runs its part.

spaCy's own `train` runs in each process. Three functions that it calls are ours meanwhile:

- `create_train_batches`: the documents of the processes are compared before the first step;
- `train_while_improving`: each process is given its part of each batch; the process of rank 0
  evaluates; losses and words are sums;
- `subdivide_batch`: behind the last part of a batch, the gradients are summed. spaCy's loop comes
  by there once in every step of every process, before any optimizer is called, also where this
  process's part of the batch is empty.
"""

from __future__ import annotations

import contextlib
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Tuple

import numpy
from spacy.language import Language
from spacy.training import Example
from spacy.training import loop as spacys
from thinc.api import Model, Optimizer

from ...wrappers.patches import Held
from ..patches import PARALLEL
from .agreement import (
    DisagreementError,
    batch_checksum,
    check_corpora,
    check_weights,
    doc_checksum,
)
from .checkpoint import UNSEEN
from .generators import drawn_alike, restore_state
from .gradients import Gradients, Parameter, parameters_of
from .group import Group
from .progress import Progress
from .statistics import Statistics

Batches = Iterable[Tuple[int, List[Example]]]
Corpus = Callable[[Language], Iterable[Example]]
Step = Tuple[List[Example], Dict[str, Any], Optional[bool]]

# This module is imported before they are replaced.
_create_train_batches = spacys.create_train_batches
_train_while_improving = spacys.train_while_improving
_subdivide_batch = spacys.subdivide_batch


class Run:
    """One training, as one of the processes sees it. Its methods do what spaCy's functions of the
    same names do, for all processes together.

    words: How many words all processes have been given until now.
    """

    def __init__(self, nlp: Language, group: Group, progress: Progress):
        """
        nlp: The initialized pipeline. Where the training goes on, its models have the weights of
            there afterwards.

        Raises RefusedError if a component cannot be trained in several processes,
        DisagreementError if the processes begin with other weights, and ResumeError if the models
        are others than there.
        """
        self.group, self.progress = group, progress
        self.words = 0
        self.parameters: List[Parameter] = []
        self._models = trained_models(nlp)
        progress.restore(self._models)
        self._checksum = 0
        if group.size > 1:
            self.parameters = parameters_of(self._models)
            check_weights(self.parameters, group)
        self._gradients = Gradients(group, self.parameters)
        self._statistics = Statistics(self.parameters)

    def create_train_batches(
        self, nlp: Language, corpus: Corpus, batcher: Any, max_epochs: int
    ) -> Batches:
        def read(nlp: Language) -> Iterator[Example]:
            for example in corpus(nlp):
                # Before anything else is done with it: components may write into both docs.
                self.progress.drawn(doc_checksum(example.reference))
                yield example

        def compared(nlp: Language) -> List[Example]:
            examples = list(read(nlp))
            check_corpora(len(examples), self.progress.data, self.group)
            return examples

        # A corpus that is streamed is read again in each epoch, and of the processes, its batches
        # alone are compared.
        return _create_train_batches(nlp, read if max_epochs < 0 else compared, batcher, max_epochs)

    def train_while_improving(
        self,
        nlp: Language,
        optimizer: Optimizer,
        train_data: Batches,
        evaluate: Callable[[], Tuple[float, Dict[str, float]]],
        **options: Any,
    ) -> Iterator[Step]:
        steps = _train_while_improving(
            nlp,
            optimizer,
            self._parts(train_data),
            self._evaluated_once(evaluate),
            **options,
        )
        self.progress.catch_up(steps, self._models, optimizer)
        for batch, info, is_best in steps:
            info.update(words=self.words, seconds=self.progress.seconds)
            if is_best is not None:
                info["losses"] = self._total(info["losses"])
            yield batch, info, is_best
            if is_best is not None:
                # spaCy has written the models, and asks for the next step.
                self.progress.save(info, self._models, optimizer)

    def subdivide_batch(self, batch: List[Example], accumulate_gradient: int) -> Iterator[Any]:
        yield from _subdivide_batch(batch, accumulate_gradient)
        self._sum_gradients()

    def _parts(self, train_data: Batches) -> Batches:
        """This process's part of each batch; nothing of those that were trained on before."""
        restore_state(self.group.from_first(self.progress.beginning()))
        for epoch, batch in drawn_alike(train_data, self._models, self.group.rank):
            batch = list(batch)
            self.words += sum(map(len, batch))
            self._checksum = batch_checksum(batch)
            self.progress.drawn(self._checksum)
            part = part_of(batch, self.group.rank, self.group.size)
            yield epoch, [] if self.progress.is_catching_up else part

    def _sum_gradients(self) -> None:
        if self.group.size == 1 or self.progress.is_catching_up:
            return
        self._statistics.check(self._gradients.known)
        # A place for each process.
        checksums = numpy.zeros(self.group.size)
        checksums[self.group.rank] = self._checksum
        checksums = self._gradients.sum(checksums)
        if len(set(checksums)) > 1:
            raise DisagreementError(
                "The processes have drawn different batches of the training data: their checksums "
                f"are {[int(checksum) for checksum in checksums]}, by rank. Something that reads, "
                "shuffles or batches the corpus does not do the same in each process: let it draw "
                "from Python's or NumPy's global generator, or from one of its own with a seed."
            )

    def _evaluated_once(self, evaluate: Callable[[], Any]) -> Callable[[], Any]:
        def scores() -> Any:
            self._share_what_was_seen()
            return self.group.from_first(evaluate() if self.group.rank == 0 else None)

        return lambda: self.progress.scores(scores)

    def _share_what_was_seen(self) -> None:
        """spaCy's parsers predict no label that they got later than the others, as those of a
        pipeline that is trained further do, until it occurs in training."""
        for model in self._models.values():
            if UNSEEN in model.attrs:
                unseen = model.attrs[UNSEEN]
                unseen.intersection_update(*self.group.gathered(unseen))

    def _total(self, losses: Dict[str, float]) -> Dict[str, float]:
        total: Dict[str, float] = {}
        for own in self.group.gathered({name: float(loss) for name, loss in losses.items()}):
            for name, loss in own.items():
                total[name] = total.get(name, 0.0) + loss
        return total


_run: Optional[Run] = None


@contextlib.contextmanager
def in_the_loop(run: Run) -> Iterator[None]:
    """Have spaCy's `train` run this process's part of a training.

    Raises RuntimeError if spaCy's loop is not the one that we know.
    """
    global _run
    held = Held()
    _run = run
    try:
        held.enter(*PARALLEL)
        yield
    finally:
        _run = None
        held.leave_all()


def _current() -> Run:
    assert _run is not None
    return _run


# What spaCy's loop calls meanwhile.


def create_train_batches(nlp: Language, corpus: Corpus, batcher: Any, max_epochs: int) -> Batches:
    return _current().create_train_batches(nlp, corpus, batcher, max_epochs)


def train_while_improving(
    nlp: Language, optimizer: Optimizer, train_data: Batches, evaluate: Any, **options: Any
) -> Iterator[Step]:
    return _current().train_while_improving(nlp, optimizer, train_data, evaluate, **options)


def subdivide_batch(batch: List[Example], accumulate_gradient: int) -> Iterator[Any]:
    return _current().subdivide_batch(batch, accumulate_gradient)


def part_of(batch: List[Example], rank: int, size: int) -> List[Example]:
    """A process's part of a batch: as many docs as the others have, or one less, and about as many
    tokens."""
    by_length = sorted(batch, key=len, reverse=True)
    # There and back again: whoever has the longest of one round has the shortest of the next.
    rounds = [by_length[i : i + size] for i in range(0, len(by_length), size)]
    turned = [part if i % 2 == 0 else part[::-1] for i, part in enumerate(rounds)]
    return [part[rank] for part in turned if rank < len(part)]


def trained_models(nlp: Language) -> Dict[str, Model]:
    """The models that spaCy's loop updates, by the name of their component."""
    frozen = nlp.config.interpolate()["training"]["frozen_components"]
    return {
        name: pipe.model
        for name, pipe in nlp.pipeline
        if name not in frozen
        and getattr(pipe, "is_trainable", False)
        and pipe.model not in (True, False, None)
    }
