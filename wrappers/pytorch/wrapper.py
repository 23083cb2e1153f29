"""PyTorch modules as Thinc models."""

from __future__ import annotations

from typing import Any, Callable, Optional, Type

from thinc.api import Model
from thinc.types import Padded

from ..threads import check_threads
from ..wrapper import wrap, wrap_rnn


def PyTorchWrapper(
    pytorch_model: Any,
    convert_inputs: Optional[Callable] = None,
    convert_outputs: Optional[Callable] = None,
    mixed_precision: bool = False,
    grad_scaler: Optional[Any] = None,
    device: Optional[Any] = None,
    serialize_model: Optional[Callable[[Any], bytes]] = None,
    deserialize_model: Optional[Callable[[Any, bytes, Any], Any]] = None,
    *,
    model_class: Type[Model] = Model,
    model_name: str = "pytorch",
    nO: Optional[int] = None,
    nI: Optional[int] = None,
    config: Optional[dict] = None,
    dropout: Optional[float] = None,
    threads: Optional[int] = None,
) -> Model[Any, Any]:
    """Wrap a PyTorch module as a Thinc model. The arguments are those of Thinc's
    `PyTorchWrapper_v3`, and work the same.

    pytorch_model (torch.nn.Module | Callable[[int, int], torch.nn.Module]): The module, or a
        function (nO, nI) that builds it once `initialize` has inferred the dims.
    convert_inputs (Callable): (model, X, is_train) -> (ArgsKwargs of tensors, get_dX).
    convert_outputs (Callable): (model, (X, outputs), is_train) -> (Y, get_d_outputs), where
        get_d_outputs(dY) gives the arguments of `torch.autograd.backward`.
    mixed_precision (bool): Run the forward pass under `torch.autocast`: in float16 on a GPU, in
        bfloat16 on CPU.
    grad_scaler (thinc.api.PyTorchGradScaler): Scales gradients against underflow in float16. If
        None, one with default settings where mixed precision runs on a GPU. It is off on CPU.
    device (torch.device): If None, it follows Thinc's ops.
    serialize_model, deserialize_model (Callable): module -> bytes, and (module, bytes, device) ->
        module, in place of safetensors; for modules whose state is more than tensors.
    model_class (Type[Model]), model_name (str): Class and name of the Thinc model.
    nO, nI (int): Output and input width, if they are to be fixed from the start.
    config (dict): JSON values saved with the weights; see `FrameworkShim`.
    dropout (float): Rate of dropout of the module's layers that drop out, in place of their own,
        at least 0 and less than 1. Thinc's `set_dropout_rate` and spaCy's `[training] dropout`
        change it. If None, they keep their own, and nothing changes them.
    threads (int): How many threads of the CPU the module's passes run on; what runs outside of
        them keeps the count that it has. If None, they have that count too.
    RETURNS (Model): From arrays, or lists, tuples, dicts and ArgsKwargs of them, to the like.

    Raises ImportError if PyTorch is not installed, ValueError if this is no PyTorch module, or if
    nothing in it drops out and `dropout` was given.
    """
    return wrap(
        "pytorch",
        pytorch_model,
        convert_inputs=convert_inputs,
        convert_outputs=convert_outputs,
        model_class=model_class,
        model_name=model_name,
        nO=nO,
        nI=nI,
        config=config,
        device=device,
        dropout=dropout,
        threads=None if threads is None else check_threads(threads),
        mixed_precision=mixed_precision,
        grad_scaler=grad_scaler,
        serialize_model=serialize_model,
        deserialize_model=deserialize_model,
    )


def PyTorchRNNWrapper(
    pytorch_model: Any,
    convert_inputs: Optional[Callable] = None,
    convert_outputs: Optional[Callable] = None,
) -> Model[Padded, Padded]:
    """Wrap a recurrent PyTorch module, so that it maps Padded to Padded sequences.

    pytorch_model (torch.nn.Module): An `nn.LSTM`, `nn.GRU` or `nn.RNN` with time first, whose
        result then does not depend on padding; or a module that takes (data, None) and returns
        (output, states), which sees the padding.
    convert_inputs, convert_outputs (Callable): As in `PyTorchWrapper`; given both, the module is
        called with what they return.
    """
    return wrap_rnn("pytorch", pytorch_model, convert_inputs, convert_outputs)
