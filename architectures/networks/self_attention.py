"""Multi-head self-attention of Thinc's ops, which Thinc lacks."""

from __future__ import annotations

from typing import Callable, Tuple

from thinc.api import Model
from thinc.types import Ragged

from .arrangement import Array, batch_first


def self_attention(nO: int, heads: int) -> Model[Ragged, Ragged]:
    """Queries, keys and values by one product, and scaled dot-product attention, each sequence to
    itself (https://arxiv.org/abs/1706.03762, section 3.2). The heads stay side by side."""
    return Model(
        "self_attention",
        forward,
        dims={"nO": nO, "nI": nO},
        params={"W": None},
        attrs={"heads": heads},
    )


def forward(
    model: Model[Ragged, Ragged], Xr: Ragged, is_train: bool
) -> Tuple[Ragged, Callable[[Ragged], Ragged]]:
    ops, xp = model.ops, model.ops.xp
    X: Array = Xr.data
    W: Array = model.get_param("W")
    heads, width = model.attrs["heads"], model.get_dim("nO") // model.attrs["heads"]
    arrangement = batch_first(None, ops.to_numpy(Xr.lengths))
    scale = width**-0.5

    def per_head(rows: Array, parts: int) -> Array:
        """Rows to (parts, sequence, head, time, width of a head)."""
        array = arrangement.spread(ops, rows)
        return array.reshape((*arrangement.shape, parts, heads, width)).transpose((2, 0, 3, 1, 4))

    def to_rows(array: Array) -> Array:
        """From (sequence, head, time, width of a head)."""
        array = array.transpose((0, 2, 1, 3))
        return arrangement.collect(ops, array.reshape((*arrangement.shape, heads * width)))

    Q, K, V = per_head(ops.gemm(X, W, trans2=True), 3)
    lengths: Array = ops.asarray(arrangement.arguments[0])  # type: ignore[arg-type]
    is_key = (xp.arange(arrangement.shape[1]) < lengths[:, None])[:, None, None]
    scores = xp.matmul(Q * scale, K.swapaxes(2, 3))
    attention: Array = ops.softmax(xp.where(is_key, scores, -xp.inf))

    def backprop(dYr: Ragged) -> Ragged:
        (dY,) = per_head(dYr.data, 1)
        dV = xp.matmul(attention.swapaxes(2, 3), dY)
        d_attention = xp.matmul(dY, V.swapaxes(2, 3))
        # Back through the softmax.
        along = (attention * d_attention).sum(axis=3, keepdims=True)
        d_scores = attention * (d_attention - along) * scale
        dQ, dK = xp.matmul(d_scores, K), xp.matmul(d_scores.swapaxes(2, 3), Q)
        d_qkv = xp.concatenate([to_rows(part) for part in (dQ, dK, dV)], axis=1)
        model.inc_grad("W", ops.gemm(d_qkv, X, trans1=True))
        return Ragged(ops.gemm(d_qkv, W), Xr.lengths)

    return Ragged(to_rows(xp.matmul(attention, V)), Xr.lengths), backprop
