"""Arrays of any dtype, shape and memory cross over to a framework and back, alone and through a
wrapped model, without an abort: they come back right, or there is an error that says why not. What
the caller handed over stays as it was, and what came out stays when the rest is gone."""

from __future__ import annotations

import functools
import os
from typing import Any, NamedTuple, Optional

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ..frameworks import WRAPPED_IDS
from ..wrappers.conftest import modules_of

IS_FULL = bool(os.environ.get("RUN_SLOW"))
CASES = 100_000 if IS_FULL else 10_000
pytestmark = pytest.mark.timeout(3600 if IS_FULL else 600)
# In this machine's byte order, and in the other.
NUMBERS = [
    numpy.dtype(kind).newbyteorder(order)
    for kind in ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
    for order in "<>"
]
NO_NUMBERS = [
    numpy.dtype(kind)
    for kind in ("g", "M8[s]", "m8[s]", "S3", "U2", "O", "V4", [("a", "f4"), ("b", "i4")])
]
# Few enough for frameworks that compile something for each.
SHAPES = [
    *[(), (0,), (1,), (3,), (17,), (0, 0), (0, 4), (3, 0), (1, 1), (2, 3), (5, 2), (33, 4)],
    *[(0, 2, 3), (2, 0, 3), (1, 2, 1), (2, 3, 4), (2, 2, 0, 1), (1, 3, 2, 2), (2, 1, 4, 3)],
]
# Of batches for one model, whose inputs are three numbers wide.
BATCHES = [(0, 3), (1, 3), (2, 3), (9, 3), (0, 2, 3), (2, 0, 3), (2, 4, 3), (2, 1, 2, 3)]
ALIGNMENT = 64


class Own(numpy.ndarray):
    """A subclass of a user's."""


SUBCLASSES = (None, Own, numpy.ma.MaskedArray, numpy.recarray, numpy.memmap, numpy.matrix)


class Placed(NamedTuple):
    """An array, what is in it, and all of the memory that it lies in."""

    array: Any
    values: Any
    memory: Any

    def state(self) -> tuple[bytes, bool]:
        """What nobody but the caller may change."""
        return bytes(self.memory.data), self.array.flags.writeable


class Layout(NamedTuple):
    """How an array lies in memory.

    offset: The bytes from an address that 64 divides to the first one.
    axes: The order of the axes in memory.
    steps: Along each axis, from a number to the next one: 2 with a gap, -1 backward, 0 where there
        is one number for all.
    first: Which of `numbers` is the first.
    """

    shape: tuple[int, ...]
    offset: int
    axes: list[int]
    steps: list[int]
    is_read_only: bool
    subclass: Optional[type]
    first: int

    def place(self, dtype: numpy.dtype) -> Placed:
        """Numbers of a dtype that lie like this."""
        # Those that are there once, where they are repeated.
        there = [min(n, 1) if step == 0 else n for n, step in zip(self.shape, self.steps)]
        wanted = self.first + numpy.arange(numpy.prod(there, dtype=int))
        values = numbers(dtype).take(wanted, mode="wrap").reshape(there)
        lengths = [there[axis] * max(abs(self.steps[axis]), 1) for axis in self.axes]
        size = int(numpy.prod(lengths)) * dtype.itemsize
        memory = numpy.full(size + 2 * ALIGNMENT, 0x5A, "uint8")
        start = -memory.ctypes.data % ALIGNMENT + self.offset
        if dtype.hasobject:
            whole = numpy.zeros(lengths, dtype)
        else:
            whole = memory[start : start + size].view(dtype).reshape(lengths)
        array = whole[(*(slice(None, None, self.steps[axis] or 1) for axis in self.axes), ...)]
        array = array.transpose(numpy.argsort(self.axes))
        array[...] = values
        if 0 in self.steps:
            array = numpy.broadcast_to(array, self.shape)
        if self.subclass is not None and (self.subclass is not numpy.matrix or array.ndim == 2):
            array = array.view(self.subclass)
        if self.is_read_only:
            array.flags.writeable = False
        return Placed(array, numpy.broadcast_to(values, self.shape), memory)


@st.composite
def layouts(draw: Any, shapes: list[tuple[int, ...]]) -> Layout:
    shape = draw(st.sampled_from(shapes))
    return Layout(
        shape,
        draw(st.integers(0, ALIGNMENT - 1) | st.sampled_from([0, 16, 32])),
        draw(st.permutations(range(len(shape)))),
        [draw(st.sampled_from([1, 1, 1, -1, 2, -3, 0])) for _ in shape],
        draw(st.booleans()),
        draw(st.sampled_from(SUBCLASSES)),
        draw(st.integers(0, 1000)),
    )


@functools.cache
def numbers(dtype: numpy.dtype) -> Any:
    """Some of a dtype, from end to end."""
    rng, size = numpy.random.default_rng(0), 997
    native = dtype.newbyteorder("=")
    if dtype.kind == "b":
        values = rng.integers(0, 2, size)
    elif dtype.kind in "iu":
        info = numpy.iinfo(native)
        values = rng.integers(info.min, info.max, size, native, endpoint=True)
        # Small ones too, which every framework can hold.
        values[: size // 2] %= 100
    elif dtype.kind == "f" and dtype.itemsize <= 8:
        values = rng.normal(size=size)
        values[::10] = rng.choice([numpy.inf, -numpy.inf, -0.0, numpy.finfo(native).tiny])
    else:
        values = numpy.zeros(size, dtype)
    return values.astype(dtype)


# Hypothesis takes longer to think of a layout than a framework for several arrays.
EACH = 24


def each_of(dtypes: list[numpy.dtype], shapes: list[tuple[int, ...]], cases: int = CASES) -> Any:
    """Runs a function for so many arrays: layouts of Hypothesis's, each with several dtypes and
    numbers."""

    def decorate(check: Any) -> Any:
        @settings(max_examples=cases // EACH, suppress_health_check=list(HealthCheck))
        @given(layouts(shapes))
        def check_all(layout: Layout) -> None:
            for i in range(EACH):
                check(layout._replace(first=layout.first + 7 * i), dtypes[i % len(dtypes)])

        return check_all

    return decorate


def assert_says_why(error: Exception, because: bool = True) -> None:
    """That there is an error, for a reason, which it tells."""
    assert because and len(str(error)) > 40


def write_over(size: int) -> None:
    """Take memory that may have been freed just now."""
    numpy.full(size, 0xA5, "uint8")


@pytest.mark.parametrize("framework", WRAPPED_IDS)
def test_arrays_cross_over_and_back(framework):
    fw = modules_of(framework)

    @each_of(NUMBERS, SHAPES)
    def check(layout: Layout, dtype: numpy.dtype) -> None:
        case = layout.place(dtype)
        before, values, size = case.state(), case.values, case.memory.nbytes
        try:
            tensor = fw.xp2tensor(case.array)
        except ValueError as error:
            # Integers that the framework cannot hold.
            is_large = dtype.itemsize == 8 and numpy.abs(values.astype("f8")).max() >= 2**31
            assert_says_why(error, is_large)
            return
        # Now and then, a tensor that shares the memory of another.
        is_cut = layout.offset % 4 == 0 and values.shape > (1,) and hasattr(tensor, "__getitem__")
        back = fw.tensor2xp(tensor[:1] if is_cut else tensor)
        assert case.state() == before
        del tensor, case
        write_over(size)
        values = values[:1] if is_cut else values
        assert type(back) is numpy.ndarray and back.shape == values.shape
        assert (back.dtype.kind in "iu") == (values.dtype.kind in "iu")
        assert numpy.array_equal(back, values)

    check()


@pytest.mark.parametrize("framework", WRAPPED_IDS)
def test_floats_go_through_a_wrapped_model_and_back(framework):
    fw = modules_of(framework)
    model = fw.Wrapper(fw.scalar(2.0), nO=3, nI=3)

    @each_of([dtype for dtype in NUMBERS if dtype.kind == "f"], BATCHES)
    def check(layout: Layout, dtype: numpy.dtype) -> None:
        case, gradient = layout.place(dtype), layout.place(numpy.dtype("f4"))
        before, size = (case.state(), gradient.state()), case.memory.nbytes
        X, dY = case.values, gradient.values
        Y, backprop = model.begin_update(case.array)
        dX = backprop(gradient.array)
        predicted = model.predict(case.array) if layout.first % 4 == 0 else Y
        assert (case.state(), gradient.state()) == before
        del case, gradient, backprop
        write_over(size)
        # Twice a number is exact in all arithmetic.
        expected = X.astype("f4") * 2
        for array, twice in ((Y, expected), (predicted, expected), (dX, dY * 2)):
            assert type(array) is numpy.ndarray and array.flags.writeable
            assert numpy.array_equal(array, twice)

    check()


@pytest.mark.parametrize("framework", WRAPPED_IDS)
def test_what_is_no_float_is_taken_or_refused(framework):
    fw = modules_of(framework)
    model = fw.Wrapper(fw.scalar(2.0), nO=3, nI=3)

    @each_of([dtype for dtype in NUMBERS if dtype.kind != "f"], BATCHES, CASES // 20)
    def check(layout: Layout, dtype: numpy.dtype) -> None:
        case = layout.place(dtype)
        before = case.state()
        try:
            Y = model.predict(case.array)
            assert Y.shape == case.values.shape
        except ValueError as error:
            # The module wants floats.
            assert_says_why(error)
        assert case.state() == before

    check()

    @each_of(NO_NUMBERS, SHAPES, CASES // 20)
    def check_no_numbers(layout: Layout, dtype: numpy.dtype) -> None:
        case = layout.place(dtype)
        before, values = case.state(), case.values
        try:
            # TensorFlow has strings.
            back = fw.tensor2xp(fw.xp2tensor(case.array))
            assert back.astype(dtype).tolist() == values.tolist()
        except (TypeError, ValueError) as error:
            assert_says_why(error)
        try:
            Y = model.predict(case.array)
            assert dtype.kind == "f" or 0 in Y.shape
        except (TypeError, ValueError) as error:
            assert_says_why(error)
        assert case.state() == before

    check_no_numbers()
