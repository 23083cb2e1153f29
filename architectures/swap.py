"""Move a trained pipeline to another framework, weights and all."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Dict, Iterator, Union

import spacy
from spacy.language import Language
from spacy.util import load_model_from_config
from thinc.api import Config, Model

from ..wrappers.framework import FRAMEWORKS, THINC, Framework, get_framework
from .networks import convert_network

USE_FRAMEWORK = "spacy-frameworks.use_framework.v1"

# Registered names, the prefix left out for those of spaCy's usage page.
_NAMES = re.compile(r"^((?:spacy-frameworks\.)?)(\w+)(\.v\d+)$")


def swap_config(config: Config, framework: str) -> Config:
    """Name another framework in a config, wherever it names an architecture of this package.

    framework: Config token or id of a framework, or "Thinc".
    Returns a copy. A variable `framework` in [vars], and the framework of a `use_framework` hook,
    are set too.
    """
    target = get_framework(framework)
    swapped = config.copy()
    _swap_names(swapped, target)
    if "framework" in swapped.get("vars", {}):
        swapped["vars"]["framework"] = target.token
    return swapped


def swap_framework(nlp: Union[Language, str, Path], framework: str) -> Language:
    """The same trained pipeline on another framework.

    nlp: A pipeline, which stays as it is, or a path to load one from.
    framework: Config token or id of a framework, or "Thinc", which needs none installed.
    Returns a new pipeline with the config rewritten and the weights converted.

    Raises ValueError that names the component and the layer if there is a layer with a model of
    another framework that is none of this package's networks.
    """
    target = get_framework(framework)
    if not isinstance(nlp, Language):
        nlp = spacy.load(nlp)
    swapped = load_model_from_config(swap_config(nlp.config, framework), disable=nlp.disabled)
    names = [name for name, _ in nlp.components]
    # The components are next; their bytes hold the weights of the old framework.
    exclude = [*names, "config.cfg"]
    swapped.from_bytes(nlp.to_bytes(exclude=exclude), exclude=exclude)
    for (name, old), (_, new) in zip(nlp.components, swapped.components):
        if not hasattr(old, "to_bytes"):
            continue
        has_model = isinstance(getattr(old, "model", None), Model)
        skip = ["vocab", "model"] if has_model else ["vocab"]
        new.from_bytes(old.to_bytes(exclude=skip), exclude=skip)
        if has_model:
            _convert_model(name, old.model, new.model, target)
    return swapped


def _swap_names(section: Dict[str, Any], target: Framework) -> None:
    for key, value in section.items():
        if isinstance(value, dict):
            _swap_names(value, target)
        elif key == "@architectures" and isinstance(value, str):
            section[key] = _NAMES.sub(lambda match: _swap_name(match, target), value)
        elif value == USE_FRAMEWORK and section.get("framework"):
            section["framework"] = target.token


def _swap_name(match: re.Match[str], target: Framework) -> str:
    prefix, name, version = match.groups()
    for fw in (*FRAMEWORKS, THINC):
        if name == f"Custom{fw.custom}Model":
            return f"{prefix}Custom{target.custom}Model{version}"
        elif prefix and name.startswith(fw.token):
            return f"{prefix}{target.token}{name.removeprefix(fw.token)}{version}"
    return match.group()


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
