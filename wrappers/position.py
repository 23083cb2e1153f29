"""Where a layer is in the model that is being initialized, which Thinc tells no layer."""

from __future__ import annotations

import importlib
import sys
from types import CodeType, FrameType
from typing import Any, Iterable, List, Optional

from thinc.api import Model

# Combinators of Thinc that give what their last layer gives, and hand it the Y of their own.
# Not with_flatten, which puts the columns of Y side by side.
_PASS_ON = (
    "chain",
    "map_list",
    "resizable",
    "with_array",
    "with_array2d",
    "with_cpu",
    "with_list",
    "with_padded",
    "with_ragged",
    "with_reshape",
)
# Layers of Thinc that give as many columns as they are given.
_KEEP_COLUMNS = (
    "dropout",
    "list2array",
    "list2padded",
    "list2ragged",
    "logistic",
    "padded2list",
    "ragged2list",
    "reduce_first",
    "reduce_last",
    "reduce_max",
    "reduce_mean",
    "reduce_sum",
    "sigmoid_activation",
    "softmax_activation",
)


def _code_of(layers: Iterable[str], function: str) -> List[CodeType]:
    """The code of a function of each layer's file. One that is not there is left out, so that
    a layer that works in another way is one of which nothing is known."""
    found = []
    for name in layers:
        try:
            module = importlib.import_module(f"thinc.layers.{name}")
        except ImportError:
            continue
        code = getattr(getattr(module, function, None), "__code__", None)
        if code is not None:
            found.append(code)
    return found


_INITIALIZE = Model.initialize.__code__
_INITS = _code_of(_PASS_ON, "init")
_FORWARDS = _code_of(_KEEP_COLUMNS, "forward")


def passes_on(init: Any) -> Any:
    """Decorate the init of a combinator with one layer, to which it hands Y, and whose output has
    as many columns as its own."""
    _INITS.append(init.__code__)
    return init


def gives_the_output(model: Model) -> bool:
    """Whether the outermost model that is being initialized gives as many columns as this one.

    To be called from the `init` of the model. True only if that is certain: `chain` hands Y, which
    belongs to its output, to every layer whose nO is unset, so a hidden layer sees the labels too,
    and may well be of another width. What is in between is found on the stack, as there is no
    other way to get from a layer to the model around it. Whatever is not known there (a function
    of the user's, layers side by side) means that it is not certain.
    """
    inner: Optional[Model] = None
    between = 0
    frame: Optional[FrameType] = sys._getframe(1)
    code = None
    while frame is not None:
        if frame.f_code is _INITIALIZE:
            outer = frame.f_locals.get("self")
            if inner is None:
                if outer is not model:
                    return False
            elif between != 1 or not _is_in(_INITS, code) or not _ends_with(outer, inner):
                return False
            inner, between = outer, 0
        else:
            code, between = frame.f_code, between + 1
        frame = frame.f_back
    return inner is not None


def _is_in(known: List[CodeType], code: Optional[CodeType]) -> bool:
    # Not `in`, by which code of another file may be equal.
    return any(code is each for each in known)


def _ends_with(outer: Any, inner: Model) -> bool:
    """Whether the output of a combinator is that of its layer, as far as columns go."""
    for layer in reversed(outer.layers):
        if layer is inner:
            return True
        if not _is_in(_FORWARDS, getattr(layer._func, "__code__", None)):
            return False
    return False
