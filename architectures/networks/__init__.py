"""Networks described once, and built in each framework from its own layers."""

from __future__ import annotations

import importlib
import random
from types import ModuleType
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional

import numpy
from thinc.api import Model, get_current_ops
from thinc.util import partial

from ...wrappers.framework import THINC, get_framework, require
from ...wrappers.wrapper import get_module, get_shim, wrap
from ...wrappers.wrapper import init as init_wrapper
from .description import (
    GATES,
    NETWORKS,
    BiLSTMEncoder,
    FeedForward,
    Network,
    Parameter,
    SequenceNetwork,
    TransformerEncoder,
    WindowEncoder,
    draw,
    from_description,
)
from .inputs import convert_row_inputs, convert_sequence_inputs, convert_sequence_outputs

__all__ = [
    "BiLSTMEncoder",
    "FeedForward",
    "TransformerEncoder",
    "WindowEncoder",
    "build_network",
    "get_parameters",
    "set_parameters",
]


def build_network(
    framework: str,
    network: Network,
    dropout: float = 0.0,
    nO: Optional[int] = None,
    nI: Optional[int] = None,
) -> Model[Any, Any]:
    """Build a network in a framework.

    framework: Config token or id of a framework, or "Thinc".
    network: The description of the network.
    dropout: Rate of dropout in training, held in attrs["dropout_rate"] of the model (of its
        layers, in Thinc), where `set_dropout_rate` changes it.
    nO, nI: Output and input width. What is None is inferred by `initialize`, unless the network is
        one of sequences, which needs both.
    Returns a model from Floats2d to Floats2d, or, of sequences, from Ragged to Ragged.

    Raises ValueError on an unknown framework or widths that the network cannot have, ImportError
    on a framework that is not installed, NotImplementedError on one that has no such network.
    """
    fw, is_sequential = get_framework(framework), isinstance(network, SequenceNetwork)
    if is_sequential and (nO is None or nI is None):
        raise ValueError(f"A {type(network).__name__} needs nO and nI, got nO={nO} and nI={nI}.")
    if any(width is not None and width < 1 for width in (nO, nI)):
        raise ValueError(f"Expected widths of at least 1, got nO={nO} and nI={nI}.")
    if nO is not None and nI is not None:
        network.parameters(nO, nI)
    if fw is THINC:
        model = _implementation(fw.id, network)(network, nO, nI, dropout)
        model.name = type(network).__name__
    else:
        require(fw.id)
        # An error here, and not when the dims are known.
        _implementation(fw.id, network)
        model = wrap(
            fw.id,
            partial(_build_module, fw.id, network),
            convert_inputs=convert_sequence_inputs if is_sequential else convert_row_inputs,
            convert_outputs=convert_sequence_outputs if is_sequential else None,
            model_name=type(network).__name__,
            config={"network": network.describe()},
            nO=nO,
            nI=nI,
            # Small products on one thread, or on as many as the user has chosen for such.
            threads=getattr(get_current_ops(), "threads", 1),
        )
        model.attrs["dropout_rate"] = dropout
    if fw is not THINC or is_sequential:
        model.init = init
    model.attrs["network"] = network.describe()
    return model


def init(model: Model, X: Any = None, Y: Any = None) -> None:
    """Infer the dims, build the module, and draw its parameters; again at a second call."""
    if model.shims:
        init_wrapper(model, X, Y)
    _assign(model, draw(_network(model), model.get_dim("nO"), model.get_dim("nI")))


# Parameters in Thinc's layout


def get_parameters(model: Model[Any, Any]) -> Dict[str, numpy.ndarray]:
    """The parameters of a network, by `Parameter.key` and in Thinc's layout, as copies.

    model: What `build_network` returned, or a model with one such network in it, as the encoders
        are.

    Raises ValueError if there is none or there are several, or if it is not initialized.
    """
    return {place.parameter.key: place.get() for place in _places(_find_network(model))}


def set_parameters(model: Model[Any, Any], parameters: Mapping[str, numpy.ndarray]) -> None:
    """Assign what `get_parameters` of the same network in any framework returned.

    model: As for `get_parameters`.

    Raises ValueError that names the parameter if one is missing or of another shape, and as
    `get_parameters` does; nothing is assigned then.
    """
    _assign(_find_network(model), parameters)


def _assign(model: Model[Any, Any], parameters: Mapping[str, numpy.ndarray]) -> None:
    places = _places(model)
    for parameter, *_ in places:
        came = parameters[parameter.key].shape if parameter.key in parameters else "none"
        if came != parameter.shape:
            raise ValueError(
                f"Parameter {parameter.key!r}: expected shape {parameter.shape}, got {came}."
            )
    for place in places:
        place.set(parameters[place.parameter.key])


def convert_network(source: Model[Any, Any], target: Model[Any, Any]) -> None:
    """Give a network the parameters of the same network in another framework, if it has any yet."""
    if _is_initialized(source):
        for dim in ("nO", "nI"):
            target.set_dim(dim, source.get_dim(dim))
        _initialize_with(target, get_parameters(source))


def resize_network(
    model: Model[Any, Any], new_nO: int, fill: Callable[[numpy.ndarray], float]
) -> Model[Any, Any]:
    """A copy of a feed-forward network with more outputs, under new ids, so that an optimizer
    that knows the old one takes it for a new one.

    fill: From the biases of the output layer to those of the new outputs, whose weights are zero.
    """
    parameters = get_parameters(model)
    W, b = parameters["out.W"], parameters["out.b"]
    more = new_nO - len(b)
    parameters["out.W"] = numpy.pad(W, ((0, more), (0, 0)))
    parameters["out.b"] = numpy.pad(b, (0, more), constant_values=fill(b))
    framework = get_shim(model).framework if model.shims else THINC.id
    rates = [node.attrs["dropout_rate"] for node in model.walk() if "dropout_rate" in node.attrs]
    resized = build_network(
        framework, _network(model), max(rates, default=0.0), new_nO, model.get_dim("nI")
    )
    _initialize_with(resized, parameters)
    return resized


def _find_network(model: Model[Any, Any]) -> Model[Any, Any]:
    """The one network in a model, with parameters in it."""
    networks = [node for node in model.walk() if "network" in node.attrs]
    if len(networks) != 1:
        names = ", ".join(f"'{network.name}'" for network in networks) or "none"
        raise ValueError(
            f"Expected a model with one network of spacy-frameworks in it, but '{model.name}' has "
            f"{names}. Hand over one of the nodes of model.walk() that have attrs['network']."
        )
    (network,) = networks
    if not _is_initialized(network):
        raise ValueError(
            f"The network '{network.name}' has no parameters yet. Call initialize() of the model "
            "first, with samples of input and output where its widths are not known."
        )
    return network


def _is_initialized(model: Model[Any, Any]) -> bool:
    if model.shims:
        return get_shim(model).is_built
    return all(node.has_param(name) for node in model.walk() for name in node.param_names)


def _initialize_with(model: Model[Any, Any], parameters: Mapping[str, numpy.ndarray]) -> None:
    """Initialize a network whose dims are known, with these parameters instead of drawn ones."""
    state = numpy.random.get_state()
    if isinstance(_network(model), SequenceNetwork):
        model.initialize()
    else:
        X, Y = (model.ops.alloc2f(1, model.get_dim(dim)) for dim in ("nI", "nO"))
        model.initialize(X, Y)
    # What was drawn is replaced, and the caller's random numbers go on as if nothing was.
    numpy.random.set_state(state)
    _assign(model, parameters)


class _Place(NamedTuple):
    """Where a parameter is, and how to read and write it there in Thinc's layout."""

    parameter: Parameter
    get: Callable[[], numpy.ndarray]
    set: Callable[[numpy.ndarray], None]


def _places(model: Model) -> List[_Place]:
    parameters = _network(model).parameters(model.get_dim("nO"), model.get_dim("nI"))
    if not model.shims:
        nodes = {node.name: node for node in model.walk()}
        return [_thinc_place(parameter, nodes[parameter.layer]) for parameter in parameters]
    layout = _module(get_shim(model).framework).LAYOUT
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
    gates = _module(get_shim(model).framework).GATES if parameter.kind == "lstm" else None

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


def _network(model: Model) -> Network:
    return from_description(model.attrs["network"])


def _module(framework_id: str) -> ModuleType:
    fw = get_framework(framework_id)
    name = fw.networks or f"{__name__}.{fw.id}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise NotImplementedError(
            f"There are no networks for {fw.token}, for want of a module {name!r}. Take another "
            f"framework, or a layer of your own around {fw.token}Wrapper."
        ) from None


def _implementation(framework_id: str, network: Network) -> Callable:
    module, name = _module(framework_id), type(network).__name__
    if not hasattr(module, name):
        found = ", ".join(other for other in NETWORKS if hasattr(module, other)) or "none"
        raise NotImplementedError(
            f"There is no {name} for {get_framework(framework_id).token}: of the networks, "
            f"{module.__name__} has {found}. Take another framework, or another network."
        )
    return getattr(module, name)


def _build_module(framework_id: str, network: Network, nO: int, nI: int) -> Any:
    # Keras's layers draw seeds from Python's generator, which decides on the order of the training
    # data: one seed shall give one order in every framework.
    state = random.getstate()
    try:
        return _implementation(framework_id, network)(network, nO, nI)
    finally:
        random.setstate(state)
