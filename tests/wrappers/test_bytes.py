import functools
import json
import pickle
import struct

import numpy
import pytest
import safetensors.numpy
import thinc.api
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.testing import assert_allclose, assert_array_equal
from spacy_frameworks.wrappers.weights import KEY, pack, unpack
from thinc.api import SGD, Adam, Linear, Relu, chain

from .conftest import skip_without_rnn
from .helpers import assert_close, normal, train, values, weights

DTYPES = [*(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)), "b1", "f2", "f4", "f8"]
SHAPES = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(
            lambda name: name != "__metadata__"
        ),
        st.sampled_from(DTYPES).flatmap(lambda dtype: arrays.arrays(dtype, SHAPES)),
        max_size=4,
    ),
    st.booleans(),
)
def test_arrays_of_any_dtype_shape_and_layout_come_back(tensors, as_view):
    handed = {
        name: array.T.astype(array.dtype.newbyteorder(">")) if as_view else array
        for name, array in tensors.items()
    }
    unpacked, header = unpack(pack(handed, {"dims": {"nO": 3}}))
    assert header["dims"] == {"nO": 3}
    assert unpacked.keys() == tensors.keys()
    for name, array in tensors.items():
        assert unpacked[name].dtype == array.dtype
        assert_array_equal(unpacked[name], array.T if as_view else array)


def test_every_flipped_bit_is_noticed():
    data = pack({"W": normal(2, 2), "b": normal(2)}, {"dims": {"nO": 2, "nI": 2}, "config": {}})
    for position in range(len(data)):
        for bit in (0, 3, 7):
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            with pytest.raises(ValueError, match=r"damaged|format 9"):
                unpack(bytes(damaged))


def test_every_truncation_is_noticed():
    data = pack({"W": normal(2, 2)}, {"dims": {}})
    for length in range(len(data)):
        with pytest.raises(ValueError, match="damaged"):
            unpack(data[:length])


def test_bytes_are_safetensors_with_the_header_in_its_metadata(two_layer, tmp_path):
    fw, build, names = two_layer
    model = fw.Wrapper(build(*weights()), config={"network": "mine"})
    model.initialize(normal(2, 4))
    path = tmp_path / "weights.safetensors"
    path.write_bytes(model.shims[0].to_bytes())
    with safetensors.safe_open(path, "numpy") as file:
        assert set(file.keys()) == set(names)
        for name, expected in values(model).items():
            assert_array_equal(file.get_tensor(name), expected)
        header = json.loads(file.metadata()[KEY])
    assert header["framework"] == fw.ID
    assert header["dims"] == {"nO": 3, "nI": 4}
    assert header["config"] == {"network": "mine"}
    assert header["format"] == 1


def fresh(seed):
    return [array * 0 + seed for array in weights()]


def test_loading_brings_predictions_and_bytes_back(two_layer):
    fw, build, _ = two_layer
    model, other = (fw.Wrapper(build(*params)) for params in (weights(), fresh(0.5)))
    X = normal(5, 4)
    train(model, SGD(0.1), steps=2)
    data = model.to_bytes()
    assert numpy.abs(other.predict(X) - model.predict(X)).max() > 1e-2
    for _ in range(2):
        other.from_bytes(data)
        assert_array_equal(other.predict(X), model.predict(X))
        assert other.to_bytes() == data
    train(other, SGD(0.1), steps=1)
    assert other.to_bytes() != data


def test_models_may_never_have_been_called(two_layer):
    fw, build, _ = two_layer
    params, X = weights(), normal(5, 4)
    model, other = fw.Wrapper(build(*params)), fw.Wrapper(build(*fresh(0.5)))
    other.from_bytes(model.to_bytes())
    assert_array_equal(other.predict(X), model.predict(X))


def test_lazy_modules_load_before_their_first_call(fw, tmp_path):
    model, X = fw.Wrapper(fw.lazy(3)), normal(5, 4)
    Y = model.predict(X)
    model.to_disk(tmp_path / "model")
    for other in (fw.Wrapper(fw.lazy(3)), fw.Wrapper(fw.lazy(3))):
        other.from_disk(tmp_path / "model")
        assert other.to_bytes() == model.to_bytes()
        assert_array_equal(other.predict(X), Y)


def test_lazy_modules_may_be_saved_before_their_first_call(fw):
    model, other = fw.Wrapper(fw.lazy(3)), fw.Wrapper(fw.lazy(3))
    other.from_bytes(model.to_bytes())
    assert other.predict(normal(2, 5)).shape == (2, 3)


def test_builders_are_built_from_bytes(fw):
    model, X = fw.Wrapper(fw.builder), normal(5, 4)
    model.initialize(X, normal(5, 3))
    other = fw.Wrapper(fw.builder).from_bytes(model.to_bytes())
    assert (other.get_dim("nO"), other.get_dim("nI")) == (3, 4)
    assert_array_equal(other.predict(X), model.predict(X))
    assert other.to_bytes() == model.to_bytes()


def test_a_builder_may_be_saved_before_it_is_built(fw):
    other = fw.Wrapper(fw.builder).from_bytes(fw.Wrapper(fw.builder).to_bytes())
    other.initialize(normal(2, 6), normal(2, 2))
    assert other.predict(normal(3, 6)).shape == (3, 2)


def test_weights_saved_before_initialization_do_not_replace_some(fw):
    with pytest.raises(ValueError, match="before the model was initialized"):
        fw.Wrapper(fw.linear(normal(3, 4), normal(3))).shims[0].from_bytes(
            fw.Wrapper(fw.builder).shims[0].to_bytes()
        )


@pytest.mark.parametrize("make", ["batch_norm", "tied", "frozen", "unused", "scalar", "recurrent"])
def test_parameters_of_all_kinds_come_back(fw, make):
    if make == "recurrent":
        skip_without_rnn(fw)

    def build(seed):
        params = [array + numpy.float32(seed) for array in weights(nO=4, nI=4, nH=4)]
        if make == "recurrent":
            return fw.RNNWrapper(fw.recurrent(4, 4))
        arguments = {"batch_norm": [4], "scalar": [1.5 + seed], "frozen": params}
        return fw.Wrapper(getattr(fw, make)(*arguments.get(make, params[:2])))

    model, other = build(0.0), build(1.0)
    if make != "recurrent":
        train(model, SGD(0.1), steps=1)
    else:
        from thinc.api import with_padded

        with_padded(model).predict([normal(3, 4)])
    other.from_bytes(model.to_bytes())
    assert other.to_bytes() == model.to_bytes()
    for name, value in values(model).items():
        assert_array_equal(values(other)[name], value)


def test_training_goes_on_as_if_nothing_had_been_loaded(fw):
    straight, loaded = (fw.Wrapper(fw.sequential(*weights())) for _ in range(2))
    train(straight, SGD(0.1))
    train(loaded, SGD(0.1))
    loaded.from_bytes(loaded.to_bytes())
    train(straight, SGD(0.1), seed=20)
    train(loaded, SGD(0.1), seed=20)
    assert loaded.to_bytes() == straight.to_bytes()


def test_an_optimizer_goes_on_like_with_native_layers(fw):
    params, X = weights(), normal(5, 4)
    native = chain(Relu(5, 4), Linear(3, 5))
    for layer, W, b in zip(native.layers, params[::2], params[1::2]):
        layer.set_param("W", W.copy())
        layer.set_param("b", b.copy())
    ours = fw.Wrapper(fw.sequential(*params))
    for model in (ours, native):
        optimizer = Adam(0.01, use_averages=True)
        train(model, optimizer)
        model.from_bytes(model.to_bytes())
        train(model, optimizer, seed=20)
        with model.use_params(optimizer.averages):
            model.attrs["averaged"] = model.predict(X)
    assert_close(ours.predict(X), native.predict(X))
    assert_close(ours.attrs["averaged"], native.attrs["averaged"])


# One process does all that needs a new one, because each has to import the framework.
NEW_PROCESS = """
import json, pickle, sys, numpy
from pathlib import Path
from thinc.api import SGD
from tests.wrappers.helpers import normal, train, weights
from tests.wrappers.modules import {fw} as fw

folder = sys.argv[1]
X, zeros = normal(5, 4), [array * 0 for array in weights()]
for make, _ in fw.TWO_LAYER.values():
    fw.Wrapper(make(*zeros))
fw.Wrapper(fw.lazy(7)).predict(X)
loaded = {{kind: fw.Wrapper(make(*zeros)) for kind, (make, _) in fw.TWO_LAYER.items()}}
loaded["lazy"], loaded["builder"] = fw.Wrapper(fw.lazy(3)), fw.Wrapper(fw.builder)
for kind, model in loaded.items():
    model.from_disk(f"{{folder}}/{{kind}}")
    numpy.save(f"{{folder}}/{{kind}}.before.npy", model.predict(X))
    train(model, SGD(0.1), steps=1)
    numpy.save(f"{{folder}}/{{kind}}.after.npy", model.predict(X))

pickled = pickle.loads(Path(folder, "pickled").read_bytes())
numpy.save(f"{{folder}}/pickled.npy", pickled.predict(X))
printed = {{
    "id": pickled.shims[0].id,
    "later ids": [fw.Wrapper(fw.builder).shims[0].id for _ in range(3)],
}}
print(json.dumps(printed))
"""


def test_a_new_process(fw, tmp_path, run_python):
    """It predicts and trains the same."""
    X = normal(5, 4)
    models = {kind: fw.Wrapper(make(*weights())) for kind, (make, _) in fw.TWO_LAYER.items()}
    models["lazy"], models["builder"] = fw.Wrapper(fw.lazy(3)), fw.Wrapper(fw.builder)
    for kind, model in models.items():
        model.initialize(X, normal(5, 3))
        model.to_disk(tmp_path / kind)
    pickled = models["sequential"].copy()
    (tmp_path / "pickled").write_bytes(pickle.dumps(pickled))
    printed = json.loads(run_python(NEW_PROCESS.format(fw=fw.ID), tmp_path).splitlines()[-1])
    assert printed["id"] == pickled.shims[0].id
    # No shim that is made later gets the unpickled one's id, and with it its optimizer state.
    assert min(printed["later ids"]) > pickled.shims[0].id
    # Not to the last bit, which depends on where in memory the arrays are.
    near = functools.partial(assert_allclose, rtol=1e-5, atol=1e-6)
    near(numpy.load(tmp_path / "pickled.npy"), pickled.predict(X))
    for kind, model in models.items():
        near(numpy.load(tmp_path / f"{kind}.before.npy"), model.predict(X))
        train(model, SGD(0.1), steps=1)
        near(numpy.load(tmp_path / f"{kind}.after.npy"), model.predict(X))


# Bad bytes


def rewritten(data, change):
    """The same file with its tensors or header changed, and a checksum that is right."""
    tensors, header = unpack(data)
    dtypes = header["dtypes"]
    change(tensors, header)
    header["dtypes"] = {name: dtypes.get(name, array.dtype.name) for name, array in tensors.items()}
    return pack(tensors, header)


def _drop_one(tensors, header):
    tensors.pop(sorted(tensors)[0])


def _add_one(tensors, header):
    tensors["surplus"] = normal(2)


def _reshape_one(tensors, header):
    name = sorted(tensors)[1]
    tensors[name] = numpy.zeros((9, 8), "float32")


def _other_dtype(tensors, header):
    name = sorted(tensors)[1]
    tensors[name] = tensors[name].astype("float64")
    header["dtypes"].pop(name)


def _other_framework(tensors, header):
    header["framework"] = "caffe"


def _other_network(tensors, header):
    header["config"] = {"network": "theirs"}


def reassembled(data, change):
    """The same file with the text of its two headers changed: of safetensors, and of ours in it."""
    size = struct.unpack("<Q", data[:8])[0]
    outer = json.loads(data[8 : 8 + size])
    outer["__metadata__"][KEY] = change(outer["__metadata__"][KEY])
    changed = json.dumps(outer).encode()
    return struct.pack("<Q", len(changed)) + changed + data[8 + size :]


def _later_format(data):
    return reassembled(data, lambda header: json.dumps({**json.loads(header), "format": 2}))


BAD = {
    "missing": (_drop_one, [r"Missing from it: \['{0}'\]"]),
    "unknown": (_add_one, [r"does not have: \['surplus'\]"]),
    "shape": (_reshape_one, ["'{1}'", r"expected shape \(", r"has shape \(9, 8\)"]),
    "dtype": (_other_dtype, ["'{1}'", "dtype float32", "dtype float64"]),
    "framework": (_other_framework, ["Expected weights of", "caffe"]),
    "network": (_other_network, ["expected mine", "holds theirs"]),
}


def assert_refused(model, data, patterns):
    before = model.to_bytes()
    shim = model.shims[0]
    with pytest.raises(ValueError, match=patterns[0]) as error:
        shim.from_bytes(data)
    for pattern in patterns:
        assert error.match(pattern)
    assert model.to_bytes() == before


@pytest.mark.parametrize("change", BAD)
def test_bad_bytes_are_refused_and_change_nothing(fw, change):
    names = sorted(fw.TWO_LAYER["sequential"][1])
    model = fw.Wrapper(fw.sequential(*fresh(0.5)), config={"network": "mine"})
    good = fw.Wrapper(fw.sequential(*weights()), config={"network": "mine"}).shims[0].to_bytes()
    change, patterns = BAD[change]
    X = normal(3, 4)
    Y = model.predict(X)
    assert_refused(model, rewritten(good, change), [p.format(*names) for p in patterns])
    assert_array_equal(model.predict(X), Y)


def test_damaged_and_foreign_files_are_refused_and_change_nothing(fw):
    model = fw.Wrapper(fw.linear(normal(3, 4), normal(3)))
    good = model.shims[0].to_bytes()
    assert_refused(model, good[:-1], ["damaged"])
    assert_refused(model, b"", ["damaged"])
    assert_refused(model, good[:-1] + bytes([good[-1] ^ 1]), ["checksum", "damaged"])
    # Thinc's msgpack gives back whatever a damaged file has in its place.
    for other in (pickle.dumps({"W": 1}), None, "x", 7):
        assert_refused(model, other, ["written by something else"])
    foreign = safetensors.numpy.save({"W": normal(2)})
    assert_refused(model, foreign, ["written by something else"])
    assert_refused(model, _later_format(good), ["format 1 or earlier", "format 2", "newer version"])


@pytest.mark.pytorch
def test_bytes_of_thincs_own_wrapper_are_refused_with_the_way_to_take_them_over():
    import torch
    from spacy_frameworks.wrappers import PyTorchWrapper

    theirs = thinc.api.PyTorchWrapper(torch.nn.Linear(4, 3))
    model = PyTorchWrapper(torch.nn.Linear(4, 3))
    assert_refused(model, theirs.shims[0].to_bytes(), ["thinc.api", "docs/from_thinc.md"])


def test_bad_bytes_leave_a_lazy_module_free(fw):
    trained, model = fw.Wrapper(fw.lazy(3)), fw.Wrapper(fw.lazy(3))
    trained.predict(normal(2, 6))
    assert_refused(model, rewritten(trained.shims[0].to_bytes(), _other_dtype), ["float64"])
    assert model.predict(normal(2, 4)).shape == (2, 3)


def test_good_bytes_fill_the_users_own_lazy_module(fw):
    trained, mine = fw.Wrapper(fw.lazy(3)), fw.lazy(3)
    model = fw.Wrapper(mine)
    trained.predict(normal(2, 6))
    model.from_bytes(trained.to_bytes())
    assert model.shims[0]._model is mine
    again = fw.Wrapper(mine)
    assert_array_equal(again.predict(normal(2, 6)), trained.predict(normal(2, 6)))


def test_bad_bytes_leave_a_builder_waiting(fw):
    trained, model = fw.Wrapper(fw.builder, nO=3, nI=6), fw.Wrapper(fw.builder)
    trained.initialize()
    assert_refused(model, rewritten(trained.shims[0].to_bytes(), _drop_one), ["Missing from it"])
    model.initialize(normal(2, 4), normal(2, 5))
    assert model.predict(normal(2, 4)).shape == (2, 5)


def test_weights_of_another_width_are_refused(fw):
    one, other = (fw.Wrapper(fw.linear(normal(n, 4), normal(n))) for n in (3, 5))
    assert_refused(one, other.shims[0].to_bytes(), ["expected shape", "5"])


# Crafted files: whoever writes one computes the checksum too

DEEP = "[" * 500 + "]" * 500
NUMBER = {"shape": [2], "dtype": "float32"}


def inputs(*args):
    return {"args": {"list": list(args)}, "kwargs": {"dict": {}}}


CRAFTED = {
    "framework": [None, 3, ["pytorch"]],
    "dims": [
        None,
        [],
        {},
        {"nO": 3},
        {"nO": "3", "nI": 4},
        {"nO": -1, "nI": 4},
        {"nO": 3.0, "nI": 4},
    ],
    "config": [None, "network", []],
    "complete": [None, 1, "yes"],
    "dtypes": [None, [], {}, {"surplus": "float32"}],
    "inputs": [
        3,
        NUMBER,
        inputs(3),
        inputs({"shape": [2, -4], "dtype": "float32"}),
        inputs({"shape": [2] * 40, "dtype": "float32"}),
        inputs({"shape": [2], "dtype": "U99999999"}),
        inputs({"shape": [2], "dtype": "O"}),
        inputs({"list": {"0": NUMBER}}),
        inputs({"set": [NUMBER]}),
        {"args": {"dict": {}}, "kwargs": {"dict": {}}},
    ],
}


def crafted(data):
    """Files with a right checksum and a header that no shim writes, and what is wrong in each."""
    tensors, header = unpack(data)
    for key, wrong in CRAFTED.items():
        if key != "inputs":
            yield f"no {key}", pack(tensors, {k: v for k, v in header.items() if k != key})
        for value in wrong:
            yield f"{key} is {value}", pack(tensors, {**header, key: value})
    for number in (None, 0, -1, True, "1", 1.5):
        yield (
            f"format {number}",
            reassembled(data, lambda text: json.dumps({**json.loads(text), "format": number})),  # noqa: B023
        )
    yield "deep JSON in our header", reassembled(data, lambda _: DEEP)
    yield "deep JSON in that of safetensors", struct.pack("<Q", len(DEEP)) + DEEP.encode()
    yield "a name twice", reassembled(data, lambda text: '{"format": 1, ' + text[1:])
    for name, tensor in tensors.items():
        for dtype in ("float64", "float16", "int32"):
            yield (
                f"{name} is stored as {dtype}, and said to be {header['dtypes'][name]}",
                pack({**tensors, name: tensor.astype(dtype)}, header),
            )


def test_crafted_files_are_refused_and_change_nothing(fw):
    built, waiting = fw.Wrapper(fw.sequential(*weights())), fw.Wrapper(fw.builder)
    saved = fw.Wrapper(fw.builder)
    saved.initialize(normal(2, 4), normal(2, 3))
    for model, data in (
        (built, fw.Wrapper(fw.sequential(*fresh(0.5))).shims[0].to_bytes()),
        (waiting, saved.shims[0].to_bytes()),
    ):
        before = model.to_bytes()
        for what, bad in crafted(data):
            with pytest.raises(ValueError, match=r"[Ss]ave|Build"):
                pytest.fail(f"{what}: {model.shims[0].from_bytes(bad)}")
            assert model.to_bytes() == before, what


def test_a_files_sizes_are_bounded_by_its_tensors(fw):
    lazy, waiting = fw.Wrapper(fw.lazy(3)), fw.Wrapper(fw.builder)
    trained, built = fw.Wrapper(fw.lazy(3)), fw.Wrapper(fw.builder)
    trained.predict(normal(2, 4))
    built.initialize(normal(2, 4), normal(2, 3))
    # Where nothing is made, sizes are not asked for.
    wide = inputs({"shape": [1, 100_000], "dtype": "float32"})
    trained.shims[0].from_bytes(
        rewritten(trained.shims[0].to_bytes(), lambda _, header: header.update(inputs=wide))
    )
    for shape in ([100_000, 100_000], [10**30, 10**30], [1, 100_000], [2, 60_000, 60_000]):
        array = inputs({"shape": shape, "dtype": "float32"})
        bad = rewritten(trained.shims[0].to_bytes(), lambda _, header: header.update(inputs=array))  # noqa: B023
        assert_refused(lazy, bad, ["too much for the weights that it holds"])
    for dims in ({"nO": 3, "nI": 10**9}, {"nO": 10**30, "nI": 4}, {"nO": 40_000, "nI": 40_000}):
        bad = rewritten(built.shims[0].to_bytes(), lambda _, header: header.update(dims=dims))  # noqa: B023
        assert_refused(waiting, bad, ["too much for the", "initialize the model"])
    # What a model was built with here is not what a file says.
    bad = rewritten(built.shims[0].to_bytes(), lambda _, h: h.update(dims={"nO": 3, "nI": 10**9}))
    assert built.shims[0].from_bytes(bad).dims == {"nO": 3, "nI": 4}


def test_a_model_that_was_first_called_with_many_rows_is_made_with_few(fw):
    model = fw.Wrapper(fw.lazy(3))
    Y = model.predict(normal(2, 4))
    rows = {"shape": [10**9, 4], "dtype": "float32"}
    many = rewritten(model.shims[0].to_bytes(), lambda _, h: h.update(inputs=inputs(rows)))
    loaded = fw.Wrapper(fw.lazy(3))
    loaded.shims[0].from_bytes(many)
    assert_array_equal(loaded.predict(normal(2, 4)), Y)


def test_what_a_builder_or_a_first_call_raises_is_a_value_error(fw):
    def fails(nO, nI):
        raise KeyError(nO)

    built, trained = fw.Wrapper(fw.builder), fw.Wrapper(fw.lazy(3))
    built.initialize(normal(2, 4), normal(2, 3))
    assert_refused(fw.Wrapper(fails), built.shims[0].to_bytes(), ["No model of", "KeyError: 3"])
    trained.predict(normal(2, 4))
    bad = rewritten(trained.shims[0].to_bytes(), lambda _, h: h.update(inputs=inputs()))
    assert_refused(fw.Wrapper(fw.lazy(3)), bad, ["No model of|[Ee]xpected"])
