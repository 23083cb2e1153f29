"""TensorFlow's kernels under Thinc's layers."""

from __future__ import annotations

from typing import Any, Optional, Tuple

from thinc.api import registry

from ..framework import require
from ..ops import FasterNumpyOps
from ..process import started
from .arrays import on_device


@registry.ops("TensorFlowOps")
class TensorFlowOps(FasterNumpyOps):
    """Thinc's CPU ops, with TensorFlow's matrix product where it is worth the copies."""

    name = "tensorflow"
    _framework = "tensorflow"
    _kernels = {"tensorflow": 1_000_000_000, **FasterNumpyOps._kernels}

    def _fastest_kernel(self) -> str:
        fastest = super()._fastest_kernel()
        return "tensorflow" if fastest == "numpy" else fastest

    def _product(self, x: Any, y: Any, out: Optional[Any]) -> Any:
        tf = require("tensorflow")
        started("tensorflow")
        (a, transpose_a), (b, transpose_b) = _row_by_row(x), _row_by_row(y)
        with on_device("/CPU:0"):
            product = tf.matmul(a, b, transpose_a=transpose_a, transpose_b=transpose_b).numpy()
        if out is None:
            return product
        out[...] = product
        return out


def _row_by_row(array: Any) -> Tuple[Any, bool]:
    """The array or its transpose, whichever lies in memory row by row, and whether it is the
    transpose: TensorFlow copies an array row by row."""
    is_transposed = array.T.flags.c_contiguous and not array.flags.c_contiguous
    return (array.T if is_transposed else array), is_transposed
