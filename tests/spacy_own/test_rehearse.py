from .load import spacy_tests

globals().update(spacy_tests("training.test_rehearse", not_run={}))
