"""Gluon blocks as Thinc models."""

from __future__ import annotations

from typing import Any, Callable, Optional, Type

from thinc.api import Model
from thinc.types import Padded

from ..wrapper import wrap, wrap_rnn


def MXNetWrapper(
    mxnet_model: Any,
    convert_inputs: Optional[Callable] = None,
    convert_outputs: Optional[Callable] = None,
    model_class: Type[Model] = Model,
    model_name: str = "mxnet",
    *,
    device: Optional[Any] = None,
    nO: Optional[int] = None,
    nI: Optional[int] = None,
    config: Optional[dict] = None,
    dropout: Optional[float] = None,
) -> Model[Any, Any]:
    """Wrap a Gluon block as a Thinc model. The arguments are those of Thinc's `MXNetWrapper`, and
    work the same.

    mxnet_model (mxnet.gluon.Block | Callable[[int, int], mxnet.gluon.Block]): The block, or a
        function (nO, nI) that builds it once `initialize` has inferred the dims. It is
        hybridized, and initialized if that was not done.
    convert_inputs (Callable): (model, X, is_train) -> (ArgsKwargs of NDArrays, get_dX).
    convert_outputs (Callable): (model, (X, outputs), is_train) -> (Y, get_d_outputs), where
        get_d_outputs(dY) gives the arguments of `mxnet.autograd.backward`.
    model_class (Type[Model]), model_name (str): Class and name of the Thinc model.
    device (mxnet.Context): If None, it follows Thinc's ops.
    nO, nI (int): Output and input width, if they are to be fixed from the start.
    config (dict): JSON values saved with the weights; see `FrameworkShim`.
    dropout (float): Rate of dropout of the module's layers that drop out, in place of their own,
        at least 0 and less than 1. Thinc's `set_dropout_rate` and spaCy's `[training] dropout`
        change it. If None, they keep their own, and nothing changes them.
    RETURNS (Model): From arrays, or lists, tuples, dicts and ArgsKwargs of them, to the like.

    Raises ImportError if MXNet is not installed, ValueError if this is no Gluon block, or if
    nothing in it drops out and `dropout` was given.
    """
    return wrap(
        "mxnet",
        mxnet_model,
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


def MXNetRNNWrapper(
    mxnet_model: Any,
    convert_inputs: Optional[Callable] = None,
    convert_outputs: Optional[Callable] = None,
) -> Model[Padded, Padded]:
    """Wrap a recurrent Gluon layer, so that it maps Padded to Padded sequences.

    mxnet_model (mxnet.gluon.HybridBlock): A one-directional `gluon.rnn` layer with layout "TNC".
    convert_inputs, convert_outputs (Callable): As in `MXNetWrapper`; given both, the layer is
        called with what they return.
    """
    return wrap_rnn("mxnet", mxnet_model, convert_inputs, convert_outputs)
