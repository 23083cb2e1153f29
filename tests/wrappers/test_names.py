from numpy.testing import assert_array_equal

from .helpers import normal, thinc_layout, values, weights


def test_parameters_are_named_by_structure(two_layer):
    fw, build, names = two_layer
    params = weights()
    for _ in range(2):
        # The framework's own counters have gone up by the second time.
        named = values(fw.Wrapper(build(*params)))
        assert list(named) == list(names)
        for name, expected in zip(names, params):
            assert_array_equal(thinc_layout(name, named[name]), expected)


def test_a_called_module_has_the_names_of_one_that_was_not(two_layer):
    fw, build, names = two_layer
    model = fw.Wrapper(build(*weights()))
    model.predict(normal(2, 4))
    model.begin_update(normal(3, 4))
    assert list(values(model)) == list(names)


def test_lazy_modules_have_their_names_after_the_first_call(fw):
    models = [fw.Wrapper(fw.lazy(3)) for _ in range(2)]
    for model in models:
        model.predict(normal(2, 4))
    first, second = (values(model) for model in models)
    assert list(first) == list(second)
    assert sorted(value.shape for value in first.values()) == [(3,), (3,), (3, 3), *shape_of(fw)]


def shape_of(fw):
    return [(4, 3)] if fw.LINEAR[0] == "kernel" else [(3, 4)]


def test_statistics_of_batch_norm_are_included(fw):
    names = [name.rpartition(".")[2] for name in values(fw.Wrapper(fw.batch_norm(3)))]
    assert set(fw.STATISTICS) < set(names)
    assert len(names) == len(fw.STATISTICS) + 2


def test_tied_parameters_are_named_once(fw):
    assert list(values(fw.Wrapper(fw.tied(normal(4, 4), normal(4))))) == list(fw.TIED)
