"""PyTorch's kernels under Thinc's layers."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Callable, Optional, Tuple

import numpy
from thinc.api import registry
from thinc.types import DeviceTypes, Floats1d, Floats2d, FloatsXd, Ints2d

from ..framework import is_installed
from ..ops import LAYER_NORM_EPS, FasterNumpyOps, warn_once
from ..process import runs_here, started, this_thread
from ..threads import on_threads
from .process import on_torchs_threads
from .processor import ONEDNN_PRODUCTS, has_bfloat16, has_onednn, is_faster_on_onednn

if TYPE_CHECKING:
    import torch


@registry.ops("PyTorchOps")
class PyTorchOps(FasterNumpyOps):
    """Thinc's CPU ops, with PyTorch's matrix product, Adam, averages and sums of embeddings."""

    name = "pytorch"
    _framework = "pytorch"
    _kernels = {"mm": 250_000, "onednn": ONEDNN_PRODUCTS, **FasterNumpyOps._kernels}
    _min_size = 10_000

    def __init__(
        self,
        device_type: DeviceTypes = "cpu",
        device_id: int = -1,
        *,
        kernel: Optional[str] = None,
        **kwargs: Any,
    ):
        if kernel == "onednn" and not has_onednn():
            warn_once("This PyTorch has no oneDNN as we call it, so products are those of mm.")
            kernel = "mm"
        super().__init__(device_type, device_id, kernel=kernel, **kwargs)
        # Not only products run on PyTorch's threads.
        started("pytorch")

    def _fastest_kernel(self) -> str:
        # Thinc makes ops whose framework is not installed, too.
        return "onednn" if is_installed("pytorch") and is_faster_on_onednn() else "mm"

    def _possible_precision(self, precision: str) -> str:
        if self.kernel in FasterNumpyOps._kernels:
            return super()._possible_precision(precision)
        if precision != "float32" and not has_bfloat16():
            warn_once(
                f"This processor has no instructions for products in {precision}, so they are in "
                "float32."
            )
            return "float32"
        return precision

    def _product(self, x: Any, y: Any, out: Optional[Any]) -> Any:
        product = self._affine(x, y, None)
        if out is None:
            return product
        out[...] = product
        return out

    def affine(self, X: Any, W: Any, b: Any) -> Any:
        """The product of X and W transposed, plus b."""
        is_plain = X.ndim == 2 and all(a.dtype == numpy.float32 for a in (X, W, b))
        if not is_plain or X.size * len(W) < self._min_products or not runs_here("pytorch"):
            return super().affine(X, W, b)
        with this_thread.passing:
            return self._affine(X, W.T, b)

    def _affine(self, x: Any, y: Any, b: Optional[Any]) -> Any:
        """The product of two matrices, plus a row if there is one."""
        import torch

        X, Y = _tensor(x), _tensor(y)
        bias = None if b is None else _tensor(b)
        with self._on_threads():
            if self.precision == "bfloat16":
                product = torch.mm(X.bfloat16(), Y.bfloat16()).float()
                return (product if bias is None else product.add_(bias)).numpy()
            if self.kernel == "onednn":
                from .linear import onednn_linear

                return onednn_linear(X, Y.t(), bias).numpy()
            if bias is None:
                return torch.mm(X, Y).numpy()
            return torch.addmm(bias, X, Y).numpy()

    def _on_threads(self) -> on_threads:
        return on_torchs_threads(self.threads)

    def _takes(self, size: int) -> bool:
        """Whether PyTorch's kernel is faster on an array of this size, and can run here."""
        return size >= self._min_size and runs_here("pytorch")

    def adam(
        self,
        weights: Floats1d,
        gradient: Floats1d,
        mom1: Floats1d,
        mom2: Floats1d,
        beta1: float,
        beta2: float,
        eps: float,
        learn_rate: float,
        mod_rate: float = 1.0,
    ) -> Tuple[Floats1d, Floats1d, Floats1d, Floats1d]:
        """Thinc's Adam in one pass over the memory. The gradient is zero afterwards, as it is
        with NumpyOps."""
        import torch

        arrays = (weights, gradient, mom1, mom2)
        is_plain = all(
            array.flags.c_contiguous and array.flags.writeable and array.shape == weights.shape
            for array in arrays
        )
        if not self._takes(weights.size) or not is_plain or not _has_adam():
            return super().adam(
                weights, gradient, mom1, mom2, beta1, beta2, eps, learn_rate, mod_rate
            )
        with this_thread.passing, self._on_threads():
            W, dW, m1, m2 = (torch.from_numpy(array) for array in arrays)
            _adam(W, dW, m1, m2, lr=learn_rate, beta1=beta1, beta2=beta2, eps=eps)
        gradient.fill(0)
        return weights, gradient, mom1, mom2

    def _layer_norm(self, X: Any, G: Any, b: Any) -> Tuple[Any, Callable[[Any], Tuple]]:
        """PyTorch's layer normalization and its gradients."""
        in_numpy = super()._layer_norm
        if not self._takes(X.size) or not X.size:
            return in_numpy(X, G, b)
        import torch

        shape = [X.shape[1]]
        with this_thread.passing, self._on_threads():
            x, weight, bias = _tensor(X), _tensor(G), _tensor(b)
            y, mean, rstd = torch.native_layer_norm(x, shape, weight, bias, LAYER_NORM_EPS)
            Y = y.numpy()

        def get_gradients(dY: Any) -> Tuple:
            if not runs_here("pytorch"):
                # It did before the process was forked.
                return in_numpy(X, G, b)[1](dY)
            backward = torch.ops.aten.native_layer_norm_backward
            asked_for = [True, True, True]
            with this_thread.passing, self._on_threads():
                gradients = backward(_tensor(dY), x, shape, mean, rstd, weight, bias, asked_for)
                return tuple(gradient.numpy() for gradient in gradients)

        return Y, get_gradients

    def update_averages(
        self, ema: FloatsXd, weights: FloatsXd, t: int, max_decay: float = 0.9999
    ) -> None:
        """The moving average of a parameter, in one pass over the memory."""
        is_writeable = ema.flags.writeable and weights.flags.writeable
        if not self._takes(ema.size) or not is_writeable:
            super().update_averages(ema, weights, t, max_decay)
        else:
            import torch

            decay = min((1.0 + t) / (10.0 + t), max_decay)
            with this_thread.passing, self._on_threads():
                torch.from_numpy(ema).lerp_(torch.from_numpy(weights), 1 - decay)

    def gather_add(self, table: Floats2d, indices: Ints2d) -> Floats2d:
        """For each row of indices, the sum of the rows of the table that they name."""
        if not self._takes(indices.size * table.shape[1]) or not indices.size:
            return super().gather_add(table, indices)
        import torch

        try:
            with this_thread.passing, self._on_threads():
                rows = torch.from_numpy(indices.astype("int64"))
                return torch.nn.functional.embedding_bag(rows, _tensor(table), mode="sum").numpy()
        except RuntimeError:
            # A row that is not there, for which NumpyOps has the error that Thinc's users know.
            return super().gather_add(table, indices)


def _adam(
    W: torch.Tensor, dW: torch.Tensor, m1: torch.Tensor, m2: torch.Tensor, **settings: float
) -> None:
    import torch

    step, no_decay = [_last_step()], {"weight_decay": 0.0, "amsgrad": False, "maximize": False}
    torch._fused_adam_([W], [dW], [m1], [m2], [], step, **settings, **no_decay)


@functools.cache
def _has_adam() -> bool:
    """Whether PyTorch has Adam in one pass. Before 2.4, it has it for GPUs alone."""
    import torch

    try:
        with this_thread.passing:
            _adam(*torch.zeros((4, 1)), lr=0.1, beta1=0.9, beta2=0.999, eps=1e-8)
    except (AttributeError, RuntimeError):
        return False
    return True


@functools.cache
def _last_step() -> torch.Tensor:
    """Thinc corrects Adam's bias in the learn rate. At this step, PyTorch's own correction is 1."""
    import torch

    return torch.tensor(1e9)


def _tensor(array: Any) -> torch.Tensor:
    import torch

    # PyTorch knows no negative strides, and warns of read-only memory.
    shared = array.flags.writeable and min(array.strides) >= 0
    return torch.from_numpy(array if shared else array.copy())
