"""How a PyTorch module runs, is prepared and copied, and what its parameters are."""

from __future__ import annotations

import contextlib
import copy
import itertools
import pickle
from typing import Any, Callable, ContextManager, Dict, List, Mapping, Optional, Sequence, Tuple

import torch
from thinc.shims import PyTorchGradScaler
from thinc.types import ArgsKwargs, FloatsXd
from thinc.util import convert_recursive, get_torch_default_device

from ..module import FrameworkModule, GoBack
from ..threads import on_threads
from ..tree import leaves
from . import arrays, pickles
from .arrays import is_tensor, tensor2xp, xp2tensor
from .process import on_torchs_threads

_is_lazy = torch.nn.parameter.is_lazy
_Tensors = Mapping[str, Optional[torch.Tensor]]

# What is saved by a function of the user's: bytes, under its name.
_SERIALIZED = {"serialize_model": "uint8"}
# Before 2.4, PyTorch has no one way to ask whether autocast is on.
_CAN_TELL_AUTOCAST = hasattr(torch, "get_autocast_dtype")

# Steps that put their result into new memory, and compute no gradient from it: linear layers of
# matrices and LayerNorm. What they return may be handed out as it is.
_KEEP_NO_RESULT = {"AddmmBackward0", "OneDNNLinearBackward", "NativeLayerNormBackward0"}


class PyTorchModule(FrameworkModule):
    """A `torch.nn.Module`."""

    framework = "pytorch"
    arrays = arrays
    output_gradients = "grad_tensors"

    def __init__(
        self,
        model: torch.nn.Module,
        device: Any,
        *,
        mixed_precision: bool = False,
        grad_scaler: Optional[PyTorchGradScaler] = None,
        serialize_model: Optional[Callable[[Any], bytes]] = None,
        deserialize_model: Optional[Callable[[Any, bytes, Any], Any]] = None,
        **shared: Any,
    ):
        """The arguments of `PyTorchWrapper` besides those that all modules have."""
        device = torch.device(device)
        self._mixed_precision = mixed_precision
        # What the user gave, for a module like this one on another device.
        self._given_scaler = grad_scaler
        self._grad_scaler = scaler_for(device, grad_scaler, mixed_precision)
        self._serialize_model = serialize_model
        self._deserialize_model = deserialize_model
        # Whether the model writes into its inputs, by mode: found out in the first pass of each.
        self._writes: Dict[bool, bool] = {}
        # Which mode the layers are in, training or not, but for those that the user has put in
        # another one; None if that is not known.
        self._mode: Optional[bool] = model.training
        # Where the parameters and buffers are, when they were needed.
        self._found: Optional[Tuple[List[_Tensors], List[_Tensors]]] = None
        self._grad_scaler.to_(device)
        super().__init__(model, device, **shared)

    def options(self) -> Dict[str, Any]:
        return {
            "mixed_precision": self._mixed_precision,
            "grad_scaler": self._given_scaler,
            "serialize_model": self._serialize_model,
            "deserialize_model": self._deserialize_model,
        }

    # Preparing and moving

    @staticmethod
    def is_model(obj: Any) -> bool:
        return isinstance(obj, torch.nn.Module)

    @staticmethod
    def default_device() -> torch.device:
        return get_torch_default_device()

    @staticmethod
    def device_for(device_type: str, device_id: int) -> torch.device:
        return torch.device("cpu") if device_type == "cpu" else torch.device("cuda", device_id)

    def prepared(self, model: torch.nn.Module) -> torch.nn.Module:
        return model.to(self.device)

    def is_materialized(self) -> bool:
        tensors = itertools.chain(self.model.parameters(), self.model.buffers())
        return not any(_is_lazy(tensor) for tensor in tensors)

    def depends_on_inputs(self) -> bool:
        return not self.is_materialized()

    def dropout_layers(self) -> List[Tuple[Any, str]]:
        found: List[Tuple[Any, str]] = []
        for module in self.model.modules():
            if isinstance(module, torch.nn.modules.dropout._DropoutNd):
                found.append((module, "p"))
            elif isinstance(module, torch.nn.MultiheadAttention):
                found.append((module, "dropout"))
            elif isinstance(module, torch.nn.RNNBase) and module.num_layers > 1:
                # It drops out between its layers.
                found.append((module, "dropout"))
        return found

    # Running

    def _autocast(self) -> ContextManager[Any]:
        device = self.device.type
        # To enter it takes as long as a layer does.
        if (
            _CAN_TELL_AUTOCAST
            and not self._mixed_precision
            and not torch.is_autocast_enabled(device)
        ):
            return contextlib.nullcontext()
        return torch.autocast(device, enabled=self._mixed_precision)

    def _on_threads(self) -> on_threads:
        return on_torchs_threads(self.threads)

    def thread_state(self) -> Any:
        device, autocast = self.device.type, None
        if self._mixed_precision and _CAN_TELL_AUTOCAST:
            enabled, dtype = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
            autocast = enabled, dtype, _autocast_depth()
        # Not the number of threads, which another thread may have set for its pass.
        return torch.is_grad_enabled(), autocast

    def set_thread_state(self, state: Any) -> None:
        records, autocast = state
        torch.set_grad_enabled(records)
        if autocast is not None:
            enabled, dtype, depth = autocast
            torch.set_autocast_enabled(self.device.type, enabled)
            torch.set_autocast_dtype(self.device.type, dtype)
            for _ in range(_autocast_depth() - depth):
                torch.autocast_decrement_nesting()
            # When it leaves the outermost context, PyTorch forgets the weights that it has cast.
            torch.clear_autocast_cache()

    def _switch(self, is_train: bool) -> None:
        """Put all layers in training or evaluation mode."""
        # Looked up first: it goes through all modules. Ctrl-C may stop it halfway.
        if self._mode is not is_train or self.model.training is not is_train:
            self._mode = None
            self.model.train(is_train)
            self._mode = is_train

    def predict(self, inputs: ArgsKwargs) -> Any:
        # Not switched back afterwards: other threads may be predicting with the same module.
        self._switch(False)
        with torch.no_grad(), self._autocast(), self._on_threads():
            return self._run(inputs, is_train=False)

    def begin_update(self, inputs: ArgsKwargs) -> Tuple[Any, GoBack]:
        if torch.is_inference_mode_enabled():
            # Nothing is recorded in it.
            with torch.inference_mode(False):
                return self.begin_update(inputs)
        self._switch(True)
        # Autocast must not be on in the backward pass.
        with torch.enable_grad(), self._autocast(), self._on_threads():
            outputs = self._run(inputs, is_train=True)
        tensors = leaves(is_tensor, inputs)
        d_inputs = [tensor for tensor in tensors if tensor.requires_grad]

        def go_back(
            outputs: Sequence[torch.Tensor],
            gradients: Sequence[torch.Tensor],
            *args: Any,
            **kwargs: Any,
        ) -> List[Optional[torch.Tensor]]:
            if torch.is_inference_mode_enabled():
                # Gradients that are made in it cannot be added to outside of it.
                with torch.inference_mode(False):
                    return go_back(outputs, gradients, *args, **kwargs)
            pairs = [pair for pair in zip(outputs, gradients) if pair[0].requires_grad]
            for tensor in d_inputs:
                tensor.grad = None
            if pairs:
                before = self._take_gradients()
                # Thinc's layers compute no loss in which scaling could happen, so the gradients
                # that arrive are scaled, and what comes out below is scaled back.
                scaled = self._grad_scaler.scale([grad for _, grad in pairs])
                with self._on_threads():
                    torch.autograd.backward([y for y, _ in pairs], scaled, *args, **kwargs)
                self._separate([grad for _, grad in pairs], d_inputs)
                self._unscale(d_inputs)
                for parameter, gradient in before:
                    added = 0 if parameter.grad is None else parameter.grad
                    parameter.grad = gradient + added
            return [tensor.grad for tensor in tensors]

        return outputs, go_back

    def _run(self, inputs: ArgsKwargs, is_train: bool) -> Any:
        """Call the model. The tensors among the inputs share the caller's memory, so a model that
        writes into them, as `ReLU(inplace=True)` does, is given copies. Whether it does is found
        out in its first pass in training and in its first prediction.

        Raises RuntimeError if it writes into them later and did not then.
        """
        tensors = leaves(is_tensor, inputs)
        # Those that a converter of the user's makes in inference mode do not count how often they
        # are written.
        counts = not any(tensor.is_inference() for tensor in tensors)
        is_shared = counts and self._writes.get(is_train) is False
        if not is_shared:
            with torch.inference_mode(False), torch.set_grad_enabled(is_train):
                inputs = convert_recursive(is_tensor, torch.clone, inputs)
            tensors = leaves(is_tensor, inputs)
        before = [tensor._version for tensor in tensors]
        outputs = self.model(*inputs.args, **inputs.kwargs)
        writes = [tensor._version for tensor in tensors] != before
        self._writes[is_train] = writes or self._writes.get(is_train, False)
        if writes and is_shared:
            raise RuntimeError(
                f"{type(self.model).__name__} has written into its input, whose memory is the "
                "caller's. It did not in its first pass, so it was given no copy; from now on it "
                "is. The arrays of this batch have changed. Let forward() write into a copy: "
                "X = X.clone()."
            )
        return outputs

    def _separate(self, handed: Sequence[torch.Tensor], d_inputs: Sequence[torch.Tensor]) -> None:
        """Give each gradient memory of its own. Where a parameter or an input was a view, PyTorch
        keeps a view of what it was handed, or of another's gradient; and Thinc's layers write into
        the arrays that they hand over and get."""
        holders, _ = self._holders()
        # Tied ones once.
        owners = {id(tensor): tensor for holder in holders for tensor in holder.values()}
        seen = {gradient.untyped_storage().data_ptr() for gradient in handed}
        for owner in (*owners.values(), *d_inputs):
            gradient = None if owner is None else owner.grad
            if gradient is not None and gradient.layout is torch.strided:
                place = gradient.untyped_storage().data_ptr()
                if place in seen:
                    owner.grad = gradient.clone()
                seen.add(place)

    def _take_gradients(self) -> list[Tuple[torch.Tensor, torch.Tensor]]:
        """With a grad scaler: earlier passes' gradients, which must not be scaled back twice."""
        if not self._grad_scaler._enabled:
            return []
        taken = [(p, p.grad) for p in self.model.parameters() if p.grad is not None]
        for parameter, _ in taken:
            parameter.grad = None
        return taken

    def _unscale(self, d_inputs: list[torch.Tensor]) -> None:
        if not self._grad_scaler._enabled:
            return
        tensors = itertools.chain(self.model.parameters(), d_inputs)
        grads = [tensor.grad for tensor in tensors if tensor.grad is not None]
        if self._grad_scaler.unscale(grads):
            # After an overflow, nothing is passed on to the layers before this one.
            for tensor in d_inputs:
                if tensor.grad is not None:
                    tensor.grad.zero_()

    def outputs_to_xp(self, outputs: Any) -> Any:
        # Of several outputs, one may have been computed from another.
        step = outputs.grad_fn if is_tensor(outputs) else None
        if step is not None and step.name() in _KEEP_NO_RESULT:
            return tensor2xp(outputs.detach())
        return convert_recursive(is_tensor, self._output_to_xp, outputs)

    def _output_to_xp(self, output: torch.Tensor) -> Any:
        # One that is recorded is copied in any case.
        if output.grad_fn is None and self._holds(output):
            output = output.clone()
        return tensor2xp(output)

    def _holds(self, output: torch.Tensor) -> bool:
        """Whether an output is in the memory of a parameter or buffer, as the first rows of a table
        of positions are: whoever writes into that array would change the model."""
        if output.layout is not torch.strided:
            return False
        memory = output.untyped_storage()
        start = memory.data_ptr()
        end = start + memory.nbytes()
        # Each prediction waits for this loop.
        for holder in filter(None, itertools.chain(*self._holders())):
            for tensor in holder.values():
                try:
                    if tensor is not None and start <= tensor.data_ptr() < end:
                        return True
                except (RuntimeError, ValueError):
                    # Sparse, or not made yet. To ask for that first takes as long as all the rest.
                    continue
        return False

    def _holders(self) -> Tuple[List[_Tensors], List[_Tensors]]:
        """Where the modules have their parameters, and where they have their buffers."""
        if self._found is None:
            # To go through all modules takes as long as a small one's pass.
            modules = list(self.model.modules())
            parameters = [module._parameters for module in modules]
            self._found = parameters, [module._buffers for module in modules]
        return self._found

    def leaves_overflows_out(self) -> bool:
        return bool(self._grad_scaler._enabled)

    def has_overflowed(self) -> bool:
        return bool(self._grad_scaler.found_inf)

    def after_update(self) -> None:
        self._grad_scaler.update()

    # Parameters

    def parameters(self) -> Dict[str, torch.Tensor]:
        # What state_dict and named_parameters give together, in a third of the time.
        named, seen = {}, set()
        for path, module in self.model.named_modules():
            saved = (
                (name, tensor)
                for name, tensor in (*module._parameters.items(), *module._buffers.items())
                if name not in module._non_persistent_buffers_set
            )
            for name, tensor in saved:
                if tensor is not None and id(tensor) not in seen and not _is_lazy(tensor):
                    seen.add(id(tensor))
                    named[f"{path}.{name}" if path else name] = tensor
        return named

    def get_value(self, handle: torch.Tensor) -> FloatsXd:
        return tensor2xp(handle)  # type: ignore[return-value]

    def set_value(self, handle: torch.Tensor, value: FloatsXd) -> None:
        tensor = xp2tensor(value, device=handle.device)
        if tensor.data_ptr() != handle.data_ptr() or tensor.dtype != handle.dtype:
            handle.detach().copy_(tensor)

    def get_gradient(self, handle: torch.Tensor) -> Optional[FloatsXd]:
        return None if handle.grad is None else tensor2xp(handle.grad)  # type: ignore[return-value]

    def set_gradient(self, handle: torch.Tensor, value: Optional[FloatsXd]) -> None:
        if value is None:
            handle.grad = None
        else:
            handle.grad = xp2tensor(value, device=handle.device).to(handle.dtype)

    def dtype_name(self, handle: torch.Tensor) -> str:
        return str(handle.dtype).removeprefix("torch.")

    # Bytes and copies

    def to_tensors(self) -> Tuple[Dict[str, Any], Dict[str, str]]:
        if self._serialize_model is not None:
            state = self._serialize_model(self.model)
            return {"serialize_model": _as_uint8(state)}, _SERIALIZED
        self._check_state()
        return super().to_tensors()

    def _check_state(self) -> None:
        """Raise ValueError if PyTorch saves more of the model than its parameters and buffers: such
        as what a module calls its extra state, and the packed weights of quantized ones."""
        model, named = self.model, self.parameters()
        tensors = [*model.parameters(), *model.buffers()]
        # Other names of the same values are in order.
        known = {_memory(tensor) for tensor in tensors}
        state = model.state_dict(keep_vars=True)
        extra = [name for name in state if name not in named and _memory(state[name]) not in known]
        if extra:
            raise ValueError(
                f"The module has extra state that is no parameter or buffer ({', '.join(extra)}). "
                "Give the wrapper serialize_model and deserialize_model functions that handle it."
            )

    def from_tensors(
        self, tensors: Mapping[str, Any], dtypes: Mapping[str, str], complete: bool
    ) -> PyTorchModule:
        if self._deserialize_model is None:
            self._check_state()
            return super().from_tensors(tensors, dtypes, complete)
        elif {name: tensor.dtype.name for name, tensor in tensors.items()} != _SERIALIZED:
            raise ValueError(
                "This wrapper has a deserialize_model function, but the file was saved without "
                "serialize_model. Load it into a wrapper without deserialize_model."
            )
        state = tensors["serialize_model"].tobytes()
        # The function may write into what it is given, and fail. Where no copy can be made, which
        # is why some bring functions of their own, it stays as it was left.
        try:
            spare = self.copied_model()
        except Exception:
            spare = self.model
        try:
            model = self._deserialize_model(self.model, state, self.device)
        except Exception:
            self.model = spare
            raise
        return self._like(model, self.device)

    def copied(self) -> PyTorchModule:
        copied = super().copied()
        # Together, since they may be one.
        copied._given_scaler, copied._grad_scaler = copy.deepcopy(
            (self._given_scaler, self._grad_scaler)
        )
        return copied

    def copied_model(self) -> torch.nn.Module:
        copied = copy.deepcopy(self.model)
        for original, parameter in zip(self.model.parameters(), copied.parameters()):
            if not parameter.is_leaf:
                # TorchScript's copies are results computed from the original, to autograd.
                parameter.detach_().requires_grad_(original.requires_grad)
        return copied

    def reduced(self) -> Any:
        return pickles.dumps(self.model) if pickles.needs_own_pickle(self.model) else self.model

    @classmethod
    def restored(cls, state: Any, device: Any, input_spec: Any) -> Any:
        return pickle.loads(state) if isinstance(state, bytes) else state


def scaler_for(
    device: torch.device, given: Optional[PyTorchGradScaler], mixed_precision: bool
) -> PyTorchGradScaler:
    """The scaler for a device: one that is off, except on a GPU. Thinc's runs nowhere else, and on
    CPU autocast computes in bfloat16, whose exponents reach as far as float32's.

    given: The user's. If None, one with default settings, that is on with mixed precision.
    """
    if device.type != "cuda":
        return PyTorchGradScaler(False)
    return PyTorchGradScaler(mixed_precision) if given is None else given


def _autocast_depth() -> int:
    torch.autocast_increment_nesting()
    return int(torch.autocast_decrement_nesting())


def _memory(value: Any) -> int:
    """What tells the values of one tensor from those of others."""
    is_made = isinstance(value, torch.Tensor) and not _is_lazy(value)
    return value.data_ptr() if is_made else id(value)


def _as_uint8(data: bytes) -> Any:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8).numpy()
