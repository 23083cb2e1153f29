"""How a Gluon block runs, is prepared and copied, and what its parameters are."""

from __future__ import annotations

import copy
import inspect
import pickle
import threading
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import mxnet as mx
import numpy
from thinc.api import CupyOps, get_current_ops
from thinc.types import ArgsKwargs, FloatsXd
from thinc.util import convert_recursive, is_numpy_array

from ..module import FrameworkModule, GoBack
from ..tree import leaves
from . import arrays
from .arrays import address, is_tensor, memory, tensor2xp, xp2tensor

# Gluon's blocks and their traced graphs are not safe to run from several threads at once.
_RUN_LOCK = threading.RLock()

# What a hybridized block keeps of the one input structure that it was traced for.
_TRACE = ("_cached_graph", "_cached_op", "_cached_op_args", "_in_format", "_out_format")


class MXNetModule(FrameworkModule):
    """A `mxnet.gluon.Block`."""

    framework = "mxnet"
    arrays = arrays
    output_gradients = "head_grads"

    # Preparing and moving

    @staticmethod
    def is_model(obj: Any) -> bool:
        return isinstance(obj, mx.gluon.Block)

    @staticmethod
    def default_device() -> mx.Context:
        ops = get_current_ops()
        return mx.gpu(ops.device_id) if isinstance(ops, CupyOps) else mx.cpu()

    @staticmethod
    def device_for(device_type: str, device_id: int) -> mx.Context:
        return mx.cpu() if device_type == "cpu" else mx.gpu(device_id)

    def prepared(self, model: mx.gluon.Block) -> mx.gluon.Block:
        _make_dense(model)
        named = model._collect_params_with_prefix()
        self._all_parameters = list(named.values())
        for name, parameter in named.items():
            _check_dense(name, parameter)
            if parameter._data is None and not parameter._deferred_init:
                parameter.initialize(ctx=self.device)
            elif self.device not in parameter.list_ctx():
                parameter.reset_ctx(self.device)
            if parameter.grad_req == "write":
                # Gradients add up over several backward passes.
                parameter.grad_req = "add"
        # Traces are kept by the structure of the inputs, which a block may be called with
        # several of: Gluon keeps one, and refuses the others.
        # They are kept by the rate of dropout too, which Gluon reads when it traces.
        self._traces: Dict[Optional[float], Dict[str, Dict[str, Any]]] = {}
        self._argument_names = _argument_names(model)
        _hybridize(model)
        return model

    def is_materialized(self) -> bool:
        return all(p._data is not None for p in self.model._collect_params_with_prefix().values())

    def depends_on_inputs(self) -> bool:
        return self.remake is None

    def dropout_layers(self) -> List[Tuple[Any, str]]:
        found: List[Tuple[Any, str]] = []
        for block in _walk(self.model):
            if isinstance(block, (mx.gluon.nn.Dropout, mx.gluon.rnn.DropoutCell)):
                found.append((block, "_rate"))
            elif getattr(block, "_num_layers", 1) > 1 and hasattr(block, "_dropout"):
                # A recurrent layer, which drops out between its layers.
                found.append((block, "_dropout"))
        return found

    def set_layers_rate(self, layer: Any, attribute: str, rate: float) -> None:
        super().set_layers_rate(layer, attribute, rate)
        if not isinstance(self.model, mx.gluon.HybridBlock):
            # The traces are those of the blocks inside, which keep one each.
            _clear_traces(self.model)

    @staticmethod
    def seed() -> None:
        # Takes longer than a step of a small model, so it is not done for each pass.
        mx.random.seed(numpy.random.randint(2**31))

    # Arrays

    def from_xp(self, array: Any, requires_grad: bool = False) -> mx.nd.NDArray:
        if not array.ndim or not array.size:
            raise ValueError(
                "MXNet's operators take an array without dimensions, or without numbers, for one "
                f"whose shape is not known yet, but got one of shape {array.shape}. Hand over an "
                "array of one number as X.reshape(1), and none without numbers."
            )
        return super().from_xp(array, requires_grad)

    # Running

    def _run(self, inputs: ArgsKwargs) -> Any:
        args = self._positional(inputs)
        if not isinstance(self.model, mx.gluon.HybridBlock):
            return self.model(*args)
        structure = str(convert_recursive(is_tensor, lambda _: "tensor", list(args)))
        traces = self.of_rate(self._traces, dict)
        trace = traces.get(structure)
        if trace is None:
            self.model._clear_cached_op()
        else:
            self.model.__dict__.update(trace)
        outputs = self.model(*args)
        if trace is None:
            kept = {name: self.model.__dict__.get(name) for name in _TRACE}
            traces[structure] = kept
        return outputs

    def _positional(self, inputs: ArgsKwargs) -> List[Any]:
        """Gluon's blocks take no keywords, so these go to the places that they name."""
        if not inputs.kwargs:
            return list(inputs.args)
        rest = self._argument_names[len(inputs.args) :]
        unknown = [name for name in inputs.kwargs if name not in rest]
        if unknown:
            raise ValueError(
                f"{type(self.model).__name__} got the keyword inputs {list(inputs.kwargs)}, but "
                f"after {len(inputs.args)} positional ones it takes {rest}."
            )
        args = [inputs.kwargs.get(name) for name in rest]
        while args and args[-1] is None:
            args.pop()
        return [*inputs.args, *args]

    def thread_state(self) -> Any:
        return mx.autograd.is_recording(), mx.autograd.is_training()

    def set_thread_state(self, state: Any) -> None:
        recording, training = state
        mx.autograd.set_recording(recording)
        mx.autograd.set_training(training)

    def predict(self, inputs: ArgsKwargs) -> Any:
        with _RUN_LOCK, mx.autograd.pause(train_mode=False):
            outputs = self._run(inputs)
            _finish(leaves(is_tensor, outputs))
        return outputs

    def begin_update(self, inputs: ArgsKwargs) -> Tuple[Any, GoBack]:
        with _RUN_LOCK:
            self._renew_frozen()
            with mx.autograd.record(train_mode=True):
                outputs = self._run(inputs)
            _finish(leaves(is_tensor, outputs))
        tensors = leaves(is_tensor, inputs)

        def go_back(
            outputs: Sequence[mx.nd.NDArray],
            gradients: Sequence[mx.nd.NDArray],
            *args: Any,
            **kwargs: Any,
        ) -> List[Optional[mx.nd.NDArray]]:
            if outputs:
                with _RUN_LOCK:
                    mx.autograd.backward(list(outputs), list(gradients), *args, **kwargs)
                    _finish([tensor.grad for tensor in tensors if tensor._fresh_grad])
                    _finish([array for p in self._all_parameters for array in p._grad or ()])
            # What no backward pass has written is not initialized.
            return [tensor.grad if tensor._fresh_grad else None for tensor in tensors]

        return outputs, go_back

    def _renew_frozen(self) -> None:
        """Give each frozen parameter a new handle to its memory. A pass records the handle, and
        its backward pass clears the record, for every other pass that has the same one too."""
        for parameter in self._all_parameters:
            if parameter.grad_req == "null" and parameter._data is not None:
                parameter._data = [array.detach() for array in parameter._data]

    # Parameters

    def parameters(self) -> Dict[str, mx.gluon.Parameter]:
        named, seen = {}, set()
        for name, parameter in self.model._collect_params_with_prefix().items():
            if id(parameter) not in seen and parameter._data is not None:
                seen.add(id(parameter))
                named[name] = parameter
        return named

    def get_value(self, handle: mx.gluon.Parameter) -> FloatsXd:
        return _array(handle.data(self.device))

    def set_value(self, handle: mx.gluon.Parameter, value: FloatsXd) -> None:
        _set(handle.data(self.device), value)

    def get_gradient(self, handle: mx.gluon.Parameter) -> Optional[FloatsXd]:
        # Set by a backward pass that reaches the parameter; Gluon's own trainer reads it too.
        if handle.grad_req == "null" or not handle.data(self.device)._fresh_grad:
            return None
        # Nothing of MXNet's reads gradients.
        return _array(handle.grad(self.device), is_read=False)

    def set_gradient(self, handle: mx.gluon.Parameter, value: Optional[FloatsXd]) -> None:
        if handle.grad_req == "null":
            return
        _set(handle.grad(self.device), 0 if value is None else value, is_read=False)
        handle.data(self.device)._fresh_grad = value is not None

    def dtype_name(self, handle: mx.gluon.Parameter) -> str:
        return handle.data(self.device).dtype.__name__

    # Copies

    def copied_model(self) -> mx.gluon.Block:
        with _RUN_LOCK:
            self._clear_traces()
            return _with_gradients(copy.deepcopy(self.model))

    def reduced(self) -> bytes:
        # Pickled here already: MXNet has pickles for other processes hold no values, but handles
        # to memory, which processes that are spawned cannot be handed.
        with _RUN_LOCK:
            self._clear_traces()
            return pickle.dumps(self.model, pickle.HIGHEST_PROTOCOL)

    @classmethod
    def restored(cls, state: bytes, device: Any, input_spec: Any) -> mx.gluon.Block:
        return _with_gradients(pickle.loads(state))

    def _clear_traces(self) -> None:
        # Gluon keeps them in the blocks.
        _clear_traces(self.model)
        self._traces.clear()


def _finish(computed: Sequence[mx.nd.NDArray]) -> None:
    """Wait until MXNet's threads have computed these. What goes wrong there is an error here. Else
    it would be one of whoever next uses the same scratch memory, in a pass of another model."""
    error = None
    for tensor in computed:
        try:
            tensor.wait_to_read()
        except mx.MXNetError as raised:
            # The others may have errors of their own, which must not stay either.
            error = error or raised
    if error is not None:
        raise error


def _array(tensor: mx.nd.NDArray, is_read: bool = True) -> Any:
    """An array, on CPU of the same memory, so that the optimizer writes where MXNet reads."""
    is_shared = arrays.is_on_cpu(tensor) and tensor.dtype != numpy.float16
    return memory(tensor, is_read) if is_shared else tensor2xp(tensor)


def _set(tensor: mx.nd.NDArray, value: Any, is_read: bool = True) -> None:
    """Assign an array, or a number to each place."""
    if not arrays.is_on_cpu(tensor):
        is_array = hasattr(value, "shape")
        tensor[:] = xp2tensor(value, device=tensor.context) if is_array else value
    elif not _is_memory_of(tensor, value):
        # Not by MXNet, which would hand each to another thread.
        numpy.copyto(memory(tensor, is_read), value, casting="unsafe")


def _is_memory_of(tensor: mx.nd.NDArray, value: Any) -> bool:
    """Whether this is what `memory` returned; without its wait, which takes longer than Adam on a
    small parameter."""
    is_whole = is_numpy_array(value) and value.flags.c_contiguous and value.shape == tensor.shape
    return is_whole and value.size > 0 and value.ctypes.data == address(tensor)


def _hybridize(block: mx.gluon.Block) -> None:
    """Hybridize the blocks that can be and are not yet, with the user's flags where they are."""
    if not isinstance(block, mx.gluon.HybridBlock):
        for child in block._children.values():
            _hybridize(child)
    elif not block._active:
        block.hybridize()


def _make_dense(block: mx.gluon.Block) -> None:
    """Let embeddings have gradients for all of their rows: MXNet adds up no others, and Thinc's
    optimizers take no others."""
    for layer in _walk(block):
        if isinstance(layer, mx.gluon.nn.Embedding) and layer._kwargs["sparse_grad"]:
            layer._kwargs["sparse_grad"] = False
            layer.weight._grad_stype = "default"
            if layer.weight._data is not None:
                layer.weight._init_grad()


def _check_dense(name: str, parameter: mx.gluon.Parameter) -> None:
    kinds = {"stype": parameter._stype, "grad_stype": parameter._grad_stype}
    for argument, kind in kinds.items():
        if kind != "default":
            raise ValueError(
                f"Expected parameter {name!r} to be stored densely, but it has {argument}={kind!r}."
                f" Thinc's optimizers take whole arrays. Make it with {argument}='default', and "
                "its layer with sparse_grad=False."
            )


def _walk(block: mx.gluon.Block) -> Iterator[mx.gluon.Block]:
    """The blocks inside of a block, itself included."""
    yield block
    for child in block._children.values():
        yield from _walk(child)


def _clear_traces(block: mx.gluon.Block) -> None:
    """Drop the traced graphs, which hold pointers that cannot be copied."""
    if isinstance(block, mx.gluon.HybridBlock):
        block._clear_cached_op()
    for child in block._children.values():
        _clear_traces(child)


def _with_gradients(block: mx.gluon.Block) -> mx.gluon.Block:
    """Mark copied parameters as variables again, a mark that copies lack."""
    for parameter in block._collect_params_with_prefix().values():
        mode = parameter.grad_req
        parameter.grad_req = "null"
        parameter.grad_req = mode
    return block


def _argument_names(block: mx.gluon.Block) -> List[str]:
    own_forward = type(block).forward is not mx.gluon.HybridBlock.forward
    function = block.forward if own_forward else block.hybrid_forward
    names = [p.name for p in inspect.signature(function).parameters.values()]
    if not own_forward:
        # F comes first, and the block's own parameters come as keywords behind the inputs.
        names = [name for name in names[1:] if name not in block._reg_params]
    return names
