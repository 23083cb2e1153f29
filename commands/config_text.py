"""The text of a config file, changed where its values are others and nowhere else."""

from __future__ import annotations

import json
import re
from typing import Any, Dict, Iterator, List, NamedTuple, Set, Tuple

from thinc.api import Config

# As Python's configparser finds them, in a line without the space around it.
_HEADER = re.compile(r"\[(.+)\]")
_KEY = re.compile(r"(.*?)\s*[=:]")

Place = Tuple[str, ...]


class _Entry(NamedTuple):
    """A key of a section, and the lines that it takes."""

    key: str
    lines: List[str]


def rewritten(text: str, before: Config, after: Config) -> str:
    """The text of a config with other values: comments, the order and blank lines stay.

    text: What `before` was read from, whose variables are not filled in.
    after: A config with the values to write, whose variables are not filled in either.
    Returns the text; read again, it is `after`.

    Raises ValueError if it is not.
    """
    sections = list(_sections(text))
    written = {place for place, _ in sections}
    out: List[str] = []
    for place, entries in sections:
        old, new = _find(before, place), _find(after, place)
        if not place:
            out.extend(line for entry in entries for line in entry.lines)
        elif new is not None:
            seen = {entry.key for entry in entries}
            for entry in entries:
                if not entry.key:
                    out.extend(entry.lines)
                elif entry.key in new:
                    is_same = entry.key in old and old[entry.key] == new[entry.key]
                    out.extend(entry.lines if is_same else [_like(entry, new[entry.key])])
                    out.extend(_behind(entry, new, seen))
            added = {key: value for key, value in new.items() if key not in seen}
            _insert(out, list(_new_sections(place, added, written)))
    result = "\n".join(out).rstrip("\n") + "\n"
    if Config().from_str(result, interpolate=False) != after:
        raise ValueError(
            "The config has a form that cannot be changed in place. Write it anew with `spacy init "
            "fill-config`, and take that."
        )
    return result


def _sections(text: str) -> Iterator[Tuple[Place, List[_Entry]]]:
    """The sections with their keys. What is in front of the first has the place (); a header,
    comments and blank lines are entries without a key."""
    place: Place = ()
    entries: List[_Entry] = []
    # How far the key that a line may belong to is indented; None behind a header.
    indent = None
    for line in text.split("\n"):
        bare = line.strip()
        spaces = len(line) - len(line.lstrip())
        header, key = _HEADER.match(bare), _KEY.match(bare)
        if not bare or bare.startswith(("#", ";")):
            entries.append(_Entry("", [line]))
        elif indent is not None and spaces > indent:
            # A value that goes on, perhaps behind comments.
            lines = [line]
            while not entries[-1].key:
                lines = entries.pop().lines + lines
            entries[-1].lines.extend(lines)
        elif header:
            # Comments right above a header belong to it.
            above: List[_Entry] = []
            while entries and not entries[-1].key and entries[-1].lines[0].startswith(("#", ";")):
                above.insert(0, entries.pop())
            yield place, entries
            place, entries = tuple(header[1].split(".")), [*above, _Entry("", [line])]
            indent = None
        else:
            entries.append(_Entry(key[1] if key else "", [line]))
            indent = spaces
    yield place, entries


def _find(config: Config, place: Place) -> Any:
    found: Any = config
    for key in place:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else None


def _line(key: str, value: Any) -> str:
    """A key with its value, as Thinc writes it. A section becomes a value in one line."""
    written = Config({"section": {"key": value}})
    if not isinstance(value, dict):
        text = written.to_str(interpolate=False)
        return f"{key} = {text.partition('key = ')[2].strip()}"
    return f"{key} = {json.dumps(value)}"


def _like(entry: _Entry, value: Any, key: str = "") -> str:
    """A key, that of the entry if it is not given, indented like it."""
    first = entry.lines[0]
    return first[: len(first) - len(first.lstrip())] + _line(key or entry.key, value)


def _behind(entry: _Entry, section: Dict[str, Any], seen: Set[str]) -> Iterator[str]:
    """The lines of new keys between this one and the next that was there."""
    keys = list(section)
    for added in keys[keys.index(entry.key) + 1 :]:
        if added in seen:
            return
        if not isinstance(section[added], dict):
            yield _like(entry, section[added], added)


def _new_sections(place: Place, added: Dict[str, Any], written: Set[Place]) -> Iterator[str]:
    for key, value in added.items():
        inner = (*place, key)
        if not isinstance(value, dict) or inner in written:
            continue
        lines = [_line(name, leaf) for name, leaf in value.items() if not isinstance(leaf, dict)]
        if lines or not value:
            yield from ("", f"[{'.'.join(inner)}]", *lines)
        yield from _new_sections(inner, value, written)


def _insert(out: List[str], lines: List[str]) -> None:
    """Put lines in front of the blank ones at the end."""
    end = len(out)
    while end and not out[end - 1].strip():
        end -= 1
    out[end:end] = lines
