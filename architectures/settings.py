"""Settings of layers, which their config decides, also where weights are loaded into them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import srsly
from thinc.api import Model, deserialize_attr, serialize_attr


@dataclass(frozen=True)
class Setting:
    """An attribute of a Thinc model that stays what it was built with. Thinc would set it to what
    was saved, and whoever loads a pipeline with another value in its config would not get it."""

    value: Any


@serialize_attr.register(Setting)
def _saved(_: Setting, setting: Setting, name: str, model: Model) -> bytes:
    # Of the value alone: there are pipelines that were saved so.
    return srsly.msgpack_dumps(setting.value)


@deserialize_attr.register(Setting)
def _kept(setting: Setting, saved: bytes, name: str, model: Model) -> Setting:
    return setting
