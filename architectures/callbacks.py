"""Moved to `spacy_frameworks.training.callbacks`."""

from ..training.callbacks import use_framework as use_framework
