import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from .helpers import assert_close, normal, weights

BATCHES = [normal(1 + i % 7, 4, seed=i) for i in range(48)]


def test_predictions_from_many_threads(two_layer):
    fw, build, _ = two_layer
    model = fw.Wrapper(build(*weights()))
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(model.predict, BATCHES))
    for Y, X in zip(together, BATCHES):
        assert_close(Y, model.predict(X))


def test_models_trained_in_threads_of_their_own(fw):
    def gradient(seed):
        X, dY = normal(5, 4, seed=seed), normal(5, 3, seed=seed + 1)
        model = fw.Wrapper(fw.sequential(*weights()))
        return [model.begin_update(X)[1](dY) for _ in range(3)][-1]

    with ThreadPoolExecutor(4) as pool:
        for together, alone in zip(pool.map(gradient, range(8)), map(gradient, range(8))):
            assert_close(together, alone)


@pytest.mark.parametrize("name", ["builder", "lazy_builder"])
@pytest.mark.parametrize("copied", [lambda m: m, lambda m: m.copy()], ids=["itself", "a copy"])
def test_first_predictions_from_many_threads_are_those_of_one_model(fw, name, copied):
    builder, calls, together = getattr(fw, name), [], threading.Barrier(4)

    def slow(nO, nI):
        calls.append((nO, nI))
        time.sleep(0.05)
        return builder(nO, nI)

    model = copied(fw.Wrapper(slow, nO=3, nI=4))
    convert = model.attrs["convert_inputs"]

    def convert_inputs(*args):
        converted = convert(*args)
        together.wait(60)
        return converted

    model.attrs["convert_inputs"] = convert_inputs
    X = normal(5, 4)
    with ThreadPoolExecutor(4) as pool:
        first = list(pool.map(model.predict, [X] * 4))
    model.attrs["convert_inputs"] = convert
    assert calls == [(3, 4)]
    for Y in first:
        assert_close(Y, model.predict(X))
