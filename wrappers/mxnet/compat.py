"""Make MXNet 1.9.1 importable and working on today's NumPy and Python.

MXNet's last release looks up names that NumPy 1.24 and 2.0 removed, most of them while it is
imported, and `distutils`, which Python 3.12 removed. `install` arranges that a plain
`import mxnet`, by anyone, finds them:

- while MXNet's package runs, the names it looks up then stand in NumPy itself, and are gone again
  afterwards;
- for the names its functions look up later, MXNet's modules get a NumPy namespace of their own.

So NumPy stays as it is for everybody else, apart from the second or two of MXNet's import.
"""

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

_VERSION = "1.9.1"


def install() -> None:
    """Let every later `import mxnet` give a working MXNet 1.9.1.

    Imports nothing itself and may be called again. Other versions of MXNet, and one that is already
    imported, are left alone; without MXNet the import raises the usual `ModuleNotFoundError`.
    """
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)


def uninstall() -> None:
    """Let every later `import mxnet` be Python's own again. One that was imported goes on."""
    if _FINDER in sys.meta_path:
        sys.meta_path.remove(_FINDER)


class _Finder:
    """Finds the package `mxnet` as Python would, and puts `_Loader` around its loader."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "mxnet":
            return None
        # Only those behind this one: two finders that each ask all others would never end.
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None and _is_supported(spec):
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


class _Loader(Loader):
    """Runs MXNet's package with its stand-ins in place; in all else the loader it was made from."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def __getattr__(self, name: str) -> Any:
        # Copying and unpickling ask for special methods before `loader` is there.
        if name == "loader" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # The package shows its own loader: tools that read its source or data see nothing new.
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        _require_distutils()
        import numpy

        _import_scipy()
        with _names_for_import(numpy):
            self.loader.exec_module(module)
        _give_own_numpy(numpy)
        _give_own_scipy()


_FINDER = _Finder()


def _is_supported(spec: ModuleSpec) -> bool:
    # From the source: the distribution goes by many names (mxnet, mxnet-cu112, own builds).
    for folder in spec.submodule_search_locations or ():
        libinfo = Path(folder) / "libinfo.py"
        if libinfo.is_file():
            found = re.search(
                r"^__version__ = [\"'](.+)[\"']", libinfo.read_text("utf8"), re.MULTILINE
            )
            return found is not None and found[1] == _VERSION
    return False


def _require_distutils() -> None:
    if find_spec("distutils") is None:
        # Setuptools provides `distutils` at Python's start, but only where its .pth file is read
        # (not in a folder on PYTHONPATH). Its import does the same.
        with suppress(ModuleNotFoundError):
            import_module("setuptools")
        if find_spec("distutils") is None:
            raise ImportError(
                f"MXNet {_VERSION} needs the module 'distutils', which Python 3.12 removed and "
                "setuptools provides. Install it with: pip install setuptools",
                name="distutils",
            )


def _import_scipy() -> None:
    """MXNet imports this part of SciPy where it is installed. SciPy's modules take over what NumPy
    has in it, and must not find the stand-ins there."""
    with suppress(ImportError):
        import_module("scipy.stats")


@contextmanager
def _names_for_import(numpy: ModuleType) -> Iterator[None]:
    """Give NumPy, for a while, the names that MXNet's modules look up as they are imported."""
    # `vars`, since NumPy warns when asked for some of these names with `hasattr`.
    missing = [name for name in _IMPORT_NAMES if name not in vars(numpy)]
    try:
        for name in missing:
            setattr(numpy, name, _IMPORT_NAMES[name](numpy))
        yield
    finally:
        for name in missing:
            vars(numpy).pop(name, None)


def _give_own_numpy(numpy: ModuleType) -> None:
    """Let MXNet's modules see a NumPy that has the names their functions look up."""
    own = ModuleType(numpy.__name__)
    vars(own).update(vars(numpy))
    for name, get_value in _RUN_NAMES.items():
        vars(own).setdefault(name, get_value(numpy))
    if hasattr(numpy.lib, "array_utils"):
        # NumPy 2 has moved this function, and warns at each use of the old place.
        numeric = SimpleNamespace(normalize_axis_tuple=numpy.lib.array_utils.normalize_axis_tuple)
        vars(own)["core"] = SimpleNamespace(numeric=numeric)
    for name, module in list(sys.modules.items()):
        if name.startswith("mxnet.") and isinstance(module, ModuleType):
            for key, value in list(vars(module).items()):
                if value is numpy:
                    setattr(module, key, own)


def _give_own_scipy() -> None:
    """Let MXNet's modules find SciPy's sparse matrices, where it is installed, by a name that SciPy
    warns of at each use and will remove."""
    sparse = sys.modules.get("scipy.sparse")
    if sparse is None:
        return
    own = ModuleType(sparse.__name__)
    vars(own).update(vars(sparse))
    vars(own)["csr"] = SimpleNamespace(csr_matrix=sparse.csr_matrix)
    for name, module in list(sys.modules.items()):
        if name.startswith("mxnet.") and getattr(module, "spsp", None) is sparse:
            vars(module)["spsp"] = own


def _in1d(ar1: Any, ar2: Any, assume_unique: bool = False, invert: bool = False) -> Any:
    import numpy

    return numpy.isin(numpy.ravel(ar1), ar2, assume_unique=assume_unique, invert=invert)


def _financial(*args: Any, **kwargs: Any) -> Any:
    raise RuntimeError(
        "NumPy 1.20 removed its financial functions (NEP 32). Use the package numpy-financial."
    )


# What each name was, made from the NumPy at hand. Gone since NumPy 1.20 (the financial functions),
# 1.24 (bool, int), 2.4 (in1d, trapz) and 2.0 (the rest). `bool` is Python's where it is missing;
# NumPy 2 has one of its own, which does.
_IMPORT_NAMES: dict[str, Callable[[ModuleType], object]] = {
    "bool": lambda np: bool,
    "Inf": lambda np: np.inf,
    "PINF": lambda np: np.inf,
    "NINF": lambda np: -np.inf,
    "NaN": lambda np: np.nan,
    "NAN": lambda np: np.nan,
    "PZERO": lambda np: 0.0,
    "NZERO": lambda np: -0.0,
    "alltrue": lambda np: np.all,
    "sometrue": lambda np: np.any,
    "product": lambda np: np.prod,
    "round_": lambda np: np.round,
    "msort": lambda np: partial(np.sort, axis=0),
    "in1d": lambda np: _in1d,
    "trapz": lambda np: np.trapezoid,
    **dict.fromkeys(("mirr", "npv", "pmt", "ppmt", "pv", "rate"), lambda np: _financial),
}

_RUN_NAMES: dict[str, Callable[[ModuleType], object]] = {
    "bool": lambda np: bool,
    "int": lambda np: int,
    "Inf": lambda np: np.inf,
    "compat": lambda np: SimpleNamespace(basestring=str),
}
