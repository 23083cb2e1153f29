"""`spacy frameworks summary`: the layers of a trained pipeline."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional

import typer

from .errors import as_messages
from .options import CODE

if TYPE_CHECKING:
    from rich.tree import Tree
    from thinc.api import Model


def summary_cli(
    model: str = typer.Argument(..., help="Path or package name of a pipeline"),
    code_path: Optional[Path] = CODE,
    as_json: bool = typer.Option(False, "--json", "-j", help="Print JSON"),
) -> None:
    """
    Show the layers of each component of a pipeline, with their dims, framework, number of
    parameters and bytes, those of wrapped models included.
    """
    import spacy
    from spacy.cli._util import import_code

    import_code(code_path)
    with as_messages():
        nlp = spacy.load(model)
    found = {
        name: described(pipe.model, set())
        for name, pipe in nlp.components
        if _is_model(getattr(pipe, "model", None))
    }
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        _show(model, nlp.component_names, found)


def described(model: Model, seen: set) -> Dict[str, Any]:
    """A layer and those in it, as JSON: name, dims, framework, its own parameters with their shapes
    and bytes, layers, and the number of parameters and bytes of all of it. A layer that is there
    twice counts once."""
    from ..wrappers.framework import get_framework
    from ..wrappers.shim import FrameworkShim

    if id(model) in seen:
        return {"name": model.name, "shared": True, "parameters": 0, "bytes": 0, "layers": []}
    seen.add(id(model))
    own: Dict[str, Any] = {
        name: model.get_param(name) for name in model.param_names if model.has_param(name)
    }
    framework = "Thinc"
    for shim in model.shims:
        framework = type(shim).__name__
        if isinstance(shim, FrameworkShim):
            framework = get_framework(shim.framework).token
            if shim.module is not None:
                module = shim.module
                own.update({n: module.get_value(h) for n, h in module.parameters().items()})
        elif hasattr(shim._model, "state_dict"):
            framework = "PyTorch, by Thinc's wrapper"
            # Tied ones are there under each of their names.
            state = shim._model.state_dict(keep_vars=True)
            own.update({id(value): (name, value) for name, value in state.items()}.values())
    weights: Dict[str, Dict[str, Any]] = {
        name: {"shape": [int(n) for n in value.shape], "bytes": int(value.nbytes)}
        for name, value in own.items()
    }
    layers = [described(layer, seen) for layer in model.layers]
    sizes = [math.prod(weight["shape"]) for weight in weights.values()]
    return {
        "name": model.name,
        "framework": framework,
        "dims": {name: model.maybe_get_dim(name) for name in model.dim_names},
        "weights": weights,
        "layers": layers,
        "parameters": sum(sizes) + sum(layer["parameters"] for layer in layers),
        "bytes": sum(weight["bytes"] for weight in weights.values())
        + sum(layer["bytes"] for layer in layers),
    }


def _is_model(obj: Any) -> bool:
    from thinc.api import Model

    return isinstance(obj, Model)


def _show(title: str, components: List[str], found: Dict[str, Any]) -> None:
    from rich.console import Console
    from rich.tree import Tree

    tree = Tree(f"[bold]{title}[/bold]  {_amount(found.values())}")
    for name in components:
        if name in found:
            branch = tree.add(f"[bold]{name}[/bold]  {_amount([found[name]])}")
            _add(branch, found[name])
        else:
            tree.add(f"[bold]{name}[/bold]  no model")
    Console().print(tree)


def _add(tree: Tree, layer: Dict[str, Any]) -> None:
    from rich.markup import escape

    if layer.get("shared"):
        tree.add(f"{escape(layer['name'])}  [dim]as above[/dim]")
        return
    dims = " ".join(f"{name}={n}" for name, n in layer["dims"].items() if n is not None)
    framework = "" if layer["framework"] == "Thinc" else f"  [cyan]{layer['framework']}[/cyan]"
    amount = f"  {_amount([layer])}" if layer["parameters"] else ""
    branch = tree.add(f"{escape(layer['name'])}  [dim]{dims}[/dim]{framework}{amount}")
    for name, weight in layer["weights"].items():
        shape = " x ".join(map(str, weight["shape"])) or "1"
        branch.add(f"[dim]{escape(name)}  {shape}[/dim]")
    for inner in layer["layers"]:
        _add(branch, inner)


def _amount(layers: Any) -> str:
    layers = list(layers)
    parameters = sum(layer["parameters"] for layer in layers)
    megabytes = sum(layer["bytes"] for layer in layers) / 1e6
    return f"[dim]{parameters:,} parameters, {megabytes:.2f} MB[/dim]"
