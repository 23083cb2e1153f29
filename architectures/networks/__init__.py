"""Networks described once, and built in each framework from its own layers."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

import numpy
from thinc.api import Model
from thinc.types import ArgsKwargs, Floats2d
from thinc.util import partial

from ... import wrappers
from ...wrappers.framework import THINC, get_framework
from ...wrappers.wrapper import convert_default_inputs, get_shim
from ...wrappers.wrapper import init as init_wrapper
from .description import FeedForward, Parameter, draw, from_description

__all__ = ["FeedForward", "build_network", "get_parameters", "set_parameters"]


def build_network(
    framework: str,
    network: FeedForward,
    dropout: float = 0.0,
    nO: Optional[int] = None,
    nI: Optional[int] = None,
) -> Model[Floats2d, Floats2d]:
    """Build a network in a framework.

    framework: Config token or id of a framework, or "Thinc".
    network: The description of the network.
    dropout: Rate of dropout in training, held in attrs["dropout_rate"] of the model (of its
        layers, in Thinc), where `set_dropout_rate` changes it.
    nO, nI: Output and input width. What is None is inferred by `initialize`.

    Raises ValueError on an unknown framework, ImportError on one that is not installed.
    """
    fw = get_framework(framework)
    if fw is THINC:
        model = _implementation(fw.id).feed_forward(network, nO, nI, dropout)
    else:
        model = getattr(wrappers, f"{fw.token}Wrapper")(
            partial(_build_module, fw.id, network),
            convert_inputs=convert_inputs_with_dropout,
            config={"network": network.describe()},
            nO=nO,
            nI=nI,
        )
        model.init = init
        model.attrs["dropout_rate"] = dropout
    model.attrs["network"] = network.describe()
    return model


def init(model: Model, X: Any = None, Y: Any = None) -> None:
    """Infer the dims, build the module, and draw its parameters; again at a second call."""
    init_wrapper(model, X, Y)
    network = from_description(model.attrs["network"])
    set_parameters(model, draw(network, model.get_dim("nO"), model.get_dim("nI")))


def convert_inputs_with_dropout(
    model: Model, X: Floats2d, is_train: bool
) -> Tuple[ArgsKwargs, Callable[[ArgsKwargs], Floats2d]]:
    """Hand a dropout mask for each place that wants one to the module, beside its input.

    A rate in the module would be fixed when it is traced. Masks as inputs are not, and because
    they come from Thinc's ops, training with dropout gives the same numbers in every framework.
    """
    inputs, get_dX = convert_default_inputs(model, X, is_train)
    rate = model.attrs["dropout_rate"]
    if not (is_train and rate):
        return inputs, get_dX
    network, shim = from_description(model.attrs["network"]), get_shim(model)
    masks = [
        shim.from_xp(model.ops.get_dropout_mask((X.shape[0], width), rate))
        for width in network.dropout_widths(model.get_dim("nO"))
    ]
    return ArgsKwargs(args=(*inputs.args, *masks), kwargs={}), get_dX


# Parameters in Thinc's layout


def get_parameters(model: Model[Floats2d, Floats2d]) -> Dict[str, numpy.ndarray]:
    """The parameters of a network of `build_network`, by `Parameter.key` and in Thinc's layout,
    as copies."""
    return {
        parameter.key: numpy.array(value.T if transposed else value)
        for parameter, transposed, value, _ in _entries(model)
    }


def set_parameters(
    model: Model[Floats2d, Floats2d], parameters: Mapping[str, numpy.ndarray]
) -> None:
    """Assign what `get_parameters` of the same network in any framework returned.

    Raises ValueError that names the parameter if one is missing or of another shape; nothing is
    assigned then.
    """
    entries = list(_entries(model))
    for parameter, *_ in entries:
        came = parameters[parameter.key].shape if parameter.key in parameters else "none"
        if came != parameter.shape:
            raise ValueError(
                f"Parameter {parameter.key!r}: expected shape {parameter.shape}, got {came}."
            )
    for parameter, transposed, _, assign in entries:
        value = parameters[parameter.key]
        assign(numpy.ascontiguousarray(value.T if transposed else value))


def _entries(model: Model) -> List[Tuple[Parameter, bool, Any, Callable[[Any], None]]]:
    """Each parameter with whether it is stored transposed, its value, and how to assign it."""
    network = from_description(model.attrs["network"])
    parameters = network.parameters(model.get_dim("nO"), model.get_dim("nI"))
    entries: List[Tuple[Parameter, bool, Any, Callable[[Any], None]]] = []
    if not model.shims:
        nodes = {node.name: node for node in model.walk()}
        for p in parameters:
            node = nodes[p.layer]
            value = node.ops.to_numpy(node.get_param(p.name))
            entries.append((p, False, value, partial(_set_thinc_param, node, p.name)))
        return entries
    shim = get_shim(model)
    layout = _implementation(shim.framework).LAYOUT
    handles = shim.parameters()
    for p in parameters:
        name, transposed = layout[p.kind, p.name]
        handle = handles[f"{p.layer}.{name}"]
        value = model.ops.to_numpy(shim.get_value(handle))
        entries.append((p, transposed, value, partial(shim.set_value, handle)))
    return entries


def _set_thinc_param(node: Model, name: str, value: numpy.ndarray) -> None:
    node.set_param(name, node.ops.asarray_f(value))  # type: ignore[arg-type]


def _implementation(framework_id: str) -> ModuleType:
    return importlib.import_module(f".{framework_id}", __name__)


def _build_module(framework_id: str, network: FeedForward, nO: int, nI: int) -> Any:
    return _implementation(framework_id).feed_forward(network, nO, nI)
