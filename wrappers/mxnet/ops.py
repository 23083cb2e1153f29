"""Thinc's CPU ops for pipelines with MXNet."""

from __future__ import annotations

from thinc.api import registry

from ..ops import FasterNumpyOps


@registry.ops("MXNetOps")
class MXNetOps(FasterNumpyOps):
    """Thinc's CPU ops, made faster without MXNet's kernels: its matrix product (on the OpenBLAS
    and oneDNN that it was built with) takes 1.3 to 2 times as long as NumPy's at every size, and
    its Adam more than twice as long as Thinc's. benchmarks/README.md has the figures."""

    name = "mxnet"
    _framework = "mxnet"
