"""Wrappers of a builder are grown."""

import numpy
import pytest
from numpy.testing import assert_array_equal
from spacy_frameworks.wrappers import get_framework, resize_wrapper
from thinc.api import SGD, Adam, Relu, chain

from .helpers import assert_close, normal, take_gradients, train, values, weights

X = normal(5, 4)


def trained(fw, **kwargs):
    model = fw.Wrapper(fw.builder, **kwargs)
    model.initialize(X, normal(5, 3))
    train(model, SGD(0.1), steps=2)
    return model


def test_the_old_outputs_stay_and_new_ones_are_what_fill_says(fw):
    model = trained(fw)
    before, expected = values(model), model.predict(X)
    for fill, bias in ((None, 0.0), (lambda b: b.min() - 10, None)):
        grown = resize_wrapper(model, 5, fill)
        Y = grown.predict(X)
        assert_close(Y[:, :3], expected)
        last = list(before.values())[-1]
        new = last.min() - 10 if bias is None else bias
        assert_close(Y[:, 3:], numpy.full((5, 2), new))
        assert (grown.get_dim("nO"), grown.get_dim("nI")) == (5, 4)
    # And the old one too.
    assert_array_equal(model.predict(X), expected)


def test_it_is_another_model_like_the_old_one(fw):
    model = trained(fw, model_name="mine", config={"network": "x"}, device=fw.CPU)
    model.attrs["own"] = [1]
    grown = resize_wrapper(model, 4)
    assert grown.name == "mine"
    assert type(grown) is type(model)
    assert grown.attrs == model.attrs
    assert grown.attrs is not model.attrs
    old, new = model.shims[0], grown.shims[0]
    assert (new.cfg, new.device, new.explicit_device) == (old.cfg, old.device, fw.CPU)
    assert new.id != old.id
    assert grown.id != model.id
    assert new.dims == {"nO": 4, "nI": 4}


def test_the_optimizer_takes_its_parameters_for_new_ones(fw):
    model, optimizer = trained(fw), Adam(0.01)
    train(model, optimizer, steps=2)
    grown = resize_wrapper(model, 6)
    train(grown, optimizer, steps=2)
    assert all(optimizer.nr_update[grown.shims[0].key(name)] == 2 for name in values(grown))


def test_gradients_are_not_taken_over_and_models_are_independent(fw):
    model = trained(fw)
    Y, backprop = model.begin_update(X)
    backprop(Y)
    grown = resize_wrapper(model, 5)
    assert take_gradients(grown) == {}
    expected = model.predict(X)
    train(grown, SGD(0.5), steps=2)
    assert_array_equal(model.predict(X), expected)
    assert len(take_gradients(model)) == 4


def test_new_outputs_learn(fw):
    grown = resize_wrapper(trained(fw), 5)
    target = normal(5, 5, seed=3)

    def loss():
        return float(((grown.predict(X) - target)[:, 3:] ** 2).sum())

    before = loss()
    # Long and loose: the module starts from what the framework draws, Gluon from next to nothing.
    for _ in range(60):
        Y, backprop = grown.begin_update(X)
        backprop((Y - target) / len(X))
        grown.finish_update(SGD(0.3))
    assert loss() < 0.8 * before


def test_it_can_be_grown_copied_and_saved_again(fw):
    model = trained(fw)
    grown = resize_wrapper(resize_wrapper(model, 4), 6)
    assert_close(grown.predict(X)[:, :3], model.predict(X))
    assert_array_equal(grown.copy().predict(X), grown.predict(X))
    loaded = fw.Wrapper(fw.builder).from_bytes(grown.to_bytes())
    assert_array_equal(loaded.predict(X), grown.predict(X))


def test_the_same_width_is_a_copy(fw):
    model = trained(fw)
    grown = resize_wrapper(model, 3)
    assert_array_equal(grown.predict(X), model.predict(X))


def test_a_wrapper_that_is_not_built_yet_waits_with_the_new_width(fw):
    grown = resize_wrapper(fw.Wrapper(fw.builder, nO=3), 5)
    assert not grown.shims[0].is_built
    grown.initialize(X)
    assert grown.predict(X).shape == (5, 5)


def test_modules_that_make_parameters_at_the_first_call_are_grown(fw):
    model = fw.Wrapper(fw.lazy_builder)
    model.initialize(X, normal(5, 3))
    grown = resize_wrapper(model, 7)
    assert_close(grown.predict(X)[:, :3], model.predict(X))
    assert (grown.predict(X)[:, 3:] == 0).all()


def test_within_a_chain(fw):
    model = chain(Relu(4, 4), fw.Wrapper(fw.builder))
    model.initialize(X, normal(5, 3))
    expected = model.predict(X)
    model.layers[1] = resize_wrapper(model.layers[1], 4)
    model.set_dim("nO", 4, force=True)
    assert_close(model.predict(X)[:, :3], expected)


def test_dropout_is_governed_on(fw):
    def builder(nO, nI):
        return fw.with_dropout(fw.linear(normal(nO, nI), normal(nO)), 0.5)

    model = fw.Wrapper(builder, dropout=0.999)
    model.initialize(X, normal(5, 3))
    Y, _ = resize_wrapper(model, 5).begin_update(X)
    assert (Y == 0).mean() > 0.8


def test_a_module_that_was_handed_over_is_refused(fw):
    token = get_framework(fw.ID).token
    model = fw.Wrapper(fw.sequential(*weights()))
    model.initialize(X)
    with pytest.raises(ValueError, match=rf"Give {token}Wrapper a function \(nO, nI\)"):
        resize_wrapper(model, 5)


def test_fewer_outputs_are_refused(fw):
    with pytest.raises(ValueError, match=r"has 3 outputs.*but not 2"):
        resize_wrapper(trained(fw), 2)


def test_a_builder_whose_inner_widths_follow_is_refused_by_the_parameter(fw):
    model = fw.Wrapper(lambda nO, nI: fw.linear(normal(2 * nO, nI), normal(2 * nO)), nO=6, nI=4)
    model.shims[0].build(3, 4)
    with pytest.raises(ValueError, match=rf"'{fw.LINEAR[0]}' would have shape .* instead of "):
        resize_wrapper(model, 7)


def test_a_builder_that_makes_other_parameters_is_refused(fw):
    def builder(nO, nI):
        drawn = weights(nO, nI)
        return fw.sequential(*drawn) if nO > 3 else fw.linear(normal(nO, nI), normal(nO))

    model = fw.Wrapper(builder, nO=3, nI=5)
    model.initialize()
    with pytest.raises(ValueError, match="makes other parameters than with nO=3"):
        resize_wrapper(model, 4)
