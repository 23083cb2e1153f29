"""The gradients of a step, summed over all processes."""

from __future__ import annotations

import math
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

import numpy
from thinc.api import Model, get_current_ops
from thinc.shims import PyTorchShim, Shim
from thinc.util import torch2xp, xp2torch

from ...wrappers.shim import FrameworkShim
from .group import Group


class RefusedError(ValueError):
    """A model cannot be trained in several processes."""


class Parameter(NamedTuple):
    """Something that may have a gradient, or be changed by a pass.

    name: What errors call it: its component, its layer and its place there. It is the same in
        every process.
    owner: The layer or the shim that has it.
    shape: That of its values.
    value: Returns its values.
    get: Returns the gradient that was added up in this process, or None if no pass has reached it.
    set: Replaces it, by an array of the same shape.
    """

    name: str
    owner: Any
    shape: Tuple[int, ...]
    value: Callable[[], Any]
    get: Callable[[], Optional[Any]]
    set: Callable[[Any], None]


def parameters_of(models: Dict[str, Model]) -> List[Parameter]:
    """The parameters of models, each once, in an order that is the same in every process.

    models: By the name of their component.
    Raises RefusedError if there is a shim whose gradients cannot be summed.
    """
    found: List[Parameter] = []
    seen: Set[int] = set()
    for component, model in models.items():
        for i, node in enumerate(model.walk()):
            place = f"{component}: {node.name} (layer {i})"
            if id(node) not in seen:
                found += _of_layer(node, place)
            for shim in node.shims:
                if id(shim) not in seen:
                    found += _of_shim(shim, place)
            seen.update(map(id, (node, *node.shims)))
    return found


def _of_layer(node: Model, place: str) -> Iterator[Parameter]:
    for name in node.param_names:
        if node.has_param(name):

            def get_value(name: str = name) -> Any:
                return node.get_param(name)

            def get(name: str = name) -> Optional[Any]:
                return node.maybe_get_grad(name)

            def set(gradient: Any, name: str = name) -> None:
                node.set_grad(name, gradient)

            yield Parameter(f"{place}, {name}", node, get_value().shape, get_value, get, set)


def _of_shim(shim: Shim, place: str) -> Iterator[Parameter]:
    if isinstance(shim, FrameworkShim):
        _check_scaling(shim.get_module().leaves_overflows_out(), place)
        yield from _of_framework(shim, place)
    elif isinstance(shim, PyTorchShim):
        _check_scaling(shim._grad_scaler._enabled, place)
        yield from _of_thincs_pytorch(shim, place)
    else:
        raise RefusedError(
            f"{place} keeps its gradients in a {type(shim).__name__}, in which several processes "
            "cannot sum them. Wrap the model with the wrapper of its framework from "
            "spacy_frameworks.wrappers, or train in one process."
        )


def _check_scaling(leaves_overflows_out: bool, place: str) -> None:
    if leaves_overflows_out:
        raise RefusedError(
            f"{place} trains in mixed precision and leaves out a step whose gradients overflow. "
            "They may overflow in one process and not in another. Leave out mixed_precision, or "
            "train in one process."
        )


def _of_framework(shim: FrameworkShim, place: str) -> Iterator[Parameter]:
    module = shim.get_module()
    if not module.is_called():
        raise RefusedError(
            f"{place} makes its parameters when it is first called, which has not been, so that "
            "each process would make its own. Initialize the model with a sample of its inputs, "
            "as `model.initialize(X=...)` in the component's `initialize`, or train in one process."
        )
    for name, handle in module.parameters().items():

        def get_value(handle: Any = handle) -> Any:
            return module.get_value(handle)

        def get(handle: Any = handle) -> Optional[Any]:
            return module.get_gradient(handle)

        def set(gradient: Any, handle: Any = handle) -> None:
            module.set_gradient(handle, gradient)

        yield Parameter(f"{place}, {name}", shim, get_value().shape, get_value, get, set)


def _of_thincs_pytorch(shim: PyTorchShim, place: str) -> Iterator[Parameter]:
    model = shim._model
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):

        def get_value(tensor: Any = tensor) -> Any:
            return torch2xp(tensor.detach())

        def get(tensor: Any = tensor) -> Optional[Any]:
            return None if tensor.grad is None else torch2xp(tensor.grad)

        def set(gradient: Any, tensor: Any = tensor) -> None:
            tensor.grad = xp2torch(gradient, device=tensor.device).to(tensor.dtype)

        yield Parameter(f"{place}, {name}", shim, tuple(tensor.shape), get_value, get, set)


class Gradients:
    """Sums the gradients of a step over all processes, with one message a step.

    What goes over is one array: some numbers of the caller's, for each parameter whether this
    process has a gradient, and the gradients of those parameters that have had one in some process
    until now. In a step in which a parameter has its first, a second message follows.
    """

    def __init__(self, group: Group, parameters: Sequence[Parameter]):
        """
        parameters: As many in every process, in the same order.
        """
        self.group = group
        self.parameters = parameters
        # Which have had a gradient somewhere, by their place in the list.
        self._known: List[int] = []
        self._message: Optional[_Message] = None

    @property
    def known(self) -> Set[str]:
        """The names of the parameters that have had a gradient in some process."""
        return {self.parameters[i].name for i in self._known}

    def sum(self, notes: numpy.ndarray) -> numpy.ndarray:
        """Have the sum of each gradient in every process. A parameter that has one nowhere is left
        without: an optimizer would move it by a gradient of zero, too.

        notes: Some numbers, as many in every process. Float32 has to hold them.
        Returns the sum of the notes.
        """
        found = [parameter.get() for parameter in self.parameters]
        head = numpy.concatenate([notes, [gradient is not None for gradient in found]])
        if self._message is None:
            self._message = self._message_for(len(head), self._known)
        head = self._message.summed(self.group, head, [found[i] for i in self._known])
        somewhere = head[len(notes) :] > 0
        self._hand_back(self._known, self._message, somewhere)
        new = sorted(set(numpy.flatnonzero(somewhere).tolist()) - set(self._known))
        if new:
            late = self._message_for(0, new)
            late.summed(self.group, head[:0], [found[i] for i in new])
            self._hand_back(new, late, somewhere)
            self._known += new
            self._message = None
        return head[: len(notes)]

    def _message_for(self, head: int, places: Sequence[int]) -> _Message:
        return _Message(head, [self.parameters[i].shape for i in places])

    def _hand_back(
        self, places: Sequence[int], message: _Message, somewhere: numpy.ndarray
    ) -> None:
        for i, gradient in zip(places, message.gradients):
            if somewhere[i]:
                self.parameters[i].set(gradient)


class _Message:
    """An array in which numbers and gradients have their places. It is used in each step: Thinc's
    layers, which add to the array that they were given, add up their gradients in it."""

    def __init__(self, head: int, shapes: Sequence[Tuple[int, ...]]):
        sizes = [head, *map(math.prod, shapes)]
        ends = numpy.cumsum(sizes).tolist()
        self._numbers = get_current_ops().xp.zeros(ends[-1], dtype="float32")
        self._head, *flat = [self._numbers[end - size : end] for end, size in zip(ends, sizes)]
        self.gradients = [place.reshape(shape) for place, shape in zip(flat, shapes)]

    def summed(
        self, group: Group, head: numpy.ndarray, gradients: Sequence[Optional[Any]]
    ) -> numpy.ndarray:
        """Put them in their places, None as zeros, and sum all over all processes. Returns the
        numbers in front."""
        ops = get_current_ops()
        self._head[:] = ops.xp.asarray(head, dtype="float32")
        for place, gradient in zip(self.gradients, gradients):
            if gradient is None:
                place[...] = 0
            elif gradient is not place:
                place[...] = gradient
        group.sum(self._numbers)
        return ops.to_numpy(self._head)
