"""The life of a framework's model in a Thinc model: when it is built, the optimizer, averages,
bytes, devices and copies. What the model itself does is said by its module."""

from __future__ import annotations

import contextlib
import copy
import inspect
import threading
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Type,
    cast,
)

import numpy
from thinc.api import Optimizer, get_array_module
from thinc.shims import Shim
from thinc.types import ArgsKwargs, FloatsXd
from thinc.util import convert_recursive

from . import weights
from .arrays import are_finite
from .framework import framework_of, get_framework
from .generators import kept_generators
from .header import checked, dims_to_build, inputs_to_call
from .module import FrameworkModule, module_class
from .process import check_runs_here, started, this_thread
from .tree import leaves

Builder = Callable[[int, int], Any]


class FrameworkShim(Shim):
    """Holds a model of any framework for a Thinc model."""

    def __init__(
        self,
        framework: str,
        model: Any,
        config: Any = None,
        device: Any = None,
        layer: str = "",
        draws: bool = True,
        **options: Any,
    ):
        """
        framework: The framework's id. It must be installed.
        model: A model of the framework, or a builder: a function (nO, nI) -> model that is called
            when the dims are known.
        config: JSON values that are saved with the weights. "network" in it describes the
            architecture: bytes with another description are refused.
        device: The framework's device. If None, it follows Thinc's ops.
        layer: What errors call it: the name of the Thinc model. The framework's id, if empty.
        draws: Whether the model may draw parameters or dropout from a generator of the framework's
            own, which one number from NumPy's seeds then.
        options: Further arguments of the framework's module.
        """
        self.framework = framework
        self.layer = layer or framework
        # Whoever makes the model or its parameters has it: others want the same ones.
        self._making_it = threading.RLock()
        self.module: Optional[FrameworkModule] = None
        super().__init__(None, config)
        started(framework)
        self._options = options
        self._draws = draws
        # A device that the user has chosen; the other one follows Thinc's ops.
        self.explicit_device = device
        self.device = device if device is not None else self._class.default_device()
        self.dims: Dict[str, Optional[int]] = {"nO": None, "nI": None}
        # Whether dropout in the model follows Thinc's rate, instead of the model's own.
        self.governs_dropout = False
        self._builder: Optional[Builder] = None
        if self._class.is_model(model):
            self.seed()
            self.module = self._class(model, self.device, **options)
        else:
            self._builder = self._checked_builder(model)

    @property
    def _class(self) -> Type[FrameworkModule]:
        return module_class(self.framework)

    @property
    def _model(self) -> Any:
        """The framework's model, by the name that it has in Thinc's shims."""
        return None if self.module is None else self.module.model

    @_model.setter
    def _model(self, model: Any) -> None:
        self.module = None if model is None else self._class(model, self.device, **self._options)

    @property
    def _token(self) -> str:
        return get_framework(self.framework).token

    def __str__(self) -> str:
        return repr(self) if self.module is None else self.module.described()

    # Building

    @property
    def is_built(self) -> bool:
        """Whether there is a model, as opposed to a builder that waits for its dims."""
        return self.module is not None

    @property
    def has_builder(self) -> bool:
        """Whether the model is built here, as opposed to one that was handed over."""
        return self._builder is not None

    def build(self, nO: int, nI: int) -> None:
        """Call the builder. A shim that already has a model keeps it."""
        self.dims = {"nO": nO, "nI": nI}
        if self.module is None:
            # In a forked process, the lock may be that of a thread that is not there.
            check_runs_here(self.framework)
            with this_thread.passing, self._making_it:
                # Another thread may have called it meanwhile.
                if self.module is None:
                    self.module = self._new_module(nO, nI)
                    self._check_dropout(self.module)

    def rebuilt(self, nO: int) -> FrameworkShim:
        """A shim like this one, under an id of its own, with a model that the builder makes anew
        for nO outputs, if there is one here. It has the values that it was made with."""
        rebuilt = copy.copy(self)
        rebuilt.cfg = copy.deepcopy(self.cfg)
        rebuilt.dims = {**self.dims, "nO": nO}
        rebuilt._take_new_id()
        if self.module is not None:
            rebuilt.module = rebuilt._new_module(nO, cast(int, self.dims["nI"]))
            if self.module.input_spec is not None:
                rebuilt.module.materialize_for(self.module.input_spec)
        return rebuilt

    def materialize(self, inputs: ArgsKwargs) -> None:
        """Let a model that creates its parameters on the first call do so."""
        module = self.get_module()
        if not module.is_complete:
            with self._making_it:
                if not module.is_complete:
                    if not module.is_materialized():
                        self.seed()
                    module.materialize(inputs)
                    self._check_dropout(module)

    def get_module(self) -> FrameworkModule:
        """The module. Raises ValueError if it is not built yet."""
        if self.module is None:
            raise ValueError(
                f"The model of {self._token} is not built yet, for its dims are not known. Call "
                "initialize() of the Thinc model first."
            )
        return self.module

    def _new_module(self, nO: int, nI: int, seeds: bool = True) -> FrameworkModule:
        assert self._builder is not None
        check_runs_here(self.framework)
        remake = _Remake(self._builder, nO, nI)
        if seeds:
            self.seed()
        model = remake()
        if not self._class.is_model(model):
            raise ValueError(
                f"The builder returned {type(model).__name__}, expected a model of {self._token}."
                f"{self._wrapper_to_use(model)}"
            )
        return self._class(model, self.device, remake=remake, **self._options)

    def seed(self) -> None:
        """Let the seed that Thinc's `fix_random_seed` was given reach the framework's generator."""
        if self._draws:
            self._class.seed()

    def seed_passes(self) -> None:
        """Let what the model draws in its passes, where that is not of NumPy's or Python's
        generator, begin anew at a number from NumPy's."""
        if self._draws and self.module is not None:
            self.module.seed_passes()

    def _checked_builder(self, builder: Any) -> Builder:
        # A class would be called with (nO, nI) where most frameworks expect (nI, nO), and a Thinc
        # model is callable too.
        if not callable(builder) or isinstance(builder, type) or hasattr(builder, "_func"):
            name = builder.__name__ if isinstance(builder, type) else type(builder).__name__
            what = f"the class {name} itself" if isinstance(builder, type) else name
            raise ValueError(
                f"Expected a model of {self._token}, or a function (nO, nI) that returns one, got "
                f"{what}."
            )
        if self._wrapper_to_use(builder):
            # Models can be called too, and would be taken for a function that builds one.
            raise ValueError(
                f"Expected a model of {self._token}, got {type(builder).__name__}."
                f"{self._wrapper_to_use(builder)}"
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
        """Let dropout in the model follow `set_dropout_rate` from here on.

        Raises ValueError if no layer of the model drops out, as soon as that is known: layers may
        be made when the model is first called.
        """
        self.governs_dropout = True
        if self.module is not None:
            self._check_dropout(self.module)

    def _check_dropout(self, module: FrameworkModule) -> None:
        # Before all layers are there, nobody knows.
        are_there = module.is_complete or module.is_materialized()
        if self.governs_dropout and are_there and not module.dropout_layers():
            raise ValueError(
                f"The wrapper was given a rate of dropout, but no layer of "
                f"{type(module.model).__name__} drops out. Add a dropout layer of {self._token} to "
                "the module, or leave `dropout` out."
            )

    # Arrays

    def from_xp(self, array: Any, requires_grad: bool = False) -> Any:
        """An array as the framework's tensor on this shim's device."""
        return self.get_module().from_xp(array, requires_grad)

    def to_xp(self, tensor: Any) -> Any:
        """The framework's tensor as an array of the same device."""
        return self.get_module().arrays.tensor2xp(tensor)

    def is_tensor(self, obj: Any) -> bool:
        """Whether this is a tensor of the framework."""
        return bool(self.get_module().arrays.is_tensor(obj))

    # Running

    def __call__(self, inputs: ArgsKwargs, is_train: bool) -> Tuple[Any, Callable[..., Any]]:
        if is_train:
            return self.begin_update(inputs)
        else:
            return self.predict(inputs), _no_backprop

    def predict(self, inputs: ArgsKwargs) -> Any:
        """Run the model in evaluation mode, recording nothing."""
        return self.get_module().predict(inputs)

    def begin_update(self, inputs: ArgsKwargs) -> Tuple[Any, Callable[[ArgsKwargs], ArgsKwargs]]:
        """Run the model in training mode. The callback takes ArgsKwargs of output tensors and their
        gradients, as the framework's own backward function does, adds up the parameters'
        gradients and returns those of the inputs."""
        module = self.get_module()
        arrays = module.arrays
        outputs, go_back = module.begin_update(inputs)

        def backprop(gradients: ArgsKwargs) -> ArgsKwargs:
            tensors, grads, args, kwargs = _unpacked(gradients, module.output_gradients)
            tensors = leaves(arrays.is_tensor, tensors)
            # None for an output that takes no part.
            grads = leaves(lambda leaf: leaf is None or arrays.is_tensor(leaf), grads)
            if len(tensors) != len(grads):
                raise ValueError(
                    f"Expected from get_d_outputs a gradient or None for each of {len(tensors)} "
                    f"outputs, got {len(grads)}."
                )
            pairs = [pair for pair in zip(tensors, grads) if pair[1] is not None]
            tensors = [tensor for tensor, _ in pairs]
            grads = [arrays.cast_like(grad, tensor) for tensor, grad in pairs]
            d_inputs = iter(go_back(tensors, grads, *args, **kwargs))

            def gradient_of(tensor: Any) -> Any:
                gradient = next(d_inputs)
                # The model may not have used an input.
                is_unused = gradient is None and arrays.takes_gradient(tensor)
                return arrays.zeros_like(tensor) if is_unused else gradient

            return convert_recursive(arrays.is_tensor, gradient_of, inputs)

        return outputs, backprop

    # Training

    def finish_update(self, optimizer: Optimizer) -> None:
        """Call the optimizer once per parameter that has a gradient, and clear the gradients.

        Raises ValueError if there is NaN or infinity in one. The optimizer is not called then, and
        the gradients are cleared, so that training can go on with another batch.
        """
        module = self.get_module()
        check_runs_here(self.framework)
        with this_thread.passing:
            self._update(module, optimizer)

    def _update(self, module: FrameworkModule, optimizer: Optimizer) -> None:
        is_worthless = module.has_overflowed()
        found = [
            (name, handle, gradient)
            for name, handle in module.parameters().items()
            if (gradient := module.get_gradient(handle)) is not None
        ]
        self._check_real(found)
        if not is_worthless:
            self._check_finite(found)
        for name, handle, gradient in found:
            if not is_worthless:
                value = module.get_value(handle)
                updated, _ = optimizer(
                    self.key(name), _for_optimizer(value), _for_optimizer(gradient)
                )
                module.set_value(handle, cast(FloatsXd, updated.reshape(value.shape)))
            module.set_gradient(handle, None)
        module.after_update()

    def _check_real(self, found: Sequence[Tuple[str, Any, Any]]) -> None:
        """Clear the gradients and raise ValueError if one of them is complex."""
        dtypes = {name: gradient.dtype for name, _, gradient in found}
        name = next((name for name, dtype in dtypes.items() if dtype.kind == "c"), None)
        if name is not None:
            self.clear_gradients()
            raise ValueError(
                f"Expected real parameters in '{self.layer}', a model of {self._token}, but "
                f"{name!r} is of dtype {dtypes[name].name}, and Thinc's optimizers would lose its "
                "imaginary part. No weight has changed. Let the model hold the real and the "
                "imaginary part in two parameters and make the complex number of them when it is "
                "called, or freeze this one."
            )

    def _check_finite(self, found: Sequence[Tuple[str, Any, FloatsXd]]) -> None:
        """Clear the gradients and raise ValueError if one of them is not finite."""
        if are_finite(gradient for _, _, gradient in found):
            return
        bad = [(name, gradient) for name, _, gradient in found if not are_finite([gradient])]
        name, gradient = bad[0]
        count = int((~get_array_module(gradient).isfinite(gradient)).sum())
        self.clear_gradients()
        raise ValueError(
            f"The gradients of {[name for name, _ in bad]} of '{self.layer}', a model of "
            f"{self._token}, are not finite: that of {name!r} has NaN or infinity in {count} of "
            f"its {gradient.size} numbers. This step of the layer is left out: its weights are as "
            "they were, and its gradients are cleared. Look at the data, the loss, and at what has "
            "no gradient in the model, such as the root of 0; lower the learn rate or clip "
            "gradients (optimizer.grad_clip)."
        )

    def clear_gradients(self) -> None:
        """Forget what was added up since the last update."""
        module = self.get_module()
        for handle in module.parameters().values():
            module.set_gradient(handle, None)

    @property
    def gradients(self) -> Optional[List[Any]]:
        """The gradients added up since the last update as the framework's tensors, or None."""
        module = self.get_module()
        found = map(module.get_gradient, module.parameters().values())
        return [module.from_xp(gradient) for gradient in found if gradient is not None] or None

    def key(self, name: str) -> Tuple[int, str]:
        """The optimizer's key. Shims and Thinc models are counted apart, so the id alone could
        be a Thinc layer's too, and its parameter could have the same name."""
        return (self.id, f"{self.framework}:{name}")

    @contextlib.contextmanager
    def use_params(self, params: Mapping[Any, FloatsXd]) -> Iterator[None]:
        """Use the given values, such as an optimizer's averages, until the block is left."""
        module = self.module
        if module is None:
            yield
            return
        backup: List[Tuple[Any, FloatsXd]] = []
        try:
            for name, handle in module.parameters().items():
                if self.key(name) in params:
                    value = module.get_value(handle)
                    backup.append((handle, value.copy()))
                    averages = params[self.key(name)].reshape(value.shape)
                    module.set_value(handle, cast(FloatsXd, averages))
            yield
        finally:
            for handle, value in backup:
                module.set_value(handle, value)

    # Devices

    def to_device(self, device_type: str, device_id: int) -> None:
        """Move to a device by Thinc's names: "cpu" or "gpu", and its number."""
        if device_type not in ("cpu", "gpu"):
            raise ValueError(f"Invalid device type {device_type!r}: expected 'cpu' or 'gpu'.")
        device = self._class.device_for(device_type, device_id)
        if self.module is not None:
            self.module = self.module.moved(device)
        self.device, self.explicit_device = device, None

    # Bytes

    def to_bytes(self) -> bytes:
        """The parameters and buffers as a safetensors file with a JSON header in its metadata."""
        module = self.module
        tensors: Dict[str, Any] = {}
        header: Dict[str, Any] = {
            "framework": self.framework,
            "dims": self.dims,
            "config": self.cfg,
            "inputs": None if module is None else module.input_spec,
            "complete": module is not None and module.is_called(),
        }
        if module is not None:
            tensors, header["dtypes"] = module.to_tensors()
        return weights.pack(tensors, header)

    def from_bytes(self, data: bytes) -> FrameworkShim:
        """Load what `to_bytes` wrote. Nothing is assigned until all of it has been checked.

        Raises ValueError if the bytes are damaged, of another framework or architecture, or if
        a parameter is missing, unknown, or of another shape or dtype.
        """
        check_runs_here(self.framework)
        tensors, header = weights.unpack(data)
        header = checked(header, tensors)
        self._check_header(header)
        if not tensors and not header["complete"]:
            if self.module is not None and self.module.parameters():
                raise ValueError(
                    "The file was saved before the model was initialized and holds no weights, "
                    "but this model has some. Initialize the model before you save it."
                )
            self._take_dims(header["dims"])
            return self
        spare = None
        try:
            with self._making():
                module = self.module
                if module is None:
                    # What it draws is replaced.
                    with kept_generators():
                        module = self._new_module(*dims_to_build(header, tensors), seeds=False)
                if header["inputs"] is not None and not module.is_called():
                    # What a first call makes cannot be undone, and the file may turn out to be of
                    # another architecture.
                    spare = _copy_of(module) if module is self.module else None
                    module.materialize_for(inputs_to_call(header, tensors))
            self._check_dropout(module)
            module = module.from_tensors(tensors, header["dtypes"], header["complete"])
        except Exception:
            self.module = self.module if spare is None else spare
            raise
        module.input_spec = header["inputs"]
        self._take_dims(header["dims"])
        self.module, self.cfg = module, header["config"]
        return self

    def _take_dims(self, dims: Dict[str, Optional[int]]) -> None:
        # Those with which a model was built here are what another of its kind is built with.
        if self.module is None or not self.has_builder:
            self.dims = dims

    @contextlib.contextmanager
    def _making(self) -> Iterator[None]:
        """Where a model is made as a file describes it: builders, and models that are called for
        the first time, fail in ways of their own."""
        try:
            yield
        except (ValueError, ImportError, MemoryError):
            raise
        except Exception as error:
            raise ValueError(
                f"No model of {self._token} can be made as the file describes it "
                f"({type(error).__name__}: {error}). Build the model with the settings that it was "
                "saved with."
            ) from error

    def _check_header(self, header: Mapping[str, Any]) -> None:
        if header["framework"] != self.framework:
            raise ValueError(
                f"Expected weights of {self._token}, but the file holds weights of "
                f"{header['framework']}. Build the model with that framework."
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
        if self.module is not None:
            copied.module = self.module.copied()
        return copied

    def __getstate__(self) -> Dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_making_it"}

    def __setstate__(self, state: Dict[str, Any]) -> None:
        # The first two are not in pickles of before.
        self.__dict__.update({"layer": state["framework"], "_draws": True, **state})
        self._making_it = threading.RLock()
        started(self.framework)
        # A shim that is created later must not get this one's id, and with it its optimizer state.
        with Shim.global_id_lock:
            Shim.global_id = max(Shim.global_id, self.id)


def _for_optimizer(array: Any) -> Any:
    """As Thinc's optimizers take it: float32 of at least one dimension."""
    array = array if array.ndim else array.reshape(1)
    return array if array.dtype == numpy.float32 else array.astype(numpy.float32)


def _copy_of(module: FrameworkModule) -> Optional[FrameworkModule]:
    """A copy, or None if there can be none: frameworks refuse it in ways of their own."""
    try:
        return module.copied()
    except Exception:
        return None


def _unpacked(gradients: ArgsKwargs, keyword: str) -> Tuple[Any, Any, List[Any], Dict[str, Any]]:
    """Outputs, their gradients, and what else a backward function was to be called with."""
    args, kwargs = list(gradients.args), dict(gradients.kwargs)
    if len(args) < 2 and keyword not in kwargs:
        raise ValueError(
            f"Expected from get_d_outputs the outputs and their gradients, as in "
            f"ArgsKwargs(args=(outputs,), kwargs={{{keyword!r}: gradients}}), got {len(args)} "
            f"arguments and the keywords {sorted(kwargs)}."
        )
    outputs = args.pop(0)
    return outputs, (args.pop(0) if args else kwargs.pop(keyword)), args, kwargs


class _Remake:
    """Calls a builder with the dims that it was called with before."""

    def __init__(self, builder: Builder, nO: int, nI: int):
        self.builder, self.nO, self.nI = builder, nO, nI

    def __call__(self) -> Any:
        try:
            return self.builder(self.nO, self.nI)
        except Exception as error:
            # Python has notes since 3.11.
            if hasattr(error, "add_note"):
                name = getattr(self.builder, "__name__", type(self.builder).__name__)
                error.add_note(
                    f"As a function (nO, nI) that builds a model, {name}({self.nO}, {self.nI}) was "
                    "called. If it computes outputs itself, hand over what is a model in your "
                    "framework: in JAX, a pair of it and its parameters."
                )
            raise


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
