"""Every case runs in an interpreter of its own, or a copy of one: an import can be tried only once
in each."""

from typing import Iterator

import pytest

from ...prepared import Prepared

# What is asked is what MXNet changes: SciPy, which it imports where it is installed, imports parts
# of NumPy that NumPy 2 loads late.
INSTALL = """
import contextlib, importlib, importlib.util, pickle, sys, threading, warnings
with contextlib.suppress(ImportError):
    import scipy.stats
import spacy_frameworks.wrappers.mxnet.compat as compat
compat.install()
"""


@pytest.fixture(scope="module")
def prepared() -> Iterator[Prepared]:
    with Prepared(INSTALL) as prepared:
        yield prepared


@pytest.fixture
def run(prepared, tmp_path):
    """Run code in an interpreter in which nobody has tried to import MXNet."""

    def run(code):
        done = prepared.run(INSTALL + code, tmp_path)
        assert done.returncode == 0, done.output

    return run


@pytest.mark.mxnet
def test_install_imports_nothing_and_can_be_repeated(run):
    run(
        """
import time
loaded, finders = set(sys.modules), list(sys.meta_path)
start = time.process_time()
compat.install()
assert time.process_time() - start < 0.01
assert set(sys.modules) == loaded and sys.meta_path == finders
assert "mxnet" not in loaded and "distutils" not in loaded
sys.meta_path.remove(compat._FINDER)
compat.install()
assert sys.meta_path[0] is compat._FINDER and set(sys.modules) == loaded
"""
    )


def test_uninstall_leaves_the_import_as_python_has_it(run):
    run(
        """
compat.uninstall()
plain = importlib.util.find_spec("mxnet")
assert compat._FINDER not in sys.meta_path
assert plain is None or type(plain.loader) is not compat._Loader
compat.uninstall()
compat.install()
assert sys.meta_path[0] is compat._FINDER
assert plain is None or type(importlib.util.find_spec("mxnet").loader) is compat._Loader
"""
    )


def test_importing_the_wrappers_is_enough_and_undoing_a_framework_keeps_it(run_python):
    run_python(
        """
import sys
from spacy_frameworks.wrappers import set_framework_ops, undo_framework
from spacy_frameworks.wrappers.mxnet import compat
assert sys.meta_path.count(compat._FINDER) == 1
set_framework_ops("NumPy")
undo_framework()
assert sys.meta_path.count(compat._FINDER) == 1
"""
    )


def test_without_mxnet_its_import_fails_as_usual(run, tmp_path):
    run(
        f"""
sys.path[:] = [{str(tmp_path)!r}]
assert importlib.util.find_spec("mxnet") is None
try:
    import mxnet
except ModuleNotFoundError as error:
    assert error.name == "mxnet" and str(error) == "No module named 'mxnet'"
else:
    raise AssertionError
"""
    )


@pytest.mark.mxnet
def test_blocked_mxnet_stays_blocked(run):
    run(
        """
sys.modules["mxnet"] = None
try:
    import mxnet
except ModuleNotFoundError as error:
    assert error.name == "mxnet"
else:
    raise AssertionError
"""
    )


@pytest.mark.mxnet
def test_numpy_is_as_before_when_the_import_fails_in_the_middle(run):
    # MXNet imports `requests` halfway through.
    run(
        """
import numpy, numpy.fft, numpy.random, numpy.testing
before = dict(vars(numpy))
sys.modules["requests"] = None
for _ in range(2):
    try:
        import mxnet
    except ModuleNotFoundError as error:
        assert error.name == "requests", error
    else:
        raise AssertionError
    assert dict(vars(numpy)) == before and "mxnet" not in sys.modules
"""
    )


@pytest.mark.mxnet
def test_names_that_somebody_else_set_stay(run):
    run(
        """
import numpy
numpy.sometrue = mine = numpy.any
import mxnet
assert numpy.sometrue is mine
"""
    )


@pytest.mark.mxnet
def test_spec_says_what_it_says_without_the_hook(run):
    run(
        """
spec = importlib.util.find_spec("mxnet")
sys.meta_path.remove(compat._FINDER)
plain = importlib.util.find_spec("mxnet")
compat.install()
assert "mxnet" not in sys.modules
assert (spec.name, spec.origin, spec.submodule_search_locations) == (
    plain.name, plain.origin, plain.submodule_search_locations)
for loader in (spec.loader, pickle.loads(pickle.dumps(spec.loader))):
    assert loader.get_source("mxnet") == plain.loader.get_source("mxnet")
    assert loader.get_filename("mxnet") == plain.origin
import mxnet
assert type(mxnet.__loader__) is type(mxnet.__spec__.loader) is type(plain.loader)
"""
    )


@pytest.mark.mxnet
def test_threads_that_import_at_the_same_time_get_one_module(run):
    run(
        """
import numpy, numpy.fft, numpy.random, numpy.testing
before, got, start = dict(vars(numpy)), [], threading.Barrier(8)
def work(name):
    compat.install()
    start.wait()
    importlib.import_module(name)
    mxnet = sys.modules["mxnet"]
    got.append((mxnet, mxnet.nd.ones((2,)).sum().asscalar()))
names = ("mxnet", "mxnet.ndarray")
threads = [threading.Thread(target=work, args=(names[i % 2],)) for i in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
import mxnet
assert got == [(mxnet, 2.0)] * 8
assert dict(vars(numpy)) == before and sys.meta_path.count(compat._FINDER) == 1
"""
    )


@pytest.mark.mxnet
def test_missing_distutils_says_what_to_install(run):
    run(
        """
import numpy
before = dict(vars(numpy))
sys.modules["distutils"] = sys.modules["setuptools"] = None
try:
    import mxnet
except ImportError as error:
    assert error.name == "distutils" and "pip install setuptools" in str(error), error
else:
    raise AssertionError
assert dict(vars(numpy)) == before
"""
    )


@pytest.mark.mxnet
def test_mxnet_leaves_numpy_as_it_was(run):
    # MXNet imports these three parts of NumPy, which NumPy 2 loads late. Nothing else may be new.
    run(
        """
import numpy, numpy.fft, numpy.random, numpy.testing
names, before = set(dir(numpy)), dict(vars(numpy))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import mxnet
messages = [str(w.message) for w in caught]
assert [m for m in messages if "numpy" in m.lower() or "np." in m] == []
assert set(dir(numpy)) == names
after = vars(numpy)
assert {k for k in after.keys() | before.keys() if after.get(k) is not before.get(k)} == set()
of_mxnet = [module for name, module in list(sys.modules.items()) if name.startswith("mxnet.")]
assert not any(value is numpy for module in of_mxnet for value in vars(module).values())
"""
    )


@pytest.mark.mxnet
def test_arrays_masks_and_files_of_mxnet(run, tmp_path):
    run(
        f"""
import mxnet as mx, numpy as np
warnings.simplefilter("error")
X = mx.nd.array([[1, 2, 3], [4, 5, 6]])
assert mx.nd.dot(X, X.T).asnumpy().tolist() == [[14, 32], [32, 77]]
assert mx.nd.moveaxis(mx.nd.zeros((2, 3, 4)), 0, -1).shape == (3, 4, 2)
for dtype in (bool, np.bool_, "bool"):
    mask = mx.nd.array([1, 0], dtype=dtype)
    assert mask.dtype == np.bool_ and mask.asnumpy().tolist() == [True, False]
    assert mx.nd.contrib.boolean_mask(X, mask.astype("float32")).asnumpy().tolist() == [[1, 2, 3]]
mx.nd.save({str(tmp_path / "X")!r}, {{"X": X}})
assert mx.nd.load({str(tmp_path / "X")!r})["X"].asnumpy().tolist() == X.asnumpy().tolist()
assert pickle.loads(pickle.dumps(X)).asnumpy().tolist() == X.asnumpy().tolist()
"""
    )


@pytest.mark.mxnet
def test_numpy_like_arrays_of_mxnet(run):
    run(
        """
import mxnet as mx, numpy as np
A = mx.np.array([[1.0, 2.0], [3.0, 4.0]])
assert A[A > 2].tolist() == [3.0, 4.0] and A[True].shape == (1, 2, 2)
A[A > 3] = 0
assert A.tolist() == [[1.0, 2.0], [3.0, 0.0]]
for dtype in (mx.np.bool, mx.np.bool_, bool, "bool"):
    assert A.astype(dtype).tolist() == [[True, True], [True, False]]
    assert mx.np.ones(2, dtype=dtype).dtype == np.bool_
assert mx.np.full((2,), True).dtype == np.bool_ and mx.sym.np.full((2,), True).name
assert mx.np.array([True, False]).tolist() == [1.0, 0.0]
padded = mx.np.pad(A, ((1, 0), (0, 0)), mode="constant")
assert padded.tolist() == [[0.0, 0.0], [1.0, 2.0], [3.0, 0.0]]
assert mx.np.in1d(A, mx.np.array([3.0])).tolist() == [False, False, True, False]
assert mx.np.msort(A).tolist() == [[1.0, 0.0], [3.0, 2.0]] and mx.np.trapz(A).tolist() == [1.5, 1.5]
assert not mx.np.alltrue(A) and np.any(A) and np.prod(A, axis=0).tolist() == [3.0, 0.0]
assert np.round(A + 0.26, 1).tolist()[0] == np.float32([1.3, 2.3]).tolist()
mx.test_utils.assert_almost_equal(A, A)
"""
    )


@pytest.mark.mxnet
def test_gradients_of_mxnet(run):
    run(
        """
import mxnet as mx, numpy as np
warnings.simplefilter("error")
X = np.linspace(-1, 1, 12, dtype="f").reshape(4, 3)
net = mx.gluon.nn.HybridSequential()
net.add(mx.gluon.nn.Dense(5, in_units=3), mx.gluon.nn.LayerNorm(in_channels=5))
net.initialize(mx.init.Xavier())
net.hybridize()
data = mx.nd.array(X)
data.attach_grad()
with mx.autograd.record():
    Y = net(data)
    loss = (Y * Y * mx.nd.array(np.arange(5))).sum()
loss.backward()
def forward(X):
    W, b, gamma, beta = (p.data().asnumpy().astype("d") for p in net.collect_params().values())
    H = X @ W.T + b
    return gamma * (H - H.mean(1, keepdims=True)) / np.sqrt(H.var(1, keepdims=True) + 1e-5) + beta
np.testing.assert_allclose(Y.asnumpy(), forward(X.astype("d")), rtol=1e-4, atol=1e-5)
dX = np.zeros((4, 3))
for i in np.ndindex(4, 3):
    step = np.zeros((4, 3))
    step[i] = 1e-5
    dX[i] = ((forward(X + step) ** 2 - forward(X - step) ** 2) * np.arange(5)).sum() / 2e-5
np.testing.assert_allclose(data.grad.asnumpy(), dX, rtol=1e-3, atol=1e-3)
"""
    )


@pytest.mark.mxnet
def test_training_an_lstm_of_mxnet(run, tmp_path):
    run(
        f"""
import mxnet as mx, numpy as np
warnings.simplefilter("error")
mx.random.seed(0)
def make():
    net = mx.gluon.nn.HybridSequential(prefix="net_")
    with net.name_scope():
        net.add(mx.gluon.rnn.LSTM(8, layout="NTC", bidirectional=True, input_size=4))
        net.add(mx.gluon.nn.LayerNorm(in_channels=16))
        net.add(mx.gluon.nn.Dense(2, flatten=False, in_units=16))
    return net
net = make()
net.initialize()
X = mx.nd.random.normal(shape=(3, 5, 4))
truth = X.sum(axis=2) > 0
plain = net(X).asnumpy()
net.hybridize()
np.testing.assert_allclose(net(X).asnumpy(), plain, rtol=1e-5, atol=1e-6)
trainer = mx.gluon.Trainer(net.collect_params(), "adam", {{"learning_rate": 0.01}})
get_loss, losses = mx.gluon.loss.SoftmaxCrossEntropyLoss(), []
for _ in range(20):
    with mx.autograd.record():
        loss = get_loss(net(X), truth).mean()
    loss.backward()
    trainer.step(1)
    losses.append(float(loss.asscalar()))
assert losses[-1] < 0.7 * losses[0], losses
net.save_parameters({str(tmp_path / "net")!r})
other = make()
other.load_parameters({str(tmp_path / "net")!r})
np.testing.assert_allclose(other(X).asnumpy(), net(X).asnumpy(), rtol=1e-5, atol=1e-6)
"""
    )
