"""How a model of JAX runs, and what its parameters are."""

from __future__ import annotations

import pickle
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy
from thinc.types import ArgsKwargs, FloatsXd
from thinc.util import convert_recursive

from ..arrays import numbers
from ..framework import require

# Unpickling comes here first.
require("jax")

import jax  # noqa: E402

from ..module import KEPT_STRUCTURES, FrameworkModule, GoBack, keep_last  # noqa: E402
from ..tree import leaves  # noqa: E402
from . import arrays  # noqa: E402
from .arrays import is_tensor, tensor2xp, xp2tensor  # noqa: E402
from .compiled import CompiledModel  # noqa: E402
from .models import EquinoxModel, PureModel, Rebuild, dumps, find_kind  # noqa: E402
from .rnn import PaddedRNN, RecurrentModel  # noqa: E402


class JAXModule(FrameworkModule):
    """A Flax NNX module, an Equinox module, or a function with its parameters.

    The parameters are arrays in a dict here. `model` is the user's own with these in it.
    """

    framework = "jax"
    arrays = arrays
    output_gradients = "gradients"

    def __init__(
        self,
        model: Any,
        device: Any,
        *,
        fill_rows: Optional[bool] = None,
        vmap: Optional[bool] = None,
        **shared: Any,
    ):
        """The arguments of `JAXWrapper` besides those that all modules have."""
        self._fill_rows = fill_rows
        self._vmap = vmap
        self._gradients: Dict[str, jax.Array] = {}
        super().__init__(model, device, **shared)

    def options(self) -> Dict[str, Any]:
        return {"fill_rows": self._fill_rows, "vmap": self._vmap}

    # Preparing and moving

    @staticmethod
    def is_model(obj: Any) -> bool:
        return isinstance(obj, PaddedRNN) or find_kind(obj) is not None

    @staticmethod
    def default_device() -> str:
        return arrays.default_device()

    @staticmethod
    def device_for(device_type: str, device_id: int) -> str:
        return f"gpu:{device_id}" if device_type == "gpu" else "cpu:0"

    def prepared(self, model: Any) -> Any:
        return model

    @property
    def model(self) -> Any:
        """The user's model with the values of now."""
        return self._pure.made(self._jax_values())

    @model.setter
    def model(self, model: Any) -> None:
        self._pure = self._pure_model(model)
        self._take_values()

    def _pure_model(self, model: Any) -> PureModel:
        if isinstance(model, PaddedRNN):
            return RecurrentModel(self._pure_model(model.rnn))
        kind = find_kind(model)
        assert kind is not None
        vmap = kind is EquinoxModel if self._vmap is None else self._vmap
        pure: PureModel = kind(model, vmap)
        return pure

    def _take_values(self) -> None:
        values = self._pure.values
        # JAX's functions take NumPy's memory as it is, where making an array of JAX's of it takes
        # a tenth of a millisecond. But they run on JAX's default device then.
        chosen = jax.config.jax_default_device
        is_default = chosen is None and arrays.find_device(self.device) == jax.devices()[0]
        self._keeps_numpys = self._is_on_cpu() and is_default
        if self._keeps_numpys:
            # Nobody else has this memory, so it does not change.
            self._values = {name: arrays.copied(v, v.dtype) for name, v in values.items()}
        else:
            self._values = self._placed(values)
        self._trained = [name for name in self._values if name in self._pure.trained]
        self._rest = [name for name in self._values if name not in self._pure.trained]
        self._training: Dict[Optional[float], Dict[Any, CompiledModel]] = {}
        self._predicting: Dict[Any, CompiledModel] = {}

    def _placed(self, values: Mapping[str, Any]) -> Dict[str, Any]:
        place = arrays.find_device(self.device)
        return {name: jax.device_put(value, place) for name, value in values.items()}

    def _jax_values(self) -> Dict[str, jax.Array]:
        return self._placed(self._values)

    def is_materialized(self) -> bool:
        return not self._pure.may_grow()

    def depends_on_inputs(self) -> bool:
        return self.remake is None and self._pure.may_grow()

    def create_parameters(self, inputs: ArgsKwargs) -> None:
        before = set(self._values)
        # What was loaded has reached the values alone.
        self._pure.made(self._jax_values())
        self._pure.grow(inputs.args, inputs.kwargs)
        if before != set(self._pure.values):
            self._take_values()

    def dropout_layers(self) -> List[Tuple[Any, str]]:
        return self._pure.dropout_layers()

    def set_layers_rate(self, layer: Any, attribute: str, rate: float) -> None:
        """Nothing to do: the rate is set in the copies of the layers that are compiled."""

    # Arrays

    def from_xp(self, array: Any, requires_grad: bool = False) -> Any:
        # JAX's functions take NumPy's arrays as they are. Those of many rows are copied once
        # there, or once here, where rows are filled up.
        if isinstance(array, numpy.ndarray) and self._is_on_cpu():
            array = numbers(array)
            arrays.check_integers(array)
            return array
        return super().from_xp(array, requires_grad)

    def _is_on_cpu(self) -> bool:
        return self.device.startswith("cpu")

    # Running

    def predict(self, inputs: ArgsKwargs) -> Any:
        key, tensors, rebuild = _taken_apart(inputs)
        return self._predictor(key, rebuild).predict(self._lists(), tensors)

    def begin_update(self, inputs: ArgsKwargs) -> Tuple[Any, GoBack]:
        key, tensors, rebuild = _taken_apart(inputs)
        compiled = self._trainer(key, rebuild)
        # Of NumPy's generator, so that what decides on everything else decides on this too.
        seed = numpy.random.randint(2**32, dtype="uint32") if self._pure.takes_seed else None
        outputs, changed, get_gradients = compiled.begin_update(self._lists(), tensors, seed)
        self._values.update(changed)

        def go_back(outputs: Sequence[Any], gradients: Sequence[Any]) -> List[Any]:
            if not outputs:
                return [None] * len(tensors)
            d_trained, d_tensors = get_gradients(outputs, gradients)
            for name, gradient in zip(self._trained, d_trained):
                if gradient is None:
                    continue
                so_far = self._gradients.get(name)
                self._gradients[name] = gradient if so_far is None else so_far + gradient
            return d_tensors

        return outputs, go_back

    def _lists(self) -> Tuple[List[Any], List[Any]]:
        values = self._values
        return [values[name] for name in self._trained], [values[name] for name in self._rest]

    def _predictor(self, key: Any, rebuild: Rebuild) -> CompiledModel:
        return keep_last(
            self._predicting, key, lambda: self._compiled(rebuild, False), KEPT_STRUCTURES
        )

    def _trainer(self, key: Any, rebuild: Rebuild) -> CompiledModel:
        # By the rate of dropout, which is read when the model is traced.
        training = self.of_rate(self._training, dict)
        return keep_last(training, key, lambda: self._compiled(rebuild, True), KEPT_STRUCTURES)

    def _compiled(self, rebuild: Rebuild, is_train: bool) -> CompiledModel:
        fills_rows = self._pure.fills_rows if self._fill_rows is None else self._fill_rows
        names, rate = (self._trained, self._rest), self._rate if is_train else None
        return CompiledModel(self._pure, names, rate, rebuild, fills_rows, is_train)

    # Parameters. A handle is the name.

    def parameters(self) -> Dict[str, str]:
        return {name: name for name in self._values}

    def get_value(self, handle: str) -> FloatsXd:
        return tensor2xp(self._values[handle])  # type: ignore[return-value]

    def set_value(self, handle: str, value: FloatsXd) -> None:
        if isinstance(value, numpy.ndarray) and self._keeps_numpys:
            self._values[handle] = arrays.copied(value, self._values[handle].dtype)
        else:
            self._values[handle] = self._like_value(handle, value)

    def get_gradient(self, handle: str) -> Optional[FloatsXd]:
        gradient = self._gradients.get(handle)
        return None if gradient is None else tensor2xp(gradient)  # type: ignore[return-value]

    def set_gradient(self, handle: str, value: Optional[FloatsXd]) -> None:
        if value is None:
            self._gradients.pop(handle, None)
        else:
            self._gradients[handle] = self._like_value(handle, value)

    def _like_value(self, name: str, value: Any) -> jax.Array:
        dtype = self._values[name].dtype
        if isinstance(value, numpy.ndarray) and value.dtype != dtype:
            value = value.astype(dtype)
        tensor = xp2tensor(value, device=self.device)
        return tensor if tensor.dtype == dtype else tensor.astype(dtype)

    def dtype_name(self, handle: str) -> str:
        return str(self._values[handle].dtype.name)

    # Copies

    def copied_model(self) -> Any:
        return self._pure.copied(self._jax_values())

    def reduced(self) -> bytes:
        return dumps(self.model)

    @classmethod
    def restored(cls, state: bytes, device: str, input_spec: Any) -> Any:
        return pickle.loads(state)

    def described(self) -> str:
        values = self._values.items()
        named = [f"  {name}: {value.dtype.name}{list(value.shape)}" for name, value in values]
        return "\n".join([self._pure.title(), *named])


class _Tensor:
    """Stands where a tensor is among inputs."""

    def __repr__(self) -> str:
        return "tensor"


_TENSOR = _Tensor()


def _taken_apart(inputs: ArgsKwargs) -> Tuple[Any, List[Any], Rebuild]:
    """What the structure of inputs is known by, the tensors in them, and the way back."""
    if not inputs.kwargs and all(map(is_tensor, inputs.args)):
        return len(inputs.args), list(inputs.args), _as_arguments
    pattern = convert_recursive(is_tensor, lambda _: _TENSOR, inputs)

    def rebuild(tensors: Sequence[Any]) -> Tuple[Sequence[Any], Mapping[str, Any]]:
        remaining = iter(tensors)
        rebuilt = convert_recursive(lambda obj: obj is _TENSOR, lambda _: next(remaining), pattern)
        return rebuilt.args, rebuilt.kwargs

    return str(pattern), leaves(is_tensor, inputs), rebuild


def _as_arguments(tensors: Sequence[Any]) -> Tuple[Sequence[Any], Mapping[str, Any]]:
    return tensors, {}
