"""The frameworks' kernels under Thinc's layers give what Thinc's own ops give."""

import math
import threading

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from spacy_frameworks.wrappers import (
    get_framework,
    set_framework_ops,
    undo_framework,
    use_framework_ops,
)
from spacy_frameworks.wrappers.framework import NUMPY
from spacy_frameworks.wrappers.ops import FasterNumpyOps, get_framework_ops, ops_class
from spacy_frameworks.wrappers.patches import ARITHMETIC, Held
from spacy_frameworks.wrappers.pytorch.processor import has_onednn
from thinc.api import (
    Adam,
    HashEmbed,
    LayerNorm,
    Linear,
    Maxout,
    NumpyOps,
    chain,
    fix_random_seed,
    get_current_ops,
    get_ops,
    set_current_ops,
    use_ops,
)

from ..frameworks import KERNELS
from ..thinc_own.load import eager_ops


@pytest.fixture(autouse=True)
def ops_as_they_were():
    before = get_current_ops()
    yield
    undo_framework()
    set_current_ops(before)


def ops_of(framework):
    return eager_ops(framework)()


@pytest.fixture(params=KERNELS)
def ops(request):
    """A framework's ops, with Thinc's arithmetic outside of its ops on them."""
    held = Held()
    held.enter(*ARITHMETIC)
    yield ops_of(request.param)
    held.leave_all()


def recorded(ops, *names):
    """The names of the methods of these ops that are called from now on."""
    ran = []

    def recorder(name, method):
        def record(*args, **kwargs):
            ran.append(name)
            return method(*args, **kwargs)

        return record

    for name in names:
        setattr(ops, name, recorder(name, getattr(ops, name)))
    return ran


def strided(data, shape):
    """A float32 array of this shape whose memory lies in one of many ways."""
    seed = data.draw(st.integers(0, 2**32 - 1))
    layout = data.draw(st.sampled_from(["C", "F", "reversed", "sliced", "read-only", "rows"]))
    values = numpy.random.RandomState(seed).uniform(-1, 1, shape).astype("float32")
    if layout == "F":
        return numpy.asfortranarray(values)
    elif layout == "reversed":
        return values[::-1, ::-1].copy()[::-1, ::-1]
    elif layout == "sliced":
        larger = numpy.zeros((shape[0] * 2 + 1, shape[1] * 3 + 1), "float32")
        larger[: shape[0] * 2 : 2, : shape[1] * 3 : 3] = values
        return larger[: shape[0] * 2 : 2, : shape[1] * 3 : 3]
    elif layout == "rows":
        larger = numpy.zeros((shape[0], shape[1] + 5), "float32")
        larger[:, 2 : shape[1] + 2] = values
        return larger[:, 2 : shape[1] + 2]
    elif layout == "read-only":
        values.flags.writeable = False
    return values


def check_gemm(ops, data, sizes):
    m, k, n = (data.draw(sizes) for _ in range(3))
    trans1, trans2, has_out = (data.draw(st.booleans()) for _ in range(3))
    x = strided(data, (k, m) if trans1 else (m, k))
    y = strided(data, (n, k) if trans2 else (k, n))
    flags = {"trans1": trans1, "trans2": trans2}
    before = x.copy(), y.copy(), x.flags.writeable, y.flags.writeable
    expected = (x.T if trans1 else x).astype("float64") @ (y.T if trans2 else y).astype("float64")
    out = strided(data, (m, n)) if has_out else None
    if has_out and not out.flags.writeable:
        out.flags.writeable = True
    result = ops.gemm(x, y, out=out, **flags)
    assert_allclose(result, expected, rtol=0, atol=1e-5 * max(k, 1))
    assert result.dtype == "float32" and result.flags.writeable
    assert result is out if has_out else result.flags.c_contiguous
    assert_array_equal(x, before[0])
    assert_array_equal(y, before[1])
    assert (x.flags.writeable, y.flags.writeable) == before[2:]
    if not has_out:
        # NumpyOps's own products are as near.
        assert_allclose(result, NumpyOps().gemm(x, y, **flags), rtol=0, atol=1e-5 * max(k, 1))


PYTORCHS = ["mm", "onednn", "numpy"]


@pytest.mark.pytorch
@pytest.mark.parametrize("kernel", PYTORCHS)
@given(data=st.data())
def test_products_of_each_of_pytorchs_kernels(kernel, data):
    if kernel == "onednn" and not has_onednn():
        pytest.skip("this PyTorch has no oneDNN")
    check_gemm(eager_ops("PyTorch")(kernel=kernel), data, st.integers(0, 70))


@pytest.mark.parametrize("framework", KERNELS)
@given(data=st.data())
def test_products_of_any_shape_and_strides(framework, data):
    check_gemm(ops_of(framework), data, st.integers(0, 20))


@pytest.mark.parametrize("framework", KERNELS)
@given(data=st.data())
def test_larger_products(framework, data):
    check_gemm(ops_of(framework), data, st.integers(50, 130))


@pytest.mark.parametrize("framework", KERNELS)
def test_between_numpys_and_the_frameworks_products(framework):
    ops = get_framework_ops(framework)
    has_own = math.isfinite(ops._min_products)
    ops._min_products = 10 * 50 * 50 if has_own else math.inf
    ran = recorded(ops, "_product", "_numpys_product")
    for rows in (9, 10, 11):
        x, y = numpy.random.rand(rows, 50).astype("f"), numpy.random.rand(50, 50).astype("f")
        assert_allclose(ops.gemm(x, y), x.astype("d") @ y, rtol=1e-5)
    assert ran == ["_numpys_product", *(["_product" if has_own else "_numpys_product"] * 2)]


def test_a_result_outlives_its_operands(ops):
    x = numpy.random.rand(64, 64).astype("float32")
    results = [ops.gemm(x * i, x) for i in range(20)]
    for i, result in enumerate(results):
        assert_allclose(result, i * x.astype("d") @ x, rtol=1e-5)
    results[0] += 1
    assert_allclose(results[1], x.astype("d") @ x, rtol=1e-5)


WRONG = [
    ((2, 3), (2, 3), None, "float32", r"shapes \(2, 3\) and \(2, 3\)"),
    (
        (2, 3, 1),
        (3, 2),
        None,
        "float32",
        "'x' to be a float32 array of 2 dimensions, got float32 and 3",
    ),
    ((2, 3), (3,), None, "float32", "'y' to be .* got float32 and 1"),
    ((2, 3), (3, 2), None, "float64", "'x' to be a float32 .* got float64 and 2.*astype"),
    ((2, 3), (3, 2), (3, 2), "float32", r"'out' to have shape \(2, 2\), got \(3, 2\)"),
]


@pytest.mark.parametrize(("x", "y", "out", "dtype", "message"), WRONG)
def test_wrong_products_are_refused(ops, x, y, out, dtype, message):
    out = None if out is None else numpy.zeros(out, "float32")
    with pytest.raises(ValueError, match=message):
        ops.gemm(numpy.zeros(x, dtype), numpy.zeros(y, dtype), out=out)


@pytest.mark.parametrize("drop", [None, 0.0, 1e-7, 1.0])
def test_no_dropout_is_thincs(ops, drop):
    for shape in [5, (0, 3), (7, 5)]:
        ours, theirs = (each.get_dropout_mask(shape, drop) for each in (ops, NumpyOps()))
        assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype


@pytest.mark.parametrize("drop", [0.05, 0.2, 0.5, 0.95])
def test_dropout_masks(ops, drop):
    fix_random_seed(3)
    mask = ops.get_dropout_mask((400, 400), drop)
    assert mask.dtype == "float32" and mask.flags.writeable
    assert_allclose(numpy.unique(mask), [0, 1 / (1 - drop)], rtol=1e-6)
    # Five standard deviations, of all numbers, of rows and of columns.
    for axis, size in ((None, mask.size), (0, 400), (1, 400)):
        dropped = (mask == 0).mean(axis=axis)
        assert numpy.abs(dropped - drop).max() < 5 * math.sqrt(drop * (1 - drop) / size)
    # Neighbours are independent of each other.
    zero = mask.ravel() == 0
    both = (zero[1:] & zero[:-1]).mean()
    assert abs(both - drop**2) < 5 * math.sqrt(drop**2 / mask.size)
    for shape in (5, (0, 3), (7, 5), (4, 3, 2)):
        size = ops.get_dropout_mask(shape, drop).shape
        assert size == (shape if isinstance(shape, tuple) else (shape,))


def test_one_seed_gives_the_same_dropout_masks_with_all_of_our_ops(ops):
    def drawn(current):
        fix_random_seed(3)
        return [current.get_dropout_mask((7, 5), 0.3) for _ in range(3)]

    first, second, _ = ours = drawn(ops)
    assert_array_equal(ours, drawn(FasterNumpyOps()))
    assert (first != second).any()


def test_layer_normalization(ops):
    rng = numpy.random.RandomState(0)
    for rows in (0, 1, 30):
        X = rng.normal(3, 2, (rows, 12)).astype("float32")
        dY = rng.normal(size=(rows, 12)).astype("float32")
        results = []
        for current in (ops, NumpyOps()):
            set_current_ops(current)
            model = LayerNorm(12).initialize()
            model.set_param("G", numpy.linspace(0.5, 2, 12, dtype="float32"))
            model.set_param("b", numpy.linspace(-1, 1, 12, dtype="float32"))
            Y, backprop = model.begin_update(X)
            dX = backprop(dY)
            results.append((Y, dX, model.get_grad("G"), model.get_grad("b"), model.predict(X)))
        for ours, theirs in zip(*results):
            assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
            assert ours.dtype == "float32"


@pytest.mark.parametrize("use_averages", [False, True])
def test_optimizers_run_on_the_current_ops_and_give_the_same(ops, use_averages):
    def trained(current):
        set_current_ops(current)
        ran = recorded(current, "adam")
        rng = numpy.random.RandomState(0)
        optimizer = Adam(0.01, L2=0.1, grad_clip=5.0, use_averages=use_averages)
        weights = {i: rng.normal(size=(37, i)).astype("float32") for i in (1, 3, 150)}
        for _ in range(20):
            for i, values in weights.items():
                gradient = rng.normal(size=values.shape).astype("float32")
                weights[i], zeros = optimizer((i, "W"), values, gradient)
                assert not zeros.any()
        assert len(ran) == (60 if current is ops else 0)
        return weights, optimizer.averages or {}

    for ours, theirs in zip(trained(ops), trained(NumpyOps())):
        assert set(map(str, ours)) == set(map(str, theirs))
        for key, values in theirs.items():
            assert_allclose(ours[key], values, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [3, 70_000, 2 * 65_536])
def test_adam_and_clipping(ops, size):
    results = []
    for current in (ops, NumpyOps()):
        rng = numpy.random.RandomState(0)
        arrays = [rng.uniform(0.1, 1, size).astype("float32") for _ in range(4)]
        arrays[1] = current.clip_gradient(arrays[1], 2.0)
        results.append(current.adam(*arrays, 0.9, 0.999, 1e-8, 0.01))
        assert not arrays[1].any()
        small = numpy.ones(4, "float32")
        assert_array_equal(current.clip_gradient(small, 2.1), 1)
    for ours, theirs in zip(*results):
        assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("pieces", [1, 2, 3, 4])
def test_maxout(ops, pieces):
    rng = numpy.random.RandomState(0)
    for rows in (1, 30, 200):
        X = rng.normal(size=(rows, 7)).astype("float32")
        dY = rng.normal(size=(rows, 5)).astype("float32")
        results = []
        for current in (ops, NumpyOps()):
            set_current_ops(current)
            model = Maxout(5, 7, pieces).initialize()
            W = numpy.linspace(-1, 1, 35 * pieces, dtype="float32")
            model.set_param("W", numpy.random.RandomState(1).permutation(W).reshape(5, pieces, 7))
            # Of equal pieces, the first one counts.
            model.get_param("W")[0] = model.get_param("W")[0, :1]
            model.set_param("b", numpy.zeros((5, pieces), "float32"))
            Y, backprop = model.begin_update(X)
            dX = backprop(dY)
            results.append((Y, dX, model.get_grad("W"), model.get_grad("b"), model.predict(X)))
        for ours, theirs in zip(*results):
            assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
            assert ours.dtype == "float32"


def test_sums_of_embeddings(ops):
    table = numpy.random.rand(50, 8).astype("float32")
    for rows in (1, 30):
        indices = numpy.random.randint(0, 50, (rows, 4)).astype("uint32")
        assert_allclose(ops.gather_add(table, indices), table[indices].sum(axis=1), rtol=1e-5)
        double = ops.gather_add(table.astype("float64"), indices)
        assert double.dtype == "float64"


def test_a_thinc_model_trains_alike(ops):
    def trained(current):
        with use_ops("numpy"):
            set_current_ops(current)
            fix_random_seed(0)
            model = chain(
                HashEmbed(16, 100, seed=1),
                Maxout(16, 16, 3, normalize=True),
                Linear(4, 16),
            )
            X = numpy.arange(200, dtype="uint64")
            Y = numpy.eye(4, dtype="float32")[numpy.arange(200) % 4]
            model.initialize(X, Y)
            optimizer = Adam(0.01)
            for _ in range(20):
                Yh, backprop = model.begin_update(X)
                backprop((Yh - Y) / len(Y))
                model.finish_update(optimizer)
            return model.predict(X)

    assert_allclose(trained(ops), trained(NumpyOps()), atol=1e-4)


@pytest.mark.parametrize("framework", KERNELS)
def test_the_function_and_the_context_manager(framework):
    before = get_current_ops()
    with use_framework_ops(framework) as ops:
        assert get_current_ops() is ops
        assert isinstance(ops, FasterNumpyOps)
        assert ops.name == ops_class(get_framework(framework, (NUMPY,))).name
        assert Linear(2, 2).ops is ops
        with use_framework_ops("Thinc"):
            assert type(get_current_ops()) is NumpyOps
        assert get_current_ops() is ops
    assert get_current_ops() is before
    for statement in (use_framework_ops, set_framework_ops):
        statement(framework)
        assert isinstance(get_current_ops(), FasterNumpyOps)
        statement("Thinc")
        assert type(get_current_ops()) is NumpyOps


@pytest.mark.parametrize("framework", KERNELS)
def test_the_kernel_is_chosen_seen_and_fixed(framework):
    with use_framework_ops(framework) as ops:
        assert ops.kernel == get_framework_ops(framework).kernel in ops._kernels
    with use_framework_ops(framework, kernel="thinc") as ops:
        assert ops.kernel == "thinc"
        X = numpy.random.rand(90, 80).astype("float32")
        assert_array_equal(ops.gemm(X, X, trans2=True), NumpyOps().gemm(X, X, trans2=True))
    before = get_current_ops()
    with pytest.raises(ValueError, match=r"Unknown kernel 'mkl' of .*'numpy', 'thinc', or None"):
        use_framework_ops(framework, kernel="mkl")
    with pytest.raises(ValueError, match=r"Unknown precision 'float16'.* 'bfloat16'"):
        use_framework_ops(framework, precision="float16")
    assert get_current_ops() is before


def test_an_unknown_name_is_refused_and_changes_nothing():
    before = get_current_ops()
    with pytest.raises(ValueError, match="Did you mean 'PyTorch'"):
        use_framework_ops("pytroch")
    assert get_current_ops() is before


@pytest.mark.parametrize("framework", KERNELS)
def test_thincs_own_ops_stay_everybodys(framework):
    cls = ops_class(get_framework(framework, (NUMPY,)))
    assert type(get_ops("cpu")) is NumpyOps
    assert type(get_ops("numpy")) is NumpyOps
    assert type(get_ops(cls.name)) is cls


@pytest.mark.parametrize("framework", KERNELS)
def test_optimizers_keep_thincs_ops_without_ours(framework):
    def step():
        weights, gradient = numpy.ones((2, 2), "float32"), numpy.ones((2, 2), "float32")
        return Adam(0.1, grad_clip=0.0)((0, "W"), weights, gradient)[0]

    with use_framework_ops(framework) as ops:
        ran = recorded(ops, "adam")
        inside = step()
        assert ran == ["adam"]
        set_current_ops(NumpyOps())
        step()
        set_current_ops(ops)
    assert_allclose(step(), inside, rtol=1e-6)
    # Without the changes to Thinc, even where ours are the current ones.
    set_current_ops(ops)
    step()
    assert ran == ["adam"]


def test_many_threads(ops):
    x = numpy.random.rand(80, 60).astype("float32")
    expected, wrong = x.astype("d") @ x.T, []

    def work():
        for _ in range(30):
            if not numpy.allclose(ops.gemm(x, x, trans2=True), expected, rtol=1e-4):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
