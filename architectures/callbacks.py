"""Callbacks for spaCy's configs."""

from __future__ import annotations

import warnings
from typing import Callable, Optional, Type

from spacy.language import Language

from ..wrappers import FRAMEWORKS, get_framework, is_installed, use_framework_ops
from ..wrappers.framework import THINC, install_command


def use_framework(
    framework: Optional[str] = None, ops: bool = True
) -> Callable[[Type[Language]], Type[Language]]:
    """Run whole pipelines on a framework's kernels, Thinc's and spaCy's own layers included.

        [nlp.before_creation]
        @callbacks = "spacy-frameworks.use_framework.v1"

    Results stay the same to rounding. It is for speed only: with "Thinc", on a GPU, or where the
    framework is not installed (which is a warning), the pipeline runs on Thinc's own kernels.

    framework (str): "PyTorch", "TensorFlow", "MXNet" or "Thinc". If None, the first of them that
        is installed, which is the fastest; the pipeline's networks may be of another. No variable
        of the config: spaCy fills in none in this section.
    ops (bool): Whether to take the framework's kernels; see `use_framework_ops`.
    RETURNS (Callable): The callback, which returns the class that it is given.

    Raises ValueError if the framework's name is unknown.
    """
    if framework is not None and framework.startswith("${"):
        raise ValueError(
            f"spaCy does not fill in variables in [nlp.before_creation], so framework is "
            f"{framework!r} here. Write the framework's name, or leave it out for the fastest one "
            "that is installed."
        )
    chosen = None if framework is None else get_framework(framework)

    def before_creation(language: Type[Language]) -> Type[Language]:
        fw = chosen or next((fw for fw in FRAMEWORKS if is_installed(fw.id)), THINC)
        if not ops or fw == THINC:
            return language
        if is_installed(fw.id):
            use_framework_ops(fw.token)
        else:
            warnings.warn(
                f"{fw.token} is not installed, so the pipeline runs on Thinc's kernels, which are "
                f"slower. To make it faster: {install_command(fw)}",
                stacklevel=2,
            )
        return language

    return before_creation
