"""Modules of the toy library as Thinc models."""

from __future__ import annotations

from typing import Any, Callable, Optional, Type

from spacy_frameworks.wrappers.wrapper import wrap
from thinc.api import Model


def ToyWrapper(
    toy_model: Any,
    convert_inputs: Optional[Callable] = None,
    convert_outputs: Optional[Callable] = None,
    model_class: Type[Model] = Model,
    model_name: str = "toy",
    *,
    device: Optional[str] = None,
    nO: Optional[int] = None,
    nI: Optional[int] = None,
    config: Optional[dict] = None,
    dropout: Optional[float] = None,
) -> Model[Any, Any]:
    """Wrap a module of the toy library as a Thinc model. The arguments are those of `MXNetWrapper`,
    and work the same.

    toy_model (toy.Module | Callable[[int, int], toy.Module]): The module, or a function (nO, nI)
        that builds it once `initialize` has inferred the dims.
    RETURNS (Model): From arrays, or lists, tuples, dicts and ArgsKwargs of them, to the like.
    """
    return wrap(
        "toy",
        toy_model,
        convert_inputs=convert_inputs,
        convert_outputs=convert_outputs,
        model_class=model_class,
        model_name=model_name,
        nO=nO,
        nI=nI,
        config=config,
        device=device,
        dropout=dropout,
    )
