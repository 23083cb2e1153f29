"""Where the networks of each framework are written down: in the file with the framework's id."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Callable

from .description import Network


def framework_file(framework_id: str) -> ModuleType:
    """The file beside this one, such as `pytorch.py`."""
    return importlib.import_module(f".{framework_id}", __package__)


def implementation(framework_id: str, network: Network) -> Callable:
    """What builds the network described there, with the name of the description's class."""
    return getattr(framework_file(framework_id), type(network).__name__)
