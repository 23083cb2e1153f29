"""What a forked process finds of its parent's passes."""

import multiprocessing
import pickle
import signal
import threading
import time

import numpy
import pytest
from spacy_frameworks.wrappers import process

from ..reliability.processes import in_child
from .helpers import normal

pytestmark = [
    pytest.mark.skipif(
        "fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork here"
    ),
    # JAX warns of every fork.
    pytest.mark.filterwarnings("ignore:os.fork"),
]


@pytest.fixture
def slow(fw):
    """A model whose passes take as long as they are told, once: events of its begin and end."""
    begun, end = threading.Event(), threading.Event()
    model = fw.Wrapper(fw.linear(normal(3, 4), normal(3)))
    convert = model.attrs["convert_inputs"]

    def convert_inputs(model, X, is_train):
        if not begun.is_set():
            begun.set()
            assert end.wait(60)
        return convert(model, X, is_train)

    model.attrs["convert_inputs"] = convert_inputs
    thread = threading.Thread(target=lambda: model.predict(normal(5, 4)))
    thread.start()
    assert begun.wait(60)
    yield model, end
    end.set()
    thread.join()


def test_a_fork_waits_for_the_passes_of_other_threads(fw, slow):
    model, end = slow
    timer = threading.Timer(0.2, end.set)
    start = time.monotonic()
    timer.start()
    assert in_child(lambda: "forked") == "forked"
    assert time.monotonic() - start > 0.2
    # Others may go on.
    threads = [threading.Thread(target=lambda: model.predict(normal(5, 4))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("method", "copied"), [("copied_model", lambda m: m.copy()), ("reduced", pickle.dumps)]
)
def test_a_fork_waits_for_copies_that_other_threads_make(fw, monkeypatch, method, copied):
    model = fw.Wrapper(fw.linear(normal(3, 4), normal(3)))
    module = type(model.shims[0].module)
    begun, end, original = threading.Event(), threading.Event(), getattr(module, method)

    def slow(*args):
        begun.set()
        assert end.wait(60)
        return original(*args)

    monkeypatch.setattr(module, method, slow)
    thread = threading.Thread(target=copied, args=[model])
    thread.start()
    assert begun.wait(60)
    timer = threading.Timer(0.2, end.set)
    start = time.monotonic()
    timer.start()
    assert in_child(lambda: "forked") == "forked"
    assert time.monotonic() - start > 0.2
    thread.join()


def test_a_pass_that_does_not_end_makes_an_error_in_the_child_and_not_a_hang(fw, slow, monkeypatch):
    model, end = slow
    monkeypatch.setattr(process, "PATIENCE", 0.1)
    said = in_child(lambda: model.predict(normal(5, 4)).tolist())
    assert said.startswith("RuntimeError: this process was forked while another thread was in")
    end.set()
    assert model.predict(normal(5, 4)).shape == (5, 3)


def test_a_pass_may_fork(fw):
    """It does not wait for itself, and neither does one within another."""
    model = fw.Wrapper(fw.linear(normal(3, 4), normal(3)))
    convert = model.attrs["convert_inputs"]
    forked = []

    def convert_inputs(model, X, is_train):
        if not forked:
            forked.append(None)
            model.predict(X)
            forked[0] = in_child(lambda: "forked")
        return convert(model, X, is_train)

    model.attrs["convert_inputs"] = convert_inputs
    start = time.monotonic()
    assert numpy.isfinite(model.predict(normal(5, 4))).all()
    assert forked == ["forked"] and time.monotonic() - start < process.PATIENCE


def test_ctrl_c_while_a_fork_waits_comes_after_it(fw, slow):
    """Python ignores what is raised while a fork is prepared."""
    _, end = slow
    main = threading.main_thread().ident
    threading.Timer(0.3, signal.pthread_kill, [main, signal.SIGINT]).start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        in_child(lambda: "forked")
        for _ in range(100):
            time.sleep(0.02)
    assert time.monotonic() - start < process.PATIENCE
    end.set()
    assert in_child(lambda: "forked") == "forked"
