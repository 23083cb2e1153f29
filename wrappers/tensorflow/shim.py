"""How a Keras model or tf.Module runs, is prepared and copied, and what its parameters are."""

from __future__ import annotations

import copy
import inspect
from functools import partial
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple

import keras
import tensorflow as tf
from thinc.api import CupyOps, get_current_ops
from thinc.types import ArgsKwargs, FloatsXd
from thinc.util import convert_recursive, is_numpy_array, is_xp_array

from ..process import started
from ..shim import FrameworkShim
from ..tree import leaves, zeros
from . import arrays
from .arrays import is_tensor, tensor2xp, unaligned, xp2tensor
from .process import after_fork
from .traced import TracedNetwork

started("tensorflow", after_fork)


class TensorFlowShim(FrameworkShim):
    """Holds a Keras 3 model or a `tf.Module` for a Thinc model."""

    framework = "tensorflow"
    arrays = arrays
    output_gradients = "output_gradients"

    def __init__(
        self, model: Any, config: Any = None, optimizer: Any = None, device: Optional[str] = None
    ):
        self._gradients: Dict[str, tf.Tensor] = {}
        self._named: Tuple[Any, Dict[str, Any]] = (None, {})
        super().__init__(model, config, optimizer, device)
        if self.is_built and self.is_materialized():
            self._input_spec = _built_for(self._model)

    def __str__(self) -> str:
        lines: List[str] = []
        if isinstance(self._model, keras.Model):
            self._model.summary(print_fn=lambda line, *_, **__: lines.append(line))
        else:
            lines.append(repr(self._model))
        return "\n".join(lines)

    @property
    def gradients(self) -> Optional[List[tf.Tensor]]:
        """The gradients added up since the last update, or None."""
        return list(self._gradients.values()) or None

    # Building and moving

    @staticmethod
    def is_module(obj: Any) -> bool:
        return isinstance(obj, (keras.Layer, tf.Module))

    @staticmethod
    def default_device() -> str:
        ops = get_current_ops()
        return f"/GPU:{ops.device_id}" if isinstance(ops, CupyOps) else "/CPU:0"

    @staticmethod
    def device_for(device_type: str, device_id: int) -> str:
        return f"/GPU:{device_id}" if device_type == "gpu" else "/CPU:0"

    def adopt(self, module: Any) -> Any:
        if isinstance(module, keras.Layer) and keras.config.backend() != "tensorflow":
            raise ValueError(
                f"Keras runs on the backend {keras.config.backend()!r} here, but TensorFlowWrapper "
                "needs 'tensorflow'. Set the environment variable KERAS_BACKEND=tensorflow before "
                "Python starts, or wrap the model with the wrapper of that backend's framework."
            )
        place = self.device.upper().lstrip("/")
        devices = {_tf_variable(v).device.upper() for v in _named_variables(module).values()}
        if any(place not in device for device in devices):
            # A variable stays where it was made, so the module is made again over there.
            module = self._copy_of(module)
        if hasattr(module, "eg_compile"):
            module.compile(**module.eg_compile)
        # Keras takes `training` for every layer, and hands it on to the layers inside.
        takes_training = isinstance(module, keras.Layer) or (
            "training" in inspect.signature(module).parameters
        )

        def run(is_train: bool, args: Tuple, kwargs: Mapping[str, Any]) -> Any:
            training = {"training": is_train} if takes_training else {}
            return module(*args, **training, **kwargs)

        self._run = run
        self._predicting = TracedNetwork(partial(run, False))
        # By the rate of dropout, which Keras reads when it traces.
        self._training: Dict[Optional[float], TracedNetwork] = {}
        return module

    def is_materialized(self) -> bool:
        # A tf.Module may create variables when it is called, and has no way to tell.
        return isinstance(self._model, keras.Layer) and all(
            layer.built for layer in _walk(self._model) if isinstance(layer, keras.Layer)
        )

    def depends_on_inputs(self) -> bool:
        return self._builder is None

    def _create_parameters(self, inputs: ArgsKwargs) -> None:
        # Outside of the traced function, in which variables must not be created.
        with tf.device(self.device):
            self._run(False, tuple(inputs.args), inputs.kwargs)

    def dropout_layers(self) -> List[Tuple[Any, str]]:
        return [
            (layer, attribute)
            for layer in _walk(self._model)
            for names, attribute in _DROPOUT
            if isinstance(layer, names) and hasattr(layer, attribute)
        ]

    def _set_rate(self, layer: Any, attribute: str, rate: float) -> None:
        super()._set_rate(layer, attribute, rate)
        if rate and getattr(layer, "seed_generator", None) is None:
            # A layer that was made with rate 0 has none. Keras lets no layer that is built have
            # another part, hence not setattr.
            with tf.device(self.device):
                seeds = keras.random.SeedGenerator(getattr(layer, "seed", None))
            object.__setattr__(layer, "seed_generator", seeds)

    # Running

    def predict(self, inputs: ArgsKwargs) -> Any:
        with tf.device(self.device):
            return self._predicting(inputs)

    def begin_update(self, inputs: ArgsKwargs) -> Tuple[Any, Callable[[Any], ArgsKwargs]]:
        named = {name: v for name, v in self._variables().items() if v.trainable}
        d_inputs = [t for t in leaves(is_tensor, inputs) if t.dtype.is_floating]
        sources = [*d_inputs, *(_tf_variable(v) for v in named.values())]
        traced = self._of_rate(self._training, lambda: TracedNetwork(partial(self._run, True)))
        with tf.device(self.device):
            outputs, get_gradients = traced.begin_update(inputs, sources)

        def backprop(gradients: Any) -> ArgsKwargs:
            # Converters for Thinc's wrapper return the gradients alone, in the outputs' nest.
            if isinstance(gradients, ArgsKwargs):
                tensors, grads = gradients.args[0], gradients.kwargs["output_gradients"]
            else:
                tensors, grads = leaves(is_tensor, outputs), leaves(is_tensor, gradients)
            grads = [_cast(grad, tensor.dtype) for tensor, grad in zip(tensors, grads)]
            with tf.device(self.device):
                d_sources = get_gradients(tensors, grads)
            self._add_gradients(dict(zip(named, d_sources[len(d_inputs) :])))
            by_id = {id(tensor): grad for tensor, grad in zip(d_inputs, d_sources)}
            return convert_recursive(is_tensor, lambda x: _input_gradient(x, by_id), inputs)

        return outputs, backprop

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
        if self._materialized is not self._model:
            return _named_variables(self._model)
        # Looking through Keras's attributes takes as long as running a small network.
        if self._named[0] is not self._model:
            self._named = (self._model, _named_variables(self._model))
        return self._named[1]

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
            tensor = _cast(xp2tensor(value, device=variable.device), variable.dtype)
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
            self._gradients[name] = _cast(tensor, variable.dtype)

    def dtype_name(self, handle: Any) -> str:
        return str(handle[1].dtype.name)

    # Copies

    def clone(self) -> Any:
        return self._copy_of(self._model)

    def reduce(self) -> Any:
        state = {"recipe": self._recipe(self._model), "bytes": self.to_bytes()}
        return {**state, "trainable": _trainable(self._model)}

    def restore(self, state: Any) -> Any:
        spec, self._input_spec = self._input_spec, None
        self._model = self.adopt(_remake(state["recipe"], self.dims))
        self.from_bytes(state["bytes"])
        _set_trainable(self._model, state["trainable"])
        self._input_spec = spec
        return self._model

    def _own_state(self) -> Dict[str, Any]:
        traced = ("_run", "_predicting", "_training")
        state = {k: v for k, v in super()._own_state().items() if k not in traced}
        return {**state, "_gradients": {}, "_named": (None, {})}

    def _copy_of(self, module: Any) -> Any:
        """Make a module again from what it was made of, with the same values, on this device."""
        with tf.device(self.device):
            copied = _remake(self._recipe(module), self.dims)
            originals = _named_variables(module)
            if len(_named_variables(copied)) < len(originals):
                inputs = convert_recursive(is_xp_array, self.from_xp, zeros(self._input_spec))
                copied(*inputs.args, training=False, **inputs.kwargs)
            copies = _named_variables(copied)
            for name, variable in originals.items():
                _tf_variable(copies[name]).assign(_tf_variable(variable))
        _set_trainable(copied, _trainable(module))
        return copied

    def _recipe(self, module: Any) -> Tuple[Any, ...]:
        """What a module can be made from again. TensorFlow's variables cannot be copied along
        with the Python objects around them, as they can in the other frameworks."""
        if self._builder is not None:
            return ("builder", self._builder)
        elif hasattr(module, "eg_args"):
            return ("arguments", type(module), module.eg_args)
        elif not isinstance(module, keras.Layer):
            return ("object", module)
        try:
            return ("config", type(module), module.get_config())
        except NotImplementedError as error:
            raise ValueError(
                f"A copy of {type(module).__name__} cannot be made: its constructor's arguments "
                "are not known. Define get_config(), decorate the class with keras_subclass, or "
                "give TensorFlowWrapper a function (nO, nI) that builds the model."
            ) from error


def _remake(recipe: Tuple[Any, ...], dims: Mapping[str, Any]) -> Any:
    kind, maker, *rest = recipe
    if kind == "builder":
        return maker(dims["nO"], dims["nI"])
    elif kind == "arguments":
        return maker(*rest[0].args, **rest[0].kwargs)
    elif kind == "config":
        return maker.from_config(rest[0])
    else:
        return copy.deepcopy(maker)


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

# What Keras keeps in every layer and model for itself.
_KERAS_ATTRIBUTES = {*vars(keras.Layer()), *vars(keras.Model()), *vars(keras.Sequential())}


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
            if name not in _KERAS_ATTRIBUTES and not name.startswith("_self_"):
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


def _trainable(module: Any) -> Dict[str, bool]:
    """Which of Keras's variables are trained. A tf.Variable keeps what it was made with."""
    named = _named_variables(module)
    return {name: v.trainable for name, v in named.items() if isinstance(v, keras.Variable)}


def _set_trainable(module: Any, trainable: Mapping[str, bool]) -> None:
    named = _named_variables(module)
    for name, value in trainable.items():
        named[name].trainable = value


def _tf_variable(variable: Any) -> tf.Variable:
    return variable.value if isinstance(variable, keras.Variable) else variable


def _cast(tensor: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    return tensor if tensor.dtype == dtype else tf.cast(tensor, dtype)


def _input_gradient(tensor: tf.Tensor, gradients: Mapping[int, Any]) -> Optional[tf.Tensor]:
    """Zeros for an input that the module did not use; None for one that has no gradient."""
    if not tensor.dtype.is_floating:
        return None
    gradient = gradients[id(tensor)]
    return tf.zeros_like(tensor) if gradient is None else gradient
