"""Keras models that are made again from their parts, where nobody knows what their constructors
were called with: Keras keeps the arguments of layers alone, and only if they are plain values."""

from __future__ import annotations

import contextlib
import inspect
import io
import pickle
from types import FunctionType
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple

import keras
import tensorflow as tf

from ..tree import leaves

# What Keras keeps in every layer and model for itself.
KERAS_ATTRIBUTES = {*vars(keras.Layer()), *vars(keras.Model()), *vars(keras.Sequential())}
# And in one that is compiled, which makes no difference here.
_compiled = keras.Model()
_compiled.compile(loss="mse")
_COMPILED_ATTRIBUTES = {*vars(_compiled)}


def need_parts(layers: Iterable[keras.Layer]) -> bool:
    """Whether one of a model's layers is somebody's own, and such that Keras cannot make it again
    from its config."""
    return any(
        not _is_keras(type(layer)) and not (_is_registered(layer) and _takes_config(layer))
        for layer in layers
    )


def take_apart(model: keras.Layer, in_this_process: bool) -> Tuple[bytes, List[Any]]:
    """What `put_together` makes a model like this one from, but for the values of its variables.

    in_this_process: Whether functions and classes are to be the same objects, as in a copy, or
        found again by their names, as in a pickle.
    Raises whatever pickle does if something in it cannot be pickled.
    """
    file = io.BytesIO()
    pickler = _Pickler(file, in_this_process)
    pickler.dump(model)
    return file.getvalue(), pickler.live


def put_together(parts: bytes, live: List[Any]) -> keras.Layer:
    """The model."""
    return _Unpickler(parts, live).load()


class _Unpickler(pickle.Unpickler):
    def __init__(self, parts: bytes, live: List[Any]):
        super().__init__(io.BytesIO(parts))
        self._live = live

    def persistent_load(self, number: int) -> Any:
        """What `persistent_id` gave this number."""
        return self._live[number]


class _Pickler(pickle.Pickler):
    def __init__(self, file: Any, in_this_process: bool):
        super().__init__(file)
        self.live: List[Any] = []
        self._in_this_process = in_this_process

    def persistent_id(self, obj: Any) -> Optional[int]:
        """The number of a function or class that stays the same object."""
        if not (self._in_this_process and isinstance(obj, (FunctionType, type))):
            return None
        for used in leaves(_is_part, _used_from_outside(obj)):
            raise ValueError(
                f"The function {obj.__qualname__} uses {used!r} from outside of it, which a copy "
                "would share"
            )
        self.live.append(obj)
        return len(self.live) - 1

    def reducer_override(self, obj: Any) -> Any:
        """Of what Keras would pickle in ways of its own: what makes it again."""
        if isinstance(obj, keras.Sequential):
            inputs = [(tuple(x.shape), x.dtype) for x in getattr(obj, "inputs", None) or ()]
            return _sequential, (obj.layers, inputs, obj.name)
        elif isinstance(obj, keras.Layer) and not _is_keras(type(obj)) and not _takes_config(obj):
            return _shell, (type(obj), _named(obj)), _state(obj), None, None, _fill
        elif isinstance(obj, keras.Layer):
            return _configured, (type(obj), obj.get_config(), obj.get_build_config())
        elif isinstance(obj, keras.Variable):
            return _variable, (tuple(obj.shape), obj.dtype, obj.trainable, obj.name)
        elif isinstance(obj, tf.Variable):
            return tf.Variable, (obj.numpy(), obj.trainable)
        elif isinstance(obj, keras.random.SeedGenerator):
            return keras.random.SeedGenerator, (obj.get_config()["seed"],)
        elif isinstance(obj, (list, dict, set)) and _is_keras(type(obj)):
            # Lists and the like that Keras watches.
            plain = next(kind for kind in (list, dict, set) if isinstance(obj, kind))
            return plain, (plain(obj),)
        return NotImplemented


def _is_part(obj: Any) -> bool:
    return isinstance(obj, (keras.Layer, keras.Variable, tf.Module))


def _used_from_outside(function: Any) -> List[Any]:
    """What a function finds in the one around it."""
    found = []
    for cell in getattr(function, "__closure__", None) or ():
        # Nothing was assigned to some, or not yet.
        with contextlib.suppress(ValueError):
            found.append(cell.cell_contents)
    return found


def _is_keras(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "keras"


def _is_registered(layer: keras.Layer) -> bool:
    name = keras.saving.get_registered_name(type(layer))
    return keras.saving.get_registered_object(name) is type(layer)


def _takes_config(layer: keras.Layer) -> bool:
    """Whether its constructor takes what its config says."""
    try:
        config = layer.get_config()
        # Who writes a from_config may take anything.
        if type(layer).from_config.__func__ in _FROM_CONFIG:
            inspect.signature(type(layer).__init__).bind(None, **config)
    except (NotImplementedError, TypeError):
        return False
    return True


_FROM_CONFIG = {keras.Layer.from_config.__func__, keras.Model.from_config.__func__}


# How each is made again


def _named(layer: keras.Layer) -> Dict[str, Any]:
    return {"name": layer.name, "dtype": layer.dtype_policy.name, "trainable": layer.trainable}


def _shell(kind: Any, named: Mapping[str, Any]) -> keras.Layer:
    """A layer without what its constructor would have made."""
    layer = kind.__new__(kind)
    base = keras.Model if issubclass(kind, keras.Model) else keras.Layer
    base.__init__(layer, **named)
    return layer


def _state(layer: keras.Layer) -> Dict[str, Any]:
    own = {
        name: value
        for name, value in vars(layer).items()
        if name not in KERAS_ATTRIBUTES | _COMPILED_ATTRIBUTES and not name.startswith("_self_")
    }
    return {**own, "supports_masking": layer.supports_masking, "built": layer.built}


def _fill(layer: keras.Layer, state: Mapping[str, Any]) -> None:
    for name, value in state.items():
        setattr(layer, name, value)


def _sequential(layers: List[Any], inputs: List[Any], name: str) -> keras.Sequential:
    given = [keras.Input(batch_shape=shape, dtype=dtype) for shape, dtype in inputs]
    return keras.Sequential([*given, *layers], name=name)


def _configured(kind: Any, config: Any, build_config: Any) -> keras.Layer:
    layer = kind.from_config(config)
    if build_config:
        layer.build_from_config(build_config)
    return layer


def _variable(shape: Tuple[int, ...], dtype: str, trainable: bool, name: str) -> keras.Variable:
    return keras.Variable(
        initializer="zeros", shape=shape, dtype=dtype, trainable=trainable, name=name
    )
