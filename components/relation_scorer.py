"""How relations are compared and scored."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Tuple

from spacy.scorer import PRFScore
from spacy.tokens import Span
from spacy.training import Example

from .relations import EXTENSION, read_relations


class Key(NamedTuple):
    """A relation as what it is compared by: first and last token in the predicted doc, None for
    what is no span there."""

    head: Optional[Tuple[int, int]]
    child: Optional[Tuple[int, int]]
    label: str


def gold_relations(example: Example) -> Optional[List[Key]]:
    """The relations of the reference, each of them once, in tokens of the predicted doc, or None if
    the reference says nothing about relations."""
    relations = read_relations(example.reference)
    if relations is None:
        return None

    def find(span: Span) -> Optional[Tuple[int, int]]:
        aligned = example.get_aligned_spans_y2x([span])
        return place_of(aligned[0]) if aligned else None

    once = {
        (place_of(head), place_of(child), label): (head, child) for head, child, label in relations
    }
    return [Key(find(head), find(child), label) for (*_, label), (head, child) in once.items()]


def make_relation_scorer() -> Callable[..., Dict[str, Any]]:
    """What is registered as a scorer of relations: it returns `score_relations`."""
    return score_relations


def score_relations(examples: Iterable[Example], **kwargs: Any) -> Dict[str, Any]:
    """Precision, recall and F of the relations. One is right if its head, its child and its label
    are. References that say nothing about relations are left out.

    examples (Iterable[Example]): The examples, with annotated predicted docs.
    RETURNS (Dict[str, Any]): "relations_p", "relations_r" and "relations_f" over all relations, and
        "relations_per_type", a dict from labels to dicts of "p", "r" and "f"; all None if no
        reference says anything.

    Raises ValueError if a relation has another form than it should.
    """
    scores: Dict[str, PRFScore] = {}
    is_annotated = False
    for example in examples:
        gold = gold_relations(example)
        if gold is None:
            continue
        is_annotated = True
        relations = read_relations(example.predicted) or []
        found = {Key(place_of(head), place_of(child), label) for head, child, label in relations}
        for key in gold:
            score = scores.setdefault(key.label, PRFScore())
            score.tp += key in found
            score.fn += key not in found
        for key in found.difference(gold):
            scores.setdefault(key.label, PRFScore()).fp += 1
    if not is_annotated:
        return dict.fromkeys(f"{EXTENSION}_{name}" for name in ("p", "r", "f", "per_type"))
    total = sum(scores.values(), PRFScore())
    return {
        f"{EXTENSION}_p": total.precision,
        f"{EXTENSION}_r": total.recall,
        f"{EXTENSION}_f": total.fscore,
        f"{EXTENSION}_per_type": {label: scores[label].to_dict() for label in sorted(scores)},
    }


def place_of(span: Span) -> Tuple[int, int]:
    return span.start, span.end
