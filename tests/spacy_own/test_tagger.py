from .load import spacy_tests

ZERO = (
    "counts on an output layer that starts at zero, as spaCy's does, so that all tags are equally "
    "likely; ours is drawn, with which the tagger learns faster"
)

globals().update(spacy_tests("pipeline.test_tagger", not_run={"test_label_smoothing": ZERO}))
