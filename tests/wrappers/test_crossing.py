"""Arrays cross from CuPy to a framework and back. A stand-in for CuPy lends the host's memory here;
what only a GPU can show is in tests/gpu."""

import sys

import numpy
import pytest
from numpy.testing import assert_array_equal
from spacy_frameworks.wrappers import arrays as shared_arrays

from .. import stand_in_gpu
from ..frameworks import IDS, SHIPPED_IDS, cases
from .conftest import modules_of
from .helpers import assert_close, normal

# What starts at the second row begins at no multiple of 64 bytes.
VIEWS = {
    "whole": lambda X: X,
    "columns": lambda X: X[:, :5],
    "transposed": lambda X: X.T,
    "every second": lambda X: X[::2],
    "from the second on": lambda X: X[1:],
    "backwards": lambda X: X[::-1],
}


# PyTorch shares its memory with CuPy where that is safe.
COPYING = cases(name for name in IDS if name != "pytorch")


@pytest.fixture(params=SHIPPED_IDS)
def fw(request, monkeypatch):
    """The modules of one framework, where arrays of the stand-in cross as CuPy's do."""
    fw = modules_of(request.param)
    own_arrays = sys.modules[f"spacy_frameworks.wrappers.{fw.ID}.arrays"]
    monkeypatch.setattr(shared_arrays, "cupy", stand_in_gpu.cupy())
    monkeypatch.setattr(
        own_arrays, "is_cupy_array", lambda array: isinstance(array, stand_in_gpu.ndarray)
    )
    if hasattr(own_arrays, "is_on_cpu"):
        monkeypatch.setattr(own_arrays, "is_on_cpu", lambda tensor: False)
    return fw


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_views_of_all_kinds_cross(fw, view):
    X = view(stand_in_gpu.array(normal(6, 7)))
    # Doubled, since memory that is not aligned shows when TensorFlow computes with it.
    assert_array_equal(fw.tensor2xp(fw.xp2tensor(X) * 2), X * 2)


@pytest.mark.parametrize("fw", COPYING, indirect=True)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_has_crossed_and_what_comes_back_may_be_written_into(fw, dtype):
    X = stand_in_gpu.array(normal(3, 4).astype(dtype))
    expected = X.astype("float32")
    tensor = fw.xp2tensor(X)
    X[...] = 0
    came = fw.tensor2xp(tensor)
    assert_array_equal(came, expected)
    came[...] = 0
    assert_array_equal(fw.tensor2xp(tensor), expected)


def test_outputs_and_gradients_may_be_written_into(fw):
    W, b, X, dY = normal(3, 4), normal(3), normal(5, 4), normal(5, 3, seed=1)
    model = fw.Wrapper(fw.activated(W, b))
    Y, backprop = model.begin_update(X)
    expected = numpy.tanh(X.astype("float64") @ W.T + b)
    assert_close(Y, expected)
    # As Thinc's add() does.
    Y += 1
    d_inner = dY * (1 - expected**2)
    dX = backprop(dY)
    assert_close(dX, d_inner @ W)
    dX[...] = 0
    module = model.shims[0].module
    (db,) = [h for h in module.parameters().values() if module.get_value(h).ndim == 1]
    assert_close(module.get_gradient(db), d_inner.sum(0))
