"""What this package changes in other libraries: one table, entered and left.

A change is there as long as somebody holds it, and afterwards the attribute is the original again.
An original that is not the one we know is left alone, with one warning. The folder that knows spaCy
declares spaCy's changes, by the same classes: `training/patches.py`.

Nothing else assigns to what belongs to Thinc, spaCy, a framework, or Python, with two exceptions,
which last as long as the process. Where a GPU's memory pool is chosen, `allocator.py` also enters
it where Thinc keeps its pools (`thinc.backends.context_pools`). What the import hook of `MXNET`
gives MXNet's modules, NumPy's and SciPy's namespaces of their own, stays in them.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections import Counter
from importlib.metadata import version
from inspect import CO_VARARGS, CO_VARKEYWORDS
from pkgutil import resolve_name
from typing import Any, Callable, Optional, Tuple

from .mxnet import compat

# One for all changes: who enters several has them all, or waits.
_lock = threading.RLock()
# A process that is forked while another thread has the lock would wait for it forever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
    )
# In place of an original that has not been looked at.
_UNSEEN = object()


class Change:
    """Something of another library that is changed as long as it is held."""

    why: str

    def __init__(self) -> None:
        self._holders = 0

    def apply(self) -> None:
        """Change it."""
        raise NotImplementedError

    def revert(self) -> None:
        """Have it as it was before `apply`."""
        raise NotImplementedError

    def hold(self) -> None:
        """Change it if nobody has yet."""
        with _lock:
            if not self._holders:
                self.apply()
            self._holders += 1

    def release(self) -> None:
        """Have it as it was if nobody else holds it."""
        with _lock:
            self._holders -= 1
            if not self._holders:
                self.revert()


class Replacement(Change):
    """An attribute of a module or class, with something of ours in its place."""

    def __init__(
        self, owner: str, name: str, ours: str, why: str, known: Known, needed: bool = False
    ):
        """
        owner: The module, or "module:Class". It is imported when it is changed.
        name: The attribute.
        ours: What takes its place, as "module:name". It is imported when it is needed.
        why: What is gained by it.
        known: How the original is recognized.
        needed: Whether nothing goes without it: where the original is not the one we know, it is a
            RuntimeError instead of a warning.
        """
        super().__init__()
        self.owner, self.name, self.ours, self.why, self.known = owner, name, ours, why, known
        self.needed = needed
        self._original: Any = _UNSEEN
        self._is_known = False

    def apply(self) -> None:
        found, ours = self._find(), resolve_name(self.ours)
        if found is ours:
            # Somebody has put back what was there while it was ours.
            return
        if found is not self._original:
            self._original, self._is_known = found, self.known(found)
            if not self._is_known and not self.needed:
                warnings.warn(
                    f"{self.owner}.{self.name} is not the one that spacy-frameworks knows how to "
                    f"replace, and is left as it is. What is missed: {self.why}",
                    stacklevel=2,
                )
        if self.needed and not self._is_known:
            raise RuntimeError(
                f"{self.owner}.{self.name} of {version_of(self.owner)} is not the one that "
                f"spacy-frameworks knows how to replace. What it is needed for: {self.why} "
                "Something else may have replaced it; otherwise, install another version."
            )
        if self._is_known:
            setattr(resolve_name(self.owner), self.name, ours)

    def revert(self) -> None:
        # What somebody else has put in the place of ours is not ours to take away.
        if self._is_known and self._find() is resolve_name(self.ours):
            setattr(resolve_name(self.owner), self.name, self._original)

    def _find(self) -> Any:
        """What stands there now, as it is stored; None if there is no such place."""
        try:
            return vars(resolve_name(self.owner)).get(self.name)
        except (ImportError, AttributeError):
            return None


def version_of(owner: str) -> str:
    """The distribution in which a module is, with its version, such as "spacy 3.8.13"."""
    name = owner.partition(".")[0]
    return f"{name} {version(name)}"


class ImportHook(Change):
    """A finder of ours in front of Python's own."""

    def __init__(self, install: Callable[[], None], uninstall: Callable[[], None], why: str):
        """
        install, uninstall: Put it there, and take it away.
        why: What is gained by it.
        """
        super().__init__()
        self._install, self._uninstall, self.why = install, uninstall, why

    def apply(self) -> None:
        self._install()

    def revert(self) -> None:
        self._uninstall()


# How an original is recognized


class Known:
    """Tells whether what is found is the original that we know."""

    def __call__(self, found: Any) -> bool:
        raise NotImplementedError


class Function(Known):
    """A function by its place, its arguments, and what it does.

    Its code may be another in each release; what counts is that ours does the same. What it does is
    tried out, on an example.
    """

    def __init__(self, place: str, arguments: str = "", does: Optional[str] = None):
        """
        place: "module:qualified name" of its definition.
        arguments: Their names, in order.
        does: A function of ours, "module:name", that takes the original and tells whether it does
            what ours does in its place. None if that cannot be tried out.
        """
        self.place, self.arguments, self.does = place, arguments.split(), does

    def __call__(self, found: Any) -> bool:
        function = getattr(found, "__func__", found)
        place = f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', '')}"
        # Not `inspect.signature`, which believes what a decorator says of itself.
        code = getattr(function, "__code__", None)
        if place != self.place or code is None or code.co_flags & (CO_VARARGS | CO_VARKEYWORDS):
            return False
        count = code.co_argcount + code.co_kwonlyargcount
        if list(code.co_varnames[:count]) != self.arguments:
            return False
        if self.does is None:
            return True
        try:
            return bool(resolve_name(self.does)(found))
        except Exception:
            # One that is not known may fail in any way.
            return False


class Same(Known):
    """What is found at another place too."""

    def __init__(self, place: str):
        """
        place: "module:name".
        """
        self.place = place

    def __call__(self, found: Any) -> bool:
        return found is resolve_name(self.place)


# Who holds them


class Held:
    """Changes that somebody holds, each as often as it was entered."""

    def __init__(self) -> None:
        self._counts: Counter[Change] = Counter()

    def enter(self, *changes: Change) -> None:
        """Hold them."""
        with _lock:
            for change in changes:
                change.hold()
                self._counts[change] += 1

    def leave(self, *changes: Change) -> None:
        """Hold them once less. What is not held stays as it is."""
        with _lock:
            for change in changes:
                if self._counts[change]:
                    self._counts[change] -= 1
                    change.release()

    def leave_all(self) -> None:
        """Hold nothing any more."""
        with _lock:
            self.leave(*list(self._counts.elements()))


_for_good = Held()


def enter_for_good(*changes: Change) -> Held:
    """Enter changes until `leave_for_good`. Returns who holds them till then."""
    with _lock:
        _for_good.enter(*changes)
        return _for_good


def leave_for_good() -> None:
    """Leave all changes that were entered for good."""
    global _for_good
    with _lock:
        # Whoever remembers the one before can no longer leave what others enter from now on.
        before, _for_good = _for_good, Held()
        before.leave_all()


# The table

_HERE = __package__

# Held while ops of ours are in use: see `set_framework_ops`.
ARITHMETIC: Tuple[Change, ...] = (
    Replacement(
        owner="thinc.optimizers",
        name="get_array_ops",
        ours=f"{_HERE}.layers:get_array_ops",
        why="Optimizers take NumpyOps whatever the current ops are, and so never our Adam.",
        known=Function("thinc.backends:get_array_ops", "arr", f"{_HERE}.layers:gets_numpy_ops"),
    ),
    Replacement(
        owner="thinc.layers.layernorm",
        name="forward",
        ours=f"{_HERE}.layers:_layer_norm",
        why="LayerNorm asks no ops for its arithmetic; ours takes a third of its time.",
        known=Function(
            "thinc.layers.layernorm:forward",
            "model X is_train",
            f"{_HERE}.layers:is_layer_norm",
        ),
    ),
    Replacement(
        owner="thinc.layers.maxout",
        name="forward",
        ours=f"{_HERE}.layers:_maxout",
        why="Maxout compares number by number, and ours whole rows.",
        known=Function(
            "thinc.layers.maxout:forward", "model X is_train", f"{_HERE}.layers:is_maxout"
        ),
    ),
)

# The one exception to "no import changes Thinc": `spacy train --gpu-id` calls these functions
# before anything of ours runs but this import. Held for as long as the process lives.
ALLOCATORS: Tuple[Change, ...] = tuple(
    Replacement(
        owner="thinc.backends",
        name=name,
        ours=f"{_HERE}.allocator:{name}",
        why="Thinc's stacks a second pool on the framework's.",
        known=Function(f"thinc.backends:{name}"),
    )
    for name in ("use_pytorch_for_gpu_memory", "use_tensorflow_for_gpu_memory")
)

# Held for as long as the process lives, too. It changes neither spaCy nor Thinc. Its finder gives
# NumPy the names that MXNet looks up, for the time of MXNet's import, and MXNet's modules a NumPy
# of their own.
MXNET: Tuple[Change, ...] = (
    ImportHook(
        compat.install,
        compat.uninstall,
        why="MXNet 1.9.1 looks up names that today's NumPy and Python lack.",
    ),
)
