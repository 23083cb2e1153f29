"""How a module of the toy library runs, is prepared and copied, and what its parameters are."""

from __future__ import annotations

import copy
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy
import toy
from spacy_frameworks.wrappers.module import FrameworkModule, GoBack, check_returned
from spacy_frameworks.wrappers.tree import leaves
from thinc.types import ArgsKwargs, FloatsXd

from . import arrays


class ToyModule(FrameworkModule):
    """A `toy.Module`."""

    framework = "toy"
    arrays = arrays

    # Preparing

    @staticmethod
    def is_model(obj: Any) -> bool:
        return isinstance(obj, toy.Module)

    @staticmethod
    def default_device() -> str:
        return "cpu"

    @staticmethod
    def device_for(device_type: str, device_id: int) -> str:
        if device_type != "cpu":
            raise ValueError(
                f"Expected the device 'cpu', which is all there is, got {device_type}."
            )
        return device_type

    def prepared(self, model: toy.Module) -> toy.Module:
        return model

    def is_materialized(self) -> bool:
        lazy = [layer for layer in self.model.modules() if isinstance(layer, toy.LazyLinear)]
        return all(layer.linear is not None for layer in lazy)

    def depends_on_inputs(self) -> bool:
        return not self.is_materialized()

    def dropout_layers(self) -> List[Tuple[Any, str]]:
        layers = [layer for layer in self.model.modules() if isinstance(layer, toy.Dropout)]
        return [(layer, "rate") for layer in layers]

    # Running

    def thread_state(self) -> Any:
        return toy.get_traced()

    def set_thread_state(self, state: Any) -> None:
        toy.set_traced(state)

    def predict(self, inputs: ArgsKwargs) -> Any:
        return toy.predict(self.model, *inputs.args, **inputs.kwargs)

    def begin_update(self, inputs: ArgsKwargs) -> Tuple[Any, GoBack]:
        outputs, backward = toy.record(self.model, *inputs.args, **inputs.kwargs)
        tensors, returned = (leaves(arrays.is_tensor, nest) for nest in (inputs, outputs))

        def go_back(
            outputs: Sequence[toy.Tensor], gradients: Sequence[toy.Tensor]
        ) -> List[Optional[toy.Tensor]]:
            check_returned(outputs, returned)
            if outputs:
                backward(outputs, gradients)
            found = [tensor.gradient for tensor in tensors]
            return [None if gradient is None else toy.Tensor(gradient) for gradient in found]

        return outputs, go_back

    # Parameters

    def parameters(self) -> Dict[str, toy.Parameter]:
        return self.model.named_parameters()

    def get_value(self, handle: toy.Parameter) -> FloatsXd:
        return handle.data.copy()  # type: ignore[return-value]

    def set_value(self, handle: toy.Parameter, value: FloatsXd) -> None:
        # Not written in place, where a pass may still have to go back through it.
        handle.data = numpy.array(value, dtype=handle.data.dtype)

    def get_gradient(self, handle: toy.Parameter) -> Optional[FloatsXd]:
        return handle.gradient  # type: ignore[return-value]

    def set_gradient(self, handle: toy.Parameter, value: Optional[FloatsXd]) -> None:
        handle.gradient = None if value is None else numpy.array(value, handle.data.dtype)

    def dtype_name(self, handle: toy.Parameter) -> str:
        return str(handle.data.dtype)

    # Copies

    def copied_model(self) -> toy.Module:
        return copy.deepcopy(self.model)
