"""The networks in Thinc's layers. The layers are named by their paths in the description."""

from __future__ import annotations

from typing import Any, Callable, List, Optional, Tuple

from thinc.api import (
    Dropout,
    LayerNorm,
    Linear,
    Maxout,
    Model,
    Relu,
    chain,
    expand_window,
    residual,
    with_array,
)
from thinc.types import Floats2d, Floats3d, FloatsXd, Ragged

from ...wrappers.wrapper import forward_no_rows, has_no_rows
from . import description
from .arrangement import padded
from .inputs import check_width


def FeedForward(
    network: description.FeedForward, nO: Optional[int], nI: Optional[int], dropout: float
) -> Model[Floats2d, Floats2d]:
    layers: List[Model] = []
    width = nI
    for i in range(network.depth):
        layers.append(_named(f"hidden.{i}", Relu(network.hidden_width, width)))
        width = network.hidden_width
        if network.normalize:
            layers.append(_named(f"norm.{i}", LayerNorm(width)))
        layers.append(Dropout(dropout))
    if network.activate_output:
        layers += [_named("out", Relu(nO, width)), Dropout(dropout)]
    else:
        layers.append(_named("out", Linear(nO, width)))
    return _network(layers, nO, nI)


def WindowEncoder(
    network: description.WindowEncoder, nO: int, nI: int, dropout: float
) -> Model[Ragged, Ragged]:
    nW, nP = network.window_size, network.maxout_pieces
    layers: List[Model] = []
    for i in range(network.depth):
        maxout = _named(f"windows.{i}", Maxout(nO, nI * (2 * nW + 1), nP))
        norm = _named(f"norms.{i}", LayerNorm(nO))
        unit = with_array(chain(maxout, norm, Dropout(dropout)))
        layers.append(residual(chain(expand_window(nW), unit)))
    return _network(layers, nO, nI)


def BiLSTMEncoder(
    network: description.BiLSTMEncoder, nO: int, nI: int, dropout: float
) -> Model[Ragged, Ragged]:
    layers: List[Model] = []
    width = nI
    for i in range(network.depth):
        layers += [_named(f"lstm.{i}", bilstm(nO, width)), with_array(Dropout(dropout))]
        width = nO
    return _network(layers, nO, nI)


def TransformerEncoder(
    network: description.TransformerEncoder, nO: int, nI: int, dropout: float
) -> Model[Ragged, Ragged]:
    layers: List[Model] = []
    for i in range(network.depth):
        block, nH = f"blocks.{i}", network.hidden_width
        attention = chain(
            with_array(_named(f"{block}.attention_norm", LayerNorm(nO))),
            _named(f"{block}.qkv", self_attention(nO, network.heads)),
            with_array(chain(_named(f"{block}.attended", Linear(nO, nO)), Dropout(dropout))),
        )
        feed_forward = chain(
            _named(f"{block}.hidden_norm", LayerNorm(nO)),
            _named(f"{block}.hidden", Relu(nH, nO)),
            Dropout(dropout),
            _named(f"{block}.out", Linear(nO, nH)),
            Dropout(dropout),
        )
        layers += [residual(attention), residual(with_array(feed_forward))]
    return _network([*layers, with_array(_named("norm", LayerNorm(nO)))], nO, nI)


# Layers that Thinc lacks


def bilstm(nO: int, nI: int) -> Model[Ragged, Ragged]:
    """An LSTM from left to right and one from right to left, side by side, from zero states."""
    params = {f"{name}_{direction}": None for direction in _DIRECTIONS for name in "WUb"}
    return Model("bilstm", _forward_bilstm, dims={"nO": nO, "nI": nI}, params=params)


_DIRECTIONS = ("forward", "backward")


def _forward_bilstm(
    model: Model[Ragged, Ragged], Xr: Ragged, is_train: bool
) -> Tuple[Ragged, Callable[[Ragged], Ragged]]:
    ops = model.ops
    arrangement = padded(ops.to_numpy(Xr.lengths))
    X = arrangement.spread(ops, Xr.dataXd)
    # For each step of time, whether the sequence reaches it.
    is_step = arrangement.mask(ops).T[:, :, None]
    runs = [_forward_lstm(model, direction, X, is_step) for direction in _DIRECTIONS]
    Y = ops.xp.concatenate([H for H, _ in runs], axis=2)

    def backprop(dYr: Ragged) -> Ragged:
        dY = arrangement.spread(ops, dYr.dataXd)
        nH = dY.shape[2] // 2
        dX = runs[0][1](dY[..., :nH]) + runs[1][1](dY[..., nH:])
        return Ragged(arrangement.collect(ops, dX), Xr.lengths)

    return Ragged(arrangement.collect(ops, Y), Xr.lengths), backprop


def _forward_lstm(
    model: Model, direction: str, X: Floats3d, is_step: Floats3d
) -> Tuple[Floats3d, Callable[[Floats3d], Floats3d]]:
    """Run one direction on padded sequences, batch first."""
    ops, xp = model.ops, model.ops.xp
    W, U, b = (model.get_param(f"{name}_{direction}") for name in "WUb")
    nB, nT, nI = X.shape
    nH = U.shape[1]
    X2d = ops.as_contig(X.transpose((1, 0, 2))).reshape((nT * nB, nI))
    gates = (ops.gemm(X2d, W, trans2=True) + b).reshape((nT, nB, 4 * nH))
    # States before the first step, and after each. From right to left, the states stay zero in
    # the padding, where that direction starts.
    times = range(nT) if direction == "forward" else range(nT - 1, -1, -1)
    H, C, tanh_C = (ops.alloc3f(nT, nB, nH) for _ in range(3))
    H_before, C_before = ops.alloc3f(nT, nB, nH), ops.alloc3f(nT, nB, nH)
    h, c = ops.alloc2f(nB, nH), ops.alloc2f(nB, nH)
    for t in times:
        H_before[t], C_before[t] = h, c
        gate = gates[t]
        gate += ops.gemm(h, U, trans2=True)
        gate[:, : 2 * nH] = ops.sigmoid(gate[:, : 2 * nH])
        gate[:, 2 * nH : 3 * nH] = xp.tanh(gate[:, 2 * nH : 3 * nH])
        gate[:, 3 * nH :] = ops.sigmoid(gate[:, 3 * nH :])
        i, f, g, o = (gate[:, k * nH : (k + 1) * nH] for k in range(4))
        c = (f * c + i * g) * is_step[t]
        tanh_C[t] = xp.tanh(c)
        h = o * tanh_C[t]
        H[t], C[t] = h, c

    def backprop(dY: Floats3d) -> Floats3d:
        d_gates = ops.alloc3f(nT, nB, 4 * nH)
        dh, dc = ops.alloc2f(nB, nH), ops.alloc2f(nB, nH)
        for t in reversed(times):
            i, f, g, o = (gates[t][:, k * nH : (k + 1) * nH] for k in range(4))
            dh = dh + dY[:, t]
            dc = (dc + dh * o * (1 - tanh_C[t] ** 2)) * is_step[t]
            d_gate = d_gates[t]
            d_gate[:, :nH] = dc * g * i * (1 - i)
            d_gate[:, nH : 2 * nH] = dc * C_before[t] * f * (1 - f)
            d_gate[:, 2 * nH : 3 * nH] = dc * i * (1 - g**2)
            d_gate[:, 3 * nH :] = dh * tanh_C[t] * o * (1 - o)
            dh, dc = ops.gemm(d_gate, U), dc * f
        d_gates2d = d_gates.reshape((nT * nB, 4 * nH))
        before = H_before.reshape((nT * nB, nH))
        model.inc_grad(f"W_{direction}", ops.gemm(d_gates2d, X2d, trans1=True))
        model.inc_grad(f"U_{direction}", ops.gemm(d_gates2d, before, trans1=True))
        model.inc_grad(f"b_{direction}", d_gates2d.sum(axis=0))
        return ops.gemm(d_gates2d, W).reshape((nT, nB, nI)).transpose((1, 0, 2))

    return H.transpose((1, 0, 2)), backprop


def self_attention(nO: int, heads: int) -> Model[Ragged, Ragged]:
    """Queries, keys and values by one product, and multi-head scaled dot-product attention."""
    return Model(
        "self_attention",
        _forward_self_attention,
        dims={"nO": nO, "nI": nO},
        params={"W": None},
        attrs={"heads": heads},
    )


def _forward_self_attention(
    model: Model[Ragged, Ragged], Xr: Ragged, is_train: bool
) -> Tuple[Ragged, Callable[[Ragged], Ragged]]:
    ops, xp, W = model.ops, model.ops.xp, model.get_param("W")
    heads, nO = model.attrs["heads"], model.get_dim("nO")
    arrangement = padded(ops.to_numpy(Xr.lengths))
    nB, nT = arrangement.shape
    qkv = arrangement.spread(ops, ops.gemm(Xr.dataXd, W, trans2=True))
    qkv = qkv.reshape((nB, nT, 3, heads, nO // heads)).transpose((2, 0, 3, 1, 4))
    scale = (nO // heads) ** -0.5
    Q, K, V = qkv[0] * scale, qkv[1], qkv[2]
    is_key = arrangement.mask(ops)[:, None, None] > 0
    attention = ops.softmax(xp.where(is_key, xp.matmul(Q, K.swapaxes(2, 3)), -xp.inf))
    Y = _to_rows(ops, arrangement, xp.matmul(attention, V))

    def backprop(dYr: Ragged) -> Ragged:
        dY = arrangement.spread(ops, dYr.dataXd).reshape((nB, nT, heads, nO // heads))
        dY = dY.transpose((0, 2, 1, 3))
        d_scores = xp.matmul(dY, V.swapaxes(2, 3))
        d_scores = attention * (d_scores - (attention * d_scores).sum(axis=3, keepdims=True))
        d_parts = (
            xp.matmul(d_scores, K) * scale,
            xp.matmul(d_scores.swapaxes(2, 3), Q),
            xp.matmul(attention.swapaxes(2, 3), dY),
        )
        d_qkv = xp.concatenate([_to_rows(ops, arrangement, part) for part in d_parts], axis=1)
        model.inc_grad("W", ops.gemm(d_qkv, Xr.dataXd, trans1=True))
        return Ragged(ops.gemm(d_qkv, W), Xr.lengths)

    return Ragged(Y, Xr.lengths), backprop


def _to_rows(ops: Any, arrangement: Any, array: FloatsXd) -> Floats2d:
    """From (batch, heads, time, width of a head) to rows with the heads side by side."""
    nB, heads, nT, width = array.shape
    return arrangement.collect(ops, array.transpose((0, 2, 1, 3)).reshape((nB, nT, heads * width)))


def _network(layers: List[Model], nO: Optional[int], nI: Optional[int]) -> Model:
    """A network of these layers, which also takes a batch without rows: Thinc's layers refuse
    the shape (0, 0), which `with_array` makes of one."""
    layer = chain(*layers) if len(layers) > 1 else layers[0]
    dims = {"nO": nO, "nI": nI}
    return Model("network", _forward, init=_init, layers=[layer], dims=dims)


def _forward(model: Model, X: Any, is_train: bool) -> Tuple[Any, Callable]:
    if has_no_rows(X):
        return forward_no_rows(model, X)
    check_width(model, X.dataXd if isinstance(X, Ragged) else X)
    return model.layers[0](X, is_train)


def _init(model: Model, X: Optional[Floats2d] = None, Y: Optional[Floats2d] = None) -> None:
    layer = model.layers[0]
    # As `chain` does: a layer whose nO was given is not asked to take it from the data.
    layer.initialize(X, Y if layer.has_dim("nO") is None else None)
    for name in ("nO", "nI"):
        model.set_dim(name, layer.get_dim(name))


def _named(name: str, layer: Model) -> Model:
    layer.name = name
    return layer
