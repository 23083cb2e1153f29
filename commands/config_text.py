"""The text of a config file, changed where its values are others and nowhere else."""

from __future__ import annotations

import json
import re
from typing import Any, Dict, Iterator, List, NamedTuple, Set, Tuple

from thinc.api import Config

_HEADER = re.compile(r"^\[(.+)\]\s*$")
_KEY = re.compile(r"^([^\s#;=:\[][^=:]*?)\s*[=:]")

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
                    out.extend(entry.lines if is_same else [_line(entry.key, new[entry.key])])
                    out.extend(_behind(entry.key, new, seen))
            added = {key: value for key, value in new.items() if key not in seen}
            _insert(out, list(_new_sections(place, added, written)))
    return "\n".join(out).rstrip("\n") + "\n"


def _sections(text: str) -> Iterator[Tuple[Place, List[_Entry]]]:
    """The sections with their keys. What is in front of the first has the place (); a header,
    comments and blank lines are entries without a key."""
    place: Place = ()
    entries: List[_Entry] = []
    for line in text.splitlines():
        header, key = _HEADER.match(line), _KEY.match(line)
        if header:
            # Comments right above a header belong to it.
            above: List[_Entry] = []
            while entries and not entries[-1].key and entries[-1].lines[0].startswith(("#", ";")):
                above.insert(0, entries.pop())
            yield place, entries
            place, entries = tuple(header[1].split(".")), [*above, _Entry("", [line])]
        elif line[:1].isspace() and line.strip() and entries and entries[-1].key:
            # A value that goes on.
            entries[-1].lines.append(line)
        else:
            entries.append(_Entry(key[1] if key else "", [line]))
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


def _behind(key: str, section: Dict[str, Any], seen: Set[str]) -> Iterator[str]:
    """The lines of new keys between this one and the next that was there."""
    keys = list(section)
    for added in keys[keys.index(key) + 1 :]:
        if added in seen:
            return
        if not isinstance(section[added], dict):
            yield _line(added, section[added])


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
