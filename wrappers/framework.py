"""The one list of frameworks. `setup.py` runs this file alone: it must import nothing of ours."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import sys
from types import ModuleType
from typing import NamedTuple


class Framework(NamedTuple):
    """What the package has to know of a framework before anything of it is imported.

    token: How configs spell it, as in ``spacy-frameworks.PyTorchTagger.v1``.
    id: Its folder here, its extra in pip, its prefix in the optimizer's keys.
    module: The name that Python imports.
    custom: How the model of spaCy's usage page spells it, as in ``CustomTorchModel.v1``.
    requirements: What pip installs for the extra of this name.
    model_roots: The first names of the modules in which the classes of its models are defined.
    """

    token: str
    id: str
    module: str
    custom: str
    requirements: tuple[str, ...]
    model_roots: tuple[str, ...]


FRAMEWORKS: tuple[Framework, ...] = (
    Framework("PyTorch", "pytorch", "torch", "Torch", ("torch>=2.0",), ("torch",)),
    Framework(
        "TensorFlow",
        "tensorflow",
        "tensorflow",
        "TensorFlow",
        ("tensorflow>=2.16",),
        ("tensorflow", "keras"),
    ),
    Framework(
        "MXNet",
        "mxnet",
        "mxnet",
        "MXNet",
        # MXNet declares numpy<2, which has no wheel for Python 3.13. It needs distutils, which
        # left Python with 3.12 and which setuptools brings back.
        (
            "mxnet==1.9.1; python_version < '3.13'",
            "setuptools; python_version >= '3.12' and python_version < '3.13'",
        ),
        ("mxnet",),
    ),
)

# The fourth column of every table: the same architectures in pure Thinc, nothing to install.
THINC = Framework("Thinc", "thinc", "thinc", "Thinc", (), ("thinc",))

# Kernels alone, which need no framework: there are no networks in it.
NUMPY = Framework("NumPy", "numpy", "numpy", "NumPy", (), ("numpy",))

# A line that pip's extras cannot express, where there is one.
INSTALL_BY_HAND = {
    ("mxnet", True): "pip install --no-deps mxnet==1.9.1 && pip install requests setuptools"
}


def get_framework(name: str, others: tuple[Framework, ...] = ()) -> Framework:
    """Look a framework up by its config token or its id.

    name: "PyTorch", "TensorFlow", "MXNet" or "Thinc", in upper or lower case.
    others: What else may be named.
    Raises ValueError with the names that exist if this is none of them.
    """
    known = (*FRAMEWORKS, *others, THINC)
    came = str(name).lower()
    for framework in known:
        if came == framework.id:
            return framework
    tokens = ", ".join(framework.token for framework in known)
    # What people call it: by its name, by that of its module, or by its initials.
    spelled = {}
    for framework in reversed(known):
        initials = "".join(letter for letter in framework.token if letter.isupper())
        for spelling in (framework.id, framework.module, initials.lower()):
            spelled[spelling] = framework.token
    close = difflib.get_close_matches(came, spelled, n=1)
    hint = f" Did you mean {spelled[close[0]]!r}?" if close else ""
    raise ValueError(f"Unknown framework {name!r}: expected one of {tokens}.{hint}")


def framework_of(model: object) -> Framework | None:
    """The framework in which the class of a model, or a class that it inherits from, is defined;
    None if that is none of the list. Imports nothing: the classes of what exists are there."""
    roots = [cls.__module__.partition(".")[0] for cls in type(model).__mro__]
    found = [fw for root in roots for fw in FRAMEWORKS if root in fw.model_roots]
    return found[0] if found else None


def install_command(framework: Framework) -> str:
    """The line that installs a framework for this version of Python."""
    by_hand = INSTALL_BY_HAND.get((framework.id, sys.version_info >= (3, 13)))
    return by_hand or f'pip install "spacy-frameworks[{framework.id}]"'


def require(name: str) -> ModuleType:
    """Import a framework and return its top-level module.

    Raises ImportError with the line that installs it if it is not there. An installed framework
    that fails to import raises its own error.
    """
    framework = get_framework(name)
    if framework.module in sys.modules:
        importing = contextlib.nullcontext()
    else:
        importing = importlib.import_module(f"{__package__}.{framework.id}.process").importing()
    try:
        with importing:
            return importlib.import_module(framework.module)
    except ModuleNotFoundError as error:
        if error.name != framework.module:
            raise
        raise ImportError(
            f"{framework.token} is not installed, and a {framework.token} model was asked for. "
            f"Install it with: {install_command(framework)}",
            name=framework.module,
        ) from None


def is_installed(name: str) -> bool:
    """Whether a framework could be imported, without importing it."""
    return importlib.util.find_spec(get_framework(name).module) is not None
