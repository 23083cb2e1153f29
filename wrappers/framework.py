"""The one list of frameworks. `setup.py` runs this file alone: it must import nothing of ours."""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib
import importlib.util
import sys
import warnings
from importlib.metadata import entry_points
from types import ModuleType
from typing import NamedTuple

# Where other distributions name objects like those in FRAMEWORKS, which join them.
ENTRY_POINTS = "spacy_frameworks"


class Framework(NamedTuple):
    """What the package has to know of a framework before anything of it is imported.

    token (str): How configs spell it, as in ``spacy-frameworks.PyTorchTagger.v1``.
    id (str): Its folder here, its extra in pip, its prefix in the optimizer's keys.
    module (str): The name that Python imports.
    custom (str): How the model of spaCy's usage page spells it, as in ``CustomTorchModel.v1``.
    requirements (Tuple[str, ...]): What pip installs for the extra of this name; for a framework of
        another distribution, what installs that.
    model_roots (Tuple[str, ...]): The first names of the modules in which the classes of its models
        are defined.
    folder (str): The package that says how it runs; "" for the one of its id beside this file.
    networks (str): The module with the networks of our architectures in it; "" for the one of its
        id beside theirs.
    """

    token: str
    id: str
    module: str
    custom: str
    requirements: tuple[str, ...]
    model_roots: tuple[str, ...]
    folder: str = ""
    networks: str = ""


# What this package brings. `all_frameworks` has those of other distributions as well.
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
    Framework("JAX", "jax", "jax", "JAX", ("jax>=0.4.34",), ("jax", "flax", "equinox")),
)

# The fourth column of every table: the same architectures in pure Thinc, nothing to install.
THINC = Framework("Thinc", "thinc", "thinc", "Thinc", (), ("thinc",))

# Kernels alone, which need no framework: there are no networks in it.
NUMPY = Framework("NumPy", "numpy", "numpy", "NumPy", (), ("numpy",))

# A line that pip's extras cannot express, where there is one.
INSTALL_BY_HAND = {
    ("mxnet", True): "pip install --no-deps mxnet==1.9.1 && pip install requests setuptools"
}


@functools.cache
def all_frameworks() -> tuple[Framework, ...]:
    """The frameworks of this package, and those that other installed distributions add: by an entry
    point of the group "spacy_frameworks" that names a `Framework`. What cannot be added is left
    out, with a warning."""
    known = list(FRAMEWORKS)
    for entry_point in entry_points(group=ENTRY_POINTS):
        try:
            framework = entry_point.load()
            # The same may be found twice, as an installation and as a checkout.
            if framework not in known:
                _check_new(framework, known)
                known.append(framework)
        except Exception as error:
            warnings.warn(
                f"The framework {entry_point.name!r} is left out, which the entry point "
                f"{entry_point.value!r} adds: {type(error).__name__}: {error}",
                stacklevel=2,
            )
    return tuple(known)


def _check_new(framework: object, known: list[Framework]) -> None:
    if not isinstance(framework, Framework):
        raise ValueError(f"Expected a Framework there, got {type(framework).__name__}.")
    taken = {name.lower() for other in (*known, THINC, NUMPY) for name in (other.id, other.token)}
    if framework.id != framework.token.lower():
        raise ValueError(f"Expected the id {framework.token.lower()!r}, got {framework.id!r}.")
    if framework.id in taken:
        raise ValueError(f"There is a framework of the name {framework.token!r} already.")


def find_part(framework: Framework, name: str) -> ModuleType | None:
    """A module of a framework's folder, imported; None if the folder has none of this name, and
    goes by what is shared.

    name: Such as "module", "arrays", or "rnn".
    """
    folder = framework.folder or f"{__package__}.{framework.id}"
    try:
        spec = importlib.util.find_spec(f"{folder}.{name}")
    except ModuleNotFoundError as error:
        # A folder that is not there, or a module and no package, and not something that it needs.
        if error.name is None or not f"{folder}.{name}.".startswith(f"{error.name}."):
            raise
        return None
    return None if spec is None else _imported(f"{folder}.{name}")


def _imported(name: str) -> ModuleType:
    """Import a module. The imports of some frameworks draw random numbers, as TensorFlow's and
    JAX's do, and one seed is to give the same in every framework, so the generators are kept."""
    if name in sys.modules:
        return importlib.import_module(name)
    # Here, since `setup.py` runs this file alone.
    from .generators import kept_generators

    with kept_generators():
        return importlib.import_module(name)


def get_part(framework: Framework, name: str) -> ModuleType:
    """A module of a framework's folder, imported.

    Raises NotImplementedError if the folder has none of this name.
    """
    part = find_part(framework, name)
    if part is None:
        raise NotImplementedError(f"There is no {name!r} for {framework.token}.")
    return part


def get_framework(name: str, others: tuple[Framework, ...] = ()) -> Framework:
    """Look a framework up by its config token or its id.

    name (str): Such as "PyTorch" or "Thinc", in upper or lower case.
    others (Tuple[Framework, ...]): What else may be named.
    RETURNS (Framework): The framework.

    Raises ValueError with the names that exist if this is none of them.
    """
    known = (*all_frameworks(), *others, THINC)
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
    found = [fw for root in roots for fw in all_frameworks() if root in fw.model_roots]
    return found[0] if found else None


def install_command(framework: Framework) -> str:
    """The line that installs a framework for this version of Python."""
    if framework not in FRAMEWORKS:
        lines = " ".join(f'"{line}"' for line in framework.requirements)
        return f"pip install {lines}"
    by_hand = INSTALL_BY_HAND.get((framework.id, sys.version_info >= (3, 13)))
    return by_hand or f'pip install "spacy-frameworks[{framework.id}]"'


class NotInstalledError(ImportError):
    """What was asked for is not installed, or not in a version that is supported. The message has
    the line that installs it."""


def require(name: str) -> ModuleType:
    """Import a framework and return its top-level module.

    Raises NotInstalledError if it is not there, or not in a version that is supported. An installed
    framework that fails to import raises its own error.
    """
    framework = get_framework(name)
    # Also where others have imported it, who know nothing of this.
    process = find_part(framework, "process")
    try:
        with getattr(process, "importing", contextlib.nullcontext)():
            module = _imported(framework.module)
    except ModuleNotFoundError as error:
        if error.name != framework.module:
            raise
        raise NotInstalledError(
            f"{framework.token} is not installed, and a {framework.token} model was asked for. "
            f"Install it with: {install_command(framework)}",
            name=framework.module,
        ) from None
    _check_version(framework, getattr(module, "__version__", ""))
    return module


@functools.cache
def _check_version(framework: Framework, version: str) -> None:
    # Of another distribution, the requirements tell the version of the distribution.
    if framework not in FRAMEWORKS:
        return
    # Not needed by `setup.py`.
    from packaging.requirements import Requirement
    from packaging.version import InvalidVersion, Version

    wanted = Requirement(framework.requirements[0]).specifier
    try:
        found = Version(version)
    except InvalidVersion:
        # A build of somebody's own, who has to know.
        return
    if not wanted.contains(found, prereleases=True):
        raise NotInstalledError(
            f"{framework.token} {version} is installed, but spacy-frameworks needs "
            f"{framework.module}{wanted}. Install it with: {install_command(framework)}",
            name=framework.module,
        )


def is_installed(name: str) -> bool:
    """Whether a framework could be imported, without importing it.

    name (str): Such as "PyTorch" or "Thinc", in upper or lower case.
    RETURNS (bool): Whether it is there, in whatever version.

    Raises ValueError if there is no framework of this name.
    """
    return importlib.util.find_spec(get_framework(name).module) is not None
