"""What a pass in training changes in a wrapped module, as batch normalization changes its running
mean. Each process would have its own, of its part of the batches."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence, Set, Tuple

import numpy
from thinc.api import Model, get_array_module

from .gradients import Parameter, RefusedError

Values = List[Tuple[Parameter, Any]]


class Statistics:
    """Looks, in the first step in which a module takes part, for what its passes have changed."""

    def __init__(self, parameters: Sequence[Parameter]):
        # By the shim.
        self._before: Dict[Any, Values] = {}
        for parameter in parameters:
            if not isinstance(parameter.owner, Model):
                values = self._before.setdefault(parameter.owner, [])
                values.append((parameter, parameter.value().copy()))

    def check(self, updated: Set[str]) -> None:
        """Called when all passes of a step are over, and no weight is updated yet.

        updated: The names of the parameters that an optimizer may have changed already, in steps in
            which the module took part in other processes alone.
        Raises RefusedError if a pass has changed floats in a module.
        """
        for shim, values in list(self._before.items()):
            if any(parameter.get() is not None for parameter, _ in values):
                for parameter, before in values:
                    if parameter.name not in updated:
                        self._check(parameter, before)
                # Modules that change nothing in their first step do not begin to later.
                del self._before[shim]

    def _check(self, parameter: Parameter, before: Any) -> None:
        is_float = numpy.issubdtype(before.dtype, numpy.floating)
        if is_float and not get_array_module(before).array_equal(before, parameter.value()):
            raise RefusedError(
                f"A pass in training has changed {parameter.name}, as batch normalization changes "
                "its running mean: each process would have its own. Use a layer that does without, "
                "such as LayerNorm, or train in one process."
            )
