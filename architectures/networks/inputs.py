"""What goes into a framework's network and comes out of it: dropout masks, sequences.

The networks of one row at a time take (X, masks of dropout). Those of sequences take X as their
description arranges it, and a mask of where there are rows, before those.
"""

from __future__ import annotations

from typing import Any, Callable, List, Tuple

from thinc.api import Model
from thinc.types import ArgsKwargs, Floats2d, Ragged

from ...wrappers.wrapper import get_shim, output_gradients
from .arrangement import Arrangement, Array
from .description import Network, SequenceNetwork, description_of


def check_width(model: Model, rows: Array) -> None:
    """Raise ValueError if the input is not as wide as the layer."""
    nI = model.maybe_get_dim("nI")
    if nI is not None and rows.shape[1] != nI:
        raise ValueError(
            f"The layer '{model.name}' was built for an input of width {nI}, but got one of width "
            f"{rows.shape[1]}. Give it and the sublayer before it the same width."
        )


def dropout_masks(model: Model, network: Network, rows: int, is_train: bool) -> List[Array]:
    """A mask for each place that wants one, in the order in which Thinc's layers draw theirs.

    A rate in the module would be fixed when it is traced. Masks as inputs are not, and because
    they come from Thinc's ops, training with dropout gives the same numbers in every framework.
    """
    rate = model.attrs["dropout_rate"]
    if not (is_train and rate):
        return []
    widths = network.dropout_widths(model.get_dim("nO"))
    return [model.ops.get_dropout_mask((rows, width), rate) for width in widths]


def convert_row_inputs(
    model: Model, X: Floats2d, is_train: bool
) -> Tuple[ArgsKwargs, Callable[[ArgsKwargs], Floats2d]]:
    """For a network that sees one row at a time."""
    check_width(model, X)
    shim, network = get_shim(model), description_of(model)
    masks = dropout_masks(model, network, X.shape[0], is_train)
    args = (shim.from_xp(X, requires_grad=is_train), *map(shim.from_xp, masks))
    return ArgsKwargs(args=args, kwargs={}), lambda d_inputs: shim.to_xp(d_inputs.args[0])


def convert_sequence_inputs(
    model: Model, X: Ragged, is_train: bool
) -> Tuple[ArgsKwargs, Callable[[ArgsKwargs], Ragged]]:
    """For a network of sequences."""
    check_width(model, X.data)
    shim, ops = get_shim(model), model.ops
    network, arrangement = description_of(model), _arrangement(model, X)
    masks = dropout_masks(model, network, X.data.shape[0], is_train)
    args = (
        shim.from_xp(arrangement.spread(ops, X.data), requires_grad=is_train),
        shim.from_xp(arrangement.mask(ops)),
        *(shim.from_xp(arrangement.spread(ops, mask)) for mask in masks),
    )

    def get_dX(d_inputs: ArgsKwargs) -> Ragged:
        return Ragged(arrangement.collect(ops, shim.to_xp(d_inputs.args[0])), X.lengths)

    return ArgsKwargs(args=args, kwargs={}), get_dX


def convert_sequence_outputs(
    model: Model, X_output: Tuple[Ragged, Any], is_train: bool
) -> Tuple[Ragged, Callable[[Ragged], ArgsKwargs]]:
    """For a network of sequences, whose output is arranged as its input is."""
    shim, ops = get_shim(model), model.ops
    X, output = X_output
    arrangement = _arrangement(model, X)

    def get_d_outputs(dY: Ragged) -> ArgsKwargs:
        return output_gradients(shim, [output], [arrangement.spread(ops, dY.data)])

    return Ragged(arrangement.collect(ops, shim.to_xp(output)), X.lengths), get_d_outputs


def _arrangement(model: Model, X: Ragged) -> Arrangement:
    network = description_of(model)
    assert isinstance(network, SequenceNetwork)
    return network.arrange(model.ops.to_numpy(X.lengths))
