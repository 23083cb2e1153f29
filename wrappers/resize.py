"""Growing a wrapped module that a function (nO, nI) builds."""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional, Tuple

from thinc.api import Model, get_array_module

from .framework import get_framework
from .module import FrameworkModule
from .wrapper import get_shim


def resize_wrapper(
    model: Model[Any, Any], nO: int, fill: Optional[Callable[[Any], float]] = None
) -> Model[Any, Any]:
    """A wrapper like this one with more outputs, which gives for the old ones what this one gives.

    The module is built anew, and every parameter copied. One that has grown with nO keeps what it
    held; what is new in a matrix is zero, and in a vector what `fill` says. It is meant for a
    module whose last layer is linear: a new label then has no weights yet, and that bias.

    model (Model): A wrapper that was given a function (nO, nI). It stays as it is.
    nO (int): The new output width, at least the old one.
    fill (Callable): From a vector of nO values, such as the biases, to the value of each new one.
        If None, that is zero.
    RETURNS (Model): Of the same name, class, attributes and device, under new ids, so that an
        optimizer takes its parameters for new ones. Dims of models around it are the caller's.

    Raises ValueError if the model was given a module itself, if nO is less than it was, or if
    anything but one axis of each parameter follows nO.
    """
    shim = get_shim(model)
    if not shim.has_builder:
        token = get_framework(shim.framework).token
        raise ValueError(
            f"'{model.name}' was given a module, which cannot be made again with another width. "
            f"Give {token}Wrapper a function (nO, nI) that builds it."
        )
    before = model.maybe_get_dim("nO")
    if before is not None and nO < before:
        raise ValueError(
            f"'{model.name}' has {before} outputs, and can be given more, but not {nO}: which of "
            "them should go? Build a new model instead."
        )
    # Without a module there is nothing yet to take over.
    grown = shim.rebuilt(nO)
    if shim.module is not None:
        _take_over(shim.module, grown.get_module(), {"old": before, "new": nO}, fill)
    return type(model)(
        model.name,
        model._func,
        init=model.init,
        attrs=dict(model.attrs),
        shims=[grown],
        dims={"nO": nO, "nI": model.maybe_get_dim("nI")},
        ops=model.ops,
    )


def _take_over(
    module: FrameworkModule,
    grown: FrameworkModule,
    widths: Dict[str, Optional[int]],
    fill: Optional[Callable[[Any], float]],
) -> None:
    """Give a module the values of the one that it shall replace."""
    old, new = module.parameters(), grown.parameters()
    if list(old) != list(new):
        raise ValueError(
            f"With nO={widths['new']}, the function that builds the module makes other parameters "
            f"than with nO={widths['old']}: {sorted(set(old) ^ set(new))}. It must make the same, "
            "one axis of which may be nO long."
        )
    values = {}
    for name, handle in old.items():
        value, shape = module.get_value(handle), grown.get_value(new[name]).shape
        _check_shape(name, value.shape, shape, widths)
        values[name] = _padded(value, shape, fill)
    for name, value in values.items():
        grown.set_value(new[name], value)
    grown.after_loading()


def _check_shape(
    name: str, old: Tuple[int, ...], new: Tuple[int, ...], widths: Dict[str, Optional[int]]
) -> None:
    changes = [pair for pair in zip(old, new) if pair[0] != pair[1]]
    if len(old) != len(new) or changes not in ([], [(widths["old"], widths["new"])]):
        raise ValueError(
            f"With nO={widths['new']}, parameter {name!r} would have shape {new} instead of {old}. "
            f"It can be taken over if one axis is nO long and the others stay: let the widths "
            "inside of the module not depend on nO."
        )


def _padded(value: Any, shape: Tuple[int, ...], fill: Optional[Callable[[Any], float]]) -> Any:
    if value.shape == shape:
        return value.copy()
    # Zeros of the same kind of array and dtype.
    padded = get_array_module(value).zeros(shape, dtype=value.dtype)
    if fill is not None and value.ndim == 1:
        padded[:] = fill(value)
    padded[tuple(slice(size) for size in value.shape)] = value
    return padded
