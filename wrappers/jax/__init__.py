"""JAX in Thinc models."""

from .arrays import tensor2xp as jax2xp
from .arrays import xp2tensor as xp2jax
from .wrapper import JAXRNNWrapper, JAXWrapper

__all__ = ["JAXRNNWrapper", "JAXWrapper", "jax2xp", "xp2jax"]
