"""What goes into a framework's network and comes out of it, arranged as the framework wants it."""

from __future__ import annotations

import functools
import sys
from typing import Any, Callable, List, Tuple, Union

import numpy
from thinc.api import Model
from thinc.types import ArgsKwargs, Floats2d, Ragged

from ...wrappers.wrapper import get_shim, of_another_width, output_gradients
from .arrangement import Arrangement, Array
from .description import Network, description_of
from .implementations import framework_file

Batch = Union[Floats2d, Ragged]


def check_input(model: Model, X: Any) -> Tuple[Any, Callable[[Any], Any]]:
    """The input in float32, in which all layers compute, and a function that gives a gradient the
    dtype of the input, but not less than 32 bits.

    X: Floats2d or Ragged, as is what comes back, and the gradient.

    Raises ValueError if the input is not as wide as the layer, or not of floats.
    """
    rows, nI = _rows(X), model.maybe_get_dim("nI")
    if nI is not None and rows.shape[1] != nI:
        raise ValueError(f"The layer '{model.name}' {of_another_width(nI, rows.shape[1])}.")
    if rows.dtype == numpy.float32:
        return X, _as_it_is
    if rows.dtype.kind != "f":
        raise ValueError(
            f"The layer '{model.name}' expects floats, but got {rows.dtype.name}. Hand it floats: "
            'X.astype("float32").'
        )
    dtype = numpy.promote_types(rows.dtype, numpy.float32)

    def cast_back(dX: Batch) -> Batch:
        return _like(dX, _rows(dX).astype(dtype))

    return _like(X, rows.astype(numpy.float32)), cast_back


def _as_it_is(dX: Batch) -> Batch:
    return dX


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


def convert_inputs(
    model: Model, X: Batch, is_train: bool
) -> Tuple[ArgsKwargs, Callable[[ArgsKwargs], Batch]]:
    """The rows, what the network has to know of their arrangement, and dropout masks."""
    X, cast_back = check_input(model, X)
    rows = _rows(X)
    shim, ops = get_shim(model), model.ops
    network = description_of(model)
    arrangement = _arrangement(model, network, X)
    masks = dropout_masks(model, network, len(rows), is_train)
    args = (
        shim.from_xp(arrangement.spread(ops, rows), requires_grad=is_train),
        *map(shim.from_xp, arrangement.arguments),
        *(shim.from_xp(arrangement.spread_mask(ops, mask)) for mask in masks),
    )

    def get_dX(d_inputs: ArgsKwargs) -> Batch:
        return cast_back(_like(X, arrangement.collect(ops, shim.to_xp(d_inputs.args[0]))))

    return ArgsKwargs(args=args, kwargs={}), get_dX


def convert_outputs(
    model: Model, X_output: Tuple[Batch, Any], is_train: bool
) -> Tuple[Batch, Callable[[Batch], ArgsKwargs]]:
    """The rows of the output, which is arranged as the input is."""
    shim, ops = get_shim(model), model.ops
    X, output = X_output
    array = shim.to_xp(output)
    if not isinstance(X, Ragged) and len(array) == len(X):
        # Rows that stayed as they were, which a small network has no time to look up.
        return array, lambda dY: output_gradients(shim, [output], [dY])
    arrangement = _arrangement(model, description_of(model), X)

    def get_d_outputs(dY: Batch) -> ArgsKwargs:
        return output_gradients(shim, [output], [arrangement.spread(ops, _rows(dY))])

    return _like(X, arrangement.collect(ops, array)), get_d_outputs


def _rows(batch: Batch) -> Array:
    return batch.data if isinstance(batch, Ragged) else batch


def _like(X: Batch, rows: Array) -> Batch:
    return Ragged(rows, X.lengths) if isinstance(X, Ragged) else rows


def _arrangement(model: Model, network: Network, X: Batch) -> Arrangement:
    """How a batch is arranged. The converters are called one after the other and share it."""
    ops, framework = model.ops, get_shim(model).framework
    if isinstance(X, Ragged):
        lengths = ops.to_numpy(X.lengths).astype("int64").tobytes()
    else:
        lengths = len(X).to_bytes(8, sys.byteorder)
    return _arrange(framework, network, (ops.device_type, ops.device_id), lengths)


@functools.lru_cache(maxsize=16)
def _arrange(
    framework: str, network: Network, place: Tuple[str, int], lengths: bytes
) -> Arrangement:
    # The place is in the key because an arrangement keeps its index where the rows are.
    arrange = framework_file(framework).ARRANGEMENTS[type(network).__name__]
    return arrange(network, numpy.frombuffer(lengths, dtype="int64"))
