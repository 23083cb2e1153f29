from concurrent.futures import ThreadPoolExecutor

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
