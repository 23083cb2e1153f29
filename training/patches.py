"""What the hook and data-parallel training change in spaCy; the table of `wrappers/patches.py`
goes on here."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Tuple

from ..wrappers.patches import Change, Function, Replacement, Same
from . import transitions

_HERE = __package__

ALIGNMENT: Tuple[Change, ...] = (
    Replacement(
        owner="spacy.training.alignment:Alignment",
        name="from_strings",
        ours=f"{_HERE}.alignment:from_strings",
        why="spaCy aligns tokens by their characters where they are the same ones, too.",
        known=Function(
            "spacy.training.alignment:Alignment.from_strings",
            "cls A B",
            f"{_HERE}.alignment:aligns_one_to_one",
        ),
    ),
)

PARSERS: Tuple[Change, ...] = tuple(
    Replacement(
        owner="spacy.pipeline.factories",
        name=name,
        ours=f"{_HERE}.transitions:{name}",
        why="spaCy's transitions take Python's lock in each function: see `transitions.py`.",
        # The class that ours inherits from.
        known=Same(f"spacy.pipeline:{name}"),
    )
    for name in ("EntityRecognizer", "DependencyParser")
)


def parsers() -> Tuple[Change, ...]:
    """What has spaCy's factories make our parsers and entity recognizers, where they are faster. In
    earlier releases of spaCy 3.8, factories are compiled and make none but their own."""
    there = transitions.TAKES_THE_LOCK and find_spec("spacy.pipeline.factories")
    return PARSERS if there else ()


def _in_the_loop(name: str, arguments: str, why: str) -> Change:
    """A function of spaCy's training loop, which has no other place where it could be told."""
    return Replacement(
        owner="spacy.training.loop",
        name=name,
        ours=f"{_HERE}.parallel.loop:{name}",
        why=f"Several processes train together: {why}",
        known=Function(f"spacy.training.loop:{name}", arguments),
        needed=True,
    )


# Held while spaCy's `train` runs: see `parallel/loop.py`.
PARALLEL: Tuple[Change, ...] = (
    _in_the_loop(
        "create_train_batches",
        "nlp corpus batcher max_epochs",
        why="all read the same documents.",
    ),
    _in_the_loop(
        "train_while_improving",
        "nlp optimizer train_data evaluate dropout eval_frequency accumulate_gradient patience "
        "max_steps exclude annotating_components before_update",
        why="each trains on its part of a batch, and one evaluates.",
    ),
    _in_the_loop(
        "subdivide_batch",
        "batch accumulate_gradient",
        why="their gradients are summed when all parts of a batch are done.",
    ),
)
