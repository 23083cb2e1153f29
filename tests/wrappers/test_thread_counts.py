"""Small kernels run on one thread, and nothing else is changed by that."""

from __future__ import annotations

import os

import pytest
from spacy_frameworks.wrappers import PyTorchWrapper, use_framework_ops

from ..frameworks import WRAPPED

TWO = {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}

# Records how many threads NumPy's and PyTorch's products have while they run.
RECORD = """
import sys
from concurrent.futures import ThreadPoolExecutor
import numpy
from spacy_frameworks.wrappers import PyTorchWrapper, use_framework_ops
from spacy_frameworks.wrappers.ops import get_framework_ops
from spacy_frameworks.wrappers.threads import _numpys_pool

assert _numpys_pool().get_num_threads() == 2
counts, dot = [], numpy.dot
def recorded(*args):
    counts.append(_numpys_pool().get_num_threads())
    return dot(*args)
numpy.dot = recorded
framework = sys.argv[1]
ops = get_framework_ops(framework)
more = get_framework_ops(framework, threads=2)
if framework == "PyTorch":
    import torch
    assert torch.get_num_threads() == 2
    mm = torch.mm
    def recorded_mm(*args, **kwargs):
        counts.append(torch.get_num_threads())
        return mm(*args, **kwargs)
    torch.mm = recorded_mm
X = numpy.ones((600, 600), dtype="float32")

def outside():
    threads = [_numpys_pool().get_num_threads()]
    return threads + ([torch.get_num_threads()] if framework == "PyTorch" else [])
before = outside()
"""


# One process for all, because each has to import the framework.
PRODUCTS = """
for each in (ops, more, ops):
    each.gemm(X, X)
assert counts == [1, 2, 1], counts
assert outside() == before

# After an error.
def broken(*args, **kwargs):
    return 1 / 0
numpy.dot = broken
if framework == "PyTorch":
    torch.mm = broken
try:
    ops.gemm(X, X)
except ZeroDivisionError:
    assert outside() == before
else:
    raise AssertionError
numpy.dot = recorded
if framework == "PyTorch":
    torch.mm = recorded_mm

counts.clear()
with ThreadPoolExecutor(8) as pool:
    list(pool.map(lambda _: ops.gemm(X, X), range(40)))
assert outside() == before, (outside(), before)
assert set(counts) == {1}, counts
"""


@pytest.mark.parametrize("framework", WRAPPED)
def test_products_run_on_as_many_threads_as_asked_for_and_then_the_count_is_as_before(
    framework, run_python
):
    run_python(RECORD + PRODUCTS, framework, env=TWO)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_has_the_count_from_before_other_threads_products(run_python):
    code = """
import os
from spacy_frameworks.wrappers.threads import _numpys_pool, numpy_threads

pool = _numpys_pool()
assert pool.get_num_threads() == 2
numpy_threads.limit(1)
child = os.fork()
if child == 0:
    numpy_threads.limit(1)
    numpy_threads.release(1)
    os._exit(pool.get_num_threads())
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
assert pool.get_num_threads() == 1
numpy_threads.release(1)
assert pool.get_num_threads() == 2
"""
    run_python(code, env=TWO)


@pytest.mark.pytorch
def test_a_wrapped_module_runs_on_the_threads_that_it_was_given(run_python):
    code = """
class Recorded(torch.autograd.Function):
    @staticmethod
    def forward(context, X):
        counts.append(torch.get_num_threads())
        return X * 2
    @staticmethod
    def backward(context, dY):
        counts.append(torch.get_num_threads())
        return dY * 2
class Module(torch.nn.Module):
    def forward(self, X):
        return Recorded.apply(X)
for threads in (1, None):
    model = PyTorchWrapper(Module(), threads=threads)
    model.predict(X)
    Y, backprop = model.begin_update(X)
    backprop(Y)
assert outside() == before
print(counts)
"""
    assert run_python(RECORD + code, "PyTorch", env=TWO).strip() == "[1, 1, 1, 2, 2, 2]"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.pytorch
def test_a_forked_process_computes_on_one_thread_however_many_were_asked_for(run_python):
    """The others are its parent's, and to wait for them would never end."""
    code = """
import os, signal

model = PyTorchWrapper(torch.nn.Linear(600, 600), threads=2)
X = X[:] * 1.5
expected = model.predict(X), more.gemm(X, X)
Y, backprop = model.begin_update(X)
counts.clear()
child = os.fork()
if child == 0:
    signal.alarm(30)
    for came, was in zip((model.predict(X), more.gemm(X, X)), expected):
        numpy.testing.assert_allclose(came, was, rtol=1e-4, atol=1e-4)
    backprop(Y)
    assert set(counts) == {1}, counts
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
more.gemm(X, X)
assert set(counts) == {2}, counts
"""
    run_python(RECORD + code, "PyTorch", env=TWO)


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "2"])
@pytest.mark.pytorch
def test_what_is_no_number_of_threads_is_refused(threads):
    import torch

    with pytest.raises(ValueError, match=r"a number of threads of at least 1, got"):
        PyTorchWrapper(torch.nn.Linear(2, 3), threads=threads)
    with pytest.raises(ValueError, match=r"a number of threads of at least 1, got"):
        use_framework_ops("PyTorch", threads=threads)
