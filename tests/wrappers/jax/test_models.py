"""What is particular to how models are written for JAX."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy
import pytest
from numpy.testing import assert_array_equal
from thinc.api import SGD

from ..helpers import assert_close, normal, train, values, weights
from ..modules import jax as fw

pytestmark = pytest.mark.jax


@pytest.mark.parametrize("kind", fw.dropouts(0.5))
def test_numpys_seed_decides_on_dropout(kind):
    model, X = fw.Wrapper(fw.dropouts(0.5)[kind]), normal(40, 4)
    numpy.random.seed(0)
    first, second = (model.begin_update(X)[0] for _ in range(2))
    assert (first != second).any()
    numpy.random.seed(0)
    assert_array_equal(model.begin_update(X)[0], first)


def test_what_draws_nothing_leaves_numpys_random_numbers_alone():
    model = fw.Wrapper(fw.sequential(*weights()))
    numpy.random.seed(0)
    expected = numpy.random.rand()
    numpy.random.seed(0)
    train(model, SGD(0.1), steps=1)
    assert numpy.random.rand() == expected


def test_a_function_is_told_whether_it_trains_and_given_a_key():
    def apply(params, X, *, training, key):
        assert training == (key is not None)
        return X + jax.random.normal(key, X.shape) if training else X

    model, X = fw.Wrapper((apply, {})), normal(40, 4)
    assert_array_equal(model.predict(X), X)
    assert numpy.abs(model.begin_update(X)[0] - X).mean() > 0.1


def test_equinox_batch_norm_keeps_its_state():
    module, state = eqx.nn.make_with_state(eqx.nn.BatchNorm)(4, axis_name="batch")
    model, X = fw.Wrapper((module, state)), normal(20, 4) * 2 + 5
    before = values(model)
    Y, _ = model.begin_update(X)
    after = values(model)
    changed = [name for name in before if (before[name] != after[name]).any()]
    assert changed and all(name.startswith("state.") for name in changed)
    assert model.predict(X).shape == Y.shape


def test_the_users_object_has_the_values_of_now():
    for build in (fw.subclassed, fw.equinox, fw.function):
        model, X = fw.Wrapper(build(*weights())), normal(5, 4)
        train(model, SGD(0.1), steps=2)
        module = model.shims[0]._model
        if isinstance(module, tuple):
            Y = module[0](module[1], X)
        else:
            Y = jax.vmap(module)(X) if isinstance(module, eqx.Module) else module(X)
        assert_close(model.predict(X), Y)


def test_integers_that_jax_would_cut_off_are_refused():
    model = fw.Wrapper(fw.scaled_embedding(normal(7, 3)))
    with pytest.raises(ValueError, match=r"integers of 32 bits here.*jax_enable_x64"):
        model.predict((numpy.array([1, 2**40]), normal(2, 3)))


def test_parameters_that_are_made_at_each_call_are_refused():
    from flax import nnx

    class Forgetful(nnx.Module):
        def __call__(self, X):
            self.layer = nnx.Linear(4, 3, rngs=nnx.Rngs(0))
            return self.layer(X)

    with pytest.raises(ValueError, match=r"layer.kernel.*in its constructor"):
        fw.Wrapper(Forgetful()).begin_update(normal(5, 4))


def test_jax_has_what_numpy_has_for_16_bits():
    model = fw.Wrapper((lambda params, X: X * params["W"], {"W": jnp.ones(4, "bfloat16")}))
    other = fw.Wrapper((lambda params, X: X * params["W"], {"W": jnp.zeros(4, "bfloat16")}))
    other.from_bytes(model.to_bytes())
    assert other.shims[0]._model[1]["W"].dtype == "bfloat16"
    assert_array_equal(other.predict(normal(3, 4)), model.predict(normal(3, 4)))
