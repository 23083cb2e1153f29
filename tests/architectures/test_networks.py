"""One description, four implementations: the numbers agree."""

from __future__ import annotations

import pickle

import numpy
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from spacy_frameworks.architectures import (
    FeedForward,
    build_network,
    get_parameters,
    set_parameters,
)
from thinc.api import Adam, fix_random_seed, set_dropout_rate

from ..frameworks import ALL, WRAPPED

NI, NO, ROWS = 10, 5, 40
NETWORKS = [
    FeedForward(7),
    FeedForward(7, depth=0),
    FeedForward(7, depth=2, normalize=True),
    FeedForward(7, activate_output=True),
]


def data() -> tuple[numpy.ndarray, numpy.ndarray]:
    rng = numpy.random.default_rng(0)
    truth = numpy.eye(NO, dtype="f")[rng.integers(0, NO, ROWS)]
    return rng.normal(size=(ROWS, NI)).astype("f"), truth


def build(framework: str, network: FeedForward, dropout: float = 0.0, seed: int = 0):
    fix_random_seed(seed)
    return build_network(framework, network, dropout).initialize(*data())


def reference(network: FeedForward, params, X, dY):
    """Output and gradients in float64, by the formulas."""
    params = {key: value.astype("float64") for key, value in params.items()}
    X, dY = X.astype("float64"), dY.astype("float64")
    gradients, tape = {}, []
    layers = [f"hidden.{i}" for i in range(network.depth)] + ["out"]
    for i, layer in enumerate(layers):
        linear = X @ params[f"{layer}.W"].T + params[f"{layer}.b"]
        activated = layer != "out" or network.activate_output
        Y = numpy.maximum(linear, 0) if activated else linear
        norm = f"norm.{i}" if network.normalize and layer != "out" else None
        scale = 1 / numpy.sqrt(Y.var(axis=1, keepdims=True) + 1e-8)
        X_hat = (Y - Y.mean(axis=1, keepdims=True)) * scale
        tape.append((layer, norm, activated, X, linear, scale, X_hat))
        X = X_hat * params[f"{norm}.G"] + params[f"{norm}.b"] if norm else Y
    output = X
    for layer, norm, activated, X_in, linear, scale, X_hat in reversed(tape):
        if norm:
            gradients[f"{norm}.G"] = (dY * X_hat).sum(axis=0)
            gradients[f"{norm}.b"] = dY.sum(axis=0)
            d_hat = dY * params[f"{norm}.G"]
            mean = d_hat.mean(axis=1, keepdims=True)
            dY = scale * (d_hat - mean - X_hat * (d_hat * X_hat).mean(axis=1, keepdims=True))
        if activated:
            dY = dY * (linear > 0)
        gradients[f"{layer}.W"] = dY.T @ X_in
        gradients[f"{layer}.b"] = dY.sum(axis=0)
        dY = dY @ params[f"{layer}.W"]
    return output, dY, gradients


def assert_close_to(expected: numpy.ndarray, came: numpy.ndarray) -> None:
    assert came.shape == expected.shape
    assert abs(came - expected).max() <= 1e-5 * abs(expected).max()


def parameter_gradients(model) -> dict[str, numpy.ndarray]:
    """What an optimizer sees, by the names of the description."""
    before = get_parameters(model)
    model.finish_update(lambda key, weights, gradient, **_: (weights - gradient, gradient))
    return {key: before[key] - value for key, value in get_parameters(model).items()}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("framework", ALL)
def test_outputs_and_gradients_are_those_of_float64(framework, network):
    model = build(framework, network)
    (X, _), params = data(), get_parameters(model)
    # Away from zero, so that subtracting the gradient from it is exact enough.
    dY = numpy.random.default_rng(1).normal(size=(ROWS, NO)).astype("f")
    Y, dX, gradients = reference(network, params, X, dY)
    came, backprop = model.begin_update(X)
    assert_close_to(Y, came)
    assert_close_to(Y, model.predict(X))
    assert_close_to(dX, backprop(dY))
    came_gradients = parameter_gradients(model)
    assert came_gradients.keys() == gradients.keys()
    for key, gradient in gradients.items():
        assert_close_to(gradient, came_gradients[key])


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("framework", WRAPPED)
def test_one_seed_is_one_start(framework, network):
    expected = get_parameters(build("Thinc", network, seed=3))
    came = get_parameters(build(framework, network, seed=3))
    for key, value in expected.items():
        assert_array_equal(came[key], value)


@pytest.mark.parametrize("framework", WRAPPED)
def test_training_with_dropout_is_that_of_thinc(framework):
    X, truth = data()

    def train(framework: str):
        model = build(framework, FeedForward(7, depth=2, normalize=True), dropout=0.3)
        optimizer = Adam(0.01, L2=0.01)
        for _ in range(50):
            Y, backprop = model.begin_update(X)
            backprop((Y - truth) / ROWS)
            model.finish_update(optimizer)
        return get_parameters(model)

    expected = train("Thinc")
    for key, value in train(framework).items():
        assert_allclose(value, expected[key], atol=1e-3)


@pytest.mark.parametrize("framework", ALL)
def test_dropout_obeys_set_dropout_rate_at_every_pass(framework):
    model, (X, _) = build(framework, FeedForward(40), dropout=0.5), data()
    expected = model.predict(X)
    assert abs(model.begin_update(X)[0] - expected).max() > 0.1
    set_dropout_rate(model, 0.0)
    assert_allclose(model.begin_update(X)[0], expected, atol=1e-6)
    set_dropout_rate(model, 1.0)
    assert_allclose(model.begin_update(X)[0], numpy.zeros((ROWS, NO)), atol=1e-6)


@pytest.mark.parametrize("framework", ALL)
def test_a_second_initialize_draws_again(framework):
    model = build(framework, FeedForward(7))
    before = get_parameters(model)["hidden.0.W"]
    model.initialize(*data())
    assert abs(get_parameters(model)["hidden.0.W"] - before).max() > 0.1


@pytest.mark.parametrize("framework", ALL)
def test_parameters_move_between_networks(framework):
    network = FeedForward(7, depth=2, normalize=True)
    source, target = build("Thinc", network, seed=1), build(framework, network, seed=2)
    set_parameters(target, get_parameters(source))
    X, _ = data()
    assert_allclose(target.predict(X), source.predict(X), atol=1e-6)
    with pytest.raises(ValueError, match=r"'out.b': expected shape \(5,\), got none"):
        set_parameters(target, {k: v for k, v in get_parameters(source).items() if k != "out.b"})


@pytest.mark.parametrize("framework", ALL)
def test_bytes_copies_and_pickles_predict_the_same(framework):
    network, (X, _) = FeedForward(7, depth=2, normalize=True), data()
    model = build(framework, network, dropout=0.2)
    loaded = build_network(framework, network).from_bytes(model.to_bytes())
    for other in (loaded, model.copy(), pickle.loads(pickle.dumps(model))):
        assert_array_equal(other.predict(X), model.predict(X))
        assert other.to_bytes() == model.to_bytes()
        other.begin_update(X)[1](numpy.ones((ROWS, NO), dtype="f"))
        other.finish_update(Adam(0.1))
        assert abs(other.predict(X) - model.predict(X)).max() > 0.01


@pytest.mark.parametrize("framework", ALL)
def test_a_batch_without_rows_gives_an_output_without_rows(framework):
    model = build(framework, FeedForward(7))
    for shape in ((0, 0), (0, NI)):
        Y, backprop = model.begin_update(numpy.zeros(shape, dtype="f"))
        assert Y.shape == (0, NO)
        assert backprop(Y).shape == shape


@pytest.mark.parametrize("framework", WRAPPED)
def test_weights_of_another_architecture_are_refused(framework):
    data_ = build(framework, FeedForward(7)).to_bytes()
    model = build(framework, FeedForward(7, normalize=True))
    before = model.to_bytes()
    with pytest.raises(ValueError, match=r"another architecture: expected .*normalize"):
        model.from_bytes(data_)
    assert (
        model.shims[0].to_bytes()
        == build_network(framework, FeedForward(7, normalize=True))
        .from_bytes(before)
        .shims[0]
        .to_bytes()
    )


def test_sizes_that_make_no_network_are_refused():
    with pytest.raises(ValueError, match="hidden_width=0"):
        FeedForward(0)
    with pytest.raises(ValueError, match="Did you mean 'PyTorch'"):
        build_network("PyTorhc", FeedForward(7))
