"""The seed that Thinc's `fix_random_seed` is given, as spaCy gives it the config's."""

import numpy
import pytest
from numpy.testing import assert_array_equal
from thinc.api import fix_random_seed

from .helpers import normal

X = normal(5, 4)


def assert_seed_reaches(draw):
    """The same seed gives the same arrays, another seed gives others; and no two are alike."""
    seeded = []
    for seed in (0, 0, 1):
        fix_random_seed(seed)
        seeded.append(draw())
    first, again, other = seeded
    assert_array_equal(first, again)
    for i, array in enumerate(first):
        for another in (*other, *first[:i]):
            assert (array != another).any()


def test_a_seed_reaches_dropout(fw):
    def two_passes():
        model = fw.Wrapper(fw.dropout(0.5))
        return [model.begin_update(normal(20, 4))[0] for _ in range(2)]

    assert_seed_reaches(two_passes)


def test_a_seed_reaches_dropout_of_a_model_that_is_there(fw):
    model = fw.Wrapper(fw.dropout(0.5))
    model.begin_update(normal(20, 4))

    def two_passes():
        model.shims[0].seed_passes()
        return [model.begin_update(normal(20, 4))[0] for _ in range(2)]

    assert_seed_reaches(two_passes)


@pytest.mark.mxnet
@pytest.mark.parametrize("build", ["lazy", "lazy_builder", "builder"])
def test_a_seed_reaches_parameters_that_gluon_draws(build):
    from .modules import mxnet as fw

    def two_models():
        module = getattr(fw, build)
        models = [fw.Wrapper(module(3) if build == "lazy" else module, nO=3) for _ in range(2)]
        return [model.initialize(X).predict(X) for model in models]

    assert_seed_reaches(two_models)


@pytest.mark.tensorflow
def test_a_seed_reaches_what_a_tf_module_draws():
    import tensorflow as tf

    from .modules import tensorflow as fw

    class Drawing(tf.Module):
        def __init__(self):
            super().__init__()
            self.W = tf.Variable(tf.random.normal((4, 8)))

        def __call__(self, X, training=False):
            Y = tf.matmul(X, self.W)
            return tf.nn.dropout(Y, 0.5) if training else Y

    def one_model():
        model = fw.Wrapper(lambda nO, nI: Drawing(), nO=8)
        return [model.predict(X), *(model.begin_update(X)[0] for _ in range(2))]

    assert_seed_reaches(one_model)


def test_passes_and_copies_of_a_model_that_draws_nothing_leave_numpys_generator_alone(fw):
    model = fw.Wrapper(fw.linear(normal(3, 4), normal(3)))
    fix_random_seed(0)
    expected = numpy.random.random()
    fix_random_seed(0)
    model.predict(X)
    model.begin_update(X)[1](normal(5, 3))
    model.copy()
    assert numpy.random.random() == expected
