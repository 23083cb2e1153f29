"""The Thinc model around a shim: its forward pass, its dims and the default converters."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Tuple, Type, cast

from thinc.api import Model, get_array_module, get_width
from thinc.types import ArgsKwargs, Padded, Ragged
from thinc.util import convert_recursive, is_xp_array

from .allocator import pair_gpu_allocator
from .arrays import are_finite, has_nan, plain
from .framework import get_framework, get_part, require
from .module import FrameworkModule, check_rate, undisturbed
from .position import gives_the_output
from .process import check_runs_here, this_thread
from .shim import FrameworkShim
from .tree import as_args_kwargs, leaves, like_inputs


def wrap(
    framework: str,
    module: Any,
    *,
    convert_inputs: Optional[Callable] = None,
    convert_outputs: Optional[Callable] = None,
    model_class: Type[Model] = Model,
    model_name: Optional[str] = None,
    nO: Optional[int] = None,
    nI: Optional[int] = None,
    config: Optional[Dict[str, Any]] = None,
    device: Optional[Any] = None,
    dropout: Optional[float] = None,
    draws: bool = True,
    **options: Any,
) -> Model[Any, Any]:
    """Make the Thinc model that holds a framework's. The public wrappers end in this.

    framework: The framework's id.
    module: A model of the framework, or a function (nO, nI) that builds it.
    convert_inputs: (model, X, is_train) -> (ArgsKwargs for the module, get_dX).
    convert_outputs: (model, (X, outputs of the module), is_train) -> (Y, get_dOutputs), where
        get_dOutputs(dY) returns the arguments of the framework's own backward function.
    nO, nI: The dims, if they are known before `initialize`.
    config, device, draws: As `FrameworkShim` takes them.
    dropout: A rate of dropout for the module's layers that drop out. It is held in
        attrs["dropout_rate"], where `set_dropout_rate` changes it. None leaves them their own.
    options: Further arguments of the framework's module.

    On a GPU, CuPy draws its memory from the framework's pool from here on, unless an allocator was
    chosen already: see `set_gpu_allocator`.

    Raises ImportError if the framework is not installed.
    """
    require(framework)
    name = model_name or framework
    shim = FrameworkShim(
        framework, module, config=config, device=device, layer=name, draws=draws, **options
    )
    pair_gpu_allocator(framework)
    attrs: Dict[str, Any] = {
        "convert_inputs": convert_inputs or convert_default_inputs,
        "convert_outputs": convert_outputs or convert_default_outputs,
    }
    if dropout is not None:
        check_rate(dropout)
        shim.govern_dropout()
        attrs["dropout_rate"] = dropout
    return model_class(
        name,
        forward,
        init=init,
        attrs=attrs,
        shims=[shim],
        dims={"nO": nO, "nI": nI},
    )


def wrap_rnn(
    framework: str,
    module: Any,
    convert_inputs: Optional[Callable],
    convert_outputs: Optional[Callable],
) -> Model[Padded, Padded]:
    """Make the Thinc model for a recurrent module, by the framework's PaddedRNN.

    Who brings both converters has the module called with what they return.
    """
    require(framework)
    if convert_inputs is None or convert_outputs is None:
        module = get_part(get_framework(framework), "rnn").PaddedRNN(module)
    return wrap(
        framework,
        module,
        convert_inputs=convert_inputs or convert_rnn_inputs,
        convert_outputs=convert_outputs or convert_rnn_outputs,
    )


def get_shim(model: Model) -> FrameworkShim:
    """The shim of a wrapper."""
    return cast(FrameworkShim, model.shims[0])


def get_module(model: Model) -> FrameworkModule:
    """The framework's model in a wrapper, which must be built."""
    return get_shim(model).get_module()


def forward(model: Model, X: Any, is_train: bool) -> Tuple[Any, Callable]:
    """Run the module. Each pass owns its tape: backprops may come in any order, or never."""
    shim = get_shim(model)
    check_runs_here(shim.framework)
    if not shim.is_built:
        _build(model, X, None)
    if has_no_rows(X) or (model.has_dim("nO") is True and _all_without_rows(X)):
        return forward_no_rows(model, X)
    _check_input(model, X)
    module = get_module(model)
    with this_thread.passing, undisturbed(module):
        inputs, get_dX = model.attrs["convert_inputs"](model, X, is_train)
        try:
            shim.materialize(inputs)
            if is_train and shim.governs_dropout:
                module.set_dropout_rate(model.attrs["dropout_rate"])
            outputs, backprop_outputs = shim(inputs, is_train)
        except Exception as error:
            _explain(model, X, error)
            raise
        Y, get_d_outputs = model.attrs["convert_outputs"](model, (X, outputs), is_train)
    Y = _apart(Y, X)
    _set_dim_if_unset(model, "nI", X)
    _set_dim_if_unset(model, "nO", Y)

    is_done = False

    def backprop(dY: Any) -> Any:
        nonlocal is_done
        if is_done:
            # The frameworks free the tape as they go back along it, and MXNet's dropout
            # overwrites its mask, so what a second run gives would be wrong there.
            raise RuntimeError(
                f"This pass of '{model.name}' has been backpropagated already. Call the model "
                "again for a further gradient; gradients add up until finish_update()."
            )
        _check_shape(model, Y, dY)
        # It may have begun before the process was forked.
        check_runs_here(shim.framework)
        is_done = is_train
        with this_thread.passing, undisturbed(module):
            dX = get_dX(backprop_outputs(get_d_outputs(dY)))
        if not module.leaves_overflows_out():
            _check_gradient(model, dX, dY)
        return dX

    return Y, backprop


def init(model: Model, X: Any = None, Y: Any = None) -> None:
    """Infer the dims as Thinc's layers do, and build the module if that is still to be done.

    A module that is there already is never changed, only asked for its output width.
    Raises ValueError if the module's output is not as wide as nO says, or, where it is that of the
    outermost model and nO was unset, as the labels say.
    """
    shim = get_shim(model)
    if not shim.is_built:
        _build(model, X, Y)
    if X is not None:
        declared = model.maybe_get_dim("nO")
        width = _width(model.predict(X))
        if declared is None and width is not None and Y is not None and gives_the_output(model):
            _check_labels(model, width, Y)
        if declared is not None and width is not None and declared != width:
            raise ValueError(
                f"The output of the {get_framework(shim.framework).token} module has width "
                f"{width}, but nO is {declared}. Change the module's last layer to give {declared} "
                f"columns, or set nO to {width} or to null."
            )
    elif Y is not None:
        _set_dim_if_unset(model, "nO", Y)
    shim.dims = {"nO": model.maybe_get_dim("nO"), "nI": model.maybe_get_dim("nI")}


def _build(model: Model, X: Any, Y: Any) -> None:
    _set_dim_if_unset(model, "nI", X)
    _set_dim_if_unset(model, "nO", Y)
    unset = [dim for dim in ("nO", "nI") if model.has_dim(dim) is not True]
    if unset:
        raise ValueError(
            f"Cannot build the module of '{model.name}' yet: {' and '.join(unset)} unset. Call "
            "initialize() with samples of input and output, or give the dims to the wrapper."
        )
    get_shim(model).build(model.get_dim("nO"), model.get_dim("nI"))


# Dims


def _width(data: Any) -> Optional[int]:
    """The last dimension of a float array or a sequence type with one in it, else None."""
    data = _data_of(data)
    if is_xp_array(data) and data.ndim >= 2 and data.shape[-1]:
        return int(data.shape[-1])
    return None


def _set_dim_if_unset(model: Model, dim: str, data: Any) -> None:
    if model.has_dim(dim) is None:
        width = _width(data)
        # Truth values may come as class numbers, which Thinc counts.
        if width is None and dim == "nO" and is_xp_array(data) and data.ndim == 1 and data.size:
            width = get_width(data)
        if width is not None:
            model.set_dim(dim, width)


# Checks


def _check_labels(model: Model, width: int, Y: Any) -> None:
    """Raise ValueError if an output of this width does not go with the truth."""
    labels, is_certain = _width(Y), True
    if labels is None and is_xp_array(Y) and Y.ndim == 1 and Y.size and Y.dtype.kind in "iu":
        # The highest class number of a sample. There may be higher ones, but not in this width.
        labels, is_certain = get_width(Y), False
    if labels is None or width == labels or (width > labels and not is_certain):
        return
    token = get_framework(get_shim(model).framework).token
    # Unset again, so that it is still unset if the model is initialized once more.
    model.set_dim("nO", None, force=True)  # type: ignore[arg-type]
    raise ValueError(
        f"The module of '{model.name}' gives {width} columns, but the data has {labels} labels. "
        f"Change its last layer to give {labels} columns, or give {token}Wrapper a function "
        "(nO, nI) that builds the module, which is called with the number of labels."
    )


def _check_input(model: Model, X: Any) -> None:
    for array in leaves(is_xp_array, _data_of(X)):
        if has_nan(array):
            raise ValueError(
                f"The input of '{model.name}' has NaN in {_rows_with_nan(array)}. Look at the data "
                "and the layers before this one; in training, lower the learn rate or clip "
                "gradients (optimizer.grad_clip)."
            )


def _rows_with_nan(array: Any) -> str:
    array, xp = plain(array), get_array_module(array)
    rows = xp.isnan(array.reshape((array.shape[0] if array.ndim else 1, -1))).any(axis=1)
    return f"{int(rows.sum())} of its {len(rows)} rows, first in row {int(rows.argmax())}"


def _explain(model: Model, X: Any, error: Exception) -> None:
    """Raise ValueError if the module may have failed because of the kind of its input. Until then
    nobody knows: modules may take several arrays, look integers up, or go with any width."""
    # What a builder returns was made for that width; a module may only have been given it first.
    nI = model.maybe_get_dim("nI") if get_shim(model).has_builder else None
    width = _width(X)
    arrays = leaves(is_xp_array, _data_of(X))
    names = sorted({array.dtype.name for array in arrays if array.dtype.kind in "biu"})
    if names:
        reason = (
            f"failed on an input of dtype {' and '.join(names)}. If it expects floats, hand it "
            'floats: X.astype("float32").'
        )
    # Python says so of the wrong number.
    elif isinstance(X, list) and isinstance(error, TypeError) and "argument" in str(error):
        reason = (
            f"failed on a list of {len(X)}, of which each is an argument to it. If each is a doc, "
            "put with_array() around the wrapper, or, for a module that looks at whole docs, "
            "with_mask()."
        )
    elif None not in (nI, width) and nI != width:
        reason = f"{of_another_width(nI, width)}."
    else:
        return
    raise ValueError(f"The module of '{model.name}' {reason} What it said: {error}") from error


def of_another_width(nI: Optional[int], width: Optional[int]) -> str:
    """What errors say of a layer that was made for inputs of width nI."""
    return (
        f"was made for an input of width {nI}, but got one of width {width}. Give it and the layer "
        "before it the same width"
    )


def _check_shape(model: Model, Y: Any, dY: Any) -> None:
    if is_xp_array(Y) and is_xp_array(dY) and Y.shape != dY.shape:
        raise ValueError(
            f"The gradient handed to '{model.name}' has shape {dY.shape}, but its output has shape "
            f"{Y.shape}. Both need one column per label and one row per item."
        )


def _check_gradient(model: Model, dX: Any, dY: Any) -> None:
    """Raise ValueError if the gradient that goes on to the layers before this one has NaN."""
    for array in leaves(is_xp_array, _data_of(dX)):
        if has_nan(array):
            # They have it too.
            get_shim(model).clear_gradients()
            handed = leaves(is_xp_array, _data_of(dY))
            bad = [_rows_with_nan(gradient) for gradient in handed if has_nan(gradient)]
            if bad:
                what = f"a gradient that has NaN in {bad[0]}"
            elif are_finite(handed):
                what = "a finite gradient"
            else:
                what = "a gradient with infinity in it"
            raise ValueError(
                f"The gradient of the input of '{model.name}' has NaN in {_rows_with_nan(array)}; "
                f"its module was handed {what}. No weight has changed, and the gradients of this "
                "layer are cleared. Look at the loss, the labels and the layers behind this one, "
                "and at what has no gradient in the module, such as the root or the norm of 0; "
                "lower the learn rate or clip gradients (optimizer.grad_clip)."
            )


# Memory: whoever gets an output may write into it, as Thinc's add() does.


def _apart(Y: Any, X: Any) -> Any:
    """An output with memory of its own, where it shares some with the input. A module may return
    what it was given, as dropout does in a prediction."""
    if is_xp_array(Y):
        for array in leaves(is_xp_array, _data_of(X)):
            if _share_memory(Y, array):
                return Y.copy()
        return Y
    elif isinstance(Y, (Padded, Ragged)):
        return _with_data(Y, _apart(Y.data, X))
    # What a converter makes of classes of its own is left alone.
    elif type(Y) in (list, tuple):
        return type(Y)(_apart(item, X) for item in Y)
    elif type(Y) is dict:
        return {key: _apart(item, X) for key, item in Y.items()}
    return Y


def _share_memory(array: Any, other: Any) -> bool:
    xp = get_array_module(array)
    return xp is get_array_module(other) and bool(xp.may_share_memory(array, other))


# Batches without rows: several kernels refuse them, and batch statistics of nothing are NaN.


def has_no_rows(X: Any) -> bool:
    """Whether a batch is without items; with_array([]) makes one of shape (0, 0)."""
    data = _data_of(X)
    # A Padded has its items in the second dimension.
    return is_xp_array(data) and data.ndim >= 2 and 0 in data.shape[:-1]


def _all_without_rows(X: Any) -> bool:
    """The same of several inputs."""
    is_nest = isinstance(X, (list, tuple, dict, ArgsKwargs))
    arrays = leaves(is_xp_array, X) if is_nest else []
    return bool(arrays) and all(array.ndim and array.shape[0] == 0 for array in arrays)


def forward_no_rows(model: Model, X: Any) -> Tuple[Any, Callable]:
    """The forward pass for such a batch: no rows of width nO, or what the module gives for a row of
    zeros, but for the row."""
    # What comes of rows is rows. What comes of other arrays is known to the module alone.
    is_plain = not is_xp_array(X) or (X.ndim == 2 and X.dtype.kind == "f")
    Y: Any = None
    failure: Optional[Exception] = None
    if model.has_dim("nO") is not True or not is_plain:
        try:
            Y = _asked_for(model, X)
        except Exception as error:
            failure = error
    if Y is None:
        if model.has_dim("nO") is not True:
            raise ValueError(
                f"The batch has no rows and nO of '{model.name}' is unset, so the width of its "
                "output is not known. Call initialize() with a sample first, or leave out batches "
                "without rows."
            ) from failure
        data = _data_of(X)
        rows = data.shape[:-1] if is_xp_array(data) else (0,)
        Y = _with_data(X, model.ops.alloc((*rows, model.get_dim("nO"))))

    def backprop(dY: Any) -> Any:
        if isinstance(X, (Padded, Ragged)):
            return X
        return like_inputs(X, as_args_kwargs(convert_recursive(is_xp_array, _no_gradient, X)))

    return Y, backprop


def _asked_for(model: Model, X: Any) -> Any:
    """The outputs of the module for one row of zeros in place of none, without it; None if it can
    not be asked, or returns no arrays. It may fail. Sets the dims, as any first batch does."""
    if not is_xp_array(X) or not X.shape[-1]:
        return None

    def without_rows(Y: Any) -> Any:
        shape = list(Y.shape)
        for axis, rows in enumerate(X.shape[:-1]):
            # The last axis is the width, if there are others. One that is not there was pooled.
            is_there = axis < Y.ndim - 1 or (axis == 0 and Y.ndim == 1)
            if rows == 0 and is_there and shape[axis] == 1:
                shape[axis] = 0
        return model.ops.xp.zeros(shape, dtype=Y.dtype)

    one_row = model.ops.xp.zeros([rows or 1 for rows in X.shape], dtype=X.dtype)
    outputs = model.predict(one_row)
    are_arrays = bool(leaves(is_xp_array, outputs))
    return convert_recursive(is_xp_array, without_rows, outputs) if are_arrays else None


def _no_gradient(array: Any) -> Any:
    # An array of its own: the caller's may not be there to be written.
    is_float = array.dtype.kind == "f"
    return get_array_module(array).zeros(array.shape, array.dtype) if is_float else None


def _data_of(X: Any) -> Any:
    return X.data if isinstance(X, (Padded, Ragged)) else X


def _with_data(X: Any, data: Any) -> Any:
    if isinstance(X, Padded):
        return Padded(data, X.size_at_t, X.lengths, X.indices)
    elif isinstance(X, Ragged):
        return Ragged(data, X.lengths)
    else:
        return data


# Default converters


def convert_default_inputs(
    model: Model, X: Any, is_train: bool
) -> Tuple[ArgsKwargs, Callable[[ArgsKwargs], Any]]:
    """Arrays to tensors, a dict to keywords, a list or tuple to several arguments. Floats are
    cast to the dtype of the module's parameters, and their gradients back."""
    if isinstance(X, (Padded, Ragged)):
        # No framework knows these, and JAX takes minutes to find out.
        raise ValueError(
            f"The module of '{model.name}' was handed a {type(X).__name__}, which it does not "
            "know. Put with_array() around the wrapper, so that it is given the rows. A module "
            "that looks at whole docs goes into with_mask() or, if it is recurrent, with its "
            "RNNWrapper into with_padded()."
        )
    from_xp, gradients_to_xp = float_casts(model, is_train)

    def get_dX(d_inputs: ArgsKwargs) -> Any:
        return like_inputs(X, gradients_to_xp(d_inputs))

    return as_args_kwargs(convert_recursive(is_xp_array, from_xp, X)), get_dX


def float_casts(
    model: Model, is_train: bool
) -> Tuple[Callable[[Any], Any], Callable[[ArgsKwargs], ArgsKwargs]]:
    """Two functions: from one array of the inputs after the other to tensors, floats in the dtype
    of the module's parameters; and from the tensors' gradients to arrays, in the dtypes that came.
    """
    shim = get_shim(model)
    dtype = get_module(model).float_dtype()
    # Of the arrays of floats, one after the other.
    dtypes: List[Any] = []

    def from_xp(array: Any) -> Any:
        is_float = array.dtype.kind == "f"
        if is_float:
            dtypes.append(array.dtype)
            if dtype is not None and array.dtype != dtype:
                array = array.astype(dtype)
        return shim.from_xp(array, requires_grad=is_train and is_float)

    def gradients_to_xp(d_inputs: ArgsKwargs) -> ArgsKwargs:
        remaining = iter(dtypes)

        def to_xp(tensor: Any) -> Any:
            gradient = shim.to_xp(tensor)
            # Where 16 bits came, 32 go back, as they always do.
            wanted = next(remaining, gradient.dtype)
            return gradient if wanted.itemsize < 4 else gradient.astype(wanted, copy=False)

        return convert_recursive(shim.is_tensor, to_xp, d_inputs)

    return from_xp, gradients_to_xp


def convert_default_outputs(
    model: Model, X_outputs: Tuple[Any, Any], is_train: bool
) -> Tuple[Any, Callable[[Any], ArgsKwargs]]:
    """Tensors to arrays in the same nest, and their gradients back."""
    shim = get_shim(model)
    _, outputs = X_outputs
    Y = get_module(model).outputs_to_xp(outputs)

    def get_d_outputs(dY: Any) -> ArgsKwargs:
        # An output without a gradient (None, or left out of a dict) does not take part.
        pairs = list(_pairs(shim, outputs, dY))
        return output_gradients(shim, [y for y, _ in pairs], [dy for _, dy in pairs])

    return Y, get_d_outputs


def _pairs(shim: FrameworkShim, outputs: Any, dY: Any) -> Any:
    """Each output tensor with its gradient as an array, where both are there."""
    if dY is None:
        return
    elif shim.is_tensor(outputs):
        yield outputs, dY
    elif isinstance(outputs, dict):
        for key, output in outputs.items():
            yield from _pairs(shim, output, dY.get(key))
    elif isinstance(outputs, (list, tuple)):
        for output, gradient in zip(outputs, dY):
            yield from _pairs(shim, output, gradient)


def output_gradients(shim: FrameworkShim, outputs: Any, gradients: Any) -> ArgsKwargs:
    """The arguments of the framework's backward function.

    gradients: Arrays, one per output tensor; converted to tensors here.
    """
    tensors = [shim.from_xp(gradient) for gradient in gradients]
    return ArgsKwargs(args=(list(outputs), tensors), kwargs={})


# Converters for recurrent modules. Thinc's Padded holds time first, longest sequence first.


def convert_rnn_inputs(
    model: Model, Xp: Padded, is_train: bool
) -> Tuple[ArgsKwargs, Callable[[ArgsKwargs], Padded]]:
    """A Padded to (data, lengths), which each framework's PaddedRNN takes. Floats are cast as in
    `convert_default_inputs`."""
    if not isinstance(Xp, Padded):
        raise ValueError(
            f"Expected in '{model.name}', which holds a recurrent module, a Padded, got a "
            f"{type(Xp).__name__}. Put with_padded() around the wrapper, which pads lists of docs."
        )
    from_xp, gradients_to_xp = float_casts(model, is_train)
    data = from_xp(Xp.data)
    # Kernels refuse an empty sequence; one step of padding, which nobody reads, does not hurt.
    lengths = from_xp(model.ops.xp.maximum(Xp.lengths, 1).astype("int64"))

    def get_dX(d_inputs: ArgsKwargs) -> Padded:
        return _with_data(Xp, gradients_to_xp(d_inputs).args[0])

    return ArgsKwargs(args=(data, lengths), kwargs={}), get_dX


def convert_rnn_outputs(
    model: Model, Xp_output: Tuple[Padded, Any], is_train: bool
) -> Tuple[Padded, Callable[[Padded], ArgsKwargs]]:
    """The output of a PaddedRNN to a Padded, and its gradient back."""
    shim = get_shim(model)
    Xp, output = Xp_output

    def get_d_outputs(dYp: Padded) -> ArgsKwargs:
        return output_gradients(shim, [output], [dYp.data])

    return _with_data(Xp, get_module(model).outputs_to_xp(output)), get_d_outputs
