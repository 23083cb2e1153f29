"""A network as a Thinc model, built in one of the frameworks."""

from __future__ import annotations

from typing import Any, Callable, Optional, Tuple

from thinc.api import Model, get_current_ops
from thinc.util import partial

from ...wrappers.framework import THINC, get_framework, require
from ...wrappers.generators import kept_generators
from ...wrappers.process import is_readable_here, runs_here
from ...wrappers.wrapper import forward as forward_wrapper
from ...wrappers.wrapper import get_shim, wrap
from ...wrappers.wrapper import init as init_wrapper
from .description import Network, SequenceNetwork, description_of, draw
from .implementations import implementation
from .inputs import convert_inputs, convert_outputs
from .parameters import assign, get_parameters


def build_network(
    framework: str,
    network: Network,
    dropout: float = 0.0,
    nO: Optional[int] = None,
    nI: Optional[int] = None,
) -> Model[Any, Any]:
    """Build a network in a framework.

    framework (str): Config token or id of a framework, or "Thinc".
    network (Network): The description of the network, such as `FeedForward(48)`.
    dropout (float): Rate of dropout in training, held in attrs["dropout_rate"] of the model (of its
        layers, in Thinc), where `set_dropout_rate` changes it.
    nO, nI (int): Output and input width. What is None is inferred by `initialize`, unless the
        network is one of sequences, which needs both.
    RETURNS (Model): From Floats2d to Floats2d, or, of sequences, from Ragged to Ragged.

    Raises ValueError on an unknown framework, one that has no such network, or widths that the
    network cannot have, ImportError on a framework that is not installed.
    """
    fw, is_sequential = get_framework(framework), isinstance(network, SequenceNetwork)
    if is_sequential and (nO is None or nI is None):
        raise ValueError(f"A {type(network).__name__} needs nO and nI, got nO={nO} and nI={nI}.")
    if any(width is not None and width < 1 for width in (nO, nI)):
        raise ValueError(f"Expected widths of at least 1, got nO={nO} and nI={nI}.")
    if nO is not None and nI is not None:
        network.parameters(nO, nI)
    if fw is THINC:
        model = implementation(fw.id, network)(network, nO, nI, dropout)
        model.name = type(network).__name__
    else:
        require(fw.id)
        # An error here, and not when the dims are known.
        implementation(fw.id, network)
        model = wrap(
            fw.id,
            partial(_build_module, fw.id, network),
            convert_inputs=convert_inputs,
            convert_outputs=convert_outputs,
            model_name=type(network).__name__,
            config={"network": network.describe()},
            nO=nO,
            nI=nI,
            # Parameters and dropout masks are drawn by NumPy's generator alone.
            draws=False,
            # Small products on one thread, or on as many as the user has chosen for such.
            threads=getattr(get_current_ops(), "threads", 1),
        )
        model.attrs["dropout_rate"] = dropout
        model._func = forward
    if fw is not THINC or is_sequential:
        model.init = init
    model.attrs["network"] = network.describe()
    return model


def forward(model: Model, X: Any, is_train: bool) -> Tuple[Any, Callable]:
    """Run the network, or, to predict in a forked process in which its framework would hang, the
    same network in Thinc's layers, with its parameters of now: to read them is possible there."""
    framework = get_shim(model).framework
    if is_train or runs_here(framework) or not is_readable_here(framework):
        return forward_wrapper(model, X, is_train)
    sizes = (model.get_dim("nO"), model.get_dim("nI"))
    twin = build_network(THINC.id, description_of(model), 0.0, *sizes)
    assign(twin, get_parameters(model))
    return twin(X, False)


def init(model: Model, X: Any = None, Y: Any = None) -> None:
    """Infer the dims, build the module, and draw its parameters; again at a second call."""
    if model.shims:
        init_wrapper(model, X, Y)
    assign(model, draw(description_of(model), model.get_dim("nO"), model.get_dim("nI")))


def _build_module(framework_id: str, network: Network, nO: int, nI: int) -> Any:
    # Keras's layers draw seeds from Python's generator, which decides on the order of the training
    # data: one seed shall give one order in every framework.
    with kept_generators():
        return implementation(framework_id, network)(network, nO, nI)
