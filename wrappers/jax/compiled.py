"""A model as compiled functions of flat lists of arrays, one forward and one backward."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import jax
import numpy

from ..module import check_returned
from .arrays import is_float
from .models import Pass, PureModel, Rebuild
from .rows import are_close, are_equal, bucket, count_rows, cut_off, fill_up, other_rows

# The values that are trained, and the rest.
Lists = Tuple[Sequence[Any], Sequence[Any]]
# From outputs and their gradients to those of the trained values and of the tensors.
GetGradients = Callable[[Sequence[Any], Sequence[Any]], Tuple[List[Any], List[Any]]]


class CompiledModel:
    """Calls a model with inputs of one structure, in training or in evaluation.

    JAX compiles a function anew for every shape. So rows are filled up to one of a few numbers
    where that changes nothing, which is tried on the first batch: see `_find_out`.
    """

    def __init__(
        self,
        pure: PureModel,
        names: Tuple[Sequence[str], Sequence[str]],
        rate: Optional[float],
        rebuild: Rebuild,
        fills_rows: Optional[bool],
        is_train: bool,
    ):
        """
        names: Of the values that are trained, and of the rest.
        rate: The rate of dropout; None leaves each layer its own.
        rebuild: From tensors to arguments and keyword arguments.
        fills_rows: Whether rows may be filled up; None if that has to be found out.
        is_train: Whether this is for training.
        """
        self._pure = pure
        self._names = names
        self._rate = rate
        self._rebuild = rebuild
        self._fills_rows = fills_rows
        self._is_train = is_train
        self._predict = jax.jit(self._run)
        self._forward = jax.jit(self._run_and_record)
        # A function of its own, so that what is compiled goes when this does.
        self._backward = jax.jit(lambda go_back, d_outputs: go_back(d_outputs))
        self._reached: Dict[Any, List[bool]] = {}

    # What is compiled

    def _run(
        self, trained: Sequence[Any], rest: Sequence[Any], tensors: Sequence[Any], seed: Any = None
    ) -> Tuple[Any, Dict[str, Any]]:
        names = (*self._names[0], *self._names[1])
        values = dict(zip(names, (*trained, *rest)))
        return self._pure.run(
            values, Pass(tensors, self._rebuild, self._is_train, seed, self._rate)
        )

    def _run_and_record(
        self, trained: Sequence[Any], rest: Sequence[Any], tensors: Sequence[Any], seed: Any
    ) -> Tuple[Any, Dict[str, Any], Callable]:
        def run(trained: Sequence[Any], floats: Sequence[Any]) -> Tuple[Any, Any]:
            remaining = iter(floats)
            every = [next(remaining) if is_float(tensor) else tensor for tensor in tensors]
            outputs, changed = self._run(trained, rest, every, seed)
            return _floats(outputs), (outputs, changed)

        floats = [tensor for tensor in tensors if is_float(tensor)]
        _, go_back, (outputs, changed) = jax.vjp(run, trained, floats, has_aux=True)
        return outputs, changed, go_back

    # What is called

    def predict(self, lists: Lists, tensors: Sequence[Any]) -> Any:
        """The outputs."""
        rows = self._rows_to_fill(lists, tensors)
        if rows is None:
            return self._predict(*lists, tensors)[0]
        outputs, _ = self._predict(*lists, [fill_up(tensor, bucket(rows)) for tensor in tensors])
        return jax.tree_util.tree_map(lambda output: cut_off(output, rows), outputs)

    def begin_update(
        self, lists: Lists, tensors: Sequence[Any], seed: Any
    ) -> Tuple[Any, Dict[str, Any], GetGradients]:
        """The outputs, the values that the pass has changed, and a function to the gradients."""
        rows = self._rows_to_fill(lists, tensors)
        filled = tensors
        if rows is not None:
            filled = [fill_up(tensor, bucket(rows)) for tensor in tensors]
        all_outputs, changed, go_back = self._forward(*lists, filled, seed)
        outputs = all_outputs
        if rows is not None:
            outputs = jax.tree_util.tree_map(lambda output: cut_off(output, rows), outputs)
        specs = [(output.shape, output.dtype) for output in _floats(all_outputs)]
        places = {id(output): i for i, output in enumerate(_floats(outputs))}

        def get_gradients(
            handed: Sequence[Any], gradients: Sequence[Any]
        ) -> Tuple[List[Any], List[Any]]:
            # What was added to a batch takes no part: the gradient of its outputs is zero.
            found: List[Any] = [None] * len(specs)
            check_returned(handed, jax.tree_util.tree_leaves(outputs))
            for output, gradient in zip(handed, gradients):
                if not is_float(output):
                    continue
                shape, _ = specs[places[id(output)]]
                found[places[id(output)]] = fill_up(gradient, shape[0], 0) if shape else gradient
            d_outputs = [
                numpy.zeros(*spec) if gradient is None else gradient
                for gradient, spec in zip(found, specs)
            ]
            d_trained, d_floats = self._backward(go_back, d_outputs)
            # The gradients' memory is lent to JAX, and whoever handed it over may write to it next.
            jax.block_until_ready(d_trained)
            is_handed = tuple(gradient is not None for gradient in found)
            reached = self._find_reached(go_back, d_outputs, is_handed)
            d_trained = [g if is_reached else None for g, is_reached in zip(d_trained, reached)]
            remaining = iter(d_floats)
            d_tensors = [next(remaining) if is_float(tensor) else None for tensor in tensors]
            if rows is not None:
                d_tensors = [
                    gradient if gradient is None or not gradient.ndim else cut_off(gradient, rows)
                    for gradient in d_tensors
                ]
            return d_trained, d_tensors

        # Kept with the outputs, so that their ids stay theirs.
        get_gradients.outputs = outputs  # type: ignore[attr-defined]
        return outputs, changed, get_gradients

    def _find_reached(
        self, go_back: Callable, d_outputs: List[Any], is_handed: Tuple[bool, ...]
    ) -> List[bool]:
        """Which trained values have a gradient that depends on those handed over. That of the
        others is no zero, but none, as no weight decay is to move them."""
        if is_handed not in self._reached:
            # Tracing is done already: JAX keeps it by the shapes.
            jaxpr = self._backward.trace(go_back, d_outputs).jaxpr.jaxpr
            d_inputs = jaxpr.invars[len(jaxpr.invars) - len(d_outputs) :]
            depends = {id(d_input) for d_input, is_one in zip(d_inputs, is_handed) if is_one}
            for equation in jaxpr.eqns:
                if any(id(invar) in depends for invar in equation.invars):
                    depends.update(map(id, equation.outvars))
            outvars = jaxpr.outvars[: len(self._names[0])]
            self._reached[is_handed] = [id(outvar) in depends for outvar in outvars]
        return self._reached[is_handed]

    # Filling up rows

    def _rows_to_fill(self, lists: Lists, tensors: Sequence[Any]) -> Optional[int]:
        """How many rows there are, if more are to be added; else None."""
        if self._fills_rows is False:
            return None
        rows = count_rows(tensors)
        if not rows:
            return None
        if self._fills_rows is None:
            self._fills_rows = self._find_out(lists, tensors, rows)
        return rows if self._fills_rows and bucket(rows) > rows else None

    def _find_out(self, lists: Lists, tensors: Sequence[Any], rows: int) -> Optional[bool]:
        """Whether the outputs of rows are what they are if other rows come behind them. None if
        these rows cannot tell.

        Batch normalization and a mean over the batch mix rows; their outputs would be wrong, and
        nobody would know. So the batch is filled up in two ways: with copies of its last row, and
        with rows that a mixture could not hide, of NaN where they are floats. Its own outputs must
        be the same to the bit, as must be whatever the pass changes, such as batch statistics.
        They must be those without any rows added, too; random numbers, which JAX draws by their
        place, are the same there.
        """
        if jax.config.jax_debug_nans:
            # It takes NaN for an error. Switched off for the while, it would stay off after Ctrl-C.
            return None
        size = bucket(rows + 1)
        others = other_rows(tensors, size)
        if others is None:
            return None
        fillings = ([fill_up(tensor, size) for tensor in tensors], others)
        (first, first_changed), (second, second_changed) = (
            self._run_once(lists, filled) for filled in fillings
        )
        if any(not output.ndim or len(output) != size for output in first):
            return False
        first, second = ([_first(output, rows) for output in found] for found in (first, second))
        if not all(map(are_equal, first, second)):
            return False
        if not all(map(are_equal, first_changed, second_changed)):
            return False
        alone, alone_changed = self._run_once(lists, tensors)
        return all(map(are_close, alone, first)) and all(
            map(are_close, alone_changed, first_changed)
        )

    def _run_once(self, lists: Lists, tensors: Sequence[Any]) -> Tuple[List[Any], List[Any]]:
        """The outputs, and the values that the pass has changed, of the functions that run later,
        so that nothing is compiled twice."""
        if self._is_train:
            seed = numpy.uint32(0) if self._pure.takes_seed else None
            outputs, changed, _ = self._forward(*lists, tensors, seed)
        else:
            outputs, changed = self._predict(*lists, tensors)
        return jax.tree_util.tree_leaves(outputs), jax.tree_util.tree_leaves(changed)


def _first(tensor: Any, rows: int) -> Any:
    # Of JAX's arrays, a slice would be compiled.
    return numpy.asarray(tensor)[:rows]


def _floats(outputs: Any) -> List[Any]:
    """The outputs that have a gradient."""
    return [leaf for leaf in jax.tree_util.tree_leaves(outputs) if is_float(leaf)]
