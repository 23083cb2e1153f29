"""One registered function per framework from one definition."""

from __future__ import annotations

import inspect
from typing import Callable, Dict

from ..wrappers.framework import FRAMEWORKS, THINC, Framework


def per_framework(name: Callable[[Framework], str], build: Callable) -> Dict[str, Callable]:
    """Bind the first argument of an architecture to each framework.

    What is registered has to be a function with a name and the arguments that configs may set,
    so a `functools.partial` will not do.

    name: The name of the function for a framework.
    build: The architecture, with the framework's token as its first argument.
    Returns the functions by name, for the module's namespace and the entry points.
    """
    return {name(fw): _bind(name(fw), build, fw.token) for fw in (*FRAMEWORKS, THINC)}


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
