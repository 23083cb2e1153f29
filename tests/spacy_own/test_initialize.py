from .load import spacy_tests

globals().update(spacy_tests("pipeline.test_initialize", not_run={}))
