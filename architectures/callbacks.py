"""Callbacks for spaCy's configs."""

from __future__ import annotations

import warnings
from typing import Callable, Type

from spacy.language import Language

from ..wrappers import get_framework, is_installed, use_framework_ops
from ..wrappers.framework import THINC, install_command


def use_framework(framework: str, ops: bool = True) -> Callable[[Type[Language]], Type[Language]]:
    """Run whole pipelines on a framework's kernels, Thinc's and spaCy's own layers included.

        [nlp.before_creation]
        @callbacks = "spacy-frameworks.use_framework.v1"
        framework = "PyTorch"

    Results stay the same to rounding. It is for speed only: with "Thinc", on a GPU, or where the
    framework is not installed (which is a warning), the pipeline runs on Thinc's own kernels.

    framework (str): "PyTorch", "TensorFlow", "MXNet" or "Thinc".
    ops (bool): Whether to take the framework's kernels; see `use_framework_ops`.
    RETURNS (Callable): The callback, which returns the class that it is given.

    Raises ValueError if the framework's name is unknown.
    """
    fw = get_framework(framework)

    def before_creation(language: Type[Language]) -> Type[Language]:
        if not ops:
            return language
        if fw != THINC and not is_installed(fw.id):
            warnings.warn(
                f"{fw.token} is not installed, so the pipeline runs on Thinc's kernels, which are "
                f"slower. To make it faster: {install_command(fw)}",
                stacklevel=2,
            )
        elif fw != THINC:
            use_framework_ops(fw.token)
        return language

    return before_creation
