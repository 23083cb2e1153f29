"""The toy library in Thinc models."""

from .arrays import tensor2xp as toy2xp
from .arrays import xp2tensor as xp2toy
from .wrapper import ToyWrapper

__all__ = ["ToyWrapper", "toy2xp", "xp2toy"]
