"""`Doc._.relations`: the form in which a doc holds relations.

A list with one entry for each relation, in places of the doc's text:

    {
        "head": {"start": 0, "end": 4},
        "child": {"start": 11, "end": 16},
        "label": "HIRED",
        "score": 0.98,
    }

`start` and `end` count characters, as in spaCy's JSON format, so that the text alone says what is
meant, however it is tokenized. JSON can hold it, and so can `DocBin(store_user_data=True)` and
`doc.to_bytes()`, which hold no tuples as keys of a dict. An empty list says that there are no
relations, and None that nobody has looked.
"""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional

from spacy.tokens import Doc, Span

EXTENSION = "relations"

if not Doc.has_extension(EXTENSION):
    Doc.set_extension(EXTENSION, default=None)


class Relation(NamedTuple):
    """A relation as spans of its doc."""

    head: Span
    child: Span
    label: str


def make_relation(
    head: Span, child: Span, label: str, score: Optional[float] = None
) -> Dict[str, Any]:
    """An entry of `Doc._.relations`.

    head (Span), child (Span): Which entity has the relation, and to which other one.
    label (str): The relation.
    score (Optional[float]): Its probability, if it is predicted.
    RETURNS (Dict[str, Any]): The entry.
    """
    entry: Dict[str, Any] = {
        "head": {"start": head.start_char, "end": head.end_char},
        "child": {"start": child.start_char, "end": child.end_char},
        "label": label,
    }
    return entry if score is None else {**entry, "score": score}


def read_relations(doc: Doc) -> Optional[List[Relation]]:
    """The relations of a doc as spans.

    RETURNS (Optional[List[Relation]]): In the order in which they are there, or None if the doc
        says nothing about relations.

    Raises ValueError if an entry has another form, or if its places are no tokens of the doc.
    """
    entries = getattr(doc._, EXTENSION)
    return None if entries is None else [_read(doc, entry) for entry in entries]


def _read(doc: Doc, entry: Any) -> Relation:
    try:
        spans = [
            doc.char_span(entry[name]["start"], entry[name]["end"]) for name in ("head", "child")
        ]
        label = entry["label"]
    except (KeyError, TypeError) as error:
        raise ValueError(
            "Expected an entry of Doc._.relations like {'head': {'start': 0, 'end': 4}, 'child': "
            "{'start': 11, 'end': 16}, 'label': 'HIRED'}, which make_relation makes, got "
            f"{entry!r}."
        ) from error
    if None in spans:
        raise ValueError(
            f"The relation {entry!r} is not between whole tokens of the doc {doc.text[:80]!r}. "
            "Expected the first character of the head's first token and the one behind its last, "
            "and the child's; make_relation takes them from spans."
        )
    head, child = spans
    return Relation(head, child, label)
