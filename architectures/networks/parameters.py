"""The parameters of a network, read and written in Thinc's layout."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, NamedTuple

import numpy
from thinc.api import Model

from ...wrappers.generators import kept_generators
from ...wrappers.wrapper import get_module, get_shim
from .description import GATES, Parameter, SequenceNetwork, description_of
from .implementations import framework_file


def get_parameters(model: Model[Any, Any]) -> Dict[str, numpy.ndarray]:
    """The parameters of a network, by `Parameter.key` and in Thinc's layout, as copies.

    model (Model): What `build_network` returned, or a model with one such network in it, as the
        encoders are.
    RETURNS (Dict[str, numpy.ndarray]): Float32 arrays, a matrix as (nO, nI).

    Raises ValueError if there is none or there are several, or if it is not initialized.
    """
    return {place.parameter.key: place.get() for place in _places(_find_model(model))}


def set_parameters(model: Model[Any, Any], parameters: Mapping[str, numpy.ndarray]) -> None:
    """Assign what `get_parameters` of the same network in any framework returned.

    model (Model): As for `get_parameters`.
    parameters (Mapping[str, numpy.ndarray]): An array for each key, in Thinc's layout.

    Raises ValueError that names the parameter if one is missing or of another shape, and as
    `get_parameters` does; nothing is assigned then.
    """
    assign(_find_model(model), parameters)


def convert_network(source: Model[Any, Any], target: Model[Any, Any]) -> None:
    """Give a network the parameters of the same network in another framework, if it has any yet."""
    if _is_initialized(source):
        for dim in ("nO", "nI"):
            target.set_dim(dim, source.get_dim(dim))
        initialize_with(target, get_parameters(source))


def initialize_with(model: Model[Any, Any], parameters: Mapping[str, numpy.ndarray]) -> None:
    """Initialize a network whose dims are known, with these parameters instead of drawn ones."""
    # What is drawn is replaced.
    with kept_generators():
        if isinstance(description_of(model), SequenceNetwork):
            model.initialize()
        else:
            X, Y = (model.ops.alloc2f(1, model.get_dim(dim)) for dim in ("nI", "nO"))
            model.initialize(X, Y)
    assign(model, parameters)


def assign(model: Model[Any, Any], parameters: Mapping[str, numpy.ndarray]) -> None:
    """`set_parameters` of the network's own model, which need not have parameters yet."""
    places = _places(model)
    for parameter, *_ in places:
        came = parameters[parameter.key].shape if parameter.key in parameters else "none"
        if came != parameter.shape:
            raise ValueError(
                f"Parameter {parameter.key!r}: expected shape {parameter.shape}, got {came}."
            )
    for place in places:
        place.set(parameters[place.parameter.key])


def _find_model(model: Model[Any, Any]) -> Model[Any, Any]:
    """What `build_network` returned, in a model that has one such in it; with parameters."""
    found = [node for node in model.walk() if "network" in node.attrs]
    if len(found) != 1:
        names = ", ".join(f"'{node.name}'" for node in found) or "none"
        raise ValueError(
            f"Expected a model with one network of spacy-frameworks in it, but '{model.name}' has "
            f"{names}. Hand over one of the nodes of model.walk() that have attrs['network']."
        )
    (node,) = found
    if not _is_initialized(node):
        raise ValueError(
            f"The network '{node.name}' has no parameters yet. Call initialize() of the model "
            "first, with samples of input and output where its widths are not known."
        )
    return node


def _is_initialized(model: Model[Any, Any]) -> bool:
    if model.shims:
        return get_shim(model).is_built
    return all(node.has_param(name) for node in model.walk() for name in node.param_names)


class _Place(NamedTuple):
    """Where a parameter is, and how to read and write it there in Thinc's layout."""

    parameter: Parameter
    get: Callable[[], numpy.ndarray]
    set: Callable[[numpy.ndarray], None]


def _places(model: Model) -> List[_Place]:
    parameters = description_of(model).parameters(model.get_dim("nO"), model.get_dim("nI"))
    if not model.shims:
        nodes = {node.name: node for node in model.walk()}
        return [_thinc_place(parameter, nodes[parameter.layer]) for parameter in parameters]
    layout = framework_file(get_shim(model).framework).LAYOUT
    handles = get_module(model).parameters()
    places = []
    for parameter in parameters:
        name, is_transposed = layout[parameter.kind, parameter.name]
        handle = handles[f"{parameter.layer}.{name}"]
        places.append(_framework_place(parameter, model, handle, is_transposed))
    return places


def _thinc_place(parameter: Parameter, node: Model) -> _Place:
    def get() -> numpy.ndarray:
        return node.ops.to_numpy(node.get_param(parameter.name)).copy()

    def set(value: numpy.ndarray) -> None:
        node.set_param(parameter.name, node.ops.asarray_f(value.copy()))  # type: ignore[arg-type]

    return _Place(parameter, get, set)


def _framework_place(
    parameter: Parameter, model: Model, handle: Any, is_transposed: bool
) -> _Place:
    module = get_module(model)
    stored = module.get_value(handle).shape
    gates = framework_file(get_shim(model).framework).GATES if parameter.kind == "lstm" else None

    def get() -> numpy.ndarray:
        value = model.ops.to_numpy(module.get_value(handle))
        value = numpy.array(value.T if is_transposed else value).reshape(parameter.shape)
        return _reorder(value, gates, GATES) if gates else value

    def set(value: numpy.ndarray) -> None:
        value = _reorder(value, GATES, gates) if gates else value
        # The pieces of a maxout layer are rows of one matrix in the frameworks.
        value = value.reshape(stored[::-1]).T if is_transposed else value.reshape(stored)
        module.set_value(handle, numpy.ascontiguousarray(value))  # type: ignore[arg-type]

    return _Place(parameter, get, set)


def _reorder(value: numpy.ndarray, gates: str, wanted: str) -> numpy.ndarray:
    """The gates of an LSTM in another order."""
    parts = dict(zip(gates, numpy.split(value, len(gates))))
    return numpy.concatenate([parts[gate] for gate in wanted])
