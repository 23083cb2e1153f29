"""What is particular to how models are written for JAX."""

import gc
import weakref

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy
import pytest
from flax import nnx
from numpy.testing import assert_array_equal
from spacy_frameworks.wrappers.jax.arrays import zeros_like
from thinc.api import SGD

from ...frameworks import said
from ..helpers import assert_close, normal, take_gradients, train, values, weights
from ..modules import jax as fw

pytestmark = pytest.mark.jax


@pytest.mark.parametrize("kind", said("jax", "dropouts"))
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


class MakesALayer(nnx.Module):
    """Has a layer, and makes another when it is first called."""

    def __init__(self, seed):
        self.rngs = nnx.Rngs(seed)
        self.first = nnx.Linear(4, 4, rngs=self.rngs)
        self.second = nnx.data(None)

    def __call__(self, X):
        if self.second is None:
            self.second = nnx.Linear(4, 2, rngs=self.rngs)
        return self.second(self.first(X))


def test_loaded_values_stay_when_the_first_call_makes_others():
    saved, loaded = (fw.Wrapper(MakesALayer(seed)) for seed in range(2))
    loaded.from_bytes(saved.to_bytes())
    loaded.predict(normal(3, 4))
    assert "second.kernel" in values(loaded)
    assert_array_equal(values(loaded)["first.kernel"], values(saved)["first.kernel"])


def test_parameters_that_no_gradient_reaches_have_none():
    model, X = fw.Wrapper(fw.unused(normal(3, 4), normal(3))), normal(5, 4)
    Y, backprop = model.begin_update(X)
    backprop(Y)
    assert {name for _, name in take_gradients(model)} == {"jax:layer.bias", "jax:layer.kernel"}

    def two(params, X):
        return {"a": X @ params["W"], "b": X @ params["V"]}

    model = fw.Wrapper((two, {"W": normal(4, 3), "V": normal(4, 3)}))
    for output, name in (("a", "W"), ("b", "V")):
        Y, backprop = model.begin_update(X)
        backprop({"a": None, "b": None, output: Y[output]})
        assert {name for _, name in take_gradients(model)} == {f"jax:{name}"}


def test_a_gradient_may_be_written_to_after_its_backward_pass():
    def embed(params, ids):
        H = params["E"][ids]
        for _ in range(6):
            H = jnp.tanh(H @ params["W"])
        return H

    ids, params = numpy.arange(2048) % 7, {"E": normal(7, 256), "W": normal(256, 256) / 16}
    found = []
    for is_written in (False, True):
        model = fw.Wrapper((embed, params), fill_rows=False)
        Y, backprop = model.begin_update(ids)
        dY = numpy.ones_like(Y)
        backprop(dY)
        dY[:] = 0 if is_written else 1
        found.append(take_gradients(model)[model.shims[0].key("W")])
    assert_close(found[1], found[0])


class WithKey(eqx.Module):
    linear: eqx.nn.Linear
    key: jax.Array

    def __init__(self):
        self.linear, self.key = eqx.nn.Linear(4, 3, key=jax.random.key(0)), jax.random.key(1)

    def __call__(self, x):
        return self.linear(x)


def test_keys_of_random_numbers_are_no_parameters():
    model, X = fw.Wrapper(WithKey()), normal(5, 4)
    train(model, SGD(0.1), steps=1)
    assert set(values(model)) == {"linear.weight", "linear.bias"}
    other = fw.Wrapper(WithKey()).from_bytes(model.to_bytes())
    assert_array_equal(other.predict(X), model.predict(X))


def test_zeros_are_zero_where_nothing_is_finite():
    assert_array_equal(zeros_like(jnp.array([jnp.inf, jnp.nan, 1])), numpy.zeros(3))


def test_numbers_of_python_among_the_inputs_keep_few_compiled_models():
    model, X = fw.Wrapper((lambda params, X, scale: X * scale, {})), normal(3, 4)
    for scale in range(20):
        assert_close(model.predict((X, float(scale))), X * scale)
        assert_close(model.begin_update((X, float(scale)))[0], X * scale)
    module = model.shims[0].module
    assert len(module._predicting) <= 8
    assert all(len(of_rate) <= 8 for of_rate in module._training.values())


def test_names_that_collide_are_refused():
    W = normal(4, 3)
    with pytest.raises(ValueError, match=r"Two parameters have the name 'a\.b'"):
        fw.Wrapper((lambda params, X: X @ params["a.b"], {"a.b": W, "a": {"b": W}}))


def test_what_is_compiled_goes_with_its_model():
    def run():
        model = fw.Wrapper(fw.function(*weights()))
        train(model, SGD(0.1), steps=1)
        return weakref.ref(model.shims[0].module)

    client = jax.devices()[0].client
    run()
    gc.collect()
    before = len(client.live_executables())
    modules = [run() for _ in range(3)]
    gc.collect()
    assert not any(module() for module in modules)
    assert len(client.live_executables()) <= before


ON_SECOND_DEVICE = """
import jax
import numpy
from spacy_frameworks.wrappers import JAXWrapper
from thinc.api import SGD, ArgsKwargs

X = numpy.ones((5, 4), "f")
for device in ("cpu:1", "cpu:0"):
    params = {"W": numpy.ones((4, 3), "f")}
    model = JAXWrapper((lambda p, X: X @ p["W"], params), device=device, fill_rows=False)
    Y, backprop = model.begin_update(X)
    backprop(Y)
    model.finish_update(SGD(0.1))
    output = model.shims[0].module.predict(ArgsKwargs((X,), {}))
    print([found.id for found in output.devices()])
"""


def test_it_runs_on_the_device_that_it_was_given(run_python):
    flags = "--xla_force_host_platform_device_count=2"
    assert run_python(ON_SECOND_DEVICE, env={"XLA_FLAGS": flags}).split() == ["[1]", "[0]"]
