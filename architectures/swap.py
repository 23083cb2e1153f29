"""Move a config or a trained pipeline to another framework, weights and all."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Iterator, List, Union

import spacy
from spacy.language import Language
from spacy.util import load_config, load_model_from_config
from thinc.api import Config, Model, deserialize_attr, serialize_attr

from ..wrappers.framework import Framework, get_framework
from .networks import convert_network
from .requirements import set_requirements
from .swap_names import swap_names


def swap_config(config: Union[Config, str, Path], framework: str) -> Config:
    """Name another framework in a config, wherever it names an architecture of this package.

    A framework that is a variable is set where the variable is defined, unless something else uses
    it too: then the name of the framework takes the variable's place. A variable inside of an
    architecture's name becomes an argument. The framework of a `use_framework` hook is set as well.

    config (Config | str | Path): A config, which stays as it is, or a path to one.
    framework (str): Config token or id of a framework, or "Thinc".
    RETURNS (Config): A copy.

    Raises ValueError if there is no framework of this name, or if a variable that names one refers
    to itself.
    """
    target = get_framework(framework)
    if isinstance(config, Config):
        swapped = config.copy()
    else:
        swapped = load_config(config, interpolate=False)
    swap_names(swapped, target)
    return swapped


def swap_framework(nlp: Union[Language, str, Path], framework: str) -> Language:
    """The same trained pipeline on another framework.

    nlp (Language | str | Path): A pipeline, which stays as it is, or a path or the name of a
        package to load one from.
    framework (str): Config token or id of a framework, or "Thinc", which needs none installed.
    RETURNS (Language): A new pipeline with the config rewritten, the weights converted, and the
        framework among the requirements in its meta data, which `spacy package` reads.

    Raises ValueError if there is no framework of this name, or, with the component and the layer,
    if there is a layer with a model of another framework that is none of this package's networks.
    """
    target = get_framework(framework)
    if not isinstance(nlp, Language):
        nlp = spacy.load(nlp)
    swapped = load_model_from_config(swap_config(nlp.config, framework), disable=nlp.disabled)
    names = [name for name, _ in nlp.components]
    # The components are next; their bytes hold the weights of the old framework. spaCy compares
    # what is in front of the dot of "config.cfg".
    exclude = [*names, "config"]
    swapped.from_bytes(nlp.to_bytes(exclude=exclude), exclude=exclude)
    for (name, old), (_, new) in zip(nlp.components, swapped.components):
        has_model = isinstance(getattr(old, "model", None), Model)
        _copy_data(old, new, ["vocab", "model"] if has_model else ["vocab"])
        if has_model:
            _convert_model(name, old.model, new.model, target)
    set_requirements(swapped)
    return swapped


def _copy_data(old: Any, new: Any, exclude: List[str]) -> None:
    """Hand on what a component saves, in whichever of spaCy's two ways it does."""
    if hasattr(old, "to_bytes"):
        new.from_bytes(old.to_bytes(exclude=exclude), exclude=exclude)
    elif hasattr(old, "to_disk"):
        with TemporaryDirectory() as folder:
            old.to_disk(Path(folder) / "component", exclude=exclude)
            new.from_disk(Path(folder) / "component", exclude=exclude)


def _convert_model(component: str, old: Model, new: Model, target: Framework) -> None:
    """Give a model the weights of one that differs in the framework of its networks alone."""
    old_nodes, new_nodes = list(_walk(old)), list(_walk(new))
    places = {node.id: i for i, node in enumerate(old_nodes)}
    for old_node, new_node in zip(old_nodes, new_nodes, strict=True):
        for dim in old_node.dim_names:
            if old_node.has_dim(dim):
                new_node.set_dim(dim, old_node.get_dim(dim))
        if "network" in old_node.attrs:
            convert_network(old_node, new_node)
            continue
        _copy_attrs(old_node, new_node)
        for name in old_node.param_names:
            if old_node.has_param(name):
                new_node.set_param(name, new_node.ops.asarray_f(old_node.get_param(name)).copy())
        for name in old_node.ref_names:
            ref = old_node.maybe_get_ref(name)
            new_node.set_ref(name, None if ref is None else new_nodes[places[ref.id]])
        for old_shim, new_shim in zip(old_node.shims, new_node.shims):
            # Thinc's own shim is PyTorch's.
            if getattr(old_shim, "framework", "pytorch") != target.id:
                raise ValueError(
                    f"The layer '{old_node.name}' of the component '{component}' holds a model "
                    f"that cannot be converted to {target.token}: it is none of the networks of "
                    "spacy-frameworks. Leave the component out, or use one of those networks."
                )
            new_shim.from_bytes(old_shim.to_bytes())


def _copy_attrs(old: Model, new: Model) -> None:
    """Hand on the attributes that Thinc saves with a model, such as the seed of an embedding that
    was given none and drew one."""
    for name, value in old.attrs.items():
        try:
            saved = serialize_attr(value, value, name, old)
        except TypeError:
            # Thinc does not save it: a function, which comes from the config.
            continue
        new.attrs[name] = deserialize_attr(new.attrs.get(name), saved, name, new)


def _walk(model: Model) -> Iterator[Model]:
    """The nodes in an order that every framework shares: a network's own layers are not among
    them."""
    queue, seen = [model], {id(model)}
    for node in queue:
        yield node
        if "network" not in node.attrs:
            fresh = [layer for layer in node.layers if id(layer) not in seen]
            seen.update(id(layer) for layer in fresh)
            queue.extend(fresh)
