"""PyTorch's kernels run where they can, and a fork waits for them."""

import numpy
import pytest
from spacy_frameworks.wrappers import process
from spacy_frameworks.wrappers.ops import FasterNumpyOps, get_framework_ops
from torch.utils._python_dispatch import TorchDispatchMode

from ..helpers import assert_close, normal

pytestmark = pytest.mark.pytorch

N = 200


class Recorded(TorchDispatchMode):
    """For the time of a `with` block, whether a fork would have waited for each step."""

    def __init__(self):
        super().__init__()
        self.steps = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.steps[str(func)] = process.this_thread.passing._is_owned()
        return func(*args, **(kwargs or {}))


def adam(ops):
    arrays = [normal(N * N, seed=i) ** 2 for i in range(4)]
    return ops.adam(*arrays, 0.9, 0.999, 1e-8, 0.01)[:1]


def layer_norm(ops):
    Y, get_gradients = ops._layer_norm(normal(N, N), normal(N, seed=1), normal(N, seed=2))
    return (Y, *get_gradients(normal(N, N, seed=3)))


def update_averages(ops):
    averages = normal(N, N)
    ops.update_averages(averages, normal(N, N, seed=1), 7)
    return [averages]


def gather_add(ops):
    indices = (numpy.arange(N * 4) % N).reshape((-1, 4)).astype("uint32")
    return [ops.gather_add(normal(N, N), indices)]


KERNELS = {
    "gemm": lambda ops: [ops.gemm(normal(N, N), normal(N, N, seed=1))],
    "affine": lambda ops: [ops.affine(normal(N, N), normal(N, N, seed=1), normal(N))],
    "adam": adam,
    "layer norm": layer_norm,
    "averages": update_averages,
    "gather_add": gather_add,
}


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_a_fork_waits_for_each_and_where_pytorch_cannot_run_numpy_does(kernel, monkeypatch):
    ops = get_framework_ops("PyTorch")
    expected = kernel(FasterNumpyOps())
    with Recorded() as here:
        found = kernel(ops)
    assert here.steps and all(here.steps.values()), here.steps
    monkeypatch.setitem(process._why_not, "pytorch", process.IN_A_PASS)
    with Recorded() as there:
        without = kernel(ops)
    assert there.steps == {}
    for arrays in (found, without):
        for array, other in zip(arrays, expected):
            assert_close(array, other, 1e-4)


def test_a_gradient_of_a_kernel_that_ran_before_a_fork_is_numpys_after_it(monkeypatch):
    X, G, b, dY = normal(N, N), normal(N, seed=1), normal(N, seed=2), normal(N, N, seed=3)
    get_gradients = get_framework_ops("PyTorch")._layer_norm(X, G, b)[1]
    expected = get_gradients(dY)
    monkeypatch.setitem(process._why_not, "pytorch", process.IN_A_PASS)
    with Recorded() as there:
        found = get_gradients(dY)
    assert there.steps == {}
    for array, other in zip(found, expected):
        assert_close(array, other, 1e-4)
