"""Keras models and TensorFlow modules as Thinc models."""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional, Tuple, Type, TypeVar

import srsly
from thinc.api import Model
from thinc.types import ArgsKwargs, Padded
from thinc.util import partial

from ..wrapper import wrap, wrap_rnn

ClassT = TypeVar("ClassT", bound=type)


def TensorFlowWrapper(
    tensorflow_model: Any,
    convert_inputs: Optional[Callable] = None,
    convert_outputs: Optional[Callable] = None,
    optimizer: Optional[Any] = None,
    model_class: Type[Model] = Model,
    model_name: str = "tensorflow",
    *,
    device: Optional[str] = None,
    nO: Optional[int] = None,
    nI: Optional[int] = None,
    config: Optional[dict] = None,
    dropout: Optional[float] = None,
) -> Model[Any, Any]:
    """Wrap a Keras model or a TensorFlow module as a Thinc model. The arguments are those of
    Thinc's `TensorFlowWrapper`, and work the same.

    tensorflow_model (keras.Layer | tf.Module | Callable[[int, int], Any]): A Keras 3 model or
        layer on the TensorFlow backend, subclassed ones included, or any `tf.Module`, or a
        function (nO, nI) that builds it once `initialize` has inferred the dims. It is run as
        a traced function, with `training` where it takes it.
    convert_inputs (Callable): (model, X, is_train) -> (ArgsKwargs of tensors, get_dX).
    convert_outputs (Callable): (model, outputs, is_train) -> (Y, get_d_outputs), where
        get_d_outputs(dY) gives the outputs' gradients in the outputs' nest.
    optimizer (Any): Not used; the optimizer is the one that Thinc hands to `finish_update`.
    model_class (Type[Model]), model_name (str): Class and name of the Thinc model.
    device (str): Such as "/CPU:0". If None, it follows Thinc's ops.
    nO, nI (int): Output and input width, if they are to be fixed from the start.
    config (dict): JSON values saved with the weights; see `FrameworkShim`.
    dropout (float): Rate of dropout of the module's layers that drop out, in place of their own,
        at least 0 and less than 1. Thinc's `set_dropout_rate` and spaCy's `[training] dropout`
        change it. If None, they keep their own, and nothing changes them.
    RETURNS (Model): From arrays, or lists, tuples, dicts and ArgsKwargs of them, to the like.

    Raises ImportError if TensorFlow is not installed, ValueError if this is no such model,
    Keras runs on another backend, or nothing in it drops out and `dropout` was given.
    """
    return wrap(
        "tensorflow",
        tensorflow_model,
        convert_inputs=convert_inputs,
        convert_outputs=_outputs_alone(convert_outputs),
        model_class=model_class,
        model_name=model_name,
        nO=nO,
        nI=nI,
        config=config,
        device=device,
        dropout=dropout,
    )


def TensorFlowRNNWrapper(
    tensorflow_model: Any,
    convert_inputs: Optional[Callable] = None,
    convert_outputs: Optional[Callable] = None,
) -> Model[Padded, Padded]:
    """Wrap a recurrent Keras layer, so that it maps Padded to Padded sequences.

    tensorflow_model (keras.Layer): Such as `keras.layers.LSTM(n, return_sequences=True)`, or
        `keras.layers.Bidirectional` around it. Padding is masked.
    convert_inputs, convert_outputs (Callable): As in `TensorFlowWrapper`; given both, the layer
        is called with what they return.
    """
    convert_outputs = _outputs_alone(convert_outputs)
    return wrap_rnn("tensorflow", tensorflow_model, convert_inputs, convert_outputs)


# Converters of Thinc's TensorFlow wrapper are not those of its others: they are not handed the
# input, and give the gradients in the outputs' nest.


def _outputs_alone(convert: Optional[Callable]) -> Optional[Callable]:
    return None if convert is None else partial(_convert_outputs, convert)


def _convert_outputs(convert: Callable, model: Model, X_outputs: Any, is_train: bool) -> Any:
    _, outputs = X_outputs
    Y, get_d_outputs = convert(model, outputs, is_train)
    return Y, partial(_to_args_kwargs, get_d_outputs, outputs)


def _to_args_kwargs(get_d_outputs: Callable, outputs: Any, dY: Any) -> ArgsKwargs:
    gradients = get_d_outputs(dY)
    # As converters for the other wrappers give them.
    if isinstance(gradients, ArgsKwargs):
        return gradients
    return ArgsKwargs(args=(outputs, gradients), kwargs={})


def keras_subclass(
    name: str,
    X: Any,
    Y: Any,
    input_shape: Tuple[int, ...],
    compile_args: Optional[Dict[str, Any]] = None,
) -> Callable[[ClassT], ClassT]:
    """Decorate a subclassed Keras model as Thinc's wrapper demands it. `TensorFlowWrapper` takes
    undecorated ones too; a decorated one is compiled, and copied by its constructor's arguments.
    Its subclasses are compiled, but copied as undecorated ones are.

    name (str): A name for the class.
    X, Y (Any): A sample of the input and of the output.
    input_shape (Tuple[int, ...]): The shape of the input.
    compile_args (Dict[str, Any]): Arguments of `model.compile`.
    RETURNS (Callable): The decorator.

    The constructor raises ValueError on arguments that are no JSON values.
    """
    compile_args = {"optimizer": "adam", "loss": "mse", **(compile_args or {})}

    def decorate(keras_class: ClassT) -> ClassT:
        constructor = keras_class.__init__  # type: ignore[misc]

        # Not functools.wraps: Keras reads signatures, and stumbles over one that is not its own.
        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
            constructor(self, *args, **kwargs)
            if type(self) is not keras_class:
                # A subclass, which hands on what may be other arguments than its own.
                return
            try:
                srsly.json_dumps([args, kwargs])
            except Exception as error:
                raise ValueError(
                    f"The arguments of {keras_class.__name__} must be JSON values, so that a copy "
                    f"can be made from them: {error}"
                ) from error
            # A plain dict would be tracked by Keras, and changed.
            object.__setattr__(self, "eg_args", ArgsKwargs(args, kwargs))

        keras_class.__init__ = __init__  # type: ignore[misc]
        for attribute, value in (
            ("catalogue_name", name),
            ("eg_shape", input_shape),
            ("eg_compile", compile_args),
            ("eg_x", X),
            ("eg_y", Y),
        ):
            setattr(keras_class, attribute, value)
        return keras_class

    return decorate
