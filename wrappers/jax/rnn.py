"""Recurrent modules of JAX on padded sequences."""

from __future__ import annotations

import sys
from typing import Any, Dict, List, Mapping, Sequence, Tuple

import jax.numpy as jnp

from ..mask import check_sequence
from .arrays import is_tensor
from .models import Pass, PureModel, Values


class PaddedRNN:
    """Runs a recurrent module, which has batches first, on data that has time first.

    rnn: An `nnx.RNN` or `nnx.Bidirectional`, which are told how long each sequence is, so that
        padding has no influence; or any other model that takes (data, lengths). An Equinox module
        is called with one sequence, and its length.
    """

    def __init__(self, rnn: Any):
        if getattr(rnn, "time_major", False):
            raise ValueError(
                f"{type(rnn).__name__} has time_major=True, but it is given the batch first. Build "
                "it with time_major=False."
            )
        self.rnn = rnn


class RecurrentModel(PureModel):
    """The same as a function of the module's arrays."""

    fills_rows = False

    def __init__(self, inner: PureModel):
        self._inner = inner
        self._rnn_class = type(inner.made(inner.values))
        super().__init__(
            _outside(inner.values), frozenset(_outside(inner.trained)), inner.takes_seed
        )

    def made(self, values: Values) -> Any:
        return PaddedRNN(self._inner.made(_inside(values)))

    def copied(self, values: Values) -> Any:
        return PaddedRNN(self._inner.copied(_inside(values)))

    def title(self) -> str:
        return f"PaddedRNN({self._inner.title()})"

    def dropout_layers(self) -> List[Tuple[Any, str]]:
        return self._inner.dropout_layers()

    def may_grow(self) -> bool:
        return False

    def run(self, values: Values, pass_: Pass) -> Tuple[Any, Dict[str, Any]]:
        (X, lengths), _ = pass_.rebuild(pass_.tensors)
        inner = pass_._replace(tensors=[X.swapaxes(0, 1), lengths], rebuild=self._arguments)
        Y, changed = self._inner.run(_inside(values), inner)
        is_sequence = is_tensor(Y) and Y.ndim == 3
        check_sequence(self._rnn_class, Y, is_sequence, "one array of shape (batch, time, nO)")
        is_step = jnp.arange(X.shape[0])[:, None] < lengths
        return jnp.where(is_step[:, :, None], Y.swapaxes(0, 1), 0), _outside(changed)

    def _arguments(self, tensors: Sequence[Any]) -> Tuple[Sequence[Any], Mapping[str, Any]]:
        X, lengths = tensors
        nnx = sys.modules.get("flax.nnx")
        is_flax = nnx is not None and issubclass(self._rnn_class, (nnx.RNN, nnx.Bidirectional))
        return ((X,), {"seq_lengths": lengths}) if is_flax else ((X, lengths), {})


def _outside(names: Any) -> Any:
    """Names of the module's values as those of the PaddedRNN around it."""
    if isinstance(names, dict):
        return {f"rnn.{name}": value for name, value in names.items()}
    return [f"rnn.{name}" for name in names]


def _inside(values: Values) -> Dict[str, Any]:
    return {name.removeprefix("rnn."): value for name, value in values.items()}
