"""A toy library for networks, in place of PyTorch: NumPy's arithmetic, and gradients by autograd
(https://github.com/HIPS/autograd).

A module computes on arrays in `forward`, with the functions of `autograd.numpy`. Whoever runs one
has tensors: `predict(module, X)` returns some, `record(module, X)` a function that goes back too.
"""

from __future__ import annotations

import contextlib
import threading
from contextvars import ContextVar
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import autograd
import autograd.builtins
import autograd.numpy as np
import numpy
from autograd.tracer import getval

# Autograd counts the traces that are open, those of all threads together.
_TRACING = threading.Lock()


class Tensor:
    """Values that a module is called with, or that it returns."""

    def __init__(self, values: numpy.ndarray, requires_grad: bool = False):
        self.values = values
        self.requires_grad = requires_grad
        # What the last backward pass has found, if a gradient is required.
        self.gradient: Optional[numpy.ndarray] = None

    @property
    def shape(self) -> Tuple[int, ...]:
        return self.values.shape

    def __mul__(self, factor: float) -> Tensor:
        return Tensor(self.values * factor)


class Parameter:
    """Values that belong to a module. What is not trainable gets no gradient."""

    def __init__(self, data: Any, trainable: bool = True):
        self.data = numpy.array(data, getattr(data, "dtype", "float32"))
        self.trainable = trainable
        # Backward passes add up here.
        self.gradient: Optional[numpy.ndarray] = None

    @property
    def values(self) -> Any:
        """What modules compute with: in a pass that is recorded, what autograd follows."""
        traced = _traced.get()
        return self.data if traced is None else traced.get(self, self.data)


# What autograd follows in place of parameters, in a pass that is recorded.
_traced: ContextVar[Optional[Dict[Parameter, Any]]] = ContextVar("_traced", default=None)


@contextlib.contextmanager
def _recording(traced: Dict[Parameter, Any]) -> Iterator[None]:
    token = _traced.set(traced)
    try:
        yield
    finally:
        _traced.reset(token)


def get_traced() -> Optional[Dict[Parameter, Any]]:
    """What autograd follows in the pass that this thread records, if it does."""
    return _traced.get()


def set_traced(traced: Optional[Dict[Parameter, Any]]) -> None:
    """Record so from now on, or not."""
    _traced.set(traced)


def is_training() -> bool:
    """Whether the pass that is running is recorded."""
    return _traced.get() is not None


class Module:
    """A network, or a layer of one. Attributes may be parameters, modules, and lists of modules."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """From arrays to arrays, or to a nest of them."""
        raise NotImplementedError

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    def modules(self) -> List[Module]:
        """All modules in this one, itself included."""
        return [self, *(inner for child in self._children().values() for inner in child.modules())]

    def named_parameters(self) -> Dict[str, Parameter]:
        """All parameters by path, each once."""
        named = {name: value for name, value in vars(self).items() if isinstance(value, Parameter)}
        for path, child in self._children().items():
            for name, parameter in child.named_parameters().items():
                if parameter not in named.values():
                    named[f"{path}.{name}"] = parameter
        return named

    def _children(self) -> Dict[str, Module]:
        found = {}
        for name, value in vars(self).items():
            if isinstance(value, list):
                found.update({f"{name}.{i}": item for i, item in enumerate(value)})
            elif isinstance(value, Module):
                found[name] = value
        return found


# Running


def predict(module: Module, *args: Any, **kwargs: Any) -> Any:
    """Run a module on tensors, or nests of them."""
    args, kwargs = _map(_is_tensor, lambda tensor: tensor.values, (args, kwargs))
    return _map(_is_array, Tensor, module(*args, **kwargs))


Backward = Callable[[Sequence[Tensor], Sequence[Tensor]], None]


def record(module: Module, *args: Any, **kwargs: Any) -> Tuple[Any, Backward]:
    """Run a module for training. Returns the outputs, and a function that takes some of them and
    their gradients. It sets the gradients of the inputs, and adds to those of the parameters."""
    inputs = [tensor for tensor in _leaves(_is_tensor, (args, kwargs)) if tensor.requires_grad]
    parameters = [p for p in module.named_parameters().values() if p.trainable]
    nests = []

    def compute(values: Any) -> Any:
        arrays = {id(tensor): values[i] for i, tensor in enumerate(inputs)}
        traced = {p: values[len(inputs) + i] for i, p in enumerate(parameters)}
        given_args, given_kwargs = _map(
            _is_tensor, lambda tensor: arrays.get(id(tensor), tensor.values), (args, kwargs)
        )
        with _recording(traced):
            nests.append(module(*given_args, **given_kwargs))
        return autograd.builtins.tuple(_leaves(_is_array, nests[0]))

    sources = (*(tensor.values for tensor in inputs), *(p.data for p in parameters))
    with _TRACING:
        go_back, values = autograd.make_vjp(compute)(sources)
    remaining = iter(tensors := [Tensor(value) for value in values])

    def backward(outputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        given = {id(output): gradient.values for output, gradient in zip(outputs, gradients)}
        all_of_them = tuple(
            given.get(id(tensor), numpy.zeros_like(tensor.values)) for tensor in tensors
        )
        found = [
            numpy.asarray(gradient, source.dtype).reshape(source.shape)
            for gradient, source in zip(go_back(all_of_them), sources)
        ]
        for tensor, gradient in zip(inputs, found):
            tensor.gradient = gradient
        for p, gradient in zip(parameters, found[len(inputs) :]):
            p.gradient = gradient if p.gradient is None else p.gradient + gradient

    return _map(_is_array, lambda _: next(remaining), nests[0]), backward


def _is_tensor(obj: Any) -> bool:
    return isinstance(obj, Tensor)


def _is_array(obj: Any) -> bool:
    return isinstance(getval(obj), (numpy.ndarray, numpy.generic))


def _map(is_leaf: Callable[[Any], bool], change: Callable[[Any], Any], nest: Any) -> Any:
    if is_leaf(nest):
        return change(nest)
    elif isinstance(nest, (list, tuple)):
        return type(nest)(_map(is_leaf, change, item) for item in nest)
    elif isinstance(nest, dict):
        return {key: _map(is_leaf, change, item) for key, item in nest.items()}
    else:
        return nest


def _leaves(is_leaf: Callable[[Any], bool], nest: Any) -> List[Any]:
    found: List[Any] = []
    _map(is_leaf, found.append, nest)
    return found


# Functions and layers


def dot(X: Any, W: Any) -> Any:
    """A product of arrays of one dtype. NumPy would go over to the wider one and say nothing."""
    if X.dtype != W.dtype:
        raise TypeError(f"Expected factors of one dtype, got {X.dtype} and {W.dtype}.")
    return np.dot(X, W)


def softmax(X: Any) -> Any:
    """Over the last axis."""
    exps = np.exp(X - np.max(X, axis=-1, keepdims=True))
    return exps / np.sum(exps, axis=-1, keepdims=True)


def _drawn(nO: int, nI: int) -> numpy.ndarray:
    limit = (6 / (nO + nI)) ** 0.5
    return numpy.random.uniform(-limit, limit, (nO, nI)).astype("float32")


class Linear(Module):
    """W of shape (nO, nI), and b of shape (nO,), drawn if they are not given."""

    def __init__(self, nO: int, nI: int, W: Any = None, b: Any = None):
        self.W = Parameter(_drawn(nO, nI) if W is None else W)
        self.b = Parameter(numpy.zeros(nO, "float32") if b is None else b)

    def forward(self, X: Any) -> Any:
        return dot(X, self.W.values.T) + self.b.values


class LazyLinear(Module):
    """The same for inputs of a width that is known when the first ones come."""

    def __init__(self, nO: int):
        self.nO = nO
        self.linear: Optional[Linear] = None

    def forward(self, X: Any) -> Any:
        if self.linear is None:
            self.linear = Linear(self.nO, X.shape[-1])
        return self.linear(X)


class ReLU(Module):
    def forward(self, X: Any) -> Any:
        return np.maximum(X, 0)


class Dropout(Module):
    def __init__(self, rate: float):
        self.rate = rate

    def forward(self, X: Any) -> Any:
        if not is_training():
            return X
        mask = numpy.random.uniform(size=X.shape) >= self.rate
        return X * (mask / (1 - self.rate)).astype(X.dtype)


class LayerNorm(Module):
    """G and b of shape (width,). epsilon: What is added to the variance."""

    def __init__(self, width: int, epsilon: float = 1e-5):
        self.G = Parameter(numpy.ones(width, "float32"))
        self.b = Parameter(numpy.zeros(width, "float32"))
        self.epsilon = epsilon

    def forward(self, X: Any) -> Any:
        X = X - np.mean(X, axis=-1, keepdims=True)
        variance = np.mean(X * X, axis=-1, keepdims=True)
        return X / np.sqrt(variance + self.epsilon) * self.G.values + self.b.values


class BatchNorm(Module):
    """G and b of shape (width,), and the statistics that predictions go by."""

    def __init__(self, width: int, momentum: float = 0.1, epsilon: float = 1e-5):
        self.G = Parameter(numpy.ones(width, "float32"))
        self.b = Parameter(numpy.zeros(width, "float32"))
        self.running_mean = Parameter(numpy.zeros(width, "float32"), trainable=False)
        self.running_variance = Parameter(numpy.ones(width, "float32"), trainable=False)
        self.momentum, self.epsilon = momentum, epsilon

    def forward(self, X: Any) -> Any:
        if is_training():
            mean = np.mean(X, axis=0)
            variance = np.mean((X - mean) ** 2, axis=0)
            for kept, now in ((self.running_mean, mean), (self.running_variance, variance)):
                kept.data = kept.data + self.momentum * (getval(now) - kept.data)
        else:
            mean, variance = self.running_mean.values, self.running_variance.values
        X = (X - mean) / np.sqrt(variance + self.epsilon)
        return X * self.G.values + self.b.values


class Embedding(Module):
    """E of shape (rows, width)."""

    def __init__(self, E: Any):
        self.E = Parameter(E)

    def forward(self, ids: Any) -> Any:
        return self.E.values[ids]


class Sequential(Module):
    def __init__(self, *layers: Module):
        self.layers = list(layers)

    def forward(self, X: Any) -> Any:
        for layer in self.layers:
            X = layer(X)
        return X
