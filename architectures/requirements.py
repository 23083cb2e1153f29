"""What a packaged pipeline has to ask pip for."""

from __future__ import annotations

from importlib.metadata import version
from typing import Callable

from spacy.language import Language
from spacy.util import get_minor_version_range, split_requirement
from thinc.api import Model

from ..wrappers import FRAMEWORKS, all_frameworks
from ..wrappers.shim import FrameworkShim

PACKAGE = "spacy-frameworks"


def add_requirements() -> Callable[[Language], Language]:
    """Write into a pipeline's meta data which frameworks it needs, for `spacy package`.

        [nlp.after_pipeline_creation]
        @callbacks = "spacy-frameworks.add_requirements.v1"

    spaCy finds this package in the config by itself, but not which of its extras.

    RETURNS (Callable): The callback, which returns the pipeline that it is given.
    """

    def after_pipeline_creation(nlp: Language) -> Language:
        set_requirements(nlp)
        return nlp

    return after_pipeline_creation


def set_requirements(nlp: Language) -> None:
    """Set the line for this package, such as `spacy-frameworks[tensorflow]>=0.2.0,<0.3.0`, in
    meta["requirements"], and those of the frameworks of other distributions. Other lines stay."""
    used = {
        shim.framework
        for _, component in nlp.components
        if isinstance(getattr(component, "model", None), Model)
        for node in component.model.walk()
        for shim in node.shims
        if isinstance(shim, FrameworkShim)
    }
    extras = ",".join(fw.id for fw in FRAMEWORKS if fw.id in used)
    versions = get_minor_version_range(version(PACKAGE))
    line = f"{PACKAGE}[{extras}]{versions}" if extras else f"{PACKAGE}{versions}"
    # A framework of another distribution is none of our extras, and asks for what it needs.
    outside = [fw for fw in all_frameworks() if fw not in FRAMEWORKS]
    theirs = {line for fw in outside for line in fw.requirements}
    needed = dict.fromkeys(line for fw in outside if fw.id in used for line in fw.requirements)
    others = [
        other
        for other in nlp.meta.get("requirements", [])
        # What it needed before it was moved to another framework goes.
        if split_requirement(other)[0] != PACKAGE and other not in theirs
    ]
    nlp.meta["requirements"] = [*others, line, *needed]
