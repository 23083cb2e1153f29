"""spaCy's parser and entity recognizer, with their transitions made step by step from Python."""

from __future__ import annotations

import sys
from typing import Any, Iterable, List

from spacy import pipeline
from spacy.tokens import Doc
from thinc.api import set_dropout_rate

from ..wrappers.ops import FasterNumpyOps

# spaCy's wheels for Python up to 3.11 are compiled to be seen by profilers: each small function of
# the transition system takes Python's lock, to look whether one listens, hundreds of times for each
# token. spaCy parses a batch in one go without the lock, so each time is a mutex and a condition
# variable. From a thread that has the lock, it is a counter. From 3.12 on, nothing is left to gain.
TAKES_THE_LOCK = sys.version_info < (3, 12)


class _StepByStep:
    """Parses a batch with Python's lock held but for the matrix products, in a half to a third of
    the time of one go. Annotations are the same, to float32 rounding of the scores."""

    __slots__ = ()

    def greedy_parse(self: Any, docs: Iterable[Doc], drop: float = 0.0) -> List[Any]:
        """The states of the docs after their last transition, on the model's ops if they are ours.

        docs (Iterable[Doc]): The docs, not all of them empty.
        drop (float): The dropout rate, which spaCy sets to 0.
        """
        model = self.model
        if not isinstance(model.ops, FasterNumpyOps) or not _is_known(model):
            return super().greedy_parse(docs, drop=drop)  # type: ignore[misc]
        self._ensure_labels_are_added(docs)
        set_dropout_rate(model, drop)
        batch = self.moves.init_batch(docs)
        step = model.predict(docs)
        upper = model.get_ref("upper")
        W, b = upper.get_param("W"), upper.get_param("b")
        unseen = sorted(model.attrs["unseen_classes"])
        states = [state for state in batch if not state.is_final()]
        while states:
            # What the step's own predict does around the arithmetic costs more than the arithmetic.
            hidden = step.state2vec.predict(step.get_token_ids(states))
            scores = model.ops.gemm(hidden, W, trans2=True)
            scores += b
            if unseen:
                scores[:, unseen] = scores.min()
            states = self.transition_states(states, scores)
        step.clear_memory()
        return batch


def _is_known(model: Any) -> bool:
    """Whether the model is the usual one. Of one without an upper layer, or without pieces, spaCy
    computes other scores in one go than in steps."""
    return bool(model.attrs["has_upper"]) and model.get_ref("lower").get_dim("nP") >= 2


class EntityRecognizer(_StepByStep, pipeline.EntityRecognizer):
    __doc__ = pipeline.EntityRecognizer.__doc__
    __slots__ = ()


class DependencyParser(_StepByStep, pipeline.DependencyParser):
    __doc__ = pipeline.DependencyParser.__doc__
    __slots__ = ()
