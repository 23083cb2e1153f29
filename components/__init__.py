"""Trainable components that spaCy lacks: a relation extractor.

It is registered by an entry point, so that configs and `nlp.add_pipe` find it without an import
here. spaCy imports this package whenever it makes a pipeline: what takes time to import is
imported when it is used.
"""

from .relation_extractor import RelationExtractor
from .relation_scorer import score_relations
from .relations import make_relation, read_relations

__all__ = ["RelationExtractor", "make_relation", "read_relations", "score_relations"]
