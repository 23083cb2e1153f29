"""Where the networks of each framework are written down: in the file with the framework's id."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Callable

from ...wrappers.framework import get_framework
from .description import NETWORKS, Network


def framework_file(framework_id: str) -> ModuleType:
    """The file beside this one, such as `pytorch.py`, or what a framework from elsewhere names.

    Raises ValueError if that names none.
    """
    framework = get_framework(framework_id)
    if framework.folder and not framework.networks:
        raise ValueError(
            f"{framework.token} can be wrapped, but has no networks for the architectures of "
            "spacy-frameworks. Use another framework, or wrap a model of your own."
        )
    return importlib.import_module(framework.networks or f"{__package__}.{framework.id}")


def implementation(framework_id: str, network: Network) -> Callable:
    """What builds the network described there, with the name of the description's class.

    Raises ValueError if the framework has none.
    """
    name, file = type(network).__name__, framework_file(framework_id)
    if not hasattr(file, name):
        found = ", ".join(other for other in NETWORKS if hasattr(file, other)) or "none"
        raise ValueError(
            f"There is no {name} in {get_framework(framework_id).token}: {file.__name__} has "
            f"{found}. Use another architecture or framework."
        )
    return getattr(file, name)
