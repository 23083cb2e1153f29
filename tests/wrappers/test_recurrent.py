import numpy
import pytest
from numpy.testing import assert_array_equal
from thinc.api import SGD, with_padded

from .helpers import assert_close, normal, take_gradients

DOCS = [normal(n, 3, seed=n) for n in (2, 6, 1, 4)]
D_DOCS = [normal(len(X), 4, seed=len(X) + 20) for X in DOCS]


def padded(layer):
    model = with_padded(layer)
    model.initialize(DOCS, D_DOCS)
    return model


@pytest.fixture
def model(recurrent_fw):
    return padded(recurrent_fw.RNNWrapper(recurrent_fw.recurrent(4, 3)))


def test_a_sequence_is_not_changed_by_the_others_in_its_batch(model):
    assert_independent_of_the_others(model)


def test_nor_is_it_in_the_backward_direction_or_that_is_refused(recurrent_fw):
    fw = recurrent_fw
    module = fw.recurrent(2, 3, bidirectional=True)
    if fw.BIDIRECTIONAL:
        assert_independent_of_the_others(padded(fw.RNNWrapper(module)))
    else:
        with pytest.raises(ValueError, match="let padding into the backward direction"):
            fw.RNNWrapper(module)


def assert_independent_of_the_others(model):
    assert [model.layers[0].get_dim(dim) for dim in ("nO", "nI")] == [4, 3]
    Ys, backprop = model.begin_update(DOCS)
    dXs = backprop(D_DOCS)
    together = take_gradients(model)
    total = {}
    for X, dY, Y, dX in zip(DOCS, D_DOCS, Ys, dXs):
        ((alone,), backprop_alone) = model.begin_update([X])
        assert_close(Y, alone)
        assert_close(dX, backprop_alone([dY])[0])
        for key, gradient in take_gradients(model).items():
            total[key] = total.get(key, 0) + gradient
    assert together.keys() == total.keys()
    for key, gradient in together.items():
        assert_close(gradient, total[key])
    for Y, predicted in zip(Ys, model.predict(DOCS)):
        assert_close(Y, predicted)


def test_input_gradients_are_those_of_finite_differences(model):
    _, backprop = model.begin_update(DOCS)
    dXs = backprop(D_DOCS)

    def loss(docs):
        Ys = model.predict(docs)
        return sum(float((Y.astype("float64") * dY).sum()) for Y, dY in zip(Ys, D_DOCS))

    epsilon = numpy.float32(1e-2)
    for doc, (row, column) in ((1, (0, 2)), (1, (5, 0)), (0, (1, 1)), (2, (0, 0))):
        losses = []
        for step in (epsilon, -epsilon):
            docs = [X.copy() for X in DOCS]
            docs[doc][row, column] += step
            losses.append(loss(docs))
        numeric = (losses[0] - losses[1]) / (2 * epsilon)
        assert abs(numeric - dXs[doc][row, column]) < 1e-3


def test_sequences_without_steps_and_no_sequences(model):
    docs = [DOCS[0], DOCS[0][:0], DOCS[3]]
    Ys, backprop = model.begin_update(docs)
    assert [Y.shape for Y in Ys] == [(2, 4), (0, 4), (4, 4)]
    for Y, expected in zip(Ys, model.predict(DOCS)[::3]):
        if len(Y) == len(expected):
            assert_close(Y, expected)
    assert [dX.shape for dX in backprop(Ys)] == [X.shape for X in docs]
    assert model.predict([]) == []


def test_a_recurrent_model_is_trained_copied_saved_and_loaded(model):
    Ys, backprop = model.begin_update(DOCS)
    before = [Y.copy() for Y in Ys]
    backprop([Y - dY for Y, dY in zip(Ys, D_DOCS)])
    model.finish_update(SGD(0.1))
    after = model.predict(DOCS)
    errors = [sum(((Y - dY) ** 2).sum() for Y, dY in zip(Ys, D_DOCS)) for Ys in (before, after)]
    assert errors[1] < errors[0]
    twin = model.copy()
    model.from_bytes(twin.to_bytes())
    for each in (twin, model):
        for Y, expected in zip(each.predict(DOCS), after):
            assert_array_equal(Y, expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_are_cast_for_the_module_and_their_gradients_back(recurrent_fw, dtype):
    model = recurrent_fw.RNNWrapper(recurrent_fw.recurrent(4, 3, dtype=dtype))
    came = {}
    for given in ("float32", "float64"):
        padded = model.ops.list2padded(DOCS)
        padded.data = padded.data.astype(given)
        Yp, backprop = model.begin_update(padded)
        assert Yp.data.dtype == dtype
        dXp = backprop(Yp)
        assert dXp.data.dtype == given
        came[given] = Yp.data, dXp.data
    for one, other in zip(*came.values()):
        assert_close(one, other)


@pytest.mark.mxnet
def test_mxnet_refuses_batches_first():
    from mxnet.gluon import rnn

    from .modules import mxnet as fw

    with pytest.raises(ValueError, match=r"layout 'NTC'.*layout='TNC'"):
        fw.RNNWrapper(rnn.GRU(2, layout="NTC"))


@pytest.mark.pytorch
def test_pytorch_refuses_batches_first():
    import torch

    from .modules import pytorch as fw

    with pytest.raises(ValueError, match="batch_first=False"):
        fw.RNNWrapper(torch.nn.GRU(3, 2, batch_first=True))


@pytest.mark.tensorflow
def test_tensorflow_refuses_last_steps_alone():
    import keras

    from .modules import tensorflow as fw

    with pytest.raises(ValueError, match="return_sequences=True"):
        fw.RNNWrapper(keras.layers.GRU(2))
