import numpy
import pytest
from numpy.testing import assert_array_equal
from thinc.api import Linear, Model, Softmax, chain, get_width, with_array
from thinc.types import Ragged

from .helpers import normal, weights

X, Y = normal(5, 4), normal(5, 3)


def dims(model):
    return model.maybe_get_dim("nO"), model.maybe_get_dim("nI")


def test_initialize_infers_the_dims_of_a_module(two_layer):
    fw, build, _ = two_layer
    model = fw.Wrapper(build(*weights()))
    assert dims(model) == (None, None)
    expected = model.predict(X)
    model = fw.Wrapper(build(*weights()))
    model.initialize(X)
    assert dims(model) == (3, 4)
    # A user's own module is asked, never redrawn.
    assert_array_equal(model.predict(X), expected)


def test_the_first_call_infers_them_too(fw):
    for run in (Model.predict, Model.begin_update):
        model = fw.Wrapper(fw.sequential(*weights()))
        run(model, X)
        assert dims(model) == (3, 4)


def test_dims_may_be_given(fw):
    model = fw.Wrapper(fw.sequential(*weights()), nO=3, nI=4)
    assert dims(model) == (3, 4)
    model.initialize(X, Y)
    assert dims(model) == (3, 4)


def test_initialize_builds(fw):
    asked = []

    def builder(nO, nI):
        asked.append((nO, nI))
        return fw.builder(nO, nI)

    model = fw.Wrapper(builder)
    model.initialize(X, Y)
    model.initialize(X, Y)
    assert asked == [(3, 4)]
    assert dims(model) == (3, 4)
    assert model.predict(X).shape == (5, 3)


def test_class_numbers_count_as_classes(fw):
    model = fw.Wrapper(fw.builder)
    model.initialize(X, numpy.array([0, 2, 1, 2, 5]))
    assert dims(model) == (6, 4)


def test_given_dims_build_without_data(fw):
    model = fw.Wrapper(fw.builder, nO=3, nI=4)
    model.initialize()
    assert model.predict(X).shape == (5, 3)


def test_given_dims_build_at_the_first_call(fw):
    assert fw.Wrapper(fw.builder, nO=3).predict(X).shape == (5, 3)


def test_chain_infers_the_dims_of_its_layers(fw):
    middle = fw.Wrapper(fw.builder, nO=6)
    last = fw.Wrapper(fw.builder)
    model = chain(Linear(7), middle, last)
    model.initialize(X, Y)
    assert dims(model) == (3, 4)
    assert [dims(layer) for layer in model.layers] == [(7, 4), (6, 7), (3, 6)]
    assert model.predict(X).shape == (5, 3)


def test_layers_behind_learn_the_width_of_a_module(fw):
    model = chain(fw.Wrapper(fw.sequential(*weights())), Softmax())
    model.initialize(X, normal(5, 8))
    assert [dims(layer) for layer in model.layers] == [(3, 4), (8, 3)]
    assert model.predict(X).shape == (5, 8)


def test_with_array_hands_dims_on(fw):
    model = with_array(fw.Wrapper(fw.builder))
    model.initialize([X, X[:2]], [Y, Y[:2]])
    assert dims(model.layers[0]) == (3, 4)
    ragged = Ragged(X, numpy.array([2, 3]))
    assert get_width(model.predict(ragged).data) == 3


def test_an_output_of_another_width_than_declared_is_refused(fw):
    model = fw.Wrapper(fw.sequential(*weights()), nO=7)
    with pytest.raises(ValueError, match=r"has width 3, but nO is 7.*7 columns.*nO to 3") as error:
        model.initialize(X)
    assert error.match(fw.Wrapper.__name__.removesuffix("Wrapper"))


def test_an_output_of_another_width_than_the_builder_was_asked_for_is_refused(fw):
    model = fw.Wrapper(lambda nO, nI: fw.builder(nO + 1, nI))
    with pytest.raises(ValueError, match="has width 4, but nO is 3"):
        model.initialize(X, Y)


def test_a_builder_cannot_be_called_before_its_dims_are_known(fw):
    model = fw.Wrapper(fw.builder)
    with pytest.raises(ValueError, match=r"nO unset. Call initialize\(\)"):
        model.predict(X)
    with pytest.raises(ValueError, match="nO and nI unset"):
        fw.Wrapper(fw.builder).initialize()


@pytest.mark.parametrize("is_train", [True, False])
def test_no_rows_before_the_width_is_known_have_the_width_of_a_row_of_zeros(fw, is_train):
    for module in (fw.sequential(*weights()), fw.lazy(3)):
        model = fw.Wrapper(module)
        Y, backprop = model(X[:0], is_train)
        assert Y.shape == (0, 3)
        assert dims(model) == (3, 4)
        assert backprop(Y).shape == (0, 4)
        assert model.predict(X).shape == (5, 3)


def test_no_rows_tell_layers_behind_the_width(fw):
    model = chain(fw.Wrapper(fw.sequential(*weights())), Softmax())
    model.initialize(X[:0], normal(5, 8))
    assert model.predict(X).shape == (5, 8)


NO_ROWS = {
    "no columns": X[:0, :0],
    "integers": normal(0, 7).astype("int64"),
    "Ragged": Ragged(X[:0], numpy.zeros(0, dtype="int32")),
    "another width": normal(0, 7),
}


@pytest.mark.parametrize("rows", NO_ROWS.values(), ids=NO_ROWS)
def test_no_rows_of_which_no_width_can_be_known_are_refused(fw, rows):
    model = fw.Wrapper(fw.sequential(*weights()))
    with pytest.raises(ValueError, match=r"no rows and nO of .* is unset"):
        model.predict(rows)
    assert dims(model) == (None, None)
    assert model.predict(X).shape == (5, 3)


def test_dims_are_saved_and_loaded(fw):
    model, other = (fw.Wrapper(fw.sequential(*weights())) for _ in range(2))
    model.initialize(X)
    other.from_bytes(model.to_bytes())
    assert dims(other) == (3, 4)
    assert dims(model.copy()) == (3, 4)
