"""Moved to `spacy_frameworks.training.transitions`, to which pickles of these classes lead."""

from ..training.transitions import DependencyParser as DependencyParser
from ..training.transitions import EntityRecognizer as EntityRecognizer
