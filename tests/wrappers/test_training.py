import numpy
import pytest
from numpy.testing import assert_array_equal
from thinc.api import SGD, Adam, Linear, Optimizer, Relu, chain

from .helpers import assert_close, normal, thinc_layout, train, values, weights
from .helpers import linear as linear_output

OPTIMIZERS = {
    "SGD": lambda: SGD(0.1),
    "SGD with L2, clipped": lambda: SGD(0.1, L2=0.01, grad_clip=0.5),
    "Adam": lambda: Adam(0.01, L2=0.0, grad_clip=0.0, use_averages=True),
    "Adam with L2, clipped": lambda: Adam(0.01, L2=0.1, L2_is_weight_decay=False, grad_clip=1.0),
    "Adam with weight decay": lambda: Adam(0.01, L2=0.1, L2_is_weight_decay=True, grad_clip=1.0),
    "RAdam": lambda: Optimizer(0.01, use_radam=True, grad_clip=1.0, use_averages=True),
}


def native_two_layer(W1, b1, W2, b2):
    layers = [Relu(*W1.shape), Linear(*W2.shape)]
    for layer, W, b in zip(layers, (W1, W2), (b1, b2)):
        layer.set_param("W", W.copy())
        layer.set_param("b", b.copy())
    return chain(*layers)


def native_values(model):
    return [layer.get_param(name) for layer in model.layers for name in ("W", "b")]


def assert_trains_like_native_layers(fw, build, names, make_optimizer):
    params, X = weights(), normal(6, 4, seed=50)
    models = ours, native = fw.Wrapper(build(*params)), native_two_layer(*params)
    before = ours.predict(X)
    optimizers = [make_optimizer() for _ in models]
    for model, optimizer in zip(models, optimizers):
        train(model, optimizer, steps=8)
    for name, expected in zip(names, native_values(native)):
        assert_close(thinc_layout(name, values(ours)[name]), expected)
    assert_close(ours.predict(X), native.predict(X))
    assert numpy.abs(ours.predict(X) - before).max() > 1e-2
    with ours.use_params(optimizers[0].averages), native.use_params(optimizers[1].averages):
        assert_close(ours.predict(X), native.predict(X))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_is_that_of_native_layers(fw, optimizer):
    build, names = fw.TWO_LAYER["sequential"]
    assert_trains_like_native_layers(fw, build, names, OPTIMIZERS[optimizer])


def test_training_is_the_same_however_the_module_is_written(two_layer):
    assert_trains_like_native_layers(*two_layer, OPTIMIZERS["Adam with L2, clipped"])


def test_averages_are_applied_and_taken_back(two_layer):
    fw, build, names = two_layer
    model, X = fw.Wrapper(build(*weights())), normal(6, 4, seed=50)
    optimizer = Adam(0.1, use_averages=True)
    train(model, optimizer)
    shim = model.shims[0]
    trained, before = values(model), model.predict(X)
    averages = {name: optimizer.averages[shim.key(name)].copy() for name in names}
    with model.use_params(optimizer.averages):
        for name in names:
            assert_array_equal(values(model)[name], averages[name])
        assert numpy.abs(model.predict(X) - before).max() > 1e-3
    for name in names:
        assert_array_equal(values(model)[name], trained[name])
        assert_array_equal(optimizer.averages[shim.key(name)], averages[name])
    assert_array_equal(model.predict(X), before)


def test_averages_are_taken_back_after_an_error(fw):
    model, X = fw.Wrapper(fw.linear(normal(3, 4), normal(3))), normal(6, 4, seed=50)
    optimizer = Adam(0.1, use_averages=True)
    train(model, optimizer)
    before = model.predict(X)
    with pytest.raises(KeyError, match="inside"), model.use_params(optimizer.averages):
        assert numpy.abs(model.predict(X) - before).max() > 1e-3
        raise KeyError("inside")
    assert_array_equal(model.predict(X), before)


def test_training_goes_on_after_averages_were_used(fw):
    models = [fw.Wrapper(fw.sequential(*weights())) for _ in range(2)]
    for model, evaluate in zip(models, (True, False)):
        optimizer = Adam(0.01, use_averages=True)
        for seed in (0, 10):
            train(model, optimizer, seed=seed)
            if evaluate:
                with model.use_params(optimizer.averages):
                    model.predict(normal(3, 4))
    for one, other in zip(*(values(model).values() for model in models)):
        assert_close(one, other)


def test_one_optimizer_keeps_all_layers_apart(fw):
    W, b = normal(4, 4), normal(4, seed=1)
    first, native, last = fw.Wrapper(fw.linear(W, b)), Linear(4, 4), fw.Wrapper(fw.linear(W, b))
    # Shims and models are counted apart, so that their ids do meet.
    native.id = first.shims[0].id
    native.set_param("W", W.copy())
    native.set_param("b", b.copy())
    model = chain(first, native, last)
    seen = []
    optimizer = Adam(0.01, use_averages=True)

    def spy(key, value, gradient, **kwargs):
        seen.append(key)
        return optimizer(key, value, gradient, **kwargs)

    model.begin_update(normal(5, 4))[1](normal(5, 4, seed=3))
    model.finish_update(spy)
    ids = [layer.shims[0].id for layer in (first, last)]
    assert ids[0] != ids[1]
    wrapped = {(id, f"{fw.ID}:{name}") for id in ids for name in fw.LINEAR}
    assert set(seen) == wrapped | {(native.id, "W"), (native.id, "b")}
    assert len(seen) == 6
    assert set(optimizer.averages) == set(seen)


def test_optimizers_get_writable_float32_and_may_return_other_arrays(fw):
    W, b, X = normal(3, 4), normal(3), normal(5, 4)
    model = fw.Wrapper(fw.linear(W, b))

    def in_place(key, value, gradient):
        assert value.dtype == gradient.dtype == "float32"
        assert value.flags.writeable
        assert gradient.flags.writeable
        assert value.flags.c_contiguous
        value -= 0.5 * gradient
        gradient[:] = 0
        return value, gradient

    def new_arrays(key, value, gradient):
        return value - numpy.float32(0.5) * gradient, gradient * 0

    for optimizer in (in_place, new_arrays):
        Y, backprop = model.begin_update(X)
        assert_close(Y, linear_output(X, W, b))
        backprop(Y)
        model.finish_update(optimizer)
        W, b = W - 0.5 * (Y.T @ X), b - 0.5 * Y.sum(0)
    assert_close(model.predict(X), linear_output(X, W, b))


def test_predictions_leave_the_callers_output_alone_after_updates(fw):
    model, X = fw.Wrapper(fw.linear(normal(3, 4), normal(3))), normal(5, 4)
    Y = model.predict(X)
    kept = Y.copy()
    train(model, SGD(0.5))
    model.predict(X * 2)
    assert_array_equal(Y, kept)


def test_frozen_and_statistics_are_never_decayed(fw):
    model = fw.Wrapper(fw.frozen(*weights()))
    before = values(model)
    train(model, Adam(0.1, L2=1.0))
    for name, value in values(model).items():
        assert numpy.array_equal(value, before[name]) == (name in fw.FROZEN)
    norm = fw.Wrapper(fw.batch_norm(4))
    train(norm, Adam(0.1, L2=1.0))
    keys = set()
    norm.begin_update(normal(5, 4))[1](normal(5, 4))
    norm.finish_update(lambda key, value, gradient: (keys.add(key[1]) or value, gradient))
    assert len(keys) == 2
    assert not {name for name in keys if name.endswith(fw.STATISTICS)}
