"""A network as traced functions, without what TensorFlow does around each call of one.

Most of the time of a small network goes by in Python: `tf.function` takes its arguments and outputs
apart and together, and `tf.GradientTape` finds out how to go back. Here the functions that they
would call in the end, forward and backward, are called as they are.
"""

from __future__ import annotations

import threading
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import tensorflow as tf
from thinc.types import ArgsKwargs

from ..module import check_returned

# From output tensors and their gradients to the gradients of what was asked for.
GetGradients = Callable[[Sequence[tf.Tensor], Sequence[tf.Tensor]], List[Any]]


class TracedNetwork:
    """Calls a network as a traced function, and goes back through it."""

    def __init__(self, run: Callable[[Tuple, Mapping[str, Any]], Any]):
        """
        run: From arguments and keyword arguments to the network's outputs.
        """
        # Traced for the shapes that vary: the second number of rows makes it good for all.
        self._function = tf.function(run, reduce_retracing=True)
        self._traces: Dict[int, _Trace] = {}
        self._latest: Optional[_Trace] = None
        self._lock = threading.Lock()

    def __call__(self, inputs: ArgsKwargs) -> Any:
        """The outputs."""
        trace, tensors = self._find(inputs)
        if tensors is not None and trace.runs():
            return trace(tensors)
        return self._function(tuple(inputs.args), inputs.kwargs)

    def begin_update(self, inputs: ArgsKwargs, sources: Sequence[Any]) -> Tuple[Any, GetGradients]:
        """The outputs, and a function to the gradients of the sources, which are input tensors
        and variables. A source that the outputs do not depend on has None."""
        trace, tensors = self._find(inputs)
        if tensors is not None and trace.goes_back():
            return trace.begin_update(tensors, sources)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(sources)
            outputs = self._function(tuple(inputs.args), inputs.kwargs)

        returned = tf.nest.flatten(outputs, expand_composites=True)

        def get_gradients(handed: Sequence[Any], gradients: Sequence[Any]) -> List[Any]:
            check_returned(handed, returned)
            return list(tape.gradient(handed, sources, output_gradients=gradients))

        return outputs, get_gradients

    def _find(self, inputs: ArgsKwargs) -> Tuple[_Trace, Optional[Sequence[tf.Tensor]]]:
        """The trace for some inputs, and the tensors in the order in which it takes them; None
        if more has to be done with the inputs than to hand their tensors over."""
        latest = self._latest
        if latest is not None and not inputs.kwargs and latest.fits(inputs.args):
            return latest, inputs.args
        nest = (tuple(inputs.args), inputs.kwargs)
        function = self._function.get_concrete_function(*nest)
        with self._lock:
            trace = self._traces.get(id(function))
            if trace is None:
                trace = self._traces[id(function)] = _Trace(function)
        leaves = tf.nest.flatten(nest)
        tensors = [leaf for leaf in leaves if isinstance(leaf, tf.Tensor)]
        if len(tensors) != len(trace.specs):
            return trace, None
        if len(inputs.args) == len(leaves) == len(tensors):
            self._latest = trace
        return trace, tensors


class _Trace:
    """A network traced for inputs of one structure, dtypes, and shapes as far as they are fixed."""

    def __init__(self, function: Any):
        self._function = function
        n_inputs = len(function.inputs) - len(function.captured_inputs)
        self.specs = [(t.dtype, t.shape) for t in function.inputs[:n_inputs]]
        # How TensorFlow itself goes back through a function that another one calls. Of several
        # outputs, some may have no gradient, which only a tape can tell from zeros.
        is_one = len(function.outputs) == 1 and function.outputs[0].dtype.is_floating
        self._pairs: Any = look_up(function, "_delayed_rewrite_functions") if is_one else None
        self._call_flat = look_up(function, "inference_fn.call_flat")
        self._pack_output = look_up(function, "function_type.pack_output")
        self._lock = threading.Lock()

    def fits(self, args: Sequence[Any]) -> bool:
        """Whether arguments are tensors as this was traced for."""
        return len(args) == len(self.specs) and all(
            isinstance(tensor, tf.Tensor)
            and tensor.dtype is dtype
            and tensor.shape.rank == shape.rank
            and all(size is None or size == own for size, own in zip(shape, tensor.shape))
            for tensor, (dtype, shape) in zip(args, self.specs)
        )

    def runs(self) -> bool:
        """Whether this can be called."""
        return self._call_flat is not None and self._pack_output is not None

    def goes_back(self) -> bool:
        """Whether `begin_update` can be called."""
        return self.runs() and self._pairs is not None

    def __call__(self, tensors: Sequence[tf.Tensor]) -> Any:
        return self._pack_output(self._call_flat(*tensors, *self._function.captured_inputs))

    def begin_update(
        self, tensors: Sequence[tf.Tensor], sources: Sequence[Any]
    ) -> Tuple[Any, GetGradients]:
        """As that of `TracedNetwork`."""
        assert self._pairs is not None
        with self._lock:
            # Made on the first call.
            forward, backward = self._pairs.forward_backward(1)
        inputs = [*tensors, *self._function.captured_inputs]
        outputs = forward.call_flat(*inputs)
        # After the network's output come the tensors that the backward function takes.
        returned = {id(t): output for t, output in zip(self._function.graph.outputs, outputs)}
        needed = [returned.get(id(t), t) for t in backward.captured_inputs]

        def get_gradients(handed: Sequence[tf.Tensor], gradients: Sequence[tf.Tensor]) -> List[Any]:
            check_returned(handed, outputs[:1])
            if not gradients:
                return [None] * len(sources)
            found = backward.inference_fn.call_flat(*gradients, *needed)
            # A tape lets go of them too.
            needed.clear()
            by_id: Dict[int, Any] = {}
            for tensor, gradient in zip(inputs, backward.function_type.pack_output(found)):
                so_far = by_id.get(id(tensor))
                by_id[id(tensor)] = gradient if so_far is None else so_far + gradient
            return [by_id.get(id(getattr(source, "handle", source))) for source in sources]

        return self._pack_output(outputs[:1]), get_gradients


def look_up(function: Any, path: str) -> Any:
    """What a concrete function has under a path of attributes. None where a version of TensorFlow
    has none, since these are not documented; then its own way is taken, which is slower."""
    for name in path.split("."):
        function = getattr(function, name, None)
    return function
