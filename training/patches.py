"""What the hook changes in spaCy; the table of `wrappers/patches.py` goes on here."""

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
