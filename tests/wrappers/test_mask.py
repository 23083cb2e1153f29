"""Modules for padded sequences and a mask."""

import itertools

import numpy
import pytest
from numpy.testing import assert_array_equal
from spacy_frameworks.wrappers import with_mask
from thinc.api import SGD, Linear, Softmax, chain, list2ragged, reduce_mean, with_array

from .helpers import assert_close, normal, take_gradients

WIDTH = 8
DOCS = [normal(n, WIDTH, seed=n) for n in (3, 7, 1, 5)]
D_DOCS = [normal(n, WIDTH, seed=n + 20) for n in (3, 7, 1, 5)]


@pytest.fixture(params=["attention", "masked mean"])
def model(fw, request):
    if request.param == "attention":
        module, args, kwargs = fw.attention(WIDTH)
    else:
        module, args, kwargs = fw.masked_mean(WIDTH, WIDTH), (), {"dtype": "float32"}
    return with_mask(fw.Wrapper(module), *args, **kwargs)


def test_a_doc_gives_the_same_whatever_shares_its_batch(model):
    together = model.predict(DOCS)
    for X, Y in zip(DOCS, together):
        assert Y.shape == (len(X), WIDTH)
        assert_close(model.predict([X])[0], Y)
    for order in itertools.islice(itertools.permutations(range(4), 3), 0, None, 5):
        for i, Y in zip(order, model.predict([DOCS[i] for i in order])):
            assert_close(Y, together[i])


def test_gradients_are_those_of_docs_by_themselves(model):
    Ys, backprop = model.begin_update(DOCS)
    dXs, together = backprop(D_DOCS), take_gradients(model)
    total = {}
    for X, dY, Y, dX in zip(DOCS, D_DOCS, Ys, dXs):
        (alone,), backprop = model.begin_update([X])
        assert_close(Y, alone)
        (d_alone,) = backprop([dY])
        assert_close(dX, d_alone, tolerance=1e-4)
        for key, gradient in take_gradients(model).items():
            total[key] = total.get(key, 0) + gradient
    assert together.keys() == total.keys()
    largest = max(numpy.abs(gradient).max() for gradient in total.values())
    for key, gradient in together.items():
        # Of a key's bias in attention, the gradient is zero but for rounding.
        numpy.testing.assert_allclose(gradient, total[key], rtol=0, atol=1e-5 * largest)


def test_docs_without_tokens_and_no_docs(model):
    expected, empty = model.predict(DOCS[:2]), DOCS[0][:0]
    Ys, backprop = model.begin_update([empty, DOCS[0], empty, DOCS[1]])
    assert [Y.shape for Y in Ys] == [(0, WIDTH), (3, WIDTH), (0, WIDTH), (7, WIDTH)]
    assert_close(Ys[1], expected[0])
    assert_close(Ys[3], expected[1])
    assert [dX.shape for dX in backprop(Ys)] == [Y.shape for Y in Ys]
    Ys, backprop = model.begin_update([empty, empty])
    assert [Y.shape for Y in Ys] == [(0, WIDTH)] * 2
    assert [dX.shape for dX in backprop(Ys)] == [(0, WIDTH)] * 2
    assert model.predict([]) == []


def test_it_is_trained_copied_saved_and_loaded(model):
    def error(Ys):
        return sum(float(((Y - dY) ** 2).sum()) for Y, dY in zip(Ys, D_DOCS))

    model.initialize(DOCS)
    before = error(model.predict(DOCS))
    for _ in range(5):
        Ys, backprop = model.begin_update(DOCS)
        backprop([(Y - dY) / 16 for Y, dY in zip(Ys, D_DOCS)])
        model.finish_update(SGD(0.1))
    after = model.predict(DOCS)
    assert error(after) < before
    twin = model.copy()
    model.from_bytes(twin.to_bytes())
    for each in (twin, model):
        for Y, expected in zip(each.predict(DOCS), after):
            assert_array_equal(Y, expected)


@pytest.mark.parametrize("padding", [True, False])
@pytest.mark.parametrize("dtype", ["bool", "float32", "int32"])
@pytest.mark.parametrize("keyword", ["mask", None])
def test_the_mask_is_where_it_was_asked_for(padding, dtype, keyword):
    from thinc.api import Model

    seen = []

    def forward(model, inputs, is_train):
        seen.append(inputs)
        return inputs.args[0], lambda dY: None

    layer = Model("layer", forward, dims={"nO": 8, "nI": 8})
    with_mask(layer, keyword, padding=padding, dtype=dtype).predict([DOCS[0], DOCS[3][:0], DOCS[2]])
    (inputs,) = seen
    assert_array_equal(inputs.args[0][0], DOCS[0])
    assert (inputs.args[0][1, 1:] == 0).all()
    mask = inputs.args[1] if keyword is None else inputs.kwargs[keyword]
    assert mask.dtype == dtype
    tokens = numpy.array([[1, 1, 1], [1, 0, 0]])
    assert_array_equal(mask, 1 - tokens if padding else tokens)


def dims(model):
    return model.maybe_get_dim("nO"), model.maybe_get_dim("nI")


def test_dims_are_those_of_the_wrapper(fw):
    known = with_mask(fw.Wrapper(fw.masked_mean(5, WIDTH), nO=5, nI=WIDTH), dtype="float32")
    assert dims(known) == (5, WIDTH)
    for learn in (known.initialize, known.predict):
        learn(DOCS)
        assert dims(known) == (5, WIDTH)
    for name in ("initialize", "predict"):
        model = with_mask(fw.Wrapper(fw.masked_mean(5, WIDTH)), dtype="float32")
        assert dims(model) == (None, None)
        getattr(model, name)([DOCS[0][:0], *DOCS])
        assert dims(model) == dims(model.layers[0]) == (5, WIDTH)


def test_a_builder_is_called_with_the_width_of_the_docs(fw):
    truth = [normal(len(X), 5) for X in DOCS]
    model = with_mask(fw.Wrapper(fw.masked_mean), dtype="float32")
    model.initialize(DOCS, truth)
    assert dims(model) == (5, WIDTH)
    given = with_mask(fw.Wrapper(fw.masked_mean, nO=6, nI=WIDTH), dtype="float32")
    given.initialize()
    assert given.predict(DOCS)[1].shape == (7, 6)


def test_an_output_of_another_width_than_the_labels_is_refused(fw):
    truth = [normal(len(X), 3) for X in DOCS]
    wrapper = fw.Wrapper(fw.masked_mean(5, WIDTH))
    model = chain(with_array(Linear(WIDTH, WIDTH)), with_mask(wrapper, dtype="float32"))
    with pytest.raises(ValueError, match="gives 5 columns, but the data has 3 labels"):
        model.initialize(DOCS, truth)


def test_a_hidden_one_may_have_its_own_width(fw):
    wrapper = fw.Wrapper(fw.masked_mean(5, WIDTH))
    encoder = with_mask(wrapper, dtype="float32")
    model = chain(encoder, list2ragged(), reduce_mean(), Softmax())
    model.initialize(DOCS, normal(4, 3))
    assert dims(encoder) == (5, WIDTH)
    assert model.predict(DOCS).shape == (4, 3)


def test_no_tokens_before_the_width_is_known_are_refused(fw):
    model = with_mask(fw.Wrapper(fw.masked_mean(5, WIDTH)), dtype="float32")
    with pytest.raises(ValueError, match=r"no tokens and nO of .* is unset"):
        model.predict([DOCS[0][:0]])
    known = with_mask(fw.Wrapper(fw.masked_mean(5, WIDTH), nO=5), dtype="float32")
    assert known.predict([DOCS[0][:0]])[0].shape == (0, 5)


def test_an_output_of_another_shape_is_refused(fw):
    model = with_mask(fw.Wrapper(fw.mask_alone()), dtype="float32")
    with pytest.raises(ValueError, match=r"here \(2, 7, 'nO'\), got shape \(2, 7\).*batch first"):
        model.predict(DOCS[:2])


def test_a_module_that_is_not_recurrent_is_sent_here(recurrent_fw):
    model = recurrent_fw.RNNWrapper(recurrent_fw.not_recurrent(WIDTH))
    padded = model.ops.list2padded(DOCS)
    for run in (model.predict, model.begin_update):
        with pytest.raises(ValueError, match=r"to return .*, got .*with_mask\(wrapper\)"):
            run(padded)
