"""Where TensorFlow puts what it makes."""

import pytest
from spacy_frameworks.wrappers import TensorFlowWrapper
from spacy_frameworks.wrappers.tensorflow.arrays import xp2tensor

from ..helpers import assert_close, normal, weights

pytestmark = pytest.mark.tensorflow

X = normal(5, 4)
SPELLINGS = ["/CPU:0", "/device:CPU:0", "cpu:0", "CPU", "/job:localhost/replica:0/task:0/cpu:0"]


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_device_has_many_spellings(name):
    assert_close(xp2tensor(X, device=name).numpy(), X)


@pytest.mark.parametrize("name", ["/GPU:7", "/CPU:1", "the fastest"])
def test_a_device_that_is_not_there_is_an_error_and_not_another_one(name):
    from ..modules import tensorflow as fw

    words = rf"which are /device:CPU:0.*, got '{name}'"
    with pytest.raises(ValueError, match=words):
        xp2tensor(X, device=name)
    W, b, *_ = weights()
    with pytest.raises(ValueError, match=words):
        TensorFlowWrapper(fw.linear(W, b), device=name)
    # Where a function builds it, as soon as it does.
    with pytest.raises(ValueError, match=words):
        TensorFlowWrapper(lambda nO, nI: fw.linear(W, b), device=name).initialize(X=X, Y=X)
