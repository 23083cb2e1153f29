import json

import numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.testing import assert_array_equal
from spacy_frameworks.wrappers.tree import as_args_kwargs, describe, like_inputs, zeros
from thinc.types import ArgsKwargs

LEAVES = st.one_of(
    st.sampled_from(["float32", "float64", "int64", "int32", "bool"]).flatmap(
        lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=3, max_side=3))
    ),
    st.none(),
    st.booleans(),
    st.integers(-9, 9),
    st.text(max_size=4),
)


def nested(inner):
    texts = st.dictionaries(st.text(max_size=4), inner, max_size=3)
    lists = st.lists(inner, max_size=3)
    both = st.builds(lambda args, kwargs: ArgsKwargs(tuple(args), kwargs), lists, texts)
    return lists | lists.map(tuple) | texts | both


NESTS = st.recursive(LEAVES, nested, max_leaves=8)


def assert_zeros_like(came, tree):
    assert type(came) is type(tree)
    if isinstance(tree, numpy.ndarray):
        assert came.dtype == tree.dtype
        assert_array_equal(came, numpy.zeros_like(tree))
    elif isinstance(tree, ArgsKwargs):
        assert_zeros_like(came.args, tree.args)
        assert_zeros_like(came.kwargs, tree.kwargs)
    elif isinstance(tree, dict):
        assert list(came) == list(tree)
        for key in tree:
            assert_zeros_like(came[key], tree[key])
    elif isinstance(tree, (list, tuple)):
        assert len(came) == len(tree)
        for one, other in zip(came, tree):
            assert_zeros_like(one, other)
    else:
        assert came == tree


@given(NESTS)
def test_a_described_nest_comes_back_as_zeros(tree):
    assert_zeros_like(zeros(json.loads(json.dumps(describe(tree)))), tree)


@given(NESTS)
def test_inputs_come_back_from_arguments(tree):
    came = like_inputs(tree, as_args_kwargs(tree))
    expected = tuple(tree) if isinstance(tree, list) else tree
    assert type(came) is type(expected)
    assert describe(came) == describe(expected)
