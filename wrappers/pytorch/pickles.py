"""Pickles of PyTorch's modules, of those too that PyTorch does not pickle."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from typing import Any, Dict

import torch
from torch.nn.utils import parametrize


def needs_own_pickle(model: torch.nn.Module) -> bool:
    """Whether there is TorchScript in a module, or a parametrization, such as weight norm."""
    return any(_is_script(module) or _is_parametrized(module) for module in model.modules())


def dumps(model: torch.nn.Module) -> bytes:
    """A module as `pickle.loads` reads it."""
    buffer = io.BytesIO()
    _Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(model)
    return buffer.getvalue()


class _Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        if _is_script(obj):
            buffer = io.BytesIO()
            torch.jit.save(obj, buffer)
            return _load_script, (buffer.getvalue(),)
        elif isinstance(obj, torch.nn.Module) and _is_parametrized(obj):
            # Its class is made when it is parametrized, and has no name to be found by.
            own_class = parametrize.type_before_parametrizations(obj)
            return _new, (own_class,), _state(obj), None, None, _parametrize
        return NotImplemented


def _is_script(obj: Any) -> bool:
    return isinstance(obj, torch.jit.ScriptModule)


def _is_parametrized(module: torch.nn.Module) -> bool:
    return bool(parametrize.is_parametrized(module))


def _load_script(data: bytes) -> Any:
    return torch.jit.load(io.BytesIO(data))


def _new(own_class: Any) -> Any:
    return own_class.__new__(own_class)


def _state(module: torch.nn.Module) -> Dict[str, Any]:
    # The hook by which weight norm reads what PyTorch 1 saved is a function without a name.
    hooks = {
        key: hook
        for key, hook in module._load_state_dict_pre_hooks.items()
        if getattr(hook, "hook", hook).__module__ != "torch.nn.utils.parametrizations"
    }
    return {**vars(module), "_load_state_dict_pre_hooks": OrderedDict(hooks)}


def _parametrize(module: torch.nn.Module, state: Dict[str, Any]) -> None:
    vars(module).update(state)
    parametrizations = module._modules.pop("parametrizations")
    for name in parametrizations:
        # PyTorch makes the class and the property. What it makes them of is replaced below.
        module.register_parameter(name, torch.nn.Parameter(torch.empty(0)))
        parametrize.register_parametrization(module, name, torch.nn.Identity(), unsafe=True)
    module.parametrizations = parametrizations
