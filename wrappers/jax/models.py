"""What users write for JAX, as pure functions of their arrays: Flax NNX modules, Equinox modules,
and functions with parameters. Flax and Equinox are found where the user has imported them."""

from __future__ import annotations

import inspect
import io
import pickle
import sys
from typing import (
    Any,
    Callable,
    Dict,
    FrozenSet,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Type,
)

import jax
import jax.numpy as jnp
import numpy

from .arrays import is_float

# From the tensors among the inputs to the arguments and keyword arguments of a call.
Rebuild = Callable[[Sequence[Any]], Tuple[Sequence[Any], Mapping[str, Any]]]
Values = Mapping[str, Any]


class Pass(NamedTuple):
    """One pass through a model.

    tensors: The tensors among the inputs.
    rebuild: From them to the arguments.
    is_train: Whether it is one in training.
    seed: A number that is another one for each pass; None in evaluation mode.
    rate: The rate of dropout in training; None leaves each layer its own.
    """

    tensors: Sequence[Any]
    rebuild: Rebuild
    is_train: bool
    seed: Any
    rate: Optional[float]


class PureModel:
    """A user's model as a function of its arrays.

    values: The arrays at the start, by the path of attributes and keys to each.
    trained: The names of those that get gradients.
    takes_seed: Whether a training pass may be random.
    """

    # Whether it can be tried out that rows are added to a batch; see `CompiledModel`.
    fills_rows: Optional[bool] = None

    def __init__(self, values: Dict[str, Any], trained: FrozenSet[str], takes_seed: bool):
        self.values = values
        self.trained = trained
        self.takes_seed = takes_seed

    @staticmethod
    def takes(model: Any) -> bool:
        """Whether this is how such a model is written."""
        raise NotImplementedError

    def run(self, values: Values, pass_: Pass) -> Tuple[Any, Dict[str, Any]]:
        """The outputs, and those of the values that the pass has changed."""
        raise NotImplementedError

    def made(self, values: Values) -> Any:
        """The user's model with these values."""
        raise NotImplementedError

    def copied(self, values: Values) -> Any:
        """A copy of the user's model with these values. JAX's arrays never change, so it may have
        the same."""
        return self.made(values)

    def title(self) -> str:
        """What it is called, for people."""
        raise NotImplementedError

    def dropout_layers(self) -> List[Tuple[Any, str]]:
        """The layers that drop out, each with the attribute that holds its rate."""
        return []

    def may_grow(self) -> bool:
        """Whether the model may make parameters when it is first called."""
        return False

    def grow(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Call the user's model, so that it makes them."""


class FunctionModel(PureModel):
    """A pair of a function (parameters, *inputs) and a nest of its parameters.

    Where the function has an argument `training`, that is whether it runs in training; where it has
    one of the name `key`, that is a key of `jax.random` in training, and None in evaluation. Its
    attribute `fills_rows`, if it has one, says what would be tried out else.
    """

    def __init__(self, model: Tuple[Callable, Any], maps_examples: bool):
        self.function, params = model
        leaves, self._tree = jax.tree_util.tree_flatten_with_path(params)
        named = _named((_path(path, "params"), leaf) for path, leaf in leaves)
        values = {name: jnp.asarray(leaf) for name, leaf in named.items() if _is_value(leaf)}
        self._named = named
        self._arguments = _arguments(self.function)
        self.fills_rows = getattr(self.function, "fills_rows", None)
        self.maps_examples = maps_examples
        super().__init__(values, _floats(values), "key" in self._arguments)

    @staticmethod
    def takes(model: Any) -> bool:
        return isinstance(model, tuple) and len(model) == 2 and callable(model[0])

    def made(self, values: Values) -> Any:
        return self.function, self._params(values)

    def title(self) -> str:
        return getattr(self.function, "__name__", type(self.function).__name__)

    def _params(self, values: Values) -> Any:
        leaves = [values.get(name, leaf) for name, leaf in self._named.items()]
        return jax.tree_util.tree_unflatten(self._tree, leaves)

    def run(self, values: Values, pass_: Pass) -> Tuple[Any, Dict[str, Any]]:
        params = self._params(values)
        training = {"training": pass_.is_train} if "training" in self._arguments else {}

        def call(key: Any, *tensors: Any) -> Any:
            args, kwargs = pass_.rebuild(tensors)
            keys = {"key": key} if self.takes_seed else {}
            return self.function(params, *args, **training, **keys, **kwargs)

        key = jax.random.key(pass_.seed) if self.takes_seed and pass_.is_train else None
        if self.maps_examples:
            call = _mapped(call, key, pass_.tensors)
        return call(key, *pass_.tensors), {}


class EquinoxModel(PureModel):
    """An Equinox module, or a pair of one and its `equinox.nn.State`. As is usual for them, it is
    called with one example: the batch is mapped over, by the axis name "batch"."""

    def __init__(self, model: Any, maps_examples: bool):
        eqx = sys.modules["equinox"]
        module, self._state = model if isinstance(model, tuple) else (model, None)
        arrays, self._static = eqx.partition((module, self._state), _is_value_of_equinox)
        leaves, self._tree = jax.tree_util.tree_flatten_with_path(arrays)
        values = _named((_equinox_path(path), leaf) for path, leaf in leaves)
        names = [name for name in values if not name.startswith("state.")]
        self.maps_examples = maps_examples
        self._arguments = _arguments(type(module).__call__)
        takes_seed = "key" in self._arguments
        super().__init__(values, _floats({name: values[name] for name in names}), takes_seed)

    @staticmethod
    def takes(model: Any) -> bool:
        eqx = sys.modules.get("equinox")
        if eqx is None:
            return False
        if isinstance(model, tuple) and len(model) == 2 and isinstance(model[1], eqx.nn.State):
            model, _ = model
        return isinstance(model, eqx.Module) and callable(model)

    def made(self, values: Values) -> Any:
        module, state = self._combined(values)
        return module if self._state is None else (module, state)

    def title(self) -> str:
        module, _ = self._static
        return type(module).__name__

    def _combined(self, values: Values) -> Any:
        leaves = [values[name] for name in self.values]
        arrays = jax.tree_util.tree_unflatten(self._tree, leaves)
        return sys.modules["equinox"].combine(arrays, self._static)

    def dropout_layers(self) -> List[Tuple[Any, str]]:
        nodes = jax.tree_util.tree_leaves(self._static, is_leaf=_is_equinox_dropout)
        return [(node, "p") for node in nodes if _is_equinox_dropout(node)]

    def run(self, values: Values, pass_: Pass) -> Tuple[Any, Dict[str, Any]]:
        eqx = sys.modules["equinox"]
        module, state = self._combined(values)
        module = eqx.nn.inference_mode(module, value=not pass_.is_train)
        if pass_.rate is not None:
            module = jax.tree_util.tree_map(
                lambda node: (
                    eqx.tree_at(lambda layer: layer.p, node, pass_.rate)
                    if _is_equinox_dropout(node)
                    else node
                ),
                module,
                is_leaf=_is_equinox_dropout,
            )

        def call(key: Any, *tensors: Any) -> Any:
            args, kwargs = pass_.rebuild(tensors)
            states = () if state is None else (state,)
            keys = {} if key is None else {"key": key}
            outputs = module(*args, *states, **keys, **kwargs)
            return outputs if states else (outputs, None)

        key = jax.random.key(pass_.seed) if self.takes_seed and pass_.is_train else None
        if self.maps_examples:
            call = _mapped(call, key, pass_.tensors, out_axes=(0, None))
        outputs, new_state = call(key, *pass_.tensors)
        if new_state is None or not pass_.is_train:
            return outputs, {}
        leaves, _ = jax.tree_util.tree_flatten_with_path(
            (None, eqx.filter(new_state, _is_value_of_equinox))
        )
        return outputs, {_equinox_path(path): leaf for path, leaf in leaves}


class NNXModel(PureModel):
    """A Flax NNX module. It runs as after `train()` and `eval()`. What is no `nnx.Param` gets no
    gradient, and what a training pass writes to it, such as batch statistics, is kept."""

    def __init__(self, model: Any, maps_examples: bool):
        self._module = model
        self.maps_examples = maps_examples
        self._split()

    def _split(self) -> None:
        nnx = _nnx()
        self._graph, *states = nnx.split(self._module, nnx.Param, nnx.RngState, ...)
        flat = [jax.tree_util.tree_flatten_with_path(state) for state in states]
        self._trees = [tree for _, tree in flat]
        # Random numbers come from the seed of a pass, and these are where each stream begins.
        params, streams, others = (
            _named((_path(path), leaf) for path, leaf in leaves) for leaves, _ in flat
        )
        self._names = [list(params), list(others)]
        self._streams = streams
        values = {name: {**params, **others}[name] for name in _weights_first([*params, *others])}
        super().__init__(values, frozenset(params), bool(streams))

    @staticmethod
    def takes(model: Any) -> bool:
        return "flax.nnx" in sys.modules and isinstance(model, _nnx().Module)

    def made(self, values: Values) -> Any:
        params, _, others = self._states(values, self._streams)
        _nnx().update(self._module, params, others)
        return self._module

    def copied(self, values: Values) -> Any:
        return _nnx().merge(self._graph, *self._states(values, self._streams))

    def title(self) -> str:
        return type(self._module).__name__

    def _states(self, values: Values, streams: Values) -> List[Any]:
        params, others = ([values[name] for name in names] for names in self._names)
        groups = (params, list(streams.values()), others)
        return [
            jax.tree_util.tree_unflatten(tree, leaves) for tree, leaves in zip(self._trees, groups)
        ]

    def _nodes(self) -> List[Any]:
        return [node for _, node in _nnx().iter_graph(self._module)]

    def dropout_layers(self) -> List[Tuple[Any, str]]:
        rates = [(node, _nnx_rate(node)) for node in self._nodes()]
        return [(node, attribute) for node, attribute in rates if attribute is not None]

    def may_grow(self) -> bool:
        # To make some it needs random numbers, other than those that layers draw when they run.
        nnx = _nnx()
        return any(isinstance(node, nnx.Rngs) for node in self._nodes())

    def grow(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self._module.eval()
        self._module(*args, **kwargs)
        self._split()

    def run(self, values: Values, pass_: Pass) -> Tuple[Any, Dict[str, Any]]:
        nnx = _nnx()
        streams = self._streams
        if pass_.seed is not None:
            streams = {
                name: jax.random.fold_in(leaf, pass_.seed) if _is_key(leaf) else leaf
                for name, leaf in streams.items()
            }
        module = nnx.merge(self._graph, *self._states(values, streams))
        module.train() if pass_.is_train else module.eval()
        for _, node in list(nnx.iter_graph(module)):
            attribute = _nnx_rate(node)
            if pass_.rate is not None and attribute is not None:
                setattr(node, attribute, pass_.rate)
        if self.maps_examples:
            outputs = nnx.vmap(
                lambda module, *tensors: _call(module, pass_.rebuild, tensors),
                in_axes=(None, *_axes(pass_.tensors)),
            )(module, *pass_.tensors)
        else:
            outputs = _call(module, pass_.rebuild, pass_.tensors)
        if not pass_.is_train:
            return outputs, {}
        _, params, _, others = nnx.split(module, nnx.Param, nnx.RngState, ...)
        found = {
            _path(path): leaf
            for state in (params, others)
            for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]
        }
        made = [name for name in found if name not in values]
        if any(name in made for name in _state_names(params)):
            raise ValueError(
                f"{type(self._module).__name__} makes the parameters {made} when it is called. Let "
                "it make them in its constructor, or keep its nnx.Rngs in an attribute, so that "
                "it is called once before it is compiled."
            )
        _, names = self._names
        return outputs, {name: found[name] for name in names if name in found}


KINDS: Tuple[Type[Any], ...] = (NNXModel, EquinoxModel, FunctionModel)


def find_kind(model: Any) -> Optional[Type[Any]]:
    """How a model is written, or None if it is none."""
    return next((kind for kind in KINDS if kind.takes(model)), None)


def _nnx() -> Any:
    return sys.modules["flax.nnx"]


def _call(module: Callable, rebuild: Rebuild, tensors: Sequence[Any]) -> Any:
    args, kwargs = rebuild(tensors)
    return module(*args, **kwargs)


def _mapped(call: Callable, key: Any, tensors: Sequence[Any], out_axes: Any = 0) -> Callable:
    """The function of one example over a batch of them, each with a key of its own."""
    axes = _axes(tensors)

    def over_batch(key: Any, *tensors: Any) -> Any:
        sizes = {tensor.shape[0] for tensor, axis in zip(tensors, axes) if axis == 0}
        keys = None if key is None else jax.random.split(key, max(sizes))
        in_axes = (None if key is None else 0, *axes)
        return jax.vmap(call, in_axes, out_axes, axis_name="batch")(keys, *tensors)

    return over_batch


def _axes(tensors: Sequence[Any]) -> List[Optional[int]]:
    return [0 if tensor.ndim else None for tensor in tensors]


def _arguments(function: Callable) -> FrozenSet[str]:
    try:
        return frozenset(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return frozenset()


def _is_value(leaf: Any) -> bool:
    # Whole numbers and truth values are sizes and switches more often than not.
    if isinstance(leaf, jax.Array):
        return not _is_key(leaf)
    return isinstance(leaf, (numpy.ndarray, numpy.generic, float))


def _is_value_of_equinox(leaf: Any) -> bool:
    # Keys of random numbers are no numbers, and stay as they are.
    return isinstance(leaf, jax.Array) and not _is_key(leaf)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _floats(values: Values) -> FrozenSet[str]:
    return frozenset(name for name, value in values.items() if is_float(value))


def _is_equinox_dropout(node: Any) -> bool:
    return isinstance(node, sys.modules["equinox"].nn.Dropout)


def _nnx_rate(node: Any) -> Optional[str]:
    """The attribute of a layer that holds its rate of dropout, if it drops out."""
    nnx = _nnx()
    if isinstance(node, nnx.Dropout):
        return "rate"
    return "dropout_rate" if isinstance(node, nnx.MultiHeadAttention) else None


# Names


def _weights_first(names: Sequence[str]) -> List[str]:
    """Flax has attributes in the order of the alphabet. Here a bias comes last in its layer."""
    layers = [name.rpartition(".")[0] for name in names]

    def place(name: str) -> Tuple[int, bool]:
        layer, _, attribute = name.rpartition(".")
        return layers.index(layer), attribute == "bias"

    return sorted(names, key=place)


def _named(pairs: Iterable[Tuple[str, Any]]) -> Dict[str, Any]:
    """Pairs of a name and a leaf as a dict."""
    named: Dict[str, Any] = {}
    for name, leaf in pairs:
        if name in named:
            raise ValueError(
                f"Two parameters have the name {name!r}, which is made of the keys and attributes "
                "on the way to each. Give one of them another."
            )
        named[name] = leaf
    return named


def _path(path: Sequence[Any], root: str = "") -> str:
    """The keys, indexes and attributes on the way to a leaf."""
    parts = []
    for entry in path:
        for attribute in ("key", "idx", "name"):
            if hasattr(entry, attribute):
                parts.append(str(getattr(entry, attribute)))
                break
    # Flax's variables hold their array by this name.
    if len(parts) > 1 and parts[-1] == "value":
        parts.pop()
    return ".".join(parts) or root


def _equinox_path(path: Sequence[Any]) -> str:
    """The name of a leaf of (module, state)."""
    entry, *rest = path
    name = _path(rest, "params")
    return name if entry.idx == 0 else f"state.{name}"


def _state_names(state: Any) -> List[str]:
    return [_path(path) for path, _ in jax.tree_util.tree_flatten_with_path(state)[0]]


# Pickles


def dumps(model: Any) -> bytes:
    """A model as a pickle. JAX's own functions, which Python cannot pickle, are stored by name."""
    data = io.BytesIO()
    _Pickler(data, pickle.HIGHEST_PROTOCOL).dump(model)
    return data.getvalue()


class _Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        place = (getattr(obj, "__module__", None), getattr(obj, "__qualname__", None))
        is_plain = isinstance(obj, type) or inspect.isroutine(obj)
        if is_plain or not callable(obj) or not all(isinstance(part, str) for part in place):
            return NotImplemented
        return (_look_up, place) if _look_up(*place) is obj else NotImplemented


def _look_up(module: Any, name: Any) -> Any:
    found: Any = sys.modules.get(module) or __import__(module, fromlist=["_"])
    for part in name.split("."):
        found = getattr(found, part, None)
    return found
