"""A module whose width is not that of the labels is refused where, and only where, its output is
that of the whole model."""

import numpy
import pytest
from spacy_frameworks.wrappers import position
from thinc.api import (
    Linear,
    Logistic,
    Model,
    Relu,
    Softmax,
    chain,
    concatenate,
    list2ragged,
    reduce_mean,
    residual,
    with_array,
    with_array2d,
    with_list,
    with_padded,
    with_ragged,
)

from .helpers import normal, weights

X, Y = normal(5, 4), normal(5, 7)
DOCS, LABELS = [X, X[:2]], [Y, Y[:2]]


@pytest.fixture
def wrapper(fw):
    """Gives three columns, of four."""
    return fw.Wrapper(fw.sequential(*weights()), model_name="mine")


LAST = {
    "alone": (lambda layer: layer, X, Y),
    "after another": (lambda layer: chain(Linear(4, 4), layer), X, Y),
    "in two chains": (lambda layer: chain(Relu(4, 4), chain(Relu(4, 4), layer)), X, Y),
    "before what keeps the columns": (lambda layer: chain(Relu(4, 4), layer, Logistic()), X, Y),
    "with_array": (with_array, DOCS, LABELS),
    "chain in with_array": (lambda layer: with_array(chain(Relu(4, 4), layer)), DOCS, LABELS),
    "with_array in chain": (
        lambda layer: chain(with_array(Relu(4, 4)), with_array(layer)),
        DOCS,
        LABELS,
    ),
    "mean of a list": (
        lambda layer: chain(with_array(layer), list2ragged(), reduce_mean()),
        DOCS,
        Y[:2],
    ),
    "with_list": (lambda layer: with_list(with_array(layer)), DOCS, LABELS),
    "with_ragged": (lambda layer: with_ragged(with_array(layer)), DOCS, LABELS),
    "with_padded": (lambda layer: with_padded(with_array2d(layer)), DOCS, LABELS),
}


@pytest.mark.parametrize("place", LAST)
def test_an_output_of_another_width_than_the_labels_is_refused(wrapper, place):
    build, inputs, labels = LAST[place]
    model = build(wrapper)
    # The second time like the first.
    for _ in range(2):
        with pytest.raises(ValueError, match=r"'mine' gives 3 columns.*has 7 labels.*\(nO, nI\)"):
            model.initialize(inputs, labels)


@pytest.mark.parametrize("place", LAST)
def test_an_output_of_the_labels_width_is_not(fw, place):
    build, inputs, labels = LAST[place]
    wrapper = fw.Wrapper(fw.sequential(*weights(nO=7)))
    build(wrapper).initialize(inputs, labels)
    assert wrapper.get_dim("nO") == 7


class Own:
    """Combinators of which nothing is known."""

    @staticmethod
    def two_heads(layer):
        def forward(model, X, is_train):
            return model.layers[0](X, is_train)[0] @ numpy.ones((3, 7), "f"), lambda dY: None

        def init(model, X=None, Y=None):
            model.layers[0].initialize(X, Y)

        return Model("two_heads", forward, init=init, layers=[layer], dims={"nO": None})

    @staticmethod
    def by_hand(layer):
        """Calls the wrapper's init without initialize."""

        def init(model, X=None, Y=None):
            layer.init(layer, X, Y)

        return Model("by_hand", lambda *_: None, init=init, layers=[layer], dims={"nO": None})


HIDDEN = {
    "before an output": (lambda layer: chain(layer, Softmax()), X, Y),
    "in two chains": (lambda layer: chain(chain(Relu(4, 4), layer), Softmax()), X, Y),
    "chain within chain": (lambda layer: chain(chain(layer, Relu(5)), Softmax()), X, Y),
    "with_array in chain": (
        lambda layer: chain(with_array(layer), with_array(Softmax())),
        DOCS,
        LABELS,
    ),
    "chain in with_array": (lambda layer: with_array(chain(layer, Softmax())), DOCS, LABELS),
    "concatenate": (lambda layer: chain(concatenate(layer, Linear()), Softmax()), X, Y),
    "concatenate as output": (lambda layer: concatenate(layer, Linear()), X, Y),
    "concatenate, with_array": (
        lambda layer: with_array(chain(concatenate(layer, Linear()), Softmax())),
        DOCS,
        LABELS,
    ),
    "own combinator": (Own.two_heads, X, Y),
    "own combinator in chain": (lambda layer: chain(Relu(4, 4), Own.two_heads(layer)), X, Y),
    "init by hand": (Own.by_hand, X, Y),
}


@pytest.mark.parametrize("place", HIDDEN)
def test_a_hidden_module_may_have_its_own_width(wrapper, place):
    build, inputs, labels = HIDDEN[place]
    model = build(wrapper)
    model.initialize(inputs, labels)
    assert wrapper.get_dim("nO") == 3
    assert model.maybe_get_dim("nO") in (7, None) or "concatenate" in place


def test_a_residual_module_may_see_labels(fw):
    model = chain(residual(fw.Wrapper(fw.sequential(*weights(nO=4)))), Softmax())
    model.initialize(X, Y)
    assert model.predict(X).shape == (5, 7)


def test_class_numbers_are_compared_as_far_as_they_go(fw):
    enough = fw.Wrapper(fw.sequential(*weights()))
    # Not every class has to be in a sample.
    enough.initialize(X, numpy.array([0, 1, 1, 0, 1]))
    assert enough.get_dim("nO") == 3
    few = fw.Wrapper(fw.sequential(*weights()))
    with pytest.raises(ValueError, match="gives 3 columns, but the data has 6 labels"):
        few.initialize(X, numpy.array([0, 2, 1, 2, 5]))


def test_one_number_for_each_row_is_no_class(fw):
    model = fw.Wrapper(fw.sequential(*weights(nO=1)))
    model.initialize(X, normal(5))
    assert model.get_dim("nO") == 1


def test_nothing_is_checked_where_thinc_is_another(wrapper, monkeypatch):
    monkeypatch.setattr(position, "_INITS", position._code_of(["chain", "no_layer"], "no_init"))
    chain(Linear(4, 4), wrapper).initialize(X, Y)
    assert position._INITS == []


def test_every_layer_that_is_taken_for_granted_is_there():
    assert len(position._code_of(position._PASS_ON, "init")) == len(position._PASS_ON)
    assert len(position._FORWARDS) == len(position._KEEP_COLUMNS)
