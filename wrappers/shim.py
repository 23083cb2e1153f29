"""What every framework's shim shares: building, the optimizer, averages, bytes and copies."""

from __future__ import annotations

import contextlib
import copy
import inspect
from types import ModuleType
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple, TypeVar, cast

import numpy
from thinc.api import Optimizer, get_array_module
from thinc.shims import Shim
from thinc.types import ArgsKwargs, FloatsXd
from thinc.util import convert_recursive, is_xp_array

from . import weights
from .framework import framework_of, get_framework
from .tree import describe, zeros

Builder = Callable[[int, int], Any]
T = TypeVar("T")

# Of how many rates of dropout the traces are kept: a rate and none, and some that a schedule takes.
KEPT_RATES = 4

# What is known of a module, and not of its copy.
FRESH: Dict[str, Any] = {
    "_materialized": None,
    "_float_dtype": (None, None),
    "_dropout": (None, []),
    "_rate": None,
}


def check_rate(rate: float) -> None:
    """Raise ValueError if this is no rate of dropout."""
    if not 0 <= rate < 1:
        raise ValueError(
            f"Expected a rate of dropout of at least 0 and less than 1, got {rate}. It is the part "
            "of the values that is dropped."
        )


class FrameworkShim(Shim):
    """Holds a framework's module for a Thinc model and speaks for it.

    A framework's folder says how its module runs (`predict`, `begin_update`), is prepared, built
    and copied (`adopt`, `is_materialized`, `clone`, `reduce`, `restore`), and what its parameters
    are called and hold (`parameters`, `get_value`, `set_value`, `get_gradient`, `set_gradient`,
    `dtype_name`). Everything else is here.
    """

    framework: str  # id of the framework, set by each subclass
    arrays: ModuleType  # the folder's conversions of arrays
    output_gradients: str  # what the framework calls the gradients handed to its backward pass
    # Whether dropout in the module follows Thinc's rate, instead of the module's own.
    governs_dropout = False
    # How many threads a pass runs on, where the framework can change that from pass to pass, as
    # PyTorch can. None leaves it as it is.
    threads: Optional[int] = None

    def __init__(self, model: Any, config: Any = None, optimizer: Any = None, device: Any = None):
        """
        model: A module of the framework, or a builder: a function (nO, nI) -> module that is
            called when the dims are known.
        config: JSON values that are saved with the weights. "network" in it describes the
            architecture: bytes with another description are refused.
        optimizer: Kept for compatibility with Thinc's shims; not used.
        device: The framework's device. If None, it follows Thinc's ops.
        """
        super().__init__(None, config, optimizer)
        self.explicit_device = device
        self.device = device if device is not None else self.default_device()
        self.dims: Dict[str, Optional[int]] = {"nO": None, "nI": None}
        # Recorded only for modules that create parameters when they are first called.
        self._input_spec: Any = None
        # The module for which it is known that all parameters exist.
        self._materialized: Any = None
        # A module, and the dtype that it wants floats in.
        self._float_dtype: Tuple[Any, Optional[numpy.dtype]] = (None, None)
        # A module, and where its rates of dropout are.
        self._dropout: Tuple[Any, List[Tuple[Any, str]]] = (None, [])
        self._rate: Optional[float] = None
        self._builder: Optional[Builder] = None
        if self.is_module(model):
            self._model = self.adopt(model)
        else:
            self._builder = self._checked_builder(model)

    # What a framework's folder says

    @staticmethod
    def is_module(obj: Any) -> bool:
        """Whether this is a model of the framework."""
        raise NotImplementedError

    @staticmethod
    def default_device() -> Any:
        """The framework's device for Thinc's current ops."""
        raise NotImplementedError

    @staticmethod
    def device_for(device_type: str, device_id: int) -> Any:
        """The framework's device for Thinc's ("cpu" | "gpu", id)."""
        raise NotImplementedError

    def adopt(self, module: Any) -> Any:
        """Check a module, prepare it for this shim and move it to the shim's device."""
        raise NotImplementedError

    def is_materialized(self) -> bool:
        """Whether all parameters of the module exist, or whether it has to be called first."""
        raise NotImplementedError

    def depends_on_inputs(self) -> bool:
        """Whether a module made anew may lack parameters until it is called once, so that the
        shapes of its inputs have to be saved with it."""
        raise NotImplementedError

    def dropout_layers(self) -> List[Tuple[Any, str]]:
        """The layers of the module that drop out, each with the attribute that holds its rate."""
        raise NotImplementedError

    def predict(self, inputs: ArgsKwargs) -> Any:
        """Run the module in evaluation mode, recording nothing."""
        raise NotImplementedError

    def begin_update(self, inputs: ArgsKwargs) -> Tuple[Any, Callable[[Any], ArgsKwargs]]:
        """Run the module in training mode. The callback takes ArgsKwargs of the outputs and
        their gradients, adds up the parameters' gradients and returns those of the inputs."""
        raise NotImplementedError

    def parameters(self) -> Dict[str, Any]:
        """Parameters and persistent buffers by structural name, tied ones once. The values are
        handles for the methods below."""
        raise NotImplementedError

    def get_value(self, handle: Any) -> FloatsXd:
        """The values as an array, which may share the parameter's memory."""
        raise NotImplementedError

    def set_value(self, handle: Any, value: FloatsXd) -> None:
        """Assign an array, casting it to the parameter's dtype and device."""
        raise NotImplementedError

    def get_gradient(self, handle: Any) -> Optional[FloatsXd]:
        """The gradient added up so far, or None if no pass reached the parameter."""
        raise NotImplementedError

    def set_gradient(self, handle: Any, value: Optional[FloatsXd]) -> None:
        """Replace the gradient; None clears it."""
        raise NotImplementedError

    def dtype_name(self, handle: Any) -> str:
        """The dtype as NumPy names it, or "bfloat16"."""
        raise NotImplementedError

    def clone(self) -> Any:
        """A copy of the module with its own memory."""
        raise NotImplementedError

    def reduce(self) -> Any:
        """What pickle may store of the module for `restore`."""
        raise NotImplementedError

    def restore(self, state: Any) -> Any:
        """The module that `reduce` stored, adopted."""
        raise NotImplementedError

    # Building

    @property
    def is_built(self) -> bool:
        """Whether there is a module, as opposed to a builder that waits for its dims."""
        return self._model is not None

    def build(self, nO: int, nI: int) -> None:
        """Call the builder. A shim that already has a module keeps it."""
        self.dims = {"nO": nO, "nI": nI}
        if self._model is None:
            self._model = self._new_module()
            if self.is_materialized():
                self._check_dropout()

    @property
    def has_builder(self) -> bool:
        """Whether the module is built here, as opposed to one that was handed over."""
        return self._builder is not None

    def rebuilt(self, nO: int) -> FrameworkShim:
        """A shim like this one, under an id of its own, with a module that the builder makes anew
        for nO outputs, if there is one here. It has the values that it was made with."""
        rebuilt = copy.copy(self)
        rebuilt.cfg = copy.deepcopy(self.cfg)
        rebuilt.dims = {**self.dims, "nO": nO}
        rebuilt._model = rebuilt._input_spec = None
        rebuilt._take_new_id()
        if self.is_built:
            rebuilt._model = rebuilt._new_module()
            if self._input_spec is not None:
                rebuilt._materialize_for(self._input_spec)
        return rebuilt

    def _materialize_for(self, spec: Any) -> None:
        self.materialize(convert_recursive(is_xp_array, self.from_xp, zeros(spec)))

    def materialize(self, inputs: ArgsKwargs) -> None:
        """Let a module that creates its parameters on the first call do so."""
        if self._materialized is self._model:
            return
        if self._input_spec is None and (self.depends_on_inputs() or not self.is_materialized()):
            spec = describe(convert_recursive(self.is_tensor, self.to_xp, inputs))
            if not self.is_materialized():
                self._create_parameters(inputs)
            self._input_spec = spec
        self._materialized = self._model
        self._check_dropout()

    def _create_parameters(self, inputs: ArgsKwargs) -> None:
        self.predict(inputs)

    def _new_module(self) -> Any:
        assert self._builder is not None
        module = self._builder(self.dims["nO"], self.dims["nI"])  # type: ignore[arg-type]
        if not self.is_module(module):
            token = get_framework(self.framework).token
            raise ValueError(
                f"The builder returned {type(module).__name__}, expected a model of {token}."
                f"{self._wrapper_to_use(module)}"
            )
        return self.adopt(module)

    def _checked_builder(self, builder: Any) -> Builder:
        # A class would be called with (nO, nI) where most frameworks expect (nI, nO), and a Thinc
        # model is callable too.
        if not callable(builder) or isinstance(builder, type) or hasattr(builder, "_func"):
            token = get_framework(self.framework).token
            name = builder.__name__ if isinstance(builder, type) else type(builder).__name__
            what = f"the class {name} itself" if isinstance(builder, type) else name
            raise ValueError(
                f"Expected a model of {token}, or a function (nO, nI) that returns one, got {what}."
            )
        if self._wrapper_to_use(builder):
            # Models can be called too, and would be taken for a function that builds one.
            raise ValueError(
                f"Expected a model of {get_framework(self.framework).token}, got "
                f"{type(builder).__name__}.{self._wrapper_to_use(builder)}"
            )
        _check_takes_dims(builder)
        return builder

    def _wrapper_to_use(self, model: Any) -> str:
        """A hint, if this is a model of another framework."""
        other = framework_of(model)
        if other is None or other.id == self.framework:
            return ""
        return f" It is a model of {other.token}: wrap it with {other.token}Wrapper."

    # Dropout

    def govern_dropout(self) -> None:
        """Let dropout in the module follow `set_dropout_rate` from here on.

        Raises ValueError if no layer of the module drops out, as soon as that is known: layers
        may be made when the module is first called.
        """
        self.governs_dropout = True
        if self.is_built and self.is_materialized():
            self._check_dropout()

    def set_dropout_rate(self, rate: float) -> None:
        """Set the rate for the training passes that follow. The module must have all its layers."""
        check_rate(rate)
        if self._dropout[0] is not self._model:
            self._dropout = (self._model, self.dropout_layers())
        for layer, attribute in self._dropout[1]:
            if getattr(layer, attribute) != rate:
                self._set_rate(layer, attribute, rate)
        self._rate = rate

    def _set_rate(self, layer: Any, attribute: str, rate: float) -> None:
        setattr(layer, attribute, rate)

    def _check_dropout(self) -> None:
        if self.governs_dropout and not self.dropout_layers():
            raise ValueError(
                f"The wrapper was given a rate of dropout, but no layer of "
                f"{type(self._model).__name__} drops out. Add a dropout layer of "
                f"{get_framework(self.framework).token} to the module, or leave `dropout` out."
            )

    def _of_rate(self, traced: Dict[Any, T], make: Callable[[], T]) -> T:
        """What was traced at the rate of now, for frameworks that read it when they trace. The
        rates that were used last are kept."""
        found = traced.pop(self._rate, None)
        traced[self._rate] = made = make() if found is None else found
        while len(traced) > KEPT_RATES:
            traced.pop(next(iter(traced)), None)
        return made

    # Arrays

    def from_xp(self, array: Any, requires_grad: bool = False) -> Any:
        """An array as the framework's tensor on this shim's device."""
        return self.arrays.xp2tensor(array, requires_grad, device=self.device)

    def to_xp(self, tensor: Any) -> Any:
        """The framework's tensor as an array of the same device."""
        return self.arrays.tensor2xp(tensor)

    def is_tensor(self, obj: Any) -> bool:
        """Whether this is a tensor of the framework."""
        return bool(self.arrays.is_tensor(obj))

    def float_dtype(self) -> Optional[numpy.dtype]:
        """The dtype in which the module wants floats: that of its floating parameters, if they
        have one, and float32 if there are none. None, if it takes what it is given: some
        parameters have another dtype than others, or 16 bits."""
        if self._float_dtype[0] is self._model is not None:
            return self._float_dtype[1]
        names = {self.dtype_name(handle) for handle in self.parameters().values()}
        floats = {name for name in names if "float" in name} or {"float32"}
        is_one = len(floats) == 1 and floats <= {"float32", "float64"}
        dtype = numpy.dtype(floats.pop()) if is_one else None
        if self._materialized is self._model:
            # Before that, parameters may still be missing.
            self._float_dtype = (self._model, dtype)
        return dtype

    # Running

    def __call__(self, inputs: ArgsKwargs, is_train: bool) -> Tuple[Any, Callable[..., Any]]:
        if is_train:
            return self.begin_update(inputs)
        else:
            return self.predict(inputs), _no_backprop

    # Training

    def finish_update(self, optimizer: Optimizer) -> None:
        """Call the optimizer once per parameter that has a gradient, and clear the gradients."""
        for name, handle in self.parameters().items():
            gradient = self.get_gradient(handle)
            if gradient is None:
                continue
            value = self.get_value(handle)
            xp = get_array_module(value)
            # Thinc's optimizers take float32 of at least one dimension.
            value_1d = xp.atleast_1d(value).astype("float32", copy=False)
            gradient_1d = xp.atleast_1d(gradient).astype("float32", copy=False)
            updated, _ = optimizer(self.key(name), value_1d, gradient_1d)
            self.set_value(handle, cast(FloatsXd, updated.reshape(value.shape)))
            self.set_gradient(handle, None)

    def key(self, name: str) -> Tuple[int, str]:
        """The optimizer's key. Shims and Thinc models are counted apart, so the id alone could
        be a Thinc layer's too, and its parameter could have the same name."""
        return (self.id, f"{self.framework}:{name}")

    @contextlib.contextmanager
    def use_params(self, params: Mapping[Any, FloatsXd]) -> Iterator[None]:
        """Use the given values, such as an optimizer's averages, until the block is left."""
        backup: List[Tuple[Any, FloatsXd]] = []
        if self.is_built:
            for name, handle in self.parameters().items():
                if self.key(name) in params:
                    value = self.get_value(handle)
                    backup.append((handle, value.copy()))
                    averages = params[self.key(name)].reshape(value.shape)
                    self.set_value(handle, cast(FloatsXd, averages))
        try:
            yield
        finally:
            for handle, value in backup:
                self.set_value(handle, value)

    # Devices

    def to_device(self, device_type: str, device_id: int) -> None:
        """Move to a device by Thinc's names: "cpu" or "gpu", and its number."""
        if device_type not in ("cpu", "gpu"):
            raise ValueError(f"Invalid device type {device_type!r}: expected 'cpu' or 'gpu'.")
        self.device = self.device_for(device_type, device_id)
        self.explicit_device = None
        if self.is_built:
            self._model = self.adopt(self._model)

    # Bytes

    def to_bytes(self) -> bytes:
        """The parameters and buffers as a safetensors file with a JSON header in its metadata."""
        tensors: Dict[str, Any] = {}
        header: Dict[str, Any] = {
            "framework": self.framework,
            "dims": self.dims,
            "config": self.cfg,
            "inputs": self._input_spec,
            "complete": self.is_built and self._is_complete(),
        }
        if self.is_built:
            tensors, header["dtypes"] = self._to_tensors()
        return weights.pack(tensors, header)

    def from_bytes(self, data: bytes) -> FrameworkShim:
        """Load what `to_bytes` wrote. Nothing is assigned until all of it has been checked.

        Raises ValueError if the bytes are damaged, of another framework or architecture, or if
        a parameter is missing, unknown, or of another shape or dtype.
        """
        tensors, header = weights.unpack(data)
        self._check_header(header)
        if not tensors and not header["complete"]:
            if self.is_built and self.parameters():
                raise ValueError(
                    "The file was saved before the model was initialized and holds no weights, "
                    "but this model has some. Initialize the model before you save it."
                )
            self.dims = header["dims"]
            return self
        before, spare = (self._model, self.dims, self._input_spec), None
        try:
            if not self.is_built:
                self.build(header["dims"]["nO"], header["dims"]["nI"])
            if header["inputs"] is not None and not self._is_complete():
                spare = self._spare()
                self._materialize_for(header["inputs"])
            self._from_tensors(tensors, header["dtypes"], header["complete"])
        except Exception:
            self._model, self.dims, self._input_spec = before
            if self.is_built and spare is not None:
                self._model = self.adopt(spare)
            raise
        self.cfg = header["config"]
        self.dims = header["dims"]
        self._input_spec = header["inputs"]
        return self

    def _spare(self) -> Any:
        """A copy from before the first call, which cannot be undone; None if there can be none."""
        try:
            return self.clone()
        except Exception:
            return None

    def _is_complete(self) -> bool:
        # A module that cannot tell has been called if its inputs are recorded.
        return self._input_spec is not None or self.is_materialized()

    def _to_tensors(self) -> Tuple[Dict[str, Any], Dict[str, str]]:
        tensors, dtypes = {}, {}
        for name, handle in self.parameters().items():
            value = self.get_value(handle)
            tensors[name] = value.get() if hasattr(value, "get") else value  # from CuPy's
            dtypes[name] = self.dtype_name(handle)
        return tensors, dtypes

    def _from_tensors(
        self, tensors: Mapping[str, Any], dtypes: Mapping[str, str], complete: bool
    ) -> None:
        handles = self.parameters()
        if not complete:
            # Saved before its first call: what the module creates then is not in the file.
            handles = {name: handle for name, handle in handles.items() if name in tensors}
        weights.check_names(
            {
                name: (self.get_value(handle).shape, self.dtype_name(handle))
                for name, handle in handles.items()
            },
            {name: (tensor.shape, dtypes[name]) for name, tensor in tensors.items()},
        )
        for name, tensor in tensors.items():
            self.set_value(handles[name], tensor)

    def _check_header(self, header: Mapping[str, Any]) -> None:
        if header["framework"] != self.framework:
            raise ValueError(
                f"Expected weights of {get_framework(self.framework).token}, but the file holds "
                f"weights of {header['framework']}. Build the model with that framework."
            )
        network, came = self.cfg.get("network"), header["config"].get("network")
        if network != came:
            raise ValueError(
                f"The file is of another architecture: expected {network}, but it holds {came}. "
                "Build the model with the settings that it was saved with."
            )

    # Copies

    def copy(self) -> FrameworkShim:
        """A copy with its own parameters, gradients and id, as `Model.copy` gives its layers."""
        copied = copy.deepcopy(self)
        copied._take_new_id()
        return copied

    def _take_new_id(self) -> None:
        with Shim.global_id_lock:
            Shim.global_id += 1
            self.id = Shim.global_id

    def __deepcopy__(self, memo: Dict[int, Any]) -> FrameworkShim:
        copied = copy.copy(self)
        memo[id(self)] = copied
        copied.cfg = copy.deepcopy(self.cfg, memo)
        copied.dims = dict(self.dims)
        if self.is_built:
            copied._model = copied.adopt(self.clone())
            gradients = {name: self.get_gradient(h) for name, h in self.parameters().items()}
            for name, handle in copied.parameters().items():
                gradient = gradients[name]
                copied.set_gradient(handle, None if gradient is None else gradient.copy())
        return copied

    def __getstate__(self) -> Dict[str, Any]:
        module = self.reduce() if self.is_built else None
        return {**self._own_state(), "_model": module}

    def __setstate__(self, state: Dict[str, Any]) -> None:
        module = state.pop("_model")
        self.__dict__.update(state, _model=None)
        if module is not None:
            self._model = self.restore(module)
        # A shim that is created later must not get this one's id, and with it its optimizer state.
        with Shim.global_id_lock:
            Shim.global_id = max(Shim.global_id, self.id)

    def __copy__(self) -> FrameworkShim:
        copied = type(self).__new__(type(self))
        copied.__dict__.update(self._own_state(), _model=self._model)
        return copied

    def _own_state(self) -> Dict[str, Any]:
        """What is copied and pickled besides the module."""
        return {**self.__dict__, **FRESH}


def _check_takes_dims(builder: Builder) -> None:
    try:
        signature = inspect.signature(builder)
    except (ValueError, TypeError):
        # Some that are written in C do not tell.
        return
    try:
        signature.bind(1, 1)
    except TypeError as error:
        name = getattr(builder, "__name__", type(builder).__name__)
        raise ValueError(
            f"Expected a function (nO, nI) that builds the module, but {name}{signature} cannot be "
            f"called with two numbers: {error}. Let it take nO and nI, or hand over the module "
            "itself."
        ) from None


def _no_backprop(gradients: Any) -> Any:
    raise RuntimeError(
        "There is nothing to backpropagate: the forward pass was a prediction. "
        "Call the model with is_train=True, or begin_update()."
    )
