"""Where a config names a framework, and how another one is named there."""

from __future__ import annotations

import re
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from thinc.api import Config

from ..wrappers.framework import FRAMEWORKS, THINC, Framework

PREFIX = "spacy-frameworks."
USE_FRAMEWORK = f"{PREFIX}use_framework.v1"

# Architectures that take the framework as an argument, without prefix and version.
ARCHITECTURES = (
    "Tagger",
    "TextCat",
    "FeedForward",
    "WindowEncoder",
    "BiLSTMEncoder",
    "TransformerEncoder",
    "CustomModel",
)

# As Thinc's configs have them: ${section.key}, or ${section:key}.
_VARIABLE = re.compile(r"\$\{([\w.:]+)\}")
# Registered names, the prefix left out for those of spaCy's usage page.
_NAME = re.compile(r"^((?:spacy-frameworks\.)?)(\w+)(\.v\d+)$")


def short_name(architecture: str, framework: Framework) -> str:
    """The name that has the framework in it: "Tagger" is "PyTorchTagger"."""
    if architecture == "CustomModel":
        return f"Custom{framework.custom}Model"
    return f"{framework.token}{architecture}"


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
                uses.append(_Use(section, "framework"))
        elif section.get("@callbacks") == USE_FRAMEWORK and section.get("framework"):
            section["framework"] = target.token
    # All that may be set along with these: a variable that only they use.
    ours = {(id(use.section), use.key) for use in uses}
    for use in uses:
        _set_framework(config, use, target, ours)


def _takes_framework(section: Dict[str, Any]) -> bool:
    prefix, name, _ = _parts(section["@architectures"])
    return prefix == PREFIX and name in ARCHITECTURES and "framework" in section


def _parts(name: str) -> Tuple[str, str, str]:
    match = _NAME.match(name)
    return match.groups() if match else ("", "", "")  # type: ignore[return-value]


# Names with the framework in them


def _swap_name(config: Config, section: Dict[str, Any], target: Framework) -> None:
    written = _unquoted(section["@architectures"])
    prefix, name, version = _parts(_interpolate(config, written))
    found = _find_short_name(name)
    if found is None or (not prefix and found != "CustomModel"):
        return
    variables = _VARIABLE.findall(written)
    if prefix and variables:
        # `spacy package` and `spacy init fill-config` look names up before variables are filled
        # in, so the variable becomes an argument.
        rest = {key: value for key, value in section.items() if key != "@architectures"}
        section.clear()
        section["@architectures"] = f"{prefix}{found}{version}"
        section["framework"] = f"${{{variables[0]}}}" if len(variables) == 1 else target.token
        section.update(rest)
    else:
        section["@architectures"] = f"{prefix}{short_name(found, target)}{version}"


def _find_short_name(name: str) -> Optional[str]:
    """The architecture whose name with some framework in it this is."""
    for architecture in ARCHITECTURES:
        for framework in (*FRAMEWORKS, THINC):
            if name == short_name(architecture, framework):
                return architecture
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


def _interpolate(config: Config, text: str) -> str:
    """Fill in variables. What is not defined stays as it is written."""

    def fill(match: re.Match[str]) -> str:
        defined = _find(config, match[1])
        if defined is None or not isinstance(defined.value, str):
            return match[0]
        return _interpolate(config, defined.value)

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
