"""The gradients of a step, summed over all processes."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple, cast

import numpy
from thinc.api import Model
from thinc.shims import PyTorchShim, Shim
from thinc.util import torch2xp, xp2torch

from ...wrappers.shim import FrameworkShim
from .group import Group


class Parameter(NamedTuple):
    """Something that may have a gradient.

    name: What errors and files call it: its place, which is the same in every process.
    key: The optimizer's key.
    shape, dtype: Those of its values.
    get: Returns the gradient that was added up here, or None if no pass has reached it.
    set: Replaces it, by an array of the same shape.
    """

    name: str
    key: Any
    shape: Tuple[int, ...]
    dtype: numpy.dtype
    get: Callable[[], Optional[Any]]
    set: Callable[[Any], None]


def parameters_of(models: Dict[str, Model]) -> Iterator[Parameter]:
    """The parameters of models, each once, in an order that is the same in every process.

    models: By the name of their component.
    Raises ValueError if there is a shim whose parameters are not known.
    """
    seen: Set[int] = set()
    for component, model in models.items():
        for i, node in enumerate(model.walk()):
            place = f"{component}/{i}-{node.name}"
            owners = [owner for owner in (node, *node.shims) if id(owner) not in seen]
            seen.update(map(id, owners))
            for owner in owners:
                yield from (_of_layer if owner is node else _of_shim)(owner, place)


def _of_layer(node: Model, place: str) -> Iterator[Parameter]:
    for name in node.param_names:
        if node.has_param(name):
            value = node.get_param(name)
            yield Parameter(
                f"{place}/{name}",
                (node.id, name),
                value.shape,
                value.dtype,
                lambda name=name: node.get_grad(name) if node.has_grad(name) else None,
                lambda gradient, name=name: node.set_grad(name, gradient),
            )


def _of_shim(shim: Shim, place: str) -> Iterator[Parameter]:
    if isinstance(shim, FrameworkShim):
        module = shim.get_module()
        for name, handle in module.parameters().items():
            value = module.get_value(handle)
            yield Parameter(
                f"{place}/{name}",
                shim.key(name),
                value.shape,
                value.dtype,
                lambda handle=handle: module.get_gradient(handle),
                lambda gradient, handle=handle: module.set_gradient(handle, gradient),
            )
    elif isinstance(shim, PyTorchShim):
        for name, tensor in shim._model.named_parameters():
            value = torch2xp(tensor.detach())
            key = (shim.id, name)
            get, set = _gradient_of(tensor)
            yield Parameter(f"{place}/{name}", key, value.shape, value.dtype, get, set)
    else:
        raise ValueError(
            f"The gradients of {place} are in a {type(shim).__name__}, which several processes "
            "cannot share. Wrap the model with the wrapper of its framework from "
            "spacy_frameworks.wrappers, or train in one process."
        )


def _gradient_of(tensor: Any) -> Tuple[Callable[[], Optional[Any]], Callable[[Any], None]]:
    """What reads the gradient of a tensor of PyTorch, and what replaces it."""

    def get() -> Optional[Any]:
        return None if tensor.grad is None else torch2xp(tensor.grad)

    def set(gradient: Any) -> None:
        tensor.grad = xp2torch(gradient, device=tensor.device)

    return get, set


class Gradients:
    """Sums the gradients of a step over all processes, with one message a step.

    What goes over is one array: some numbers of the caller's, for each parameter whether this
    process has a gradient, and the gradients of those parameters that have had one in some process
    until now. Where one has a gradient for the first time, a second message follows.
    """

    def __init__(self, group: Group):
        self.group = group
        self._known: Set[str] = set()

    def sum(self, models: Dict[str, Model], notes: numpy.ndarray) -> numpy.ndarray:
        """Have the sum of each gradient in every process. A parameter that has one nowhere is left
        without: an optimizer would move it by a gradient of zero, too.

        models: By the name of their component. Every process has the same, in the same order.
        notes: Some numbers, as many in every process.
        Returns the sum of the notes.
        """
        parameters = list(parameters_of(models))
        found = [parameter.get() for parameter in parameters]
        has_one = numpy.array([gradient is not None for gradient in found])
        sent = [i for i, parameter in enumerate(parameters) if parameter.name in self._known]
        head = numpy.concatenate([notes, has_one])
        head, sums = self._sum_of(head, [(parameters[i], found[i]) for i in sent])
        notes, somewhere = head[: len(notes)], head[len(notes) :] > 0
        new = [i for i in numpy.flatnonzero(somewhere) if parameters[i].name not in self._known]
        if new:
            _, late = self._sum_of(head[:0], [(parameters[i], found[i]) for i in new])
            sent, sums = sent + new, sums + late
            self._known.update(parameters[i].name for i in new)
        for i, total in zip(sent, sums):
            if somewhere[i]:
                parameters[i].set(total)
        return notes

    def _sum_of(
        self, head: numpy.ndarray, gradients: List[Tuple[Parameter, Optional[Any]]]
    ) -> Tuple[numpy.ndarray, List[Any]]:
        """The sums of some numbers and of gradients, where None counts as zeros."""
        dtype = numpy.result_type("float32", *(parameter.dtype for parameter, _ in gradients))
        sizes = [len(head), *(int(numpy.prod(parameter.shape)) for parameter, _ in gradients)]
        ends = numpy.cumsum(sizes)
        numbers = self.group.zeros(int(ends[-1]), dtype)
        places = [numbers[end - size : end] for end, size in zip(ends, sizes)]
        places[0][:] = self.group.array(head)
        for place, (_, gradient) in zip(places[1:], gradients):
            if gradient is not None:
                place[:] = gradient.reshape(-1)
        self.group.sum(numbers)
        head = self.group.to_numpy(places[0])
        return head, [
            place.reshape(parameter.shape).astype(parameter.dtype, copy=False)
            for place, (parameter, _) in zip(places[1:], gradients)
        ]
