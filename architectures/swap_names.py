"""Where a config names a framework, and how another one is named there."""

from __future__ import annotations

import re
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from spacy.util import registry
from thinc.api import Config

from ..wrappers.framework import Framework
from .names import CUSTOM_MODEL, NAMES, PREFIX, USE_FRAMEWORK, Name, short_name
from .per_framework import columns

# As Thinc's configs have them: ${section.key}, or ${section:key}.
_VARIABLE = re.compile(r"\$\{([\w.:]+)\}")


class _Use(NamedTuple):
    """A place in the config: the section, and the key in it."""

    section: Dict[str, Any]
    key: str

    @property
    def value(self) -> Any:
        return self.section[self.key]

    @value.setter
    def value(self, value: Any) -> None:
        self.section[self.key] = value


def swap_names(config: Config, target: Framework) -> None:
    """Name another framework in a config, in place: see `swap_config`."""
    uses = []
    for section in list(_sections(config)):
        if isinstance(section.get("@architectures"), str):
            _swap_name(config, section, target)
            if _takes_framework(section):
                use = _Use(section, "framework")
                # Raises an error if there is no end to its variables.
                _interpolate(config, str(use.value))
                uses.append(use)
        elif section.get("@callbacks") == USE_FRAMEWORK and section.get("framework"):
            _set_hook(section, target)
    # All that may be set along with these: a variable that only they use.
    ours = {(id(use.section), use.key) for use in uses}
    for use in uses:
        _set_framework(config, use, target, ours)


def _set_hook(section: Dict[str, Any], target: Framework) -> None:
    """Name another framework in a `use_framework` hook."""
    if section["framework"] != target.token and section.get("kernel") is not None:
        # One of the framework that was named, which this one may not have. None is the fastest.
        section["kernel"] = None
    section["framework"] = target.token


def _takes_framework(section: Dict[str, Any]) -> bool:
    names = [name.name for name in NAMES if name.short]
    return section["@architectures"] in names and "framework" in section


# Names with the framework in them


def _swap_name(config: Config, section: Dict[str, Any], target: Framework) -> None:
    written = _unquoted(section["@architectures"])
    came = _interpolate(config, written)
    found = _find_short_name(came)
    if found is None:
        return
    variables = _VARIABLE.findall(written)
    short = short_name(found, target)
    if not came.startswith(PREFIX):
        section["@architectures"] = short
    elif not variables and registry.has("architectures", f"{PREFIX}{short}"):
        section["@architectures"] = f"{PREFIX}{short}"
    else:
        # `spacy package` and `spacy init fill-config` look names up before variables are filled
        # in, so the variable becomes an argument; and a framework of another distribution may have
        # no short forms.
        rest = {key: value for key, value in section.items() if key != "@architectures"}
        section.clear()
        section["@architectures"] = found.name
        section["framework"] = f"${{{variables[0]}}}" if len(variables) == 1 else target.token
        section.update(rest)


def _find_short_name(came: str) -> Optional[Name]:
    """What has this name with some framework in it; the prefix may be left out where spaCy's usage
    page does so."""
    for name in NAMES:
        for framework in columns() if name.short else ():
            short = short_name(name, framework)
            if came == f"{PREFIX}{short}" or (name == CUSTOM_MODEL and came == short):
                return name
    return None


# Variables


def _set_framework(config: Config, use: _Use, target: Framework, ours: set) -> None:
    """Set the framework where it is defined, if that is for our architectures alone."""
    is_text = isinstance(use.value, str)
    variable = _VARIABLE.fullmatch(_unquoted(use.value)) if is_text else None
    defined = _find(config, variable[1]) if variable else None
    if variable is None or defined is None or _is_used_elsewhere(config, variable[1], ours):
        use.value = target.token
    else:
        _set_framework(config, defined, target, {*ours, (id(defined.section), defined.key)})


def _is_used_elsewhere(config: Config, variable: str, ours: set) -> bool:
    path = variable.replace(":", ".")
    return any(
        (id(place.section), place.key) not in ours
        # A whole section may be used too: ${vars} in place of ${vars.framework}.
        and any(f"{path}.".startswith(f"{used.replace(':', '.')}.") for used in variables)
        for place, variables in _variables(config)
    )


def _find(config: Config, variable: str) -> Optional[_Use]:
    """Where a variable is defined, or None if it is not."""
    *sections, key = variable.replace(":", ".").split(".")
    section: Any = config
    for name in sections:
        section = section.get(name) if isinstance(section, dict) else None
    return _Use(section, key) if isinstance(section, dict) and key in section else None


def _interpolate(config: Config, text: str, inside: Tuple[str, ...] = ()) -> str:
    """Fill in variables. What is not defined stays as it is written.

    inside: The variables in whose values this is.
    Raises ValueError if the value of a variable has that variable in it.
    """

    def fill(match: re.Match[str]) -> str:
        variable = match[1].replace(":", ".")
        if variable in inside:
            circle = " -> ".join(f"${{{name}}}" for name in (*inside, variable))
            raise ValueError(
                f"In the config, a variable refers to itself: {circle}. Write the name of a "
                "framework in place of one of them."
            )
        defined = _find(config, variable)
        if defined is None or not isinstance(defined.value, str):
            return match[0]
        return _interpolate(config, defined.value, (*inside, variable))

    return _VARIABLE.sub(fill, _unquoted(text))


def _unquoted(text: str) -> str:
    """Text with variables in it keeps its quotes until these are filled in."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def _sections(value: Any) -> Iterator[Dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    if isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _sections(inner)


def _variables(config: Config) -> Iterator[Tuple[_Use, List[str]]]:
    """Every place with variables in it, and their names."""
    for section in _sections(config):
        for key, value in section.items():
            # Sections inside of this one have their own turn; a list may have some in its items.
            found = _VARIABLE.findall(str(value)) if isinstance(value, (str, list)) else []
            if found:
                yield _Use(section, key), found
