"""How a Keras model or tf.Module runs, is prepared and copied, and what its parameters are."""

from __future__ import annotations

import copy
import inspect
import sys
from functools import partial
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy
from thinc.api import CupyOps, get_current_ops
from thinc.types import ArgsKwargs, FloatsXd
from thinc.util import convert_recursive, is_numpy_array, is_xp_array

from ..framework import require

# Unpickling comes here first.
require("tensorflow")

import keras  # noqa: E402
import tensorflow as tf  # noqa: E402

from ..module import FrameworkModule, GoBack  # noqa: E402
from ..tree import leaves, zeros  # noqa: E402
from . import arrays, kept, parts  # noqa: E402
from .arrays import cast, is_tensor, on_device, tensor2xp, unaligned, xp2tensor  # noqa: E402
from .traced import TracedNetwork  # noqa: E402


class TensorFlowModule(FrameworkModule):
    """A Keras 3 model or a `tf.Module`."""

    framework = "tensorflow"
    arrays = arrays

    def __init__(self, model: Any, device: str, **shared: Any):
        super().__init__(model, device, **shared)
        self._gradients: Dict[str, tf.Tensor] = {}
        # The variables, when it is known that all of them exist.
        self._named: Dict[str, Any] = {}
        self._takes_training = _takes_training(self.model)
        self._forget_traces()
        if self.input_spec is None and self.is_materialized():
            self.input_spec = _built_for(self.model)

    # Preparing and moving

    @staticmethod
    def is_model(obj: Any) -> bool:
        return isinstance(obj, (keras.Layer, tf.Module))

    @staticmethod
    def default_device() -> str:
        ops = get_current_ops()
        return f"/GPU:{ops.device_id}" if isinstance(ops, CupyOps) else "/CPU:0"

    @staticmethod
    def device_for(device_type: str, device_id: int) -> str:
        return f"/GPU:{device_id}" if device_type == "gpu" else "/CPU:0"

    def prepared(self, model: Any) -> Any:
        if isinstance(model, keras.Layer) and keras.config.backend() != "tensorflow":
            raise ValueError(
                f"Keras runs on the backend {keras.config.backend()!r} here, but TensorFlowWrapper "
                "needs 'tensorflow'. Set the environment variable KERAS_BACKEND=tensorflow before "
                "Python starts, or wrap the model with the wrapper of that backend's framework."
            )
        place = self.device.upper().lstrip("/")
        devices = {_tf_variable(v).device.upper() for v in _named_variables(model).values()}
        if any(place not in device for device in devices):
            # A variable stays where it was made, so the model is made again over there.
            model = self._copy_of(model)
        if hasattr(model, "eg_compile"):
            model.compile(**model.eg_compile)
        return model

    def is_materialized(self) -> bool:
        # A tf.Module may create variables when it is called, and has no way to tell.
        return isinstance(self.model, keras.Layer) and all(
            layer.built for layer in _walk(self.model) if isinstance(layer, keras.Layer)
        )

    def depends_on_inputs(self) -> bool:
        return self.remake is None

    def create_parameters(self, inputs: ArgsKwargs) -> None:
        # Outside of the traced function, in which variables must not be created.
        with on_device(self.device):
            self._run(False, inputs.args, inputs.kwargs)

    def dropout_layers(self) -> List[Tuple[Any, str]]:
        return [
            (layer, attribute)
            for layer in _walk(self.model)
            for names, attribute in _DROPOUT
            if isinstance(layer, names) and hasattr(layer, attribute)
        ]

    def set_layers_rate(self, layer: Any, attribute: str, rate: float) -> None:
        super().set_layers_rate(layer, attribute, rate)
        if rate:
            self._let_draw(layer)

    def _let_draw(self, layer: Any) -> None:
        if getattr(layer, "seed_generator", None) is None:
            # A layer that was made with rate 0 has none. Keras lets no layer that is built have
            # another part, hence not setattr.
            with on_device(self.device):
                seeds = keras.random.SeedGenerator(getattr(layer, "seed", None))
            object.__setattr__(layer, "seed_generator", seeds)

    @staticmethod
    def seed() -> None:
        # Keras's layers ask Python's generator for their seeds; those of a tf.Module need not.
        tf.random.set_seed(numpy.random.randint(2**31))

    def seed_passes(self) -> None:
        self.seed()
        for layer, _ in self.dropout_layers():
            self._let_draw(layer)
        for layer in _named_layers(self.model).values():
            for seeds in vars(layer).values():
                if isinstance(seeds, keras.random.SeedGenerator):
                    # A seed, and how often it was drawn from.
                    seeds.state.assign([numpy.random.randint(2**31), 0])

    # Running

    def _forget_traces(self) -> None:
        self._predicting = TracedNetwork(partial(self._run, False))
        # By the rate of dropout, which Keras reads when it traces.
        self._training: Dict[Optional[float], TracedNetwork] = {}

    def _run(self, is_train: bool, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        args, kwargs = _called_with(self.model, args, kwargs)
        training = {"training": is_train} if self._takes_training else {}
        return self.model(*args, **training, **kwargs)

    def thread_state(self) -> Any:
        # The device in whose context the thread is, and whether tapes record nothing, as while one
        # of them is gone back along. Neither has a public name.
        get_context = getattr(sys.modules.get("tensorflow.python.eager.context"), "context", None)
        context = get_context and get_context()
        device = getattr(context, "device_name", None), getattr(context, "device_spec", None)
        return context, *device, _tapes("IsStopped")

    def set_thread_state(self, state: Any) -> None:
        context, name, spec, are_stopped = state
        if spec is not None and hasattr(context, "_set_device"):
            context._set_device(name, spec)
        if _tapes("IsStopped") != are_stopped:
            _tapes("StopOnThread" if are_stopped else "RestartOnThread")

    def predict(self, inputs: ArgsKwargs) -> Any:
        with on_device(self.device):
            return self._predicting(inputs)

    def begin_update(self, inputs: ArgsKwargs) -> Tuple[Any, GoBack]:
        named = {name: v for name, v in self._variables().items() if v.trainable}
        tensors = leaves(is_tensor, inputs)
        d_inputs = [tensor for tensor in tensors if arrays.takes_gradient(tensor)]
        sources = [*d_inputs, *(_tf_variable(v) for v in named.values())]
        traced = self.of_rate(self._training, lambda: TracedNetwork(partial(self._run, True)))
        with on_device(self.device):
            outputs, get_gradients = traced.begin_update(inputs, sources)

        def go_back(
            outputs: Sequence[tf.Tensor], gradients: Sequence[tf.Tensor]
        ) -> List[Optional[tf.Tensor]]:
            with on_device(self.device):
                d_sources = get_gradients(outputs, gradients)
            self._add_gradients(dict(zip(named, d_sources[len(d_inputs) :])))
            if not all(map(arrays.is_on_cpu, gradients)):
                # They and the inputs are in memory of CuPy's, which may be something else's as
                # soon as nothing holds them, whatever TensorFlow's stream still has to do with it.
                with on_device(self.device):
                    tf.raw_ops.SyncDevice()
            by_id = {id(tensor): grad for tensor, grad in zip(d_inputs, d_sources)}
            return [by_id.get(id(tensor)) for tensor in tensors]

        return outputs, go_back

    def _add_gradients(self, gradients: Mapping[str, Optional[tf.Tensor]]) -> None:
        for name, gradient in gradients.items():
            if gradient is not None:
                if isinstance(gradient, tf.IndexedSlices):
                    gradient = tf.convert_to_tensor(gradient)
                so_far = self._gradients.get(name)
                self._gradients[name] = gradient if so_far is None else so_far + gradient

    # Parameters. A handle is the name with the variable, because gradients are kept by name.

    def parameters(self) -> Dict[str, Any]:
        return {name: (name, _tf_variable(v)) for name, v in self._variables().items()}

    def _variables(self) -> Dict[str, Any]:
        if not self.is_complete:
            return _named_variables(self.model)
        # Looking through Keras's attributes takes as long as running a small network.
        if not self._named:
            self._named = _named_variables(self.model)
        return self._named

    def get_value(self, handle: Any) -> FloatsXd:
        _, variable = handle
        # The operation by itself takes a third of the time of what is around it in the variable.
        value = tf.raw_ops.ReadVariableOp(resource=variable.handle, dtype=variable.dtype)
        return tensor2xp(value)  # type: ignore[return-value]

    def set_value(self, handle: Any, value: FloatsXd) -> None:
        _, variable = handle
        if is_numpy_array(value) and value.dtype == variable.dtype.as_numpy_dtype:
            tensor = unaligned(value)
        else:
            tensor = cast(xp2tensor(value, device=variable.device), variable.dtype)
        tf.raw_ops.AssignVariableOp(resource=variable.handle, value=tensor)

    def get_gradient(self, handle: Any) -> Optional[FloatsXd]:
        gradient = self._gradients.get(handle[0])
        return None if gradient is None else tensor2xp(gradient)  # type: ignore[return-value]

    def set_gradient(self, handle: Any, value: Optional[FloatsXd]) -> None:
        if value is None:
            self._gradients.pop(handle[0], None)
        else:
            name, variable = handle
            tensor = xp2tensor(value, device=self.device)
            self._gradients[name] = cast(tensor, variable.dtype)

    def dtype_name(self, handle: Any) -> str:
        return str(handle[1].dtype.name)

    # Bytes

    def to_tensors(self) -> Tuple[Dict[str, Any], Dict[str, str]]:
        tensors, dtypes = super().to_tensors()
        digests = kept.digests(_named_layers(self.model))
        return {**tensors, **digests}, {**dtypes, **dict.fromkeys(digests, "uint8")}

    def from_tensors(
        self, tensors: Mapping[str, Any], dtypes: Mapping[str, str], complete: bool
    ) -> TensorFlowModule:
        digests = {name: tensors[name] for name in tensors if name.endswith(kept.MARK)}
        kept.check_digests(_named_layers(self.model), digests)
        values = {name: tensors[name] for name in tensors if name not in digests}
        return super().from_tensors(values, dtypes, complete)

    def after_loading(self) -> None:
        if kept.renew(_named_layers(self.model)):
            # What was computed before is a constant in them.
            self._forget_traces()

    # Copies

    def copied_model(self) -> Any:
        return self._copy_of(self.model)

    def _copy_of(self, model: Any) -> Any:
        """Make a model again from what it was made of, with the same values, on this device."""
        values = {name: _tf_variable(v) for name, v in _named_variables(model).items()}
        beside = _trainable(model), kept.adapted(_named_layers(model))
        with on_device(self.device):
            return _made_again(self._recipe(model, True), values, *beside, self.input_spec)

    def reduced(self) -> Any:
        values, dtypes = super().to_tensors()
        beside = _trainable(self.model), kept.adapted(_named_layers(self.model))
        return self._recipe(self.model, False), values, dtypes, *beside

    @classmethod
    def restored(cls, state: Any, device: str, input_spec: Any) -> Any:
        recipe, values, dtypes, trainable, adapted = state
        with on_device(device):
            tensors = {name: tf.cast(value, dtypes[name]) for name, value in values.items()}
            return _made_again(recipe, tensors, trainable, adapted, input_spec)

    def _recipe(self, model: Any, in_this_process: bool) -> Tuple[Any, ...]:
        """What a model can be made from again. TensorFlow's variables cannot be copied along
        with the Python objects around them, as they can in the other frameworks."""
        if self.remake is not None:
            return ("function", self.remake)
        elif hasattr(model, "eg_args"):
            return ("arguments", type(model), model.eg_args)
        elif not isinstance(model, keras.Layer):
            return ("object", model)
        try:
            if parts.need_parts(_named_layers(model).values()):
                return ("parts", *parts.take_apart(model, in_this_process))
            return ("config", type(model), model.get_config())
        except Exception as error:
            # Keras and pickle refuse it in ways of their own.
            raise ValueError(
                f"A copy of {type(model).__name__} cannot be made, from its config or from its "
                f"attributes: {error} Give TensorFlowWrapper a function (nO, nI) that builds the "
                "model, define get_config(), or decorate the class with keras_subclass."
            ) from error

    def described(self) -> str:
        if not isinstance(self.model, keras.Model):
            return super().described()
        lines: List[str] = []
        self.model.summary(print_fn=lambda line, *_, **__: lines.append(line))
        return "\n".join(lines)


def _called_with(
    model: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Tuple[Sequence[Any], Mapping[str, Any]]:
    """Arguments as a model takes them. One that was made from several inputs takes them as one, in
    a list or a dict; the wrapper has made arguments or keywords of such."""
    if isinstance(model, _Functional) and len(model.inputs) > 1:
        if len(args) == len(model.inputs):
            return [list(args)], kwargs
        elif not args and len(kwargs) == len(model.inputs):
            return [dict(kwargs)], {}
    return args, kwargs


def _takes_training(model: Any) -> bool:
    # Keras takes it for every layer, and hands it on to the layers inside.
    return isinstance(model, keras.Layer) or "training" in inspect.signature(model).parameters


def _tapes(verb: str) -> Any:
    """Call one of TensorFlow's functions for the tapes of this thread. None if there is none."""
    functions = sys.modules.get("tensorflow.python.pywrap_tfe")
    function = getattr(functions, f"TFE_Py_TapeSet{verb}", None)
    return function and function()


def _made_again(
    recipe: Tuple[Any, ...],
    values: Mapping[str, tf.Tensor],
    trainable: Mapping[str, bool],
    adapted: Mapping[str, Any],
    input_spec: Any,
) -> Any:
    kind, maker, *rest = recipe
    if kind == "function":
        model = maker()
    elif kind == "arguments":
        model = maker(*rest[0].args, **rest[0].kwargs)
    elif kind == "config":
        model = maker.from_config(rest[0])
    elif kind == "parts":
        model = parts.put_together(maker, *rest)
    else:
        model = copy.deepcopy(maker)
    # Before the first call, which may need it.
    kept.adapt(_named_layers(model), adapted)
    if len(_named_variables(model)) < len(values):
        # Some are made when it is first called.
        inputs = convert_recursive(is_xp_array, xp2tensor, zeros(input_spec))
        training = {"training": False} if _takes_training(model) else {}
        model(*inputs.args, **training, **inputs.kwargs)
    named = _named_variables(model)
    if not set(values) <= set(named):
        raise ValueError(
            f"A copy of {type(model).__name__} has other variables than it: "
            f"{sorted(set(values) ^ set(named))} are in one of them only. Make all variables in "
            "the constructor or in build(), or give TensorFlowWrapper a function (nO, nI) that "
            "builds the model."
        )
    for name, value in values.items():
        _tf_variable(named[name]).assign(value)
    for name, is_trainable in trainable.items():
        named[name].trainable = is_trainable
    kept.renew(_named_layers(model))
    return model


def _built_for(layer: keras.Layer) -> Any:
    """What a layer was called with before it came here, as `describe` writes it."""
    config = layer.get_build_config() or {}
    shape, shapes = config.get("input_shape"), config.get("shapes_dict", {})
    if not shape and not shapes:
        return None
    args = [_inputs_of_shape(shape)] if shape else []
    kwargs = {name.removesuffix("_shape"): _inputs_of_shape(x) for name, x in shapes.items()}
    return {"args": {"list": args}, "kwargs": {"dict": kwargs}}


def _inputs_of_shape(shape: Any) -> Any:
    if isinstance(shape, Mapping):
        return {"dict": {name: _inputs_of_shape(inner) for name, inner in shape.items()}}
    elif shape and not isinstance(shape[0], (int, type(None))):
        return {"list": [_inputs_of_shape(inner) for inner in shape]}
    else:
        return {"shape": [dim or 1 for dim in shape], "dtype": "float32"}


# Keras's layers that drop out, as far as a version has them, and where their rate is.
_DROPOUT = [
    (tuple(getattr(keras.layers, name) for name in names if hasattr(keras.layers, name)), attribute)
    for names, attribute in (
        (("Dropout", "GaussianDropout", "AlphaDropout"), "rate"),
        (("Attention", "GroupQueryAttention", "LSTMCell", "GRUCell", "SimpleRNNCell"), "dropout"),
        (("MultiHeadAttention",), "_dropout"),
    )
]


# Names. Keras counts its own up through the process (dense, dense_1), so we go by attributes.

# The class of models made from inputs and outputs, for which Keras has no public name.
_INPUT = keras.Input((1,), name="input")
_Functional = type(keras.Model(_INPUT, _INPUT, name="model"))


def _children(node: Any) -> Iterator[Tuple[str, Any]]:
    if isinstance(node, (list, tuple)):
        yield from ((str(i), child) for i, child in enumerate(node))
    elif isinstance(node, Mapping):
        yield from ((str(key), child) for key, child in node.items())
    elif isinstance(node, (keras.Layer, tf.Module)):
        if isinstance(node, (keras.Sequential, _Functional)):
            yield "layers", node.layers
        for name, child in vars(node).items():
            if name not in parts.KERAS_ATTRIBUTES and not name.startswith("_self_"):
                yield name.lstrip("_"), child
        if isinstance(node, keras.Layer):
            # A variable that no attribute holds.
            yield "weights", node.weights


def _walk(root: Any) -> Iterator[Any]:
    """The modules inside of a module, itself included."""
    return (node for _, node in _walk_named(root, "", set()))


def _walk_named(node: Any, path: str, seen: set[int]) -> Iterator[Tuple[str, Any]]:
    if id(node) in seen:
        return
    if isinstance(node, (keras.Variable, tf.Variable)):
        seen.add(id(node))
        yield path, node
    elif isinstance(node, (keras.Layer, tf.Module)):
        seen.add(id(node))
        yield path, node
        for name, child in _children(node):
            yield from _walk_named(child, f"{path}.{name}" if path else name, seen)
    elif isinstance(node, (list, tuple, Mapping)):
        for name, child in _children(node):
            yield from _walk_named(child, f"{path}.{name}", seen)


def _named_variables(module: Any) -> Dict[str, Any]:
    """Variables by attribute path, shared ones once."""
    named = _walk_named(module, "", set())
    return {name: v for name, v in named if isinstance(v, (keras.Variable, tf.Variable))}


def _named_layers(module: Any) -> Dict[str, keras.Layer]:
    """Keras's layers by attribute path, shared ones once."""
    named = _walk_named(module, "", set())
    return {name: node for name, node in named if isinstance(node, keras.Layer)}


def _trainable(module: Any) -> Dict[str, bool]:
    """Which of Keras's variables are trained. A tf.Variable keeps what it was made with."""
    named = _named_variables(module)
    return {name: v.trainable for name, v in named.items() if isinstance(v, keras.Variable)}


def _tf_variable(variable: Any) -> tf.Variable:
    return variable.value if isinstance(variable, keras.Variable) else variable
