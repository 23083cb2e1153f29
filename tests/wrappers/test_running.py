import pickle

import pytest
from numpy.testing import assert_array_equal
from thinc.api import SGD
from thinc.types import ArgsKwargs

from .helpers import assert_close, normal, take_gradients, train, values, weights


def test_new_numbers_of_rows_do_not_trace_again(fw):
    """Where a framework traces, the module's Python code runs for the first shapes alone."""
    model = fw.Wrapper(fw.counting())
    fw.CALLS.clear()
    for n in range(1, 21):
        X = normal(n, 4)
        assert_array_equal(model.predict(X), X * 2)
        Y, backprop = model.begin_update(X)
        assert_array_equal(backprop(Y), X * 4)
    assert 0 < len(fw.CALLS) <= fw.MOST_CALLS


@pytest.mark.mxnet
def test_mxnet_blocks_are_hybridized():
    from .modules import mxnet as fw

    model = fw.Wrapper(fw.counting())
    fw.CALLS.clear()
    for n in range(1, 21):
        model.begin_update(normal(n, 4))
        model.predict(normal(n, 4))
    assert len(fw.CALLS) <= 3
    assert set(fw.CALLS) == {"mxnet.symbol"}


def test_wrappers_say_what_they_are(fw):
    from thinc.api import Model

    class Mine(Model):
        pass

    module = fw.linear(normal(3, 4), normal(3))
    model = fw.Wrapper(module, model_class=Mine, model_name="mine")
    assert type(model) is Mine
    assert model.name == "mine"
    assert fw.Wrapper(module).name == fw.ID


def test_converters_of_the_user_are_used(fw):
    W, b, X = normal(3, 4), normal(3), normal(5, 4)

    def convert_inputs(model, X, is_train):

        tensor = model.shims[0].from_xp(X * 2, requires_grad=is_train)
        return ArgsKwargs((tensor,), {}), lambda dX: model.shims[0].to_xp(dX.args[0]) * 2

    model = fw.Wrapper(fw.linear(W, b), convert_inputs=convert_inputs)
    Y, backprop = model.begin_update(X)
    assert_close(Y, X.astype("float64") @ W.T * 2 + b)
    assert_close(backprop(Y), Y.astype("float64") @ W * 2)


def test_gradients_for_what_was_computed_from_the_outputs_are_right_or_an_error(fw):
    W, b, X, dY = normal(3, 4), normal(3), normal(5, 4), normal(5, 3, seed=1)

    def convert_outputs(model, outputs, is_train):
        # TensorFlow's converters are given no inputs.
        further = (outputs if fw.ID == "tensorflow" else outputs[1]) * 2.0
        return fw.tensor2xp(further), lambda dY: ArgsKwargs(([further], [fw.xp2tensor(dY)]), {})

    model = fw.Wrapper(fw.linear(W, b), convert_outputs=convert_outputs)
    _, backprop = model.begin_update(X)
    if fw.OTHER_TENSOR is None:
        assert_close(backprop(dY), 2 * dY @ W)
    else:
        with pytest.raises(Exception, match=fw.OTHER_TENSOR):
            backprop(dY)


# PyTorch


@pytest.mark.pytorch
def test_pytorch_mixed_precision_runs_in_bfloat16():
    import torch

    from .modules import pytorch as fw

    dtypes = []

    class Recording(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = fw.linear(normal(3, 4), normal(3))

        def forward(self, X):
            Y = self.layer(X)
            dtypes.append(Y.dtype)
            return Y

    X, dY = normal(5, 4), normal(5, 3, seed=1)
    for mixed, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        dtypes.clear()
        model = fw.Wrapper(Recording(), mixed_precision=mixed)
        Y, backprop = model.begin_update(X)
        assert Y.dtype == model.predict(X).dtype == "float32"
        assert_close(Y, X.astype("float64") @ normal(3, 4).T + normal(3), 2e-2 if mixed else 1e-5)
        assert dtypes == [dtype] * 2
        dX = backprop(dY)
        assert dX.dtype == "float32"
        assert_close(dX, dY.astype("float64") @ normal(3, 4), 2e-2 if mixed else 1e-5)


@pytest.mark.pytorch
@pytest.mark.parametrize("is_given", [False, True])
def test_pytorch_grad_scaler_is_made_for_each_device(is_given):
    import torch
    from spacy_frameworks.wrappers.pytorch.module import scaler_for
    from thinc.api import PyTorchGradScaler

    from .modules import pytorch as fw

    given = PyTorchGradScaler(True) if is_given else None
    model = fw.Wrapper(fw.linear(normal(3, 4), normal(3)), mixed_precision=True, grad_scaler=given)
    for each in (model, model.copy(), pickle.loads(pickle.dumps(model))):
        # On CPU it is off, as Thinc's scales on a GPU alone.
        assert_close(
            each.begin_update(normal(5, 4))[1](normal(5, 3)), normal(5, 3) @ normal(3, 4), 2e-2
        )
        module = each.shims[0].module
        kept = module.options()["grad_scaler"]
        assert (kept is given) if each is model else (kept is not None) == is_given
        on_gpu = scaler_for(torch.device("cuda"), kept, True)
        assert on_gpu._enabled
        assert on_gpu is kept or not is_given
    assert not scaler_for(torch.device("cuda"), None, False)._enabled


class Scaler:
    """Thinc's scaler, which runs on a GPU only, with a fixed scale."""

    _enabled, found_inf, factor = True, False, 1024.0

    def to_(self, device):
        pass

    def scale(self, tensors):
        return [tensor * self.factor for tensor in tensors]

    def unscale(self, tensors):
        for tensor in tensors:
            tensor /= self.factor
        self.found_inf = any(not tensor.isfinite().all() for tensor in tensors)
        return self.found_inf

    def update(self):
        self.found_inf = False


@pytest.mark.pytorch
def test_pytorch_grad_scaler_scales_there_and_back():
    from .modules import pytorch as fw

    X, dY = normal(5, 4), normal(5, 3, seed=1)
    taken = []
    for scaler in (None, Scaler()):
        model = fw.Wrapper(fw.linear(normal(3, 4), normal(3)))
        if scaler is not None:
            model.shims[0].module._grad_scaler = scaler
        for _ in range(2):
            dX = model.begin_update(X)[1](dY)
        taken.append([dX, *take_gradients(model).values()])
    for scaled, plain in zip(*taken):
        assert_close(scaled, plain)


@pytest.mark.pytorch
def test_pytorch_overflow_skips_the_update_and_passes_nothing_on():
    from .modules import pytorch as fw

    model = fw.Wrapper(fw.linear(normal(3, 4), normal(3)))
    model.shims[0].module._grad_scaler = Scaler()
    X, before = normal(5, 4), values(model)
    dX = model.begin_update(X)[1](normal(5, 3) * 1e38)
    assert_array_equal(dX, X * 0)
    model.finish_update(SGD(0.1))
    for name, value in values(model).items():
        assert_array_equal(value, before[name])
    train(model, SGD(0.1), steps=1)
    assert any((value != before[name]).any() for name, value in values(model).items())


def _serialize(module):
    return b"prefix" + module.weight.detach().numpy().tobytes()


def _deserialize(module, data, device):
    import numpy
    import torch

    assert data.startswith(b"prefix")
    weight = numpy.frombuffer(data[6:], dtype="float32").reshape(module.weight.shape)
    with torch.no_grad():
        module.weight.copy_(torch.tensor(weight, device=device))
    return module


@pytest.mark.pytorch
def test_pytorch_serializes_by_the_users_functions():
    from .modules import pytorch as fw

    b = normal(3)
    model, other = (
        fw.Wrapper(fw.linear(W, b), serialize_model=_serialize, deserialize_model=_deserialize)
        for W in (normal(3, 4), normal(3, 4, seed=1))
    )
    other.from_bytes(model.to_bytes())
    assert_array_equal(other.predict(normal(5, 4)), model.predict(normal(5, 4)))
    plain = fw.Wrapper(fw.linear(normal(3, 4), b))
    with pytest.raises(ValueError, match="without serialize_model"):
        model.shims[0].from_bytes(plain.shims[0].to_bytes())


def _deserialize_half(module, data, device):
    _deserialize(module, data, device)
    raise KeyError("bias")


@pytest.mark.pytorch
def test_a_function_of_the_users_that_fails_leaves_the_pytorch_module_as_it_was():
    from .modules import pytorch as fw

    good, bad = (
        fw.Wrapper(fw.linear(W, normal(3)), serialize_model=_serialize, deserialize_model=function)
        for W, function in (
            (normal(3, 4), _deserialize),
            (normal(3, 4, seed=1), _deserialize_half),
        )
    )
    expected = bad.predict(normal(5, 4)).copy()
    with pytest.raises(KeyError):
        bad.from_bytes(good.to_bytes())
    assert_array_equal(bad.predict(normal(5, 4)), expected)


@pytest.mark.pytorch
def test_pytorch_extra_state_needs_the_users_functions():
    import torch

    from .modules import pytorch as fw

    class Extra(torch.nn.Linear):
        def get_extra_state(self):
            return {"key": "value"}

        def set_extra_state(self, state):
            pass

    with pytest.raises(ValueError, match=r"_extra_state.*serialize_model and deserialize_model"):
        fw.Wrapper(Extra(4, 3)).to_bytes()


@pytest.mark.pytorch
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_pytorch_parameters_of_16_bits_come_back(dtype):
    import torch

    from .modules import pytorch as fw

    model, other = (
        fw.Wrapper(fw.linear(W, normal(3)).to(getattr(torch, dtype)))
        for W in (normal(3, 4), normal(3, 4, seed=1))
    )
    other.from_bytes(model.to_bytes())
    weights = [model.shims[0]._model.weight for model in (model, other)]
    assert weights[1].dtype == getattr(torch, dtype)
    assert torch.equal(*weights)
    plain = fw.Wrapper(fw.linear(normal(3, 4), normal(3)))
    with pytest.raises(ValueError, match=f"expected .* float32, but .* dtype {dtype}"):
        plain.shims[0].from_bytes(model.shims[0].to_bytes())


# TensorFlow


def _gradients_alone(outputs, dY):
    return [dY, None]


def _gradients_as_arguments(outputs, dY):
    return ArgsKwargs((list(outputs), [dY, None]), {})


@pytest.mark.tensorflow
@pytest.mark.parametrize("gradients", [_gradients_alone, _gradients_as_arguments])
def test_tensorflow_converters_may_give_gradients_as_those_of_others(gradients):
    import keras

    from .modules import tensorflow as fw

    def convert(model, outputs, is_train):
        Y = fw.tensor2xp(outputs[0])
        return Y, lambda dY: gradients(outputs, fw.xp2tensor(dY))

    inputs, layer = keras.Input((4,)), keras.layers.Dense(3)
    module = keras.Model(inputs, [layer(inputs), layer(inputs) * 5.0])
    model, dY = fw.Wrapper(module, convert_outputs=convert), normal(5, 3)
    _, backprop = model.begin_update(normal(5, 4))
    assert_close(backprop(dY), dY @ layer.kernel.numpy().T)


@pytest.mark.tensorflow
def test_tensorflow_gradients_are_there_until_the_update():
    from .modules import tensorflow as fw

    model = fw.Wrapper(fw.linear(normal(3, 4), normal(3)))
    shim, dY = model.shims[0], normal(5, 3)
    assert shim.gradients is None
    model.begin_update(normal(5, 4))[1](dY)
    assert_close(shim.gradients[1].numpy(), dY.sum(0))
    model.finish_update(SGD(0.1))
    assert shim.gradients is None


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "copied", [lambda model: model.copy(), lambda model: pickle.loads(pickle.dumps(model))]
)
def test_a_keras_variable_frozen_by_itself_stays_frozen_in_copies(copied):
    import keras

    from .modules import tensorflow as fw

    module = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    module.layers[0].bias.trainable = False
    model = copied(fw.Wrapper(module))
    model.begin_update(normal(5, 4))[1](normal(5, 3))
    assert [name for _, name in take_gradients(model)] == ["tensorflow:layers.0.kernel"]


@pytest.mark.tensorflow
def test_tf_modules_may_create_their_variables_when_called():
    import tensorflow as tf

    from .modules import tensorflow as fw

    class Late(tf.Module):
        def __init__(self):
            super().__init__()
            self.W = None

        def __call__(self, X):
            if self.W is None:
                self.W = tf.Variable(tf.random.normal((X.shape[1], 3)))
            return tf.matmul(X, self.W)

    model, X = fw.Wrapper(Late()), normal(5, 4)
    Y = model.predict(X)
    assert_close(Y, X.astype("float64") @ values(model)["W"])
    other = fw.Wrapper(Late()).from_bytes(model.to_bytes())
    assert_array_equal(other.predict(X), Y)
    train(other, SGD(0.1), steps=2)
    assert_array_equal(model.copy().predict(X), Y)


@pytest.mark.tensorflow
def test_training_follows_the_layers_own_switch():
    import keras

    from .modules import tensorflow as fw

    class Switch(keras.Layer):
        def call(self, X, training=False):
            return X * 2 if training else X

    model, X = fw.Wrapper(Switch()), normal(5, 4)
    assert_array_equal(model.predict(X), X)
    assert_array_equal(model.begin_update(X)[0], X * 2)
    assert_array_equal(model.predict(X), X)


# MXNet


@pytest.mark.mxnet
def test_mxnet_takes_keywords_behind_positional_inputs():

    from .modules import mxnet as fw

    W1, W2 = normal(3, 4), normal(3, 2)
    model = fw.Wrapper(fw.two_inputs(W1, W2))
    X = ArgsKwargs((normal(5, 4),), {"second": normal(5, 2)})
    assert_close(model.predict(X), model.predict((normal(5, 4), normal(5, 2))), 0)


@pytest.mark.mxnet
def test_mxnet_leaves_the_users_gradient_requests_alone():
    from .modules import mxnet as fw

    module = fw.frozen(*weights())
    model = fw.Wrapper(module)
    model.begin_update(normal(5, 4))[1](normal(5, 3))
    assert module.hidden.weight.grad_req == "null"
