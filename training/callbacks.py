"""Callbacks for spaCy's configs."""

from __future__ import annotations

import warnings
from typing import Callable, Optional, Type, Union

from spacy.language import Language
from thinc.api import get_current_ops

from ..wrappers import (
    FRAMEWORKS,
    get_framework,
    is_installed,
    set_framework_ops,
    set_gpu_allocator,
)
from ..wrappers.allocator import check_name, pair_gpu_allocator
from ..wrappers.framework import NUMPY, THINC, install_command
from ..wrappers.ops import FasterNumpyOps, check_precision, has_kernels, kernels
from ..wrappers.patches import enter_for_good
from ..wrappers.threads import check_threads
from .patches import ALIGNMENT, parsers


def use_framework(
    framework: Optional[str] = None,
    ops: bool = True,
    gpu_allocator: Union[bool, str] = True,
    threads: int = 1,
    kernel: Optional[str] = None,
    precision: str = "float32",
    alignment: bool = True,
) -> Callable[[Type[Language]], Type[Language]]:
    """Run whole pipelines on a framework's kernels, Thinc's and spaCy's own layers included, and
    on a GPU have them share the framework's memory.

        [nlp.before_creation]
        @callbacks = "spacy-frameworks.use_framework.v1"

    Results stay the same to rounding. It is for speed only: with "Thinc", or on a GPU, the pipeline
    runs on Thinc's own kernels, and where the framework has none, or is not installed (which is a
    warning), on NumPy's. It holds until `undo_framework`.

    framework (str): Such as "PyTorch", "NumPy", whose kernels need no framework, or "Thinc". If
        None, the first with kernels of its own that is installed, which is the fastest; the
        pipeline's networks may be of another. No variable of the config: spaCy fills in none in
        this section.
    ops (bool): Whether to take the framework's kernels; see `set_framework_ops`.
    gpu_allocator (bool or str): Where CuPy draws its memory from. True for the pool of the
        framework that is named, or, if none is, of the first one of which the pipeline has a
        network; False to leave that to the networks, or to [training]; or a name that
        `set_gpu_allocator` takes, such as "cuda_async", which [training] does not. Without a GPU,
        all are the same.
    threads (int): How many threads each kernel runs on, and each pass of the pipeline's networks
        in PyTorch. Two are up to 1.4 times as fast where nothing else wants the cores, and many
        times slower where something does.
    kernel (str): Which library computes the large products, if it is not to be the fastest one on
        this processor; see `set_framework_ops`.
    precision (str): "bfloat16" to multiply in it where the processor can. All that is stored is
        float32.
    alignment (bool): Whether to spare spaCy the alignment of predicted and gold tokens where they
        are the same. It goes with the kernels, and has no effect without them.
    RETURNS (Callable): The callback, which returns the class that it is given.

    Raises ValueError if the framework's name is unknown, or the allocator's, the kernel's or the
    precision's, or if `threads` is no number of threads. With a GPU, the callback raises what
    `set_gpu_allocator` does if an allocator is named.
    """
    if framework is not None and framework.startswith("${"):
        raise ValueError(
            f"spaCy does not fill in variables in [nlp.before_creation], so framework is "
            f"{framework!r} here. Write the framework's name, or leave it out for the fastest one "
            "that is installed."
        )
    chosen = None if framework is None else get_framework(framework, (NUMPY,))
    check_threads(threads)
    check_precision(precision)
    if isinstance(gpu_allocator, str):
        check_name(gpu_allocator)

    def before_creation(language: Type[Language]) -> Type[Language]:
        if isinstance(gpu_allocator, str):
            set_gpu_allocator(gpu_allocator)
        elif gpu_allocator and chosen not in (None, NUMPY, THINC) and is_installed(chosen.id):
            pair_gpu_allocator(chosen.id)
        installed = (fw for fw in FRAMEWORKS if has_kernels(fw) and is_installed(fw.id))
        fw = chosen or next(installed, NUMPY)
        if not ops or fw == THINC:
            return language
        if has_kernels(fw) and not is_installed(fw.id):
            warnings.warn(
                f"{fw.token} is not installed, so the pipeline runs on NumPy's kernels. To have "
                f"{fw.token}'s: {install_command(fw)}",
                stacklevel=2,
            )
            fw = NUMPY
        # A kernel of another framework than the one that runs here is no reason not to load.
        own = kernel
        if kernel is not None and fw != chosen and kernel not in kernels(fw):
            own = None if any(kernel in kernels(other) for other in FRAMEWORKS) else kernel
        set_framework_ops(fw.token, threads, own, precision)
        # On a GPU, the kernels are not taken.
        if isinstance(get_current_ops(), FasterNumpyOps):
            enter_for_good(*parsers(), *(ALIGNMENT if alignment else ()))
        return language

    return before_creation
