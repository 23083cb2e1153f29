import numpy
import pytest
from numpy.testing import assert_array_equal
from thinc.api import Linear, NumpyOps, add, chain, with_array
from thinc.types import ArgsKwargs

from .helpers import assert_close, gradients_of, normal, two_layer_gradients, weights

W1, W2 = normal(3, 4, seed=1), normal(3, 2, seed=2)
FIRST, SECOND, DY = normal(5, 4, seed=3), normal(5, 2, seed=4), normal(5, 3, seed=5)
EXPECTED = FIRST.astype("float64") @ W1.T + SECOND.astype("float64") @ W2.T

NESTS = {
    "tuple": (FIRST, SECOND),
    "list": [FIRST, SECOND],
    "dict": {"first": FIRST, "second": SECOND},
    "dict in another order": {"second": SECOND, "first": FIRST},
    "ArgsKwargs": ArgsKwargs(args=(FIRST,), kwargs={"second": SECOND}),
    "ArgsKwargs of args": ArgsKwargs(args=(FIRST, SECOND), kwargs={}),
}


def both(nest):
    """The parts that belong to the first and the second input."""
    if isinstance(nest, ArgsKwargs):
        parts = [*nest.args, *nest.kwargs.values()]
    elif isinstance(nest, dict):
        parts = [nest["first"], nest["second"]]
    else:
        parts = list(nest)
    assert len(parts) == 2
    return parts


@pytest.mark.parametrize("nest", NESTS)
def test_several_inputs(fw, nest):
    model, X = fw.Wrapper(fw.two_inputs(W1, W2)), NESTS[nest]
    assert_close(model.predict(X), EXPECTED)
    Y, backprop = model.begin_update(X)
    assert_close(Y, EXPECTED)
    first, second = both(backprop(DY))
    assert_close(first, DY.astype("float64") @ W1)
    assert_close(second, DY.astype("float64") @ W2)
    dW1, dW2 = gradients_of(model, ("W1", "W2"))
    assert_close(dW1, DY.T.astype("float64") @ FIRST)
    assert_close(dW2, DY.T.astype("float64") @ SECOND)


def test_gradients_come_in_the_nest_of_the_input(fw):
    model = fw.Wrapper(fw.two_inputs(W1, W2))
    for nest, kind in (("tuple", tuple), ("dict", dict), ("ArgsKwargs", ArgsKwargs)):
        dX = model.begin_update(NESTS[nest])[1](DY)
        assert isinstance(dX, kind)


def test_one_model_takes_its_inputs_in_one_way_after_another(fw):
    model = fw.Wrapper(fw.two_inputs(W1, W2))
    backprops = [model.begin_update(X)[1] for X in NESTS.values()]
    for X, backprop in zip(NESTS.values(), backprops):
        assert_close(model.predict(X), EXPECTED)
        assert_close(both(backprop(DY))[1], DY.astype("float64") @ W2)


def test_same_array_for_two_inputs(fw):
    W = normal(3, 4, seed=7)
    model = fw.Wrapper(fw.two_inputs(W1, W))
    Y, backprop = model.begin_update((FIRST, FIRST))
    assert_close(Y, FIRST.astype("float64") @ (W1 + W).T)
    first, second = backprop(DY)
    assert_close(first, DY.astype("float64") @ W1)
    assert_close(second, DY.astype("float64") @ W)


def test_unknown_keywords_are_refused(fw):
    model = fw.Wrapper(fw.two_inputs(W1, W2))
    with pytest.raises((TypeError, ValueError), match="third"):
        model.predict({"first": FIRST, "third": SECOND})


def test_unused_float_inputs_get_zeros(fw):
    model = fw.Wrapper(fw.first_of_two())
    Y, backprop = model.begin_update((FIRST, SECOND))
    first, second = backprop(Y)
    assert_close(first, Y * 3.0)
    assert_array_equal(second, numpy.zeros_like(SECOND))


@pytest.mark.parametrize("dtype", ["int64", "int32"])
def test_integer_inputs_get_no_gradient(fw, dtype):
    E, scale, dY = normal(7, 3), normal(5, 3, seed=1), normal(5, 3, seed=2)
    ids = numpy.array([1, 6, 1, 0, 2], dtype=dtype)
    model = fw.Wrapper(fw.scaled_embedding(E))
    Y, backprop = model.begin_update((ids, scale))
    assert_close(Y, E[ids].astype("float64") * scale)
    d_ids, d_scale = backprop(dY)
    assert d_ids is None
    assert_close(d_scale, E[ids].astype("float64") * dY)
    dE = numpy.zeros((7, 3))
    numpy.add.at(dE, ids.astype("int64"), scale.astype("float64") * dY)
    (gradient,) = gradients_of(model, list(model.shims[0].module.parameters()))
    assert_close(gradient, dE)


def test_nested_outputs(fw):
    model = fw.Wrapper(fw.nested_tuple(W1, normal(2, 4, seed=6)))
    first, (second, doubled) = model.predict(FIRST)
    assert_close(first, FIRST.astype("float64") @ W1.T)
    assert_close(second, FIRST.astype("float64") @ normal(2, 4, seed=6).T)
    assert_array_equal(doubled, FIRST * 2)


@pytest.mark.parametrize("given", [(), (0,), (1,), (2,), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("make", ["nested_tuple", "nested_dict"])
def test_gradients_may_be_there_for_some_outputs_only(fw, make, given):
    second_W = normal(2, 4, seed=6)
    model = fw.Wrapper(getattr(fw, make)(W1, second_W))
    _, backprop = model.begin_update(FIRST)
    gradients = [DY, normal(5, 2, seed=8), normal(5, 4, seed=9)]
    first, second, doubled = (g if i in given else None for i, g in enumerate(gradients))
    if make == "nested_tuple":
        dX = backprop((first, (second, doubled)))
    else:
        rest = {} if second is doubled is None else {"rest": (second, doubled)}
        dX = backprop({**({} if first is None else {"first": first}), **rest})
    factors = [W1, second_W, 2 * numpy.eye(4)]
    expected = sum(
        (gradients[i].astype("float64") @ factors[i] for i in given), numpy.zeros((5, 4))
    )
    assert_close(dX, expected)


# Memory

BUFFER = numpy.zeros(4096, dtype="uint8")


def unaligned(X, offset):
    """The same array, starting that many bytes behind an address that 64 divides."""
    start = -BUFFER.ctypes.data % 64 + offset
    array = BUFFER[start : start + X.nbytes].view(X.dtype).reshape(X.shape)
    array[:] = X
    assert array.ctypes.data % 64 == offset
    return array


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


def rows_apart(X):
    wide = numpy.zeros((X.shape[0] * 2, X.shape[1] * 3), dtype=X.dtype)
    view = wide[::2, ::3]
    view[:] = X
    return view


MEMORY = {
    "64-byte aligned": lambda X: unaligned(X, 0),
    "16-byte aligned": lambda X: unaligned(X, 16),
    "4-byte aligned": lambda X: unaligned(X, 4),
    "no alignment": lambda X: unaligned(X, 1),
    "read-only": read_only,
    "not contiguous": rows_apart,
    "column-major": numpy.asfortranarray,
    "reversed": lambda X: X[::-1].copy()[::-1],
    "broadcast": lambda X: numpy.broadcast_to(X[:1], X.shape),
    "big-endian": lambda X: X.astype(">f4"),
}


@pytest.mark.parametrize("memory", MEMORY)
def test_arrays_may_lie_in_memory_as_they_like(fw, memory):
    params = weights()
    model = fw.Wrapper(fw.sequential(*params))
    X, dY = MEMORY[memory](normal(6, 4)), MEMORY[memory](normal(6, 3, seed=1))
    if memory.endswith(("aligned", "alignment")):
        X, dY = MEMORY[memory](normal(6, 4)), normal(6, 3, seed=1)
    kept = [(array, array.copy(), array.flags.writeable) for array in (X, dY)]
    _, backprop = model.begin_update(X)
    # In another layout, a product adds up in another order.
    assert_close(model.predict(X), model.predict(numpy.ascontiguousarray(X, "float32")))
    dX, gradients = two_layer_gradients(X, dY, *params)
    assert_close(backprop(dY), dX)
    names = fw.TWO_LAYER["sequential"][1]
    for gradient, expected in zip(gradients_of(model, names), gradients):
        assert_close(gradient, expected)
    for array, before, writeable in kept:
        assert_array_equal(array, before)
        assert array.flags.writeable == writeable


@pytest.mark.tensorflow
@pytest.mark.parametrize("offset", [0, 16])
def test_tensorflow_shares_no_memory_with_arrays(offset):
    from spacy_frameworks.wrappers.tensorflow.arrays import xp2tensor

    from .modules import tensorflow as fw

    X, (W, b, *_) = normal(6, 4), weights()
    array, model = unaligned(X, offset), fw.Wrapper(fw.linear(W, b))
    tensors = [xp2tensor(array, device=device) for device in (None, "/CPU:0")]
    array[:] = 0
    for tensor in tensors:
        assert_array_equal(tensor.numpy(), X)
    shim = model.shims[0]
    handle = next(
        h for h in shim.module.parameters().values() if shim.module.get_value(h).shape == W.T.shape
    )
    array = unaligned(W.T, offset)
    shim.module.set_value(handle, array)
    array[:] = 0
    assert_array_equal(shim.module.get_value(handle), W.T)


def test_what_comes_out_is_writable_and_the_callers(fw):
    X, dY = normal(6, 4), normal(6, 3, seed=1)
    model = fw.Wrapper(fw.sequential(*weights()))
    Y, backprop = model.begin_update(X)
    expected, dX = Y.copy(), backprop(dY)
    kept = dX.copy()
    Y[:] = 0
    dX[:] = 0
    Y, backprop = model.begin_update(X)
    assert_array_equal(Y, expected)
    assert_array_equal(backprop(dY), kept)


def test_what_is_added_to_an_output_changes_no_gradient(fw):
    """Thinc's add() writes the sum into what its first layer returned."""
    (W, b), other, X, dY = weights()[:2], Linear(5, 4), normal(6, 4), normal(6, 5, seed=1)
    model = add(fw.Wrapper(fw.activated(W, b)), other)
    model.initialize(X)
    Y, backprop = model.begin_update(X)
    tanh = numpy.tanh(X.astype("float64") @ W.T + b)
    assert_close(Y, tanh + other.predict(X))
    expected = (dY * (1 - tanh**2)) @ W + dY @ other.get_param("W").astype("float64")
    assert_close(backprop(dY), expected)


@pytest.mark.parametrize("is_train", [True, False])
def test_an_output_is_not_the_input(fw, is_train):
    model, X = fw.Wrapper(fw.dropout(0.0)), normal(6, 4)
    for given in (X, (X,)):
        Y, _ = model(given, is_train=is_train)
        Y += 1
        assert_array_equal(X, normal(6, 4))


def test_arrays_cross_over_and_back(fw):
    for array in (normal(3, 2), normal(2, dtype="float64"), numpy.arange(3), numpy.float32(2.5)):
        array = numpy.asarray(array)
        tensor = fw.xp2tensor(array)
        for ops in (None, NumpyOps()):
            back = fw.tensor2xp(tensor, ops=ops)
            assert isinstance(back, numpy.ndarray)
            assert back.dtype == array.dtype
            assert_array_equal(back.reshape(array.shape), array)


def test_arrays_without_numbers_are_refused(fw):
    if fw.ID == "tensorflow":
        pytest.skip("TensorFlow has tensors of strings")
    model = fw.Wrapper(fw.scalar(2.0))
    for array in (numpy.array(["word"]), numpy.array([None]), numpy.zeros(2, "M8[s]")):
        for take in (fw.xp2tensor, model.predict):
            with pytest.raises(ValueError, match="Expected an array of numbers, got one of dtype"):
                take(array)


@pytest.mark.mxnet
def test_mxnet_refuses_numbers_that_it_does_not_have():
    from spacy_frameworks.wrappers import xp2mxnet

    assert xp2mxnet(numpy.array([2**63 - 1], "uint64")).asnumpy().tolist() == [2**63 - 1]
    with pytest.raises(ValueError, match=f"integers of up to {2**63 - 1}, but.* {2**63}"):
        xp2mxnet(numpy.array([1, 2**63], "uint64"))
    with pytest.raises(ValueError, match="no complex numbers"):
        xp2mxnet(numpy.zeros(2, "complex64"))


@pytest.mark.mxnet
def test_mxnet_says_that_it_takes_no_arrays_without_dimensions():
    from .modules import mxnet as fw

    with pytest.raises(ValueError, match=r"without dimensions.*X\.reshape\(1\)"):
        fw.Wrapper(fw.scalar(2.0)).predict(numpy.array(1.5, "float32"))


# Batches of unusual sizes


def test_the_gradient_of_no_rows_is_the_callers(fw):
    X = read_only(numpy.zeros((0, 4), "float32"))
    dX = fw.Wrapper(fw.scalar(2.0), nO=4).begin_update(X)[1](X)
    dX += 1
    assert dX.shape == (0, 4)


def test_a_batch_with_no_rows(two_layer):
    fw, build, _ = two_layer
    model = fw.Wrapper(build(*weights()))
    model.initialize(normal(2, 4))
    for shape in ((0, 4), (0, 0)):
        X = numpy.zeros(shape, dtype="float32")
        assert model.predict(X).shape == (0, 3)
        Y, backprop = model.begin_update(X)
        assert Y.shape == (0, 3)
        assert Y.dtype == "float32"
        assert backprop(Y).shape == shape


def test_no_docs_at_all(fw):
    model = with_array(fw.Wrapper(fw.sequential(*weights())))
    model.initialize([normal(2, 4)])
    assert model.predict([]) == []
    Y, backprop = model.begin_update([])
    assert Y == backprop([]) == []


def test_docs_without_rows_between_others(fw):
    params = weights()
    model = chain(with_array(Linear(4, 4)), with_array(fw.Wrapper(fw.sequential(*params))))
    docs = [normal(n, 4, seed=n) for n in (0, 3, 0, 2, 0)]
    model.initialize(docs)
    alone = fw.Wrapper(fw.sequential(*params))
    hidden = model.layers[0].predict(docs)
    Ys, backprop = model.begin_update(docs)
    assert [len(Y) for Y in Ys] == [0, 3, 0, 2, 0]
    for Y, H in zip(Ys, hidden):
        assert_close(Y, alone.predict(H) if len(H) else numpy.zeros((0, 3)))
    dXs = backprop(Ys)
    assert [dX.shape for dX in dXs] == [X.shape for X in docs]
    empty = [numpy.zeros((0, 4), dtype="float32")] * 3
    assert [Y.shape for Y in model.predict(empty)] == [(0, 3)] * 3


def test_one_row(two_layer):
    fw, build, _ = two_layer
    params, X, dY = weights(), normal(1, 4), normal(1, 3, seed=1)
    model = fw.Wrapper(build(*params))
    Y, backprop = model.begin_update(X)
    assert Y.shape == (1, 3)
    assert_close(backprop(dY), two_layer_gradients(X, dY, *params)[0])


def test_no_rows_in_several_inputs(fw):
    model = fw.Wrapper(fw.two_inputs(W1, W2), nO=3)
    Y, backprop = model.begin_update((FIRST[:0], SECOND[:0]))
    assert Y.shape == (0, 3)
    assert [dX.shape for dX in backprop(Y)] == [(0, 4), (0, 2)]


@pytest.mark.parametrize("shape", [(0, 5, 4), (2, 0, 4)])
def test_no_rows_of_more_than_two_dimensions(fw, shape):
    model, X = fw.Wrapper(fw.scalar(2.0)), numpy.zeros(shape, dtype="float32")
    # Before the width is known, and after that.
    for _ in range(2):
        Y, backprop = model.begin_update(X)
        assert Y.shape == backprop(Y).shape == shape and Y.dtype == "float32"
        assert model.predict(X).shape == shape


@pytest.mark.pytorch
def test_no_rows_come_out_in_the_shapes_and_the_nest_of_rows():
    import torch
    from spacy_frameworks.wrappers import PyTorchWrapper

    class Pooled(torch.nn.Module):
        def forward(self, X):
            return X.mean(1)

    class Both(torch.nn.Module):
        def forward(self, X):
            return X, {"sums": X.sum(-1), "pooled": X.mean(1)}

    X = normal(2, 5, 4)
    ids = numpy.zeros((2, 5), dtype="int64")
    pooled, both = PyTorchWrapper(Pooled()), PyTorchWrapper(Both())
    embedding = PyTorchWrapper(torch.nn.Embedding(7, 3))
    for _ in range(2):
        assert embedding.predict(ids[:0]).shape == (0, 5, 3)
        Y, backprop = pooled.begin_update(X[:0])
        assert Y.shape == (0, 4) and backprop(Y).shape == (0, 5, 4)
        Y, backprop = both.begin_update(X[:0])
        assert [Y[0].shape, Y[1]["sums"].shape, Y[1]["pooled"].shape] == [(0, 5, 4), (0, 5), (0, 4)]
        assert backprop(Y).shape == (0, 5, 4)
        # Docs without words.
        assert pooled.predict(X[:, :0]).shape == (2, 4)
        assert both.predict(X[:, :0])[0].shape == (2, 0, 4)
        for model, sample in ((pooled, X), (both, X), (embedding, ids)):
            model.initialize(sample)


def test_more_than_two_dimensions(fw):
    X = normal(2, 5, 4)
    Y, backprop = fw.Wrapper(fw.scalar(2.0)).begin_update(X)
    assert_array_equal(Y, X * 2)
    assert_array_equal(backprop(X), X * 2)


@pytest.mark.tensorflow
@pytest.mark.parametrize("nest", ["list", "tuple", "dict"])
def test_keras_models_made_from_several_inputs_take_them_as_others_do(nest):
    import keras

    from .modules import tensorflow as fw

    first, second = keras.Input((4,), name="first"), keras.Input((2,), name="second")
    joined = keras.layers.Dense(3)(keras.layers.Concatenate()([first, second]))
    X = {"first": normal(5, 4), "second": normal(5, 2, seed=1)}
    if nest == "dict":
        module, X = keras.Model({"first": first, "second": second}, joined), X
    else:
        module, X = (
            keras.Model([first, second], joined),
            {"list": list, "tuple": tuple}[nest](X.values()),
        )
    model, dY = fw.Wrapper(module), normal(5, 3, seed=2)
    arrays = list(X.values()) if nest == "dict" else X
    kernel, bias = module.get_weights()
    Y, backprop = model.begin_update(X)
    assert_close(Y, numpy.hstack(arrays).astype("float64") @ kernel + bias)
    dX = backprop(dY)
    found = list(dX.values()) if nest == "dict" else dX
    assert_close(numpy.hstack(found), dY.astype("float64") @ kernel.T)
    for other in (model.copy(), fw.Wrapper(module).from_bytes(model.to_bytes())):
        assert_array_equal(other.predict(X), model.predict(X))
