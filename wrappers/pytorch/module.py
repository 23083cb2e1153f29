"""How a PyTorch module runs, is prepared and copied, and what its parameters are."""

from __future__ import annotations

import copy
import itertools
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import torch
from thinc.shims import PyTorchGradScaler
from thinc.types import ArgsKwargs, FloatsXd
from thinc.util import get_torch_default_device

from ..module import FrameworkModule, GoBack
from ..threads import on_threads
from ..tree import leaves
from . import arrays
from .arrays import is_tensor, tensor2xp, xp2tensor

_is_lazy = torch.nn.parameter.is_lazy

# What is saved by a function of the user's: bytes, under its name.
_SERIALIZED = {"serialize_model": "uint8"}


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
        if grad_scaler is None:
            # On CPU, autocast computes in bfloat16, whose exponents reach as far as float32's.
            grad_scaler = PyTorchGradScaler(mixed_precision and device.type == "cuda")
        self._mixed_precision = mixed_precision
        self._grad_scaler = grad_scaler
        self._serialize_model = serialize_model
        self._deserialize_model = deserialize_model
        grad_scaler.to_(device)
        super().__init__(model, device, **shared)

    def options(self) -> Dict[str, Any]:
        return {
            "mixed_precision": self._mixed_precision,
            "grad_scaler": self._grad_scaler,
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

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, enabled=self._mixed_precision)

    def _on_threads(self) -> on_threads:
        return on_threads(self.threads, torch.get_num_threads, torch.set_num_threads)

    def predict(self, inputs: ArgsKwargs) -> Any:
        # Not switched back afterwards: other threads may be predicting with the same module.
        if self.model.training:
            self.model.eval()
        with torch.no_grad(), self._autocast(), self._on_threads():
            return self.model(*inputs.args, **inputs.kwargs)

    def begin_update(self, inputs: ArgsKwargs) -> Tuple[Any, GoBack]:
        # Looked up first: it goes through all modules.
        if not self.model.training:
            self.model.train()
        # Autocast must not be on in the backward pass.
        with torch.enable_grad(), self._autocast(), self._on_threads():
            outputs = self.model(*inputs.args, **inputs.kwargs)
        tensors = leaves(is_tensor, inputs)
        d_inputs = [tensor for tensor in tensors if tensor.requires_grad]

        def go_back(
            outputs: Sequence[torch.Tensor],
            gradients: Sequence[torch.Tensor],
            *args: Any,
            **kwargs: Any,
        ) -> List[Optional[torch.Tensor]]:
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
                self._unscale(d_inputs)
                for parameter, gradient in before:
                    added = 0 if parameter.grad is None else parameter.grad
                    parameter.grad = gradient + added
            return [tensor.grad for tensor in tensors]

        return outputs, go_back

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
            with torch.no_grad():
                handle.copy_(tensor)

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
        extra = [name for name in self.model.state_dict() if name.endswith("_extra_state")]
        if extra:
            raise ValueError(
                f"The module has extra state that is no tensor ({', '.join(extra)}). Give the "
                "wrapper serialize_model and deserialize_model functions that handle it."
            )
        return super().to_tensors()

    def from_tensors(
        self, tensors: Mapping[str, Any], dtypes: Mapping[str, str], complete: bool
    ) -> PyTorchModule:
        if self._deserialize_model is None:
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
        copied._grad_scaler = copy.deepcopy(self._grad_scaler)
        return copied

    def copied_model(self) -> torch.nn.Module:
        return copy.deepcopy(self.model)


def _as_uint8(data: bytes) -> Any:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8).numpy()
