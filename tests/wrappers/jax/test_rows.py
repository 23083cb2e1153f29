"""Rows are filled up where that changes nothing, so that JAX compiles a few times only."""

import jax
import jax.numpy as jnp
import numpy
import pytest
from flax import nnx
from spacy_frameworks.wrappers import JAXWrapper
from spacy_frameworks.wrappers.jax.rows import bucket
from thinc.api import SGD

from ..helpers import assert_close, normal, take_gradients, two_layer_gradients, values, weights
from ..helpers import two_layer as two_layer_output
from ..modules import jax as fw

pytestmark = pytest.mark.jax


class Counter:
    """How often JAX has compiled something."""

    def __init__(self):
        self.count = 0
        jax.monitoring.register_event_duration_secs_listener(self)

    def __call__(self, event, duration, **kwargs):
        self.count += event.endswith("backend_compile_duration")


@pytest.fixture(scope="module")
def compiled():
    return Counter()


def sizes(most, seed=0):
    return numpy.random.default_rng(seed).integers(1, most + 1, 1000)


def test_predictions_of_1000_batches_are_compiled_for_12_times_at_most(compiled):
    model, before = fw.Wrapper(fw.function(*weights()), fill_rows=True), compiled.count
    for n in sizes(4000):
        assert model.predict(normal(n, 4)).shape == (n, 3)
    assert 0 < compiled.count - before <= 12


def test_training_on_1000_batches_compiles_forward_and_backward_12_times_at_most(compiled):
    model, before = fw.Wrapper(fw.function(*weights())), compiled.count
    for n in sizes(1000):
        Y, backprop = model.begin_update(normal(n, 4))
        backprop(Y / n)
        model.finish_update(SGD(0.01))
    # And to find out, once without more rows.
    assert 0 < compiled.count - before <= 2 * 12 + 1


def test_a_step_leaves_values_of_the_kind_that_it_was_compiled_for(compiled):
    model, X = fw.Wrapper(fw.function(*weights())), normal(9, 4)

    def step():
        Y, backprop = model.begin_update(X)
        backprop(Y)
        model.finish_update(SGD(0.01))

    step()
    before = compiled.count
    step()
    assert compiled.count == before


def test_batches_of_all_sizes_give_what_they_give_alone():
    params = weights()
    model = fw.Wrapper(fw.sequential(*params))
    for n in (1, 31, 32, 33, 300):
        X, dY = normal(n, 4, seed=n), normal(n, 3, seed=n + 1)
        assert_close(model.predict(X), two_layer_output(X, *params))
        Y, backprop = model.begin_update(X)
        dX, gradients = two_layer_gradients(X, dY, *params)
        assert_close(Y, two_layer_output(X, *params))
        assert_close(backprop(dY), dX)
        taken = [g.T if g.ndim == 2 else g for g in take_gradients(model).values()]
        for gradient, expected in zip(taken, gradients):
            assert_close(gradient, expected)


def test_buckets_grow_by_half_at_most():
    found = [bucket(n) for n in range(1, 5000)]
    assert all(size >= n for n, size in enumerate(found, start=1))
    assert max(size / n for n, size in enumerate(found, start=1) if n > 257) < 1.5
    assert len(set(found)) == 13


@pytest.mark.skipif(
    not jax.config.jax_threefry_partitionable, reason="this JAX does not draw by place"
)
def test_rows_are_filled_up_where_dropout_draws_by_place(compiled):
    model, before = fw.Wrapper(fw.with_dropout(fw.linear(normal(3, 4), normal(3)), 0.5)), None
    for n in sizes(200)[:100]:
        model.begin_update(normal(n, 4))
        before = compiled.count if before is None else before
    assert compiled.count - before <= 4


def by_rows_in_training(params, X, training):
    return X / len(X) if training else X


def test_what_depends_on_the_number_of_rows_in_training_alone_is_found_out():
    model, X = fw.Wrapper((by_rows_in_training, {})), normal(5, 4)
    assert_close(model.predict(X), X)
    assert_close(model.begin_update(X)[0], X / 5)


def by_rows_in_training_with_key(params, X, training, key):
    keep = jax.random.bernoulli(key, 0.5, X.shape) if training else 1
    return X * keep / (len(X) if training else 1)


def test_the_same_with_random_numbers():
    model, X = fw.Wrapper((by_rows_in_training_with_key, {})), normal(5, 4)
    Y, _ = model.begin_update(X)
    kept = Y != 0
    assert kept.any()
    assert_close(Y[kept], (X / 5)[kept])


def test_numbers_without_dimensions_may_come_first():
    model, X = fw.Wrapper((lambda params, scale, X: X * scale, {})), normal(5, 4)
    assert_close(model.predict((numpy.array(2.0, "float32"), X)), X * 2)


MIXING = {
    "mean": lambda params, X: X - X.mean(axis=0),
    "largest": lambda params, X: X - X.max(axis=0),
    "number of rows": lambda params, X: X / len(X),
    "attention": lambda params, X: jax.nn.softmax(X @ X.T) @ X,
    "neighbour": lambda params, X: X + jnp.roll(X, 1, axis=0),
    "sum": lambda params, X: X.sum(axis=0),
    "count": lambda params, X: X + len(X),
}


@pytest.mark.parametrize("mix", MIXING)
@pytest.mark.parametrize("rows", [1, 3])
def test_functions_that_mix_rows_get_theirs_alone(mix, rows):
    model, X = fw.Wrapper((MIXING[mix], {})), normal(rows, 4)
    expected = MIXING[mix]({}, X)
    assert_close(model.predict(X), expected)
    Y, _ = model.begin_update(X)
    assert_close(Y, expected)
    X = normal(7, 4, seed=2)
    assert_close(model.predict(X), MIXING[mix]({}, X))


def test_ids_that_are_mixed_are_found_out_when_rows_differ():
    def apply(params, ids):
        return params["E"][ids] + ids.max()

    E = normal(7, 3)
    model = fw.Wrapper((apply, {"E": jnp.array(E)}))
    for ids in ([2, 2, 2], [1, 5, 0], [6, 2]):
        ids = numpy.array(ids)
        assert_close(model.predict(ids), E[ids] + ids.max())


class MeanInTraining(nnx.Module):
    def __init__(self):
        self.norm = nnx.BatchNorm(4, rngs=nnx.Rngs(0))

    def __call__(self, X):
        return self.norm(X)


def test_batch_statistics_are_of_the_batch_alone_and_are_kept():
    model, X = fw.Wrapper(MeanInTraining()), normal(20, 4) * 2 + 5
    model.predict(X)
    Y, _ = model.begin_update(X)
    assert_close(Y, (X - X.mean(0)) / X.std(0), 1e-3)
    assert_close(values(model)["norm.mean"], 0.01 * X.mean(0), 1e-4)
    assert_close(model.shims[0]._model.norm.mean[...], 0.01 * X.mean(0), 1e-4)


def test_the_user_may_decide(compiled):
    def apply(params, X):
        fw.CALLS.append(X.shape)
        return X * 2.0

    for fill_rows, shapes in ((True, [(32, 4)]), (False, [(3, 4), (5, 4)])):
        fw.CALLS.clear()
        model = JAXWrapper((apply, {}), fill_rows=fill_rows)
        for rows in (3, 5, 3):
            model.predict(normal(rows, 4))
        assert shapes == fw.CALLS


def test_whoever_looks_for_nan_is_not_shown_ours():
    """It is tried whether NaN in other rows changes these, and JAX may take that for an error."""
    X, params = normal(5, 4), weights()
    model = fw.Wrapper(fw.function(*params))
    with jax.debug_nans(True):
        assert_close(model.predict(X), two_layer_output(X, *params))
    assert_close(model.predict(X), two_layer_output(X, *params))
