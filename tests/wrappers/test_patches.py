"""What is changed in Thinc is there while somebody holds it, and the original afterwards."""

from __future__ import annotations

import contextlib
import functools
import gc
import random
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import numpy
import pytest
import thinc.backends
import thinc.layers.layernorm
import thinc.layers.maxout
import thinc.optimizers
from numpy.testing import assert_allclose
from spacy_frameworks.wrappers import (
    patches,
    set_framework_ops,
    undo_framework,
    use_framework_ops,
)
from spacy_frameworks.wrappers.ops import FasterNumpyOps
from spacy_frameworks.wrappers.patches import ALLOCATORS, ARITHMETIC, Function, Held, Replacement
from thinc.api import (
    Adam,
    CupyOps,
    LayerNorm,
    Linear,
    Maxout,
    NumpyOps,
    chain,
    fix_random_seed,
    get_current_ops,
    set_current_ops,
)

from ..changes import attributes, changed
from ..frameworks import KERNELS, WRAPPED

PLACES = ["thinc.layers.layernorm:forward", "thinc.layers.maxout:forward"]
PLACES.append("thinc.optimizers:get_array_ops")

ORIGINALS = {
    thinc.layers.layernorm: thinc.layers.layernorm.forward,
    thinc.layers.maxout: thinc.layers.maxout.forward,
    thinc.optimizers: thinc.optimizers.get_array_ops,
}


def are_changed():
    """Whether Thinc is changed; never in a part alone."""
    names = {thinc.optimizers: "get_array_ops"}
    is_original = {
        vars(module)[names.get(module, "forward")] is original
        for module, original in ORIGINALS.items()
    }
    assert len(is_original) == 1
    return not is_original.pop()


@pytest.fixture(autouse=True)
def everything_is_left():
    before = get_current_ops()
    yield
    undo_framework()
    set_current_ops(before)
    assert not are_changed()


IMPORTS = """
import sys
import spacy, spacy.pipeline.factories, spacy.training, thinc.api
from tests.changes import attributes, changed
before = attributes()
import numpy
from spacy_frameworks import architectures, training, wrappers
from spacy_frameworks.architectures import per_framework, requirements, usage_page
from spacy_frameworks.wrappers.framework import FRAMEWORKS, NUMPY
from spacy_frameworks.wrappers.ops import get_framework_ops, ops_class
print(changed(before))
for fw in (*FRAMEWORKS, NUMPY):
    assert ops_class(fw)().gemm(*[numpy.ones((9, 9), "float32")] * 2)[0, 0] == 9
    ops_class(fw)(threads=2, kernel="numpy")
for name in sys.argv[1:]:
    get_framework_ops(name)
    from importlib import import_module
    fw = import_module(f"tests.wrappers.modules.{name}")
    from tests.wrappers.helpers import normal, weights
    model = fw.Wrapper(fw.sequential(*weights()))
    Y, backprop = model.begin_update(normal(5, 4))
    backprop(Y)
    model.finish_update(thinc.api.Adam(0.1))
    architectures.build_tagger(name)
print(changed(before))
"""


def test_imports_and_constructors_change_nothing_but_the_named_exception(run_python):
    exception = [f"{row.owner}:{row.name}" for row in ALLOCATORS]
    assert run_python(IMPORTS).splitlines() == [str(exception)] * 2


@pytest.mark.parametrize("framework", WRAPPED)
def test_constructors_of_a_frameworks_ops_and_wrappers_change_nothing(framework, run_python):
    exception = [f"{row.owner}:{row.name}" for row in ALLOCATORS]
    assert run_python(IMPORTS, framework.lower()).splitlines() == [str(exception)] * 2


def test_the_table_says_what_why_and_by_which_mark():
    rows = [*ARITHMETIC, *ALLOCATORS, *patches.MXNET]
    assert all(len(row.why.split()) > 5 for row in rows)
    assert [f"{row.owner}:{row.name}" for row in ARITHMETIC] == [PLACES[2], *PLACES[:2]]


@pytest.mark.parametrize("framework", KERNELS)
def test_after_a_block_everything_is_as_it_was(framework):
    before = attributes()
    with use_framework_ops(framework):
        assert changed(before) == PLACES
        with use_framework_ops(framework):
            assert changed(before) == PLACES
        assert changed(before) == PLACES
    assert changed(before) == []
    with pytest.raises(ZeroDivisionError), use_framework_ops(framework):
        1 / 0  # noqa: B018
    assert changed(before) == []


@pytest.mark.parametrize("framework", KERNELS)
@pytest.mark.parametrize("statement", [use_framework_ops, set_framework_ops])
def test_after_an_undo_everything_is_as_it_was(framework, statement):
    before, ops = attributes(), get_current_ops()
    for _ in range(3):
        statement(framework)
        # Nobody holds on to the object.
        gc.collect()
        assert changed(before) == PLACES
    undo_framework()
    assert changed(before) == [] and get_current_ops() is ops
    undo_framework()
    assert changed(before) == [] and get_current_ops() is ops
    statement(framework)
    assert changed(before) == PLACES


def test_thincs_own_ops_need_no_changes():
    with use_framework_ops("Thinc"):
        assert not are_changed()
    set_framework_ops("Thinc")
    assert not are_changed()


def test_on_a_gpu_nothing_is_changed():
    ops = CupyOps()
    set_current_ops(ops)
    set_framework_ops("NumPy")
    assert get_current_ops() is ops and not are_changed()
    with use_framework_ops("NumPy") as current:
        assert current is ops and not are_changed()
    undo_framework()
    assert get_current_ops() is ops


def test_a_name_that_is_refused_changes_nothing():
    for arguments in ({"framework": "pytroch"}, {"framework": "NumPy", "kernel": "mkl"}):
        with pytest.raises(ValueError, match="Unknown"):
            set_framework_ops(**arguments)
    assert not are_changed()


# Blocks and statements in one another's way


def test_an_undo_inside_of_a_block_leaves_the_block_its_own():
    before = get_current_ops()
    set_framework_ops("NumPy")
    with use_framework_ops("NumPy") as ops:
        undo_framework()
        assert get_current_ops() is ops and are_changed()
    assert get_current_ops() is before and not are_changed()
    with use_framework_ops("NumPy") as ops:
        set_framework_ops("NumPy")
        assert get_current_ops() is not ops
        undo_framework()
        assert get_current_ops() is ops and are_changed()
    assert get_current_ops() is before and not are_changed()
    use = use_framework_ops("NumPy")
    undo_framework()
    with use as ops:
        undo_framework()
        assert get_current_ops() is ops and are_changed()
    assert get_current_ops() is before and not are_changed()


def test_a_statement_before_a_block_outlives_it():
    set_framework_ops("NumPy")
    ops = get_current_ops()
    with use_framework_ops("Thinc"):
        assert are_changed()
    assert get_current_ops() is ops and are_changed()
    with use_framework_ops("NumPy"):
        pass
    assert get_current_ops() is ops and are_changed()


def test_one_object_in_many_blocks():
    before = get_current_ops()
    use = use_framework_ops("NumPy")
    for _ in range(2):
        with use as outer:
            with use as inner:
                assert inner is outer is get_current_ops() and are_changed()
            assert get_current_ops() is outer and are_changed()
        assert get_current_ops() is before and not are_changed()
    use = use_framework_ops("NumPy")
    undo_framework()
    set_framework_ops("NumPy")
    ops = get_current_ops()
    with use:
        assert get_current_ops() is not ops
    assert get_current_ops() is ops and are_changed()


def block(framework):
    with use_framework_ops(framework) as ops:
        while True:
            yield ops


@pytest.mark.parametrize("framework", KERNELS)
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)])
def test_blocks_that_overlap(framework, order):
    before = get_current_ops()
    blocks = [block(framework) for _ in range(3)]
    ops = [next(each) for each in blocks]
    is_open = [True] * 3
    for i in order:
        blocks[i].close()
        is_open[i] = False
        current = [each for each, there in zip(ops, is_open) if there] or [before]
        assert get_current_ops() is current[-1]
        assert are_changed() == any(is_open)


def test_a_block_that_is_left_in_another_context():
    before = get_current_ops()
    opened = copy_context()
    ran = block("NumPy")
    ops = opened.run(next, ran)
    assert get_current_ops() is before and are_changed()
    ran.close()
    assert get_current_ops() is before and not are_changed()
    assert opened.run(get_current_ops) is ops
    with ThreadPoolExecutor(1) as pool:
        ran = block("NumPy")
        pool.submit(next, ran).result()
        assert get_current_ops() is before and are_changed()
        ran.close()
        assert get_current_ops() is before and not are_changed()


def test_the_block_around_one_that_was_left_in_another_thread():
    before = get_current_ops()
    with ThreadPoolExecutor(1) as pool, use_framework_ops("NumPy"):
        ran = block("NumPy")
        next(ran)
        pool.submit(ran.close).result()
        assert are_changed()
    assert get_current_ops() is before and not are_changed()
    # The first of two that overlap, and what comes afterwards.
    blocks = [block("NumPy"), block("NumPy")]
    _, ops = [next(each) for each in blocks]
    with ThreadPoolExecutor(1) as pool:
        pool.submit(blocks[0].close).result()
    assert get_current_ops() is ops and are_changed()
    blocks[1].close()
    assert get_current_ops() is before and not are_changed()


def forward_and_back(ops=None):
    """What a model of the layers that are changed gives, and what it is after a step."""
    fix_random_seed(0)
    model = chain(Maxout(5, 4, 3), LayerNorm(5), Linear(2)).initialize(
        X=numpy.ones((1, 4), "float32")
    )
    return model, run(model)


def run(model, step=True):
    rng = numpy.random.RandomState(0)
    X, dY = (rng.normal(size=(150, n)).astype("float32") for n in (4, 2))
    Y, backprop = model.begin_update(X)
    results = [Y, backprop(dY), model.predict(X)]
    if step:
        model.finish_update(Adam(0.1))
        results.append(model.predict(X))
    return results


def assert_same(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        assert_allclose(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("framework", KERNELS)
def test_models_that_outlive_their_block_give_the_same(framework):
    stock, expected = forward_and_back()
    with use_framework_ops(framework) as ops:
        model, inside = forward_and_back()
        assert_same(inside, expected)
        # One that was made before runs as ever.
        assert_same(run(stock, step=False), run(model, step=False))
    assert {node.ops for node in model.walk()} == {ops}
    expected = run(stock)
    assert_same(run(model), expected)
    again = model.copy()
    assert {type(node.ops) for node in again.walk()} == {NumpyOps}
    assert_same(run(again, step=False), run(stock, step=False))
    # And one that Thinc made, on our ops.
    set_current_ops(ops)
    _, outside = forward_and_back()
    assert not are_changed()
    assert_same(outside, inside)


@pytest.mark.parametrize("framework", KERNELS)
def test_many_threads_enter_and_leave(framework):
    _, expected = forward_and_back()
    wrong, start = [], threading.Barrier(4)

    def work(seed):
        draw = random.Random(seed)
        start.wait()
        with contextlib.suppress(Exception):
            for _ in range(30):
                with use_framework_ops(framework) as ops:
                    model = chain(Maxout(5, 4, 3), LayerNorm(5), Linear(2))
                    if not (are_changed() and get_current_ops() is ops is model.ops):
                        wrong.append("inside")
                if draw.random() < 0.3:
                    set_framework_ops(framework)
                if draw.random() < 0.3:
                    undo_framework()
            return
        wrong.append("failed")

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    undo_framework()
    assert not wrong and not are_changed()
    _, after = forward_and_back()
    assert_same(after, expected)


# What is recognized


def renamed(function, original):
    function.__module__, function.__qualname__ = original.__module__, original.__qualname__
    return function


def other_epsilon(original):
    def forward(model, X, is_train):
        mu, var = X.mean(axis=1, keepdims=True), X.var(axis=1, keepdims=True) + 1e-5
        Y = (X - mu) / numpy.sqrt(var) * model.get_param("G") + model.get_param("b")
        _, backprop = original(model, X, is_train)
        return Y, backprop

    return forward


def other_argument(original):
    def forward(model, X, is_train, eps=1e-8):
        return original(model, X, is_train)

    return forward


def decorated(original):
    @functools.wraps(original)
    def forward(*args):
        return original(*args)

    return forward


def fails(original):
    def forward(model, X, is_train):
        raise RuntimeError

    return forward


@pytest.mark.parametrize("change", [other_epsilon, other_argument, decorated, fails])
def test_an_original_that_is_not_known_is_left_alone_with_one_warning(change, monkeypatch):
    original = thinc.layers.layernorm.forward
    theirs = renamed(change(original), original)
    monkeypatch.setattr(thinc.layers.layernorm, "forward", theirs)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            with use_framework_ops("NumPy"):
                assert thinc.layers.layernorm.forward is theirs
                # The others are changed all the same.
                assert thinc.layers.maxout.forward is not ORIGINALS[thinc.layers.maxout]
            assert thinc.layers.layernorm.forward is theirs
    (warning,) = caught
    assert "thinc.layers.layernorm.forward is not the one" in str(warning.message)
    monkeypatch.undo()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with use_framework_ops("NumPy"):
            assert are_changed()


@pytest.mark.parametrize("row", [*ARITHMETIC, *ALLOCATORS], ids=lambda row: row.owner + row.name)
def test_each_row_leaves_alone_what_it_does_not_know(row, monkeypatch):
    def other(*args):
        raise AssertionError

    own = Replacement(row.owner, row.name, row.ours, row.why, row.known)
    module = row.owner.partition(":")[0]
    monkeypatch.setattr(f"{module}.{row.name}", other)
    held = Held()
    with pytest.warns(UserWarning, match=f"{row.name} is not the one .*{row.why[:20]}"):
        held.enter(own)
    assert getattr(own, "_find")() is other  # noqa: B009
    held.leave_all()


def test_a_place_that_is_not_there_is_left_alone():
    known = Function("thinc.layers.gone:forward")
    for owner in ("thinc.layers.gone", "thinc.model:Gone"):
        row = Replacement(owner, "forward", f"{__name__}:run", "It is faster by far.", known)
        held = Held()
        with pytest.warns(UserWarning, match=f"{owner}.forward is not the one"):
            held.enter(row)
        held.enter(row)
        held.leave_all()


def test_another_normalization_that_does_the_same_is_as_good():
    """Releases of Thinc may write it in another way."""
    original = thinc.layers.layernorm.forward

    def forward(model, X, is_train):
        return original(model, X.copy(), is_train)

    (row,) = (row for row in ARITHMETIC if row.owner == "thinc.layers.layernorm")
    assert row.known(original) and row.known(renamed(forward, original))


def test_what_somebody_else_puts_in_the_place_of_ours_stays():
    with use_framework_ops("NumPy"):
        ours = thinc.layers.maxout.forward

        def theirs(model, X, is_train):
            return ours(model, X, is_train)

        thinc.layers.maxout.forward = theirs
    assert thinc.layers.maxout.forward is theirs
    # They put back what they have found, when it is nobody's any more.
    thinc.layers.maxout.forward = ours
    with use_framework_ops("NumPy"):
        assert are_changed()
    assert not are_changed()


def test_the_models_ids_are_those_without_a_change(run_python):
    """Embeddings hash with them."""
    code = """
import sys
from thinc.api import Model, Linear
from spacy_frameworks.wrappers import use_framework_ops
with use_framework_ops(sys.argv[1]):
    print(Linear().id)
"""
    assert run_python(code, "NumPy") == run_python(code, "Thinc") == "1\n"


def test_a_forked_process_enters_and_leaves(run_python):
    code = """
import os, threading, time
from spacy_frameworks.wrappers import patches, use_framework_ops
taken = threading.Event()
def keep():
    with patches._lock:
        taken.set()
        time.sleep(0.5)
threading.Thread(target=keep).start()
taken.wait()
child = os.fork() if hasattr(os, "fork") else 0
with use_framework_ops("NumPy"):
    pass
if child:
    assert os.waitpid(child, 0)[1] == 0
"""
    run_python(code)


def test_ours_are_current_in_a_block_alone():
    assert not isinstance(get_current_ops(), FasterNumpyOps)
    assert thinc.optimizers.get_array_ops is thinc.backends.get_array_ops
