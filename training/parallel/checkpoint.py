"""What a training needs to go on, besides its config and its data: one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Sequence, Tuple, Union

import numpy
from thinc.api import Model, Optimizer, get_current_ops
from thinc.shims import PyTorchShim, Shim
from thinc.util import to_numpy

from ...wrappers.weights import pack, unpack

NAME = "checkpoint.safetensors"
FORMAT = 2
# The arrays that an optimizer keeps for each parameter.
OF_PARAMETERS = ("mom1", "mom2", "averages")
# The attribute in which spaCy's parsers keep the classes that have not occurred in training yet.
UNSEEN = "unseen_classes"
# How many differences an error tells.
_TOLD = 5

# By the name of a component, in the order of its outputs.
Labels = Mapping[str, Sequence[str]]


class ResumeError(ValueError):
    """A training cannot go on from what is there."""


class IncompleteError(ValueError):
    """A training cannot be saved so that it could go on."""


class Checkpoint(NamedTuple):
    """Where a training was when it saved.

    header: Values of JSON.
        checkpoint: The number of this format.
        settings: What the config says, as `agreement.settings` tells it.
        labels: Those of each component, as `agreement.labels` tells them.
        processes: How many there were.
        step, seconds: As spaCy's loop gives them to its logger.
        data: A checksum of all documents and batches until then.
        scores: That of each evaluation until then.
        parameters: Of each that the optimizer has updated, its layer's place, its name there, and
            how often it was.
        radam: What RAdam has computed for its latest steps.
        unseen: Of each of spaCy's parsers, the classes that have not occurred in training yet.
    tensors: NumPy arrays.
        models/tagger: The bytes of a component's model, without averages.
        mom1/0, mom2/0, averages/0: The optimizer's for a parameter, by its number in the header.
        generators/0: Where the random numbers of a process are, by rank, as
            `generators.saved_state` tells it.
        generators/beginning: Where those of the data began.
    """

    header: Dict[str, Any]
    tensors: Mapping[str, numpy.ndarray]

    def restore(self, models: Mapping[str, Model]) -> None:
        """Have models as they were.

        Raises ResumeError if they are models of another kind, or of other sizes.
        """
        for name, model in models.items():
            try:
                model.from_bytes(self.tensors[f"models/{name}"].tobytes())
            except ValueError as error:
                raise ResumeError(
                    f"The model of {name} cannot take the weights of the checkpoint, so it is "
                    "another than it was, such as for other vectors or data. Resume with the same, "
                    f"or train from the beginning, without --resume. What was found: {error}"
                ) from error
        for name, unseen in self.header["unseen"].items():
            models[name].attrs[UNSEEN].intersection_update(unseen)

    def restore_optimizer(self, models: Mapping[str, Model], optimizer: Optimizer) -> None:
        """Have the optimizer of these models as it was, but for its schedules."""
        owners, ops = dict(_owners(models)), get_current_ops()
        for i, (place, name, count) in enumerate(self.header["parameters"]):
            owner = owners[place]
            key = (owner.id, name)
            optimizer.nr_update[key] = count
            for kind in OF_PARAMETERS:
                if f"{kind}/{i}" in self.tensors:
                    # Arrays of a file cannot be written to.
                    value: Any = self.tensors[f"{kind}/{i}"].copy()
                    getattr(optimizer, kind)[key] = ops.asarray(value)
            _keep_gradient(owner, name)
        optimizer._radam_buffer = self.header["radam"]

    def generators(self, name: object) -> bytes:
        """Where random numbers were: those of a process, by rank, or "beginning"."""
        return self.tensors[f"generators/{name}"].tobytes()

    def check(self, settings: Mapping[str, str], labels: Labels, processes: int) -> None:
        """Raise ResumeError if a training with these settings and labels, in so many processes,
        cannot go on from here."""
        of_checkpoint = self.header["processes"]
        if of_checkpoint != processes:
            raise ResumeError(
                f"The checkpoint is of a training in {of_checkpoint} processes, and here are "
                f"{processes}, whose parts of the batches and random numbers are others. Resume it "
                f"in {of_checkpoint}."
            )
        before = self.header["settings"]
        differing = [
            f"{name} was {before.get(name, 'not there')} and is {settings.get(name, 'not there')}"
            for name in sorted({*before, *settings})
            if before.get(name) != settings.get(name)
        ]
        if differing:
            raise ResumeError(
                "The checkpoint is of a training with another config. What differs: "
                f"{_told(differing, '; ')}. Resume it with the config and the options that it was "
                "begun with."
            )
        of_components = self.header["labels"]
        differing = [
            f"{name}: {_difference(of_components.get(name, ()), labels.get(name, ()))}"
            for name in sorted({*of_components, *labels})
            if list(of_components.get(name, ())) != list(labels.get(name, ()))
        ]
        if differing:
            raise ResumeError(
                "The checkpoint is of a training with other labels, so that its weights belong to "
                f"other outputs. What differs: {_told(differing, '; ')}. Resume it with the same "
                "data, or train from the beginning, without --resume."
            )


def _told(found: List[str], between: str) -> str:
    more = f"{between}and {len(found) - _TOLD} more" if len(found) > _TOLD else ""
    return between.join(found[:_TOLD]) + more


def _difference(before: Sequence[str], now: Sequence[str]) -> str:
    changes = {
        "added": [label for label in now if label not in before],
        "removed": [label for label in before if label not in now],
    }
    said = [f"{change} {_told(names, ', ')}" for change, names in changes.items() if names]
    return " and ".join(said) or "the same in another order"


def make(
    models: Mapping[str, Model],
    optimizer: Optimizer,
    generators: Mapping[object, bytes],
    **header: Any,
) -> bytes:
    """The bytes of a checkpoint.

    models: Those that are trained, by the name of their component.
    generators: By what `Checkpoint.generators` calls them.
    header: Its other values.
    Raises IncompleteError if the optimizer knows a parameter that is in none of the models.
    """
    place_of = _places(models)
    parameters = [[place_of(key), key[1], n] for key, n in optimizer.nr_update.items()]
    tensors = {f"models/{name}": _as_array(model.to_bytes()) for name, model in models.items()}
    tensors.update({f"generators/{name}": _as_array(data) for name, data in generators.items()})
    for i, key in enumerate(optimizer.nr_update):
        for kind in OF_PARAMETERS:
            values = getattr(optimizer, kind) or {}
            if key in values:
                tensors[f"{kind}/{i}"] = to_numpy(values[key])
    header = {
        **header,
        "checkpoint": FORMAT,
        "parameters": parameters,
        "radam": optimizer._radam_buffer,
        # Thinc does not save them with the model.
        "unseen": {
            name: sorted(model.attrs[UNSEEN])
            for name, model in models.items()
            if UNSEEN in model.attrs
        },
    }
    return pack(tensors, header)


def read(data: bytes, path: Path) -> Checkpoint:
    """What `make` has made.

    path: Where it was, for errors.
    Raises ResumeError if it is damaged, or of another format.
    """
    try:
        tensors, header = unpack(data)
        number = header["checkpoint"]
    except (ValueError, KeyError) as error:
        raise ResumeError(
            f"{path} is damaged, or no checkpoint that this version of spacy-frameworks can read, "
            "so there is nothing to resume. Train from the beginning, without --resume."
        ) from error
    if number != FORMAT:
        raise ResumeError(
            f"{path} has format {number}, and this version of spacy-frameworks goes on from format "
            f"{FORMAT} alone. Resume it with the version that wrote it, or train from the "
            "beginning, without --resume."
        )
    return Checkpoint(header, tensors)


Owner = Union[Model, Shim]


def _owners(models: Mapping[str, Model]) -> Iterator[Tuple[str, Owner]]:
    """The layers and shims of models, by a place that is the same in every process, as their ids
    are not. What several models share comes once for each."""
    for component, model in models.items():
        for i, node in enumerate(model.walk()):
            yield f"{component}/{i}-{node.name}", node
            for j, shim in enumerate(node.shims):
                yield f"{component}/{i}-{node.name}/{j}", shim


def _places(models: Mapping[str, Model]) -> Callable[[Tuple[int, str]], str]:
    """What finds the place of an optimizer's key. Layers and shims are counted apart, so that an id
    may be one of each."""
    layers: Dict[int, Tuple[str, Model]] = {}
    shims: Dict[int, str] = {}
    for place, owner in _owners(models):
        if isinstance(owner, Model):
            layers.setdefault(owner.id, (place, owner))
        else:
            shims.setdefault(owner.id, place)

    def place_of(key: Tuple[int, str]) -> str:
        number, name = key
        if number in layers and name in layers[number][1].param_names:
            return layers[number][0]
        elif number in shims:
            return shims[number]
        # Of a layer outside of the models, the weights would be missing. Where a layer was
        # replaced, a training that goes on has the first one again when it is given the weights.
        raise IncompleteError(
            f"The optimizer has updated a parameter {key}, which is in no model of the trained "
            f"components {list(models)}: a component updates a layer outside of its `model`, or a "
            "layer was replaced since the training began."
        )

    return place_of


def _keep_gradient(owner: Owner, name: str) -> None:
    """Have a gradient of zero where one is kept from the first step on, so that the optimizer is
    called in each step."""
    if isinstance(owner, Model):
        owner.set_grad(name, owner.ops.alloc(owner.get_param(name).shape))
    elif isinstance(owner, PyTorchShim):
        tensor = dict(owner._model.named_parameters())[name]
        tensor.grad = tensor.detach() * 0


def _as_array(data: bytes) -> numpy.ndarray:
    return numpy.frombuffer(data, dtype="uint8")
