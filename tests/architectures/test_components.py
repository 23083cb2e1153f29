"""spaCy's own components learn on every encoder in every framework."""

from __future__ import annotations

import itertools

import pytest

from ..frameworks import TOKENS, marks
from .components import COMPONENTS, ENCODERS, train_component

# A Latin square, as far as the numbers let it be one: each two of a component, an encoder and a
# framework meet, in a quarter of the runs.
N = len(TOKENS)
FAST = {
    (component, [*ENCODERS][j % len(ENCODERS)], TOKENS[(i + j) % N])
    for i, component in enumerate(COMPONENTS)
    for j in range(max(N, len(ENCODERS)))
}
RUNS = [
    pytest.param(
        *run,
        marks=[*(marks(run[2]) or [pytest.mark.thinc]), *[pytest.mark.slow] * (run not in FAST)],
    )
    for run in itertools.product(COMPONENTS, ENCODERS, TOKENS)
]


def test_what_is_not_slow_has_every_pair():
    for axes in itertools.combinations(range(3), 2):
        pairs = {tuple(run[axis] for axis in axes) for run in FAST}
        every = [(COMPONENTS, ENCODERS, TOKENS)[axis] for axis in axes]
        assert pairs == set(itertools.product(*every))


@pytest.mark.parametrize(("component", "encoder", "framework"), RUNS)
def test_component_learns_and_beats_the_majority(component, encoder, framework):
    losses, score, majority = train_component(component, encoder, framework)
    assert losses[-1] < 0.7 * losses[0]
    assert score > majority + 0.3
