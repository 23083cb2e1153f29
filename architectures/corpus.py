"""Moved to `spacy_frameworks.training.corpus`."""

from ..training.corpus import SampleDoc as SampleDoc
from ..training.corpus import create_corpus as create_corpus
from ..training.corpus import sample as sample
