"""Models of JAX as Thinc models."""

from __future__ import annotations

from typing import Any, Callable, Optional, Type

from thinc.api import Model
from thinc.types import Padded

from ..wrapper import wrap, wrap_rnn


def JAXWrapper(
    jax_model: Any,
    convert_inputs: Optional[Callable] = None,
    convert_outputs: Optional[Callable] = None,
    model_class: Type[Model] = Model,
    model_name: str = "jax",
    *,
    device: Optional[str] = None,
    nO: Optional[int] = None,
    nI: Optional[int] = None,
    config: Optional[dict] = None,
    dropout: Optional[float] = None,
    fill_rows: Optional[bool] = None,
    vmap: Optional[bool] = None,
) -> Model[Any, Any]:
    """Wrap a model of JAX as a Thinc model. It runs as two compiled functions, forward and
    backward.

    jax_model (Any): A Flax NNX module; an Equinox module, or a pair of one and its
        `equinox.nn.State`; a pair of a function (params, *inputs) and a nest of its parameters; or
        a function (nO, nI) that builds one of these once `initialize` has inferred the dims. A
        function that has an argument `training` is told whether it trains; one that has an
        argument `key` is given a key for random numbers in training, and None elsewhere.
    convert_inputs (Callable): (model, X, is_train) -> (ArgsKwargs of arrays, get_dX).
    convert_outputs (Callable): (model, (X, outputs), is_train) -> (Y, get_d_outputs), where
        get_d_outputs(dY) gives the outputs and their gradients.
    model_class (Type[Model]), model_name (str): Class and name of the Thinc model.
    device (str): Such as "cpu:0" or "gpu:0". If None, it follows Thinc's ops.
    nO, nI (int): Output and input width, if they are to be fixed from the start.
    config (dict): JSON values saved with the weights; see `FrameworkShim`.
    dropout (float): Rate of dropout of the module's layers that drop out, in place of their own,
        at least 0 and less than 1. Thinc's `set_dropout_rate` and spaCy's `[training] dropout`
        change it. If None, they keep their own, and nothing changes them. A function has no such
        layers.
    fill_rows (bool): Whether batches are filled up with rows, so that JAX compiles for a few
        numbers of rows and not for each one. If None, they are, where the first batch shows that
        each row's output depends on that row alone. If False, each number of rows compiles anew.
    vmap (bool): Whether the model takes one row, and `jax.vmap` makes it one for batches, with the
        axis name "batch". If None, that is so for Equinox modules, whose layers are written so.
    RETURNS (Model): From arrays, or lists, tuples, dicts and ArgsKwargs of them, to the like.

    Raises ImportError if JAX is not installed, ValueError if this is no such model, or if nothing
    in it drops out and `dropout` was given.
    """
    return wrap(
        "jax",
        jax_model,
        convert_inputs=convert_inputs,
        convert_outputs=convert_outputs,
        model_class=model_class,
        model_name=model_name,
        nO=nO,
        nI=nI,
        config=config,
        device=device,
        dropout=dropout,
        fill_rows=fill_rows,
        vmap=vmap,
    )


def JAXRNNWrapper(
    jax_model: Any,
    convert_inputs: Optional[Callable] = None,
    convert_outputs: Optional[Callable] = None,
) -> Model[Padded, Padded]:
    """Wrap a recurrent model of JAX, so that it maps Padded to Padded sequences.

    jax_model (Any): An `nnx.RNN` or `nnx.Bidirectional`, whose result then does not depend on
        padding; or any other model that takes (data, lengths) and returns an array, both with the
        batch first. An Equinox module takes one sequence and its length.
    convert_inputs, convert_outputs (Callable): As in `JAXWrapper`; given both, the model is called
        with what they return.
    """
    return wrap_rnn("jax", jax_model, convert_inputs, convert_outputs)
