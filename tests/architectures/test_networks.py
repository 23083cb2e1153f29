"""One description, four implementations: the numbers agree."""

from __future__ import annotations

import contextlib
import functools
import pickle
from typing import Any, Dict, Iterator, List, Tuple

import numpy
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from spacy_frameworks.architectures import (
    BiLSTMEncoder,
    FeedForward,
    TransformerEncoder,
    WindowEncoder,
    build_bilstm_encoder,
    build_network,
    get_parameters,
    set_parameters,
)
from spacy_frameworks.architectures.networks import convert_network
from thinc.api import Adam, Linear, Model, Ragged, chain, fix_random_seed, set_dropout_rate

from ..frameworks import ALL, WRAPPED, cases
from .reference import reference

NI, NO = 10, 6
LENGTHS = [0, 5, 60, 1, 0, 17, 2, 33, 0]
ROWS = sum(LENGTHS)
STEPS = 50
NETWORKS = [
    FeedForward(7),
    FeedForward(7, depth=0),
    # Wide, because a norm of rows in which hardly a unit is active amplifies rounding.
    FeedForward(16, depth=2, normalize=True),
    FeedForward(7, activate_output=True),
    WindowEncoder(depth=2),
    WindowEncoder(window_size=2, depth=2, maxout_pieces=2),
    BiLSTMEncoder(depth=2),
    TransformerEncoder(12, depth=2, heads=2),
]
ONE_OF_EACH = [
    FeedForward(16, normalize=True),
    WindowEncoder(depth=1),
    BiLSTMEncoder(),
    TransformerEncoder(12, depth=1, heads=2),
]
every_network = pytest.mark.parametrize("network", NETWORKS, ids=repr)
one_of_each = pytest.mark.parametrize("network", ONE_OF_EACH, ids=repr)


def dims(network: Any) -> Dict[str, int]:
    is_residual = isinstance(network, (WindowEncoder, TransformerEncoder))
    return {"nO": NO, "nI": NO if is_residual else NI}


def batch(network: Any, rows: numpy.ndarray) -> Any:
    """What the network takes or gives."""
    return (
        rows if isinstance(network, FeedForward) else Ragged(rows, numpy.array(LENGTHS, dtype="i"))
    )


def rows(batch: Any) -> numpy.ndarray:
    return batch.dataXd if isinstance(batch, Ragged) else batch


def sequences(batch: Any) -> List[numpy.ndarray]:
    return numpy.split(rows(batch), numpy.cumsum(LENGTHS)[:-1])


def data(network: Any) -> Tuple[Any, Any]:
    """Input and truth."""
    rng = numpy.random.default_rng(0)
    X = rng.normal(size=(ROWS, dims(network)["nI"])).astype("f")
    truth = numpy.eye(NO, dtype="f")[rng.integers(0, NO, ROWS)]
    return batch(network, X), batch(network, truth)


def build(framework: str, network: Any, dropout: float = 0.0, seed: int = 0) -> Model:
    fix_random_seed(seed)
    if isinstance(network, FeedForward):
        # Which infers its dims.
        return build_network(framework, network, dropout).initialize(*data(network))
    return build_network(framework, network, dropout, **dims(network)).initialize()


def parameter_gradients(model: Model) -> Dict[str, numpy.ndarray]:
    """What an optimizer sees, by the names of the description."""
    model.finish_update(lambda key, weights, gradient, **_: (gradient.copy(), gradient))
    return get_parameters(model)


def relative_error(expected: numpy.ndarray, came: numpy.ndarray) -> float:
    assert came.shape == expected.shape and came.dtype == "float32"
    return abs(came - expected).max() / abs(expected).max()


def errors(framework: str, network: Any) -> Dict[str, float]:
    """How far output and gradients are from float64, relative to the largest value."""
    model, (X, _), rng = build(framework, network), data(network), numpy.random.default_rng(1)
    # No bias shall be zero, no scale one.
    params = {
        key: value + rng.normal(scale=0.1, size=value.shape).astype("f")
        for key, value in get_parameters(model).items()
    }
    set_parameters(model, params)
    dY = batch(network, rng.normal(size=(ROWS, NO)).astype("f"))
    Y, dX, gradients = reference(network, params, sequences(X), sequences(dY))
    came, backprop = model.begin_update(X)
    found = {
        "output": relative_error(Y, rows(came)),
        "predicted": relative_error(Y, rows(model.predict(X))),
        "input gradient": relative_error(dX, rows(backprop(dY))),
    }
    came_gradients = parameter_gradients(model)
    assert came_gradients.keys() == gradients.keys()
    for key, gradient in gradients.items():
        found[key] = relative_error(gradient, came_gradients[key])
    return found


def update(model: Model, network: Any, optimizer: Adam) -> None:
    X, truth = data(network)
    Y, backprop = model.begin_update(X)
    backprop(batch(network, (rows(Y) - rows(truth)) / ROWS))
    model.finish_update(optimizer)


@functools.cache
def trained(framework: str, network: Any, dropout: float) -> Dict[str, numpy.ndarray]:
    """The parameters after some training."""
    model, optimizer = build(framework, network, dropout), Adam(0.001, L2=0.01)
    for _ in range(STEPS):
        update(model, network, optimizer)
    return get_parameters(model)


@every_network
@pytest.mark.parametrize("framework", ALL)
def test_outputs_and_gradients_are_those_of_float64(framework, network):
    found = errors(framework, network)
    assert {key: error for key, error in found.items() if error > 1e-5} == {}


@every_network
@pytest.mark.parametrize("framework", WRAPPED)
def test_one_seed_is_one_start(framework, network):
    expected = get_parameters(build("Thinc", network, seed=3))
    came = get_parameters(build(framework, network, seed=3))
    assert came.keys() == expected.keys()
    for key, value in expected.items():
        assert_array_equal(came[key], value)


@every_network
@pytest.mark.parametrize("framework", WRAPPED)
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_training_is_that_of_thinc(framework, network, dropout):
    start, expected = get_parameters(build("Thinc", network)), trained("Thinc", network, dropout)
    for key, value in trained(framework, network, dropout).items():
        assert abs(value - start[key]).max() > 0.01
        assert_allclose(value, expected[key], atol=1e-3)


@one_of_each
@pytest.mark.parametrize("framework", ALL)
def test_dropout_obeys_set_dropout_rate_at_every_pass(framework, network):
    model, (X, truth) = build(framework, network, dropout=0.5), data(network)
    expected = rows(model.predict(X))
    assert abs(rows(model.begin_update(X)[0]) - expected).max() > 0.1
    set_dropout_rate(model, 0.0)
    assert_allclose(rows(model.begin_update(X)[0]), expected, atol=1e-5)
    set_dropout_rate(model, 1.0)
    # What is dropped might as well come from layers that are zero.
    zeros = {k: v if k.endswith(".G") else 0 * v for k, v in get_parameters(model).items()}
    dropped, _, _ = reference(network, zeros, sequences(X), sequences(truth))
    assert_allclose(rows(model.begin_update(X)[0]), dropped, atol=1e-5)


@one_of_each
@pytest.mark.parametrize("framework", ALL)
def test_a_second_initialize_draws_again(framework, network):
    model = build(framework, network)
    before = get_parameters(model)
    model.initialize(*data(network))
    for key, value in get_parameters(model).items():
        is_drawn = key.split(".")[-1][0] in "WU"
        assert (abs(value - before[key]).max() > 0.1) == is_drawn


@one_of_each
@pytest.mark.parametrize("framework", WRAPPED)
def test_parameters_move_between_frameworks(framework, network):
    source, target, back = (
        build(token, network, seed=seed) for seed, token in enumerate(("Thinc", framework, "Thinc"))
    )
    set_parameters(target, get_parameters(source))
    set_parameters(back, get_parameters(target))
    for key, value in get_parameters(source).items():
        assert_array_equal(get_parameters(target)[key], value)
        assert_array_equal(get_parameters(back)[key], value)


@one_of_each
@pytest.mark.parametrize("framework", ALL)
def test_a_converted_network_predicts_the_same_and_draws_nothing(framework, network):
    source, (X, _) = build(framework, network), data(network)
    for token in ("Thinc", framework):
        state = pickle.dumps(numpy.random.get_state())
        target = build_network(token, network, **dims(network))
        convert_network(source, target)
        assert pickle.dumps(numpy.random.get_state()) == state
        assert_allclose(rows(target.predict(X)), rows(source.predict(X)), atol=1e-5)


@pytest.mark.parametrize("framework", ALL)
def test_a_missing_parameter_is_refused_by_name(framework):
    model = build(framework, FeedForward(7))
    params = get_parameters(model)
    del params["out.b"]
    with pytest.raises(ValueError, match=r"'out.b': expected shape \(6,\), got none"):
        set_parameters(model, params)


@one_of_each
@pytest.mark.parametrize("framework", ALL)
def test_bytes_copies_and_pickles_predict_the_same_and_train_on(framework, network):
    model, (X, _) = build(framework, network, dropout=0.2), data(network)
    loaded = build_network(framework, network, **dims(network)).from_bytes(model.to_bytes())
    models = [model, loaded, model.copy(), pickle.loads(pickle.dumps(model))]
    before = rows(model.predict(X))
    for other in models[1:]:
        assert_array_equal(rows(other.predict(X)), before)
        assert other.to_bytes() == model.to_bytes()
    for other in models:
        fix_random_seed(1)
        update(other, network, Adam(0.1))
        assert abs(rows(other.predict(X)) - before).max() > 0.1
        assert_allclose(rows(other.predict(X)), rows(model.predict(X)), atol=1e-5)


@one_of_each
@pytest.mark.parametrize("framework", ALL)
def test_a_batch_without_rows_gives_an_output_without_rows(framework, network):
    model, nI = build(framework, network), dims(network)["nI"]
    for shape in ((0, 0), (0, nI)):
        X = numpy.zeros(shape, dtype="f")
        for lengths in ([], [0, 0]):
            is_rows = isinstance(network, FeedForward)
            Y, backprop = model.begin_update(
                X if is_rows else Ragged(X, numpy.array(lengths, dtype="i"))
            )
            assert rows(Y).shape == (0, NO)
            assert rows(backprop(Y)).shape == shape


@pytest.mark.parametrize(
    ("saved", "network", "what"),
    [
        (FeedForward(7), FeedForward(7, normalize=True), "normalize"),
        (WindowEncoder(1), WindowEncoder(2), "window_size"),
        (WindowEncoder(depth=3), WindowEncoder(depth=2), "depth"),
        # The same shapes, so that only the description tells them apart.
        (TransformerEncoder(12, heads=2), TransformerEncoder(12, heads=3), "heads"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("framework", WRAPPED)
def test_weights_of_another_architecture_are_refused(framework, saved, network, what):
    model = build(framework, network)
    before, parameters = model.shims[0].to_bytes(), get_parameters(model)
    with pytest.raises(ValueError, match=rf"another architecture: expected .*{what}"):
        model.from_bytes(build(framework, saved).to_bytes())
    assert model.shims[0].to_bytes() == before
    assert get_parameters(model).keys() == parameters.keys()


@pytest.mark.parametrize("framework", WRAPPED)
def test_a_network_is_trained_and_saved_after_a_refused_load_as_without_it(framework):
    network, deeper = WindowEncoder(depth=1), WindowEncoder(depth=2)
    model, untouched = (build(framework, network, dropout=0.3) for _ in range(2))
    with pytest.raises(ValueError, match="another architecture"):
        model.from_bytes(build(framework, deeper, dropout=0.3).to_bytes())
    for other in (model, untouched):
        fix_random_seed(1)
        update(other, network, Adam(0.1))
    loaded = build_network(framework, network, **dims(network)).from_bytes(model.to_bytes())
    for key, value in get_parameters(untouched).items():
        assert_allclose(get_parameters(loaded)[key], value, atol=1e-5)


@pytest.mark.parametrize("framework", ALL)
def test_equal_pieces_share_the_gradient_of_their_maximum(framework):
    # All pieces of a row of zeros are as large as their biases, which start as zeros.
    network, X = WindowEncoder(depth=1), Ragged(numpy.zeros((1, NO), "f"), numpy.array([1], "i"))
    dY = Ragged(numpy.arange(NO, dtype="f").reshape(1, NO), X.lengths)
    by_unit = []
    for token in ("Thinc", framework):
        model = build(token, network)
        _, backprop = model.begin_update(X)
        backprop(dY)
        by_unit.append(parameter_gradients(model)["windows.0.b"].sum(axis=1))
    expected, came = by_unit
    assert abs(expected).max() > 1000
    assert_allclose(came, expected, rtol=1e-4)


@contextlib.contextmanager
def another_dtype(framework: str) -> Iterator[None]:
    """A setting of the whole process, where the framework has one, by which it would compute in
    another dtype than float32."""
    if framework == "PyTorch":
        import torch

        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(torch.float32)
    elif framework == "TensorFlow":
        import keras

        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            yield
        finally:
            keras.config.set_dtype_policy(before)
    else:
        import jax

        jax.config.update("jax_enable_x64", True)
        try:
            yield
        finally:
            jax.config.update("jax_enable_x64", False)


@one_of_each
@pytest.mark.parametrize(
    "framework",
    [
        *cases(["PyTorch", "TensorFlow"]),
        # Which compiles each network anew.
        pytest.param("JAX", marks=[pytest.mark.jax, pytest.mark.slow]),
    ],
)
def test_all_is_float32_whatever_the_process_computes_in(framework, network):
    with another_dtype(framework):
        found = errors(framework, network)
    assert {key: error for key, error in found.items() if error > 1e-5} == {}


@pytest.mark.parametrize("network", ONE_OF_EACH[:2], ids=repr)
@pytest.mark.parametrize("framework", ALL)
def test_an_input_of_another_dtype_is_cast(framework, network):
    model, (X, _) = build(framework, network), data(network)
    for dtype, of_gradient in (("float64", "float64"), ("float16", "float32")):
        other = rows(X).astype(dtype)
        expected, backprop_expected = model.begin_update(batch(network, other.astype("f")))
        Y, backprop = model.begin_update(batch(network, other))
        assert_allclose(rows(Y), rows(expected), atol=1e-5)
        dX = rows(backprop(Y))
        assert rows(Y).dtype == "float32" and dX.dtype == of_gradient
        assert_allclose(dX, rows(backprop_expected(expected)), atol=1e-5)
    with pytest.raises(ValueError, match=rf"'{model.name}' expects floats, but got int64"):
        model.predict(batch(network, rows(X).astype("int64")))


def test_sizes_that_make_no_network_are_refused():
    with pytest.raises(ValueError, match="hidden_width=0"):
        FeedForward(0)
    with pytest.raises(ValueError, match="Did you mean 'PyTorch'"):
        build_network("PyTorhc", FeedForward(7))


@pytest.mark.parametrize("framework", ALL)
@pytest.mark.parametrize("network", [WindowEncoder(), TransformerEncoder(12)], ids=repr)
def test_a_residual_network_is_as_wide_as_its_input(framework, network):
    with pytest.raises(ValueError, match=r"nO=8 and nI=12"):
        build_network(framework, network, nO=8, nI=12)


@pytest.mark.parametrize("framework", ALL)
def test_a_network_of_sequences_needs_both_widths(framework):
    with pytest.raises(ValueError, match=r"nO=None and nI=12"):
        build_network(framework, BiLSTMEncoder(), nI=12)


@pytest.mark.parametrize("framework", ALL)
def test_parameters_of_an_encoder_are_those_of_the_network_in_it(framework):
    encoder = build_bilstm_encoder(framework, width=NO)
    with pytest.raises(ValueError, match=r"'BiLSTMEncoder' has no parameters yet.*initialize"):
        get_parameters(encoder)
    encoder.initialize()
    parameters = get_parameters(encoder)
    assert parameters["lstm.0.W_forward"].shape == (2 * NO, NO)
    set_parameters(encoder, {name: 0 * value for name, value in parameters.items()})
    assert not any(value.any() for value in get_parameters(encoder).values())


@pytest.mark.parametrize("framework", ALL)
def test_parameters_of_a_network_without_widths_are_refused_with_what_to_do(framework):
    model = build_network(framework, FeedForward(7))
    with pytest.raises(ValueError, match=r"'FeedForward' has no parameters yet.*initialize"):
        get_parameters(model)
    with pytest.raises(ValueError, match=r"'FeedForward' has no parameters yet.*initialize"):
        set_parameters(model, {})


def test_parameters_of_none_or_of_two_networks_are_refused():
    network = build_network("Thinc", FeedForward(7), nO=NO, nI=NO)
    with pytest.raises(ValueError, match=r"'linear' has none"):
        get_parameters(Linear(NO, NO))
    with pytest.raises(ValueError, match=r"has 'FeedForward', 'FeedForward'"):
        get_parameters(chain(network, network.copy()))
