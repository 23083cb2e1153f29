"""Ctrl-C may come at any moment of a pass, and nothing stays as the pass had set it."""

import itertools
import sys

import pytest
from numpy.testing import assert_array_equal

from .helpers import normal, take_gradients

# Functions that set something for the time of a pass, with those that they call.
SETTING = {"__enter__", "__exit__", "train", "eval"}


def interrupted(run, moment):
    """Run a function, and raise KeyboardInterrupt at so many of Python's steps into those that set
    something. Returns whether there were so many."""
    steps = itertools.count()

    def trace(frame, event, arg):
        names = {frame.f_code.co_name, frame.f_back.f_code.co_name}
        if names & SETTING and next(steps) == moment:
            sys.settrace(None)
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    return next(steps) > moment


# What an interrupt leaves half made, and what is interrupted as it is destroyed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_leaves_nothing_behind(fw):
    model, X = fw.Wrapper(fw.with_dropout(fw.linear(normal(3, 4), normal(3)), 0.5)), normal(5, 4)
    expected, before = model.predict(X), fw.thread_state()

    def predict():
        model.predict(X)

    def begin_update():
        model.begin_update(X)

    def both():
        Y, backprop = model.begin_update(X)
        backprop(Y)

    # Frameworks that trace have done so, then.
    both()
    both()
    # What goes before puts the layers in the other mode.
    for other, run in ((begin_update, predict), (predict, both)):
        other()
        moment = 0
        while interrupted(run, moment):
            assert fw.thread_state() == before, moment
            assert_array_equal(model.predict(X), expected)
            other()
            moment += 1
    take_gradients(model)
    Y, backprop = model.begin_update(X)
    assert backprop(Y).shape == X.shape
