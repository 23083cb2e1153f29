"""A bidirectional LSTM of Thinc's ops. Thinc's own has two biases per gate and learns its first
states, which the frameworks' layers do not."""

from __future__ import annotations

from typing import Callable, Dict, List, Tuple

from thinc.api import Model, Ops
from thinc.types import FloatsXd, Ragged

from .arrangement import Array, time_first

DIRECTIONS = ("forward", "backward")


def bilstm(nO: int, nI: int) -> Model[Ragged, Ragged]:
    """An LSTM from left to right and one from right to left, side by side, from zero states
    (https://doi.org/10.1162/neco.1997.9.8.1735, with forget gates)."""
    names = [f"{name}_{direction}" for direction in DIRECTIONS for name in "WUb"]
    params: Dict[str, FloatsXd | None] = dict.fromkeys(names)
    return Model("bilstm", forward, dims={"nO": nO, "nI": nI}, params=params)


def forward(
    model: Model[Ragged, Ragged], Xr: Ragged, is_train: bool
) -> Tuple[Ragged, Callable[[Ragged], Ragged]]:
    ops = model.ops
    arrangement = time_first(None, ops.to_numpy(Xr.lengths))
    X = arrangement.spread(ops, Xr.data)
    lengths: Array = ops.asarray(arrangement.arguments[0])  # type: ignore[arg-type]
    is_step = (ops.xp.arange(len(X))[:, None] < lengths).astype("f")[:, :, None]
    runs = [_run(model, direction, X, is_step) for direction in DIRECTIONS]
    Y: Array = ops.xp.concatenate([H for H, _ in runs], axis=2)

    def backprop(dYr: Ragged) -> Ragged:
        dY = arrangement.spread(ops, dYr.data)
        nH = dY.shape[2] // 2
        (_, backprop_forward), (_, backprop_backward) = runs
        dX = backprop_forward(dY[..., :nH]) + backprop_backward(dY[..., nH:])
        return Ragged(arrangement.collect(ops, dX), Xr.lengths)

    return Ragged(arrangement.collect(ops, Y), Xr.lengths), backprop


def _run(
    model: Model, direction: str, X: Array, is_step: Array
) -> Tuple[Array, Callable[[Array], Array]]:
    """One direction, on padded sequences. is_step: 1 where a sequence reaches that far, else 0."""
    ops, xp = model.ops, model.ops.xp
    W, U, b = _params(model, direction)
    nT, nB, nI = X.shape
    nH = U.shape[1]
    X2d: Array = ops.as_contig(X).reshape((nT * nB, nI))
    gates: Array = (ops.gemm(X2d, W, trans2=True) + b).reshape((nT, nB, 4 * nH))
    # From right to left, a state stays zero in the padding, where that direction starts.
    times = range(nT) if direction == "forward" else range(nT - 1, -1, -1)
    H, tanh_C, H_before, C_before = (_zeros(ops, nT, nB, nH) for _ in range(4))
    h, c = _zeros(ops, nB, nH), _zeros(ops, nB, nH)
    for t in times:
        H_before[t], C_before[t] = h, c
        gates[t] += ops.gemm(h, U, trans2=True)
        i, f, g, o = xp.split(gates[t], 4, axis=1)  # parts of gates[t], not copies
        for gate in (i, f, o):
            gate[:] = ops.sigmoid(gate)
        g[:] = xp.tanh(g)
        c = (f * c + i * g) * is_step[t]
        tanh_C[t] = xp.tanh(c)
        h = o * tanh_C[t]
        H[t] = h

    def backprop(dY: Array) -> Array:
        d_gates = _zeros(ops, nT, nB, 4 * nH)
        dh, dc = _zeros(ops, nB, nH), _zeros(ops, nB, nH)
        for t in reversed(times):
            i, f, g, o = xp.split(gates[t], 4, axis=1)
            di, df, dg, do = xp.split(d_gates[t], 4, axis=1)
            dh = dh + dY[t]
            dc = (dc + dh * o * (1 - tanh_C[t] ** 2)) * is_step[t]
            di[:] = dc * g * i * (1 - i)
            df[:] = dc * C_before[t] * f * (1 - f)
            dg[:] = dc * i * (1 - g**2)
            do[:] = dh * tanh_C[t] * o * (1 - o)
            dh, dc = ops.gemm(d_gates[t], U), dc * f
        d_gates2d = d_gates.reshape((nT * nB, 4 * nH))
        H_before2d = H_before.reshape((nT * nB, nH))
        model.inc_grad(f"W_{direction}", ops.gemm(d_gates2d, X2d, trans1=True))
        model.inc_grad(f"U_{direction}", ops.gemm(d_gates2d, H_before2d, trans1=True))
        model.inc_grad(f"b_{direction}", d_gates2d.sum(axis=0))
        return ops.gemm(d_gates2d, W).reshape((nT, nB, nI))

    return H, backprop


def _params(model: Model, direction: str) -> List[Array]:
    return [model.get_param(f"{name}_{direction}") for name in "WUb"]


def _zeros(ops: Ops, *shape: int) -> Array:
    return ops.alloc(shape)
