"""The short forms of the architectures: one function per framework from one definition."""

from __future__ import annotations

import functools
import inspect
import sys
from typing import Callable, Tuple

from ..wrappers.framework import THINC, Framework, all_frameworks
from .names import NAMES, function_name


def columns() -> Tuple[Framework, ...]:
    """What each architecture is there for: the frameworks that there are now, those of other
    distributions among them, and Thinc."""
    return (*all_frameworks(), THINC)


def short_forms(module: str) -> Callable[[str], Callable]:
    """The `__getattr__` of a module with architectures, by which it has their short forms, such as
    `PyTorchTagger` of `build_tagger`, for all frameworks that there are when one is asked for.

    What is registered has to be a function with a name and the arguments that configs may set,
    so a `functools.partial` will not do.

    module: The name of the module. What is in it under which name, is in the list of names.
    """

    @functools.cache
    def find(attribute: str) -> Callable:
        for name in NAMES:
            place, _, builder = name.place.partition(":")
            for fw in columns() if name.short and place == module else ():
                if attribute == function_name(name, fw):
                    return _bind(attribute, getattr(sys.modules[module], builder), fw.token)
        raise AttributeError(f"module {module!r} has no attribute {attribute!r}")

    return find


def _bind(name: str, build: Callable, framework: str) -> Callable:
    def architecture(*args, **kwargs):  # type: ignore[no-untyped-def]
        return build(framework, *args, **kwargs)

    signature = inspect.signature(build, eval_str=True)
    _, *parameters = signature.parameters.values()
    architecture.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    architecture.__name__ = architecture.__qualname__ = name
    architecture.__module__ = build.__module__
    architecture.__doc__ = build.__doc__
    return architecture
