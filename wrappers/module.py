"""One model of a framework, and what can be done with it: the base of each folder's `module.py`."""

from __future__ import annotations

from types import ModuleType
from typing import (
    Any,
    Callable,
    Dict,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Type,
    TypeVar,
    cast,
)

import numpy
from thinc.types import ArgsKwargs, ArrayXd, FloatsXd
from thinc.util import convert_recursive, is_xp_array

from . import weights
from .framework import get_framework, get_part
from .process import check_runs_here, this_thread
from .tree import describe, zeros

T = TypeVar("T")
ModuleT = TypeVar("ModuleT", bound="FrameworkModule")

# From output tensors and their gradients to the gradients of the tensors among the inputs, in
# their order: None for those that have none. Keywords are the framework's own.
GoBack = Callable[..., Sequence[Any]]

# Of how many rates of dropout the traces are kept: a rate and none, and some that a schedule takes.
KEPT_RATES = 4
# Of how many structures of inputs, which may have numbers of Python in them.
KEPT_STRUCTURES = 8


def keep_last(kept: Dict[Any, T], key: Any, make: Callable[[], T], most: int) -> T:
    """What is kept by this key, or else made; so many that were used last are kept."""
    found = kept.pop(key, None)
    kept[key] = made = make() if found is None else found
    while len(kept) > most:
        kept.pop(next(iter(kept)), None)
    return made


def check_rate(rate: float) -> None:
    """Raise ValueError if this is no rate of dropout."""
    if not 0 <= rate < 1:
        raise ValueError(
            f"Expected a rate of dropout of at least 0 and less than 1, got {rate}. It is the part "
            "of the values that is dropped."
        )


def check_returned(handed: Sequence[Any], returned: Sequence[Any]) -> None:
    """Raise ValueError if gradients are handed over for other tensors than those that the pass
    returned, for a framework that cannot go back along what was computed from them afterwards.
    Its tensors have a shape.
    """
    known = {id(tensor) for tensor in returned}
    for tensor in handed:
        if id(tensor) not in known:
            raise ValueError(
                "Expected gradients for the tensors that the model returned, but got one for "
                f"another tensor, of shape {tuple(tensor.shape)}. Compute in the model what comes "
                "of its outputs, and hand over in convert_outputs the very tensors that it was "
                "given, with their gradients."
            )


class FrameworkModule:
    """A model of a framework, on a device.

    It stays what it is: another device, another network, or code that was loaded make another
    object. So whatever is found out or traced on the way is kept here, and goes with it.

    A framework's folder has a class that inherits from this one, called after it: `PyTorchModule`.
    It defines what raises NotImplementedError here, and may define the rest. Tensors are the
    framework's; a handle is whatever the class knows a parameter by.
    """

    # The id of the framework.
    framework: str
    # The folder's conversions of arrays.
    arrays: ModuleType
    # What converters for the framework call the gradients that they hand to its backward pass.
    output_gradients: str = "output_gradients"

    def __init__(
        self,
        model: Any,
        device: Any,
        *,
        remake: Optional[Callable[[], Any]] = None,
        threads: Optional[int] = None,
        input_spec: Any = None,
    ):
        """
        model: The framework's model. It is prepared, and moved to the device.
        device: The framework's device.
        remake: Makes a model like this one anew, with other values. None if it was handed over.
        threads: How many threads a pass runs on, where the framework can change that from pass to
            pass, as PyTorch can. None leaves it as it is.
        input_spec: What the model was first called with, as `describe` writes it; known only of
            models that make parameters when they are first called.
        """
        self.device = device
        self.remake = remake
        self.threads = threads
        self.input_spec = input_spec
        # Whether all parameters are known to exist.
        self.is_complete = False
        # The dtype of floats, when it is known, in a list.
        self._float_dtype: List[Optional[numpy.dtype]] = []
        self._dropout: Optional[List[Tuple[Any, str]]] = None
        self._rate: Optional[float] = None
        self.model = self.prepared(model)

    # What a framework's folder says

    @staticmethod
    def is_model(obj: Any) -> bool:
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

    def prepared(self, model: Any) -> Any:
        """A model that was handed over, checked, ready to run, and on the device."""
        raise NotImplementedError

    def is_materialized(self) -> bool:
        """Whether all parameters exist, or the model has to be called first."""
        raise NotImplementedError

    def depends_on_inputs(self) -> bool:
        """Whether a model made anew may lack parameters until it is called once, so that the
        shapes of its inputs have to be saved with it."""
        raise NotImplementedError

    def predict(self, inputs: ArgsKwargs) -> Any:
        """Run in evaluation mode, recording nothing. Returns tensors, or a nest of them."""
        raise NotImplementedError

    def begin_update(self, inputs: ArgsKwargs) -> Tuple[Any, GoBack]:
        """Run in training mode. Returns the outputs, and a function that goes back: from output
        tensors and their gradients, in their dtypes, to those of the tensors among the inputs. It
        adds up the parameters' gradients."""
        raise NotImplementedError

    def parameters(self) -> Dict[str, Any]:
        """Handles of parameters and persistent buffers by structural name, tied ones once."""
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

    def copied_model(self) -> Any:
        """A copy of the framework's model with memory of its own."""
        raise NotImplementedError

    # What it may say

    @staticmethod
    def seed() -> None:
        """Seed a generator of the framework's own, which Thinc's `fix_random_seed` does not know,
        with a number from NumPy's. Called before a model is made or taken over."""

    def seed_passes(self) -> None:
        """The same for what the model draws in its passes, if it keeps a generator for that."""
        self.seed()

    def options(self) -> Dict[str, Any]:
        """The arguments of its constructor that are its own."""
        return {}

    def dropout_layers(self) -> List[Tuple[Any, str]]:
        """The layers that drop out, each with the attribute that holds its rate."""
        return []

    def set_layers_rate(self, layer: Any, attribute: str, rate: float) -> None:
        """Set the rate of one of them."""
        setattr(layer, attribute, rate)

    def thread_state(self) -> Any:
        """What the framework has set for this thread, and passes and conversions of arrays set
        otherwise while they run."""
        return None

    def set_thread_state(self, state: Any) -> None:
        """Set it again."""

    def create_parameters(self, inputs: ArgsKwargs) -> None:
        """Call a model that makes its parameters when it is first called."""
        self.predict(inputs)

    def outputs_to_xp(self, outputs: Any) -> Any:
        """What a pass returned, with arrays in place of the tensors."""
        return convert_recursive(self.arrays.is_tensor, self.arrays.tensor2xp, outputs)

    def leaves_overflows_out(self) -> bool:
        """Whether gradients may overflow, as in 16 bits, since such a step is then left out."""
        return False

    def has_overflowed(self) -> bool:
        """Whether the gradients are worth nothing, as after an overflow in 16 bits."""
        return False

    def after_update(self) -> None:
        """Called when the optimizer has been at all parameters."""

    def to_tensors(self) -> Tuple[Dict[str, Any], Dict[str, str]]:
        """What is saved: NumPy arrays, and the names of the parameters' dtypes."""
        tensors, dtypes = {}, {}
        for name, handle in self.parameters().items():
            value: Any = self.get_value(handle)
            tensors[name] = value.get() if hasattr(value, "get") else value  # from CuPy's
            dtypes[name] = self.dtype_name(handle)
        return tensors, dtypes

    def from_tensors(
        self: ModuleT, tensors: Mapping[str, Any], dtypes: Mapping[str, str], complete: bool
    ) -> ModuleT:
        """A module with what was saved: this one, unless that takes another.

        complete: Whether all parameters are in it, or it was saved before the first call, which
            makes some.
        Raises ValueError, before anything is assigned, if it is of another architecture.
        """
        handles = self.parameters()
        if not complete:
            handles = {name: handle for name, handle in handles.items() if name in tensors}
        expected = {}
        for name, handle in handles.items():
            value: Any = self.get_value(handle)
            expected[name] = weights.Spec(value.shape, self.dtype_name(handle), value.dtype.name)
        weights.check_names(
            expected,
            {
                name: weights.Spec(tensor.shape, dtypes[name], tensor.dtype.name)
                for name, tensor in tensors.items()
            },
        )
        for name, tensor in tensors.items():
            self.set_value(handles[name], tensor)
        self.after_loading()
        return self

    def after_loading(self) -> None:
        """Called when all values were replaced by others, such as those of a file: for models in
        which something else follows from them."""

    def reduced(self) -> Any:
        """What pickle may store of the model for `restored`."""
        return self.model

    @classmethod
    def restored(cls, state: Any, device: Any, input_spec: Any) -> Any:
        """The model that `reduced` stored."""
        return state

    def described(self) -> str:
        """The model as text, for people."""
        return repr(self.model)

    # What all share: copies

    def copied(self: ModuleT) -> ModuleT:
        """The same with parameters and gradients of its own."""
        return self._with_gradients(lambda: self._like(self.copied_model(), self.device))

    def moved(self: ModuleT, device: Any) -> ModuleT:
        """The same on another device. This one is not to be used any more."""
        return self._with_gradients(lambda: self._like(self.model, device))

    def _like(self: ModuleT, model: Any, device: Any) -> ModuleT:
        return type(self)(model, device, **self._arguments())

    def _arguments(self) -> Dict[str, Any]:
        shared = ("remake", "threads", "input_spec")
        return {**{name: getattr(self, name) for name in shared}, **self.options()}

    def _with_gradients(self: ModuleT, make: Callable[[], ModuleT]) -> ModuleT:
        check_runs_here(self.framework)
        gradients = {}
        # Frameworks have locks for their copies, too.
        with this_thread.passing:
            for name, handle in self.parameters().items():
                gradient = self.get_gradient(handle)
                if gradient is not None:
                    gradients[name] = gradient.copy()
            made = make()
            if gradients:
                for name, handle in made.parameters().items():
                    made.set_gradient(handle, gradients.get(name))
        return made

    def __reduce__(self) -> Any:
        with this_thread.passing:
            state = self.reduced()
        return _restored, (type(self), state, self.device, self._arguments())

    def __copy__(self) -> Any:
        raise TypeError("A module of a framework has one owner. Use copied().")

    def __deepcopy__(self, memo: Dict[int, Any]) -> Any:
        return self.copied()

    # Parameters that come late

    def materialize(self, inputs: ArgsKwargs) -> None:
        """Let a model that creates its parameters on the first call do so.

        inputs: As `predict` takes them.
        """
        if self.is_complete:
            return
        if self.input_spec is None and (self.depends_on_inputs() or not self.is_materialized()):
            spec = describe(convert_recursive(self.arrays.is_tensor, self.arrays.tensor2xp, inputs))
            if not self.is_materialized():
                self.create_parameters(inputs)
            self.input_spec = spec
        self.is_complete = True

    def materialize_for(self, spec: Any) -> None:
        """The same with zeros, of shapes that `describe` described."""
        self.materialize(convert_recursive(is_xp_array, self.from_xp, zeros(spec)))

    def is_called(self) -> bool:
        """Whether all parameters exist, as far as that can be known: a model that cannot tell has
        been called if its inputs are recorded."""
        return self.input_spec is not None or self.is_materialized()

    # Dropout

    def set_dropout_rate(self, rate: float) -> None:
        """Set the rate for the training passes that follow. The model must have all its layers."""
        check_rate(rate)
        if self._dropout is None:
            self._dropout = self.dropout_layers()
        for layer, attribute in self._dropout:
            if getattr(layer, attribute) != rate:
                self.set_layers_rate(layer, attribute, rate)
        self._rate = rate

    def of_rate(self, traced: Dict[Any, T], make: Callable[[], T]) -> T:
        """What was traced at the rate of now, for frameworks that read it when they trace. The
        rates that were used last are kept."""
        return keep_last(traced, self._rate, make, KEPT_RATES)

    # Arrays

    def from_xp(self, array: ArrayXd, requires_grad: bool = False) -> Any:
        """An array as the framework's tensor on the device."""
        return self.arrays.xp2tensor(array, requires_grad, device=self.device)

    def float_dtype(self) -> Optional[numpy.dtype]:
        """The dtype in which the model wants floats: that of its floating parameters, if they have
        one, and float32 if there are none. None, if it takes what it is given: some parameters
        have another dtype than others, or 16 bits."""
        if self._float_dtype:
            return self._float_dtype[0]
        names = {self.dtype_name(handle) for handle in self.parameters().values()}
        floats = {name for name in names if "float" in name} or {"float32"}
        is_one = len(floats) == 1 and floats <= {"float32", "float64"}
        dtype = numpy.dtype(floats.pop()) if is_one else None
        if self.is_complete:
            # Before that, parameters may still be missing.
            self._float_dtype = [dtype]
        return dtype


class undisturbed:  # noqa: N801
    """A `with` block that leaves what the framework has set for the thread as it was, even if it
    ends in an error: Ctrl-C may come while a context of the framework's is entered or left, which
    then never ends."""

    __slots__ = ("_module", "_state")

    def __init__(self, module: FrameworkModule) -> None:
        self._module = module

    def __enter__(self) -> None:
        self._state = self._module.thread_state()

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is not None:
            self._module.set_thread_state(self._state)


def _restored(
    module_class: Type[FrameworkModule], state: Any, device: Any, arguments: Dict[str, Any]
) -> FrameworkModule:
    check_runs_here(module_class.framework)
    model = module_class.restored(state, device, arguments["input_spec"])
    return module_class(model, device, **arguments)


def module_class(framework: str) -> Type[FrameworkModule]:
    """The class of a framework's modules. Imports the framework, which must be installed."""
    fw = get_framework(framework)
    return cast(Type[FrameworkModule], getattr(get_part(fw, "module"), f"{fw.token}Module"))
