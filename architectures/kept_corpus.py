"""Moved to `spacy_frameworks.training.kept_corpus`."""

from ..training.kept_corpus import KeptCorpus as KeptCorpus
