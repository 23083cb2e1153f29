"""How far a training has come: that is saved with its models, and another one goes on from there.

spaCy's loop cannot begin at a step. So it runs through the steps until there with empty batches,
which takes a moment: the data is drawn and shuffled as before, schedules and `before_update` are
stepped, and each evaluation has the score that it had. Then the models, the optimizer and the
random numbers are put as they were.
"""

from __future__ import annotations

import warnings
import zlib
from timeit import default_timer
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple

from thinc.api import Model, Optimizer

from . import checkpoint, generators
from .checkpoint import Checkpoint, IncompleteError, Labels, ResumeError
from .group import Group
from .output import Output

Scores = Tuple[float, Dict[str, Any]]


class Progress:
    """Of one training, as one of its processes sees it.

    data: A checksum of all documents and batches until now.
    """

    def __init__(
        self,
        group: Group,
        settings: Mapping[str, str],
        labels: Callable[[], Labels],
        output: Optional[Output] = None,
    ):
        """
        settings: What its config says.
        labels: Returns those that its components have now.
        output: Where the process of rank 0 saves it. None if it is not saved.
        """
        self.group, self.settings, self.output = group, settings, output
        self.labels, self._labels_at_first = labels, labels()
        self.data = 0
        # Where it goes on, until it is there.
        self._ahead: Optional[Checkpoint] = None
        self._scores: Iterator[float] = iter(())
        self._beginning = b""
        # Until it was found that it cannot be resumed.
        self._is_saved = True
        self._seconds_before, self._began = 0.0, default_timer()

    def resume(self) -> None:
        """Have it go on from the checkpoint in its output folder, which the process of rank 0
        reads.

        Raises ResumeError, in all processes, if it cannot.
        """
        if self.output is None:
            raise ResumeError("A training goes on where it was saved: expected an output folder.")
        # The bytes, or what is wrong with them.
        found: Any = None
        if self.group.rank == 0:
            try:
                found = self.output.read_checkpoint()
                checkpoint.read(found, self.output.checkpoint).check(
                    self.settings, self._labels_at_first, self.group.size
                )
            except ResumeError as error:
                found = error
        found = self.group.from_first(found)
        if isinstance(found, ResumeError):
            raise found
        self._ahead = checkpoint.read(found, self.output.checkpoint)
        self._scores = iter(self._ahead.header["scores"])

    def restore(self, models: Mapping[str, Model]) -> None:
        """Have models with the weights of where it goes on.

        Raises ResumeError if they are other models.
        """
        if self._ahead is not None:
            self._ahead.restore(models)

    @property
    def is_catching_up(self) -> bool:
        """Whether its steps are still those that have been trained before."""
        return self._ahead is not None

    @property
    def seconds(self) -> int:
        """How long it has trained, with the time before it was resumed."""
        return int(self._seconds_before + default_timer() - self._began)

    def beginning(self) -> bytes:
        """Where the random numbers that decide on the data begin."""
        if self._ahead is None:
            self._beginning = generators.saved_state()
        else:
            self._beginning = self._ahead.generators("beginning")
        return self._beginning

    def drawn(self, checksum: int) -> None:
        """A document was read, or a batch was drawn.

        checksum: Of the document or the batch, the same in each process.
        """
        self.data = zlib.crc32(b"%d" % checksum, self.data)

    def scores(self, evaluate: Callable[[], Scores]) -> Scores:
        """What an evaluation gives, or what it gave before."""
        return (next(self._scores), {}) if self.is_catching_up else evaluate()

    def catch_up(
        self, steps: Iterator[Any], models: Mapping[str, Model], optimizer: Optimizer
    ) -> None:
        """Take steps of spaCy's loop, until it is where it goes on.

        Raises ResumeError if the data is not the same.
        """
        if self._ahead is None:
            return
        resumed, header = self._ahead, self._ahead.header
        for _, info, _ in steps:
            if info["step"] == header["step"]:
                break
        if self.data != header["data"]:
            raise ResumeError(
                f"The documents and batches until step {header['step']} are not those that the "
                "checkpoint was trained on: the training data, its annotation, or what makes "
                "batches of it, has changed. Resume with the same data, or train from the "
                "beginning, without --resume."
            )
        resumed.restore_optimizer(models, optimizer)
        generators.restore_state(resumed.generators(self.group.rank))
        generators.begin_anew(models)
        self._seconds_before, self._began = header["seconds"], default_timer()
        self._ahead = None

    def save(
        self, info: Mapping[str, Any], models: Mapping[str, Model], optimizer: Optimizer
    ) -> None:
        """Put the models that spaCy has written in their place, and save what it takes to go on.
        Where that is not possible, the training itself goes on, with one warning.

        info: What spaCy's loop gave for the step.
        """
        if self.output is None:
            return
        states = self.group.gathered(generators.saved_state())
        if self.group.rank == 0:
            self.output.publish()
            if self._is_saved:
                self._save(self.output, info, models, optimizer, states)
        generators.begin_anew(models)

    def _save(
        self,
        output: Output,
        info: Mapping[str, Any],
        models: Mapping[str, Model],
        optimizer: Optimizer,
        states: List[bytes],
    ) -> None:
        try:
            if self.labels() != self._labels_at_first:
                raise IncompleteError(
                    "Labels were added since it began, and one that goes on begins without them."
                )
            data = checkpoint.make(
                models,
                optimizer,
                {"beginning": self._beginning, **dict(enumerate(states))},
                settings=self.settings,
                processes=self.group.size,
                labels=self._labels_at_first,
                data=self.data,
                scores=[float(score) for score, _ in info["checkpoints"]],
                step=info["step"],
                seconds=info["seconds"],
            )
        except IncompleteError as error:
            self._is_saved = False
            # It would be of an earlier training, or of a step long ago.
            output.remove_checkpoint()
            warnings.warn(
                "This training cannot be resumed if it is ended, so no checkpoint is written. "
                f"{error}",
                stacklevel=2,
            )
        else:
            output.write_checkpoint(data)
