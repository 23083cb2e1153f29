"""What has changed in other libraries: every attribute of their modules and classes."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

LIBRARIES = ("spacy", "thinc", "numpy")

# What Thinc counts.
COUNTERS = ("thinc.model:Model.global_id", "thinc.shims.shim:Shim.global_id")


def attributes() -> dict[str, Any]:
    """Everything that stands in the modules and classes that are imported, by its place."""
    found: dict[str, Any] = {}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] not in LIBRARIES or not isinstance(module, ModuleType):
            continue
        for key, value in list(vars(module).items()):
            found[f"{name}:{key}"] = value
            if isinstance(value, type) and value.__module__ == name:
                for inner, member in list(vars(value).items()):
                    found[f"{name}:{key}.{inner}"] = member
    return found


def changed(before: dict[str, Any]) -> list[str]:
    """The places that hold something else than before, and new ones in modules that were there.
    That a module was imported since is no change."""
    after = attributes()
    modules = {place.partition(":")[0] for place in before}
    return sorted(
        place
        for place in {*before, *after}
        if place.partition(":")[0] in modules
        and after.get(place) is not before.get(place)
        and not isinstance(after.get(place), ModuleType)
        and not place.endswith(":__warningregistry__")
        and place not in COUNTERS
    )
