from .load import spacy_tests

ZERO = (
    "counts on an output layer that starts at zero, as spaCy's does: it compares the loss of two "
    "docs with that of the docs 0 1 0 1 for the predictions of 0 0 1 1; ours is drawn"
)

globals().update(spacy_tests("pipeline.test_textcat", not_run={"test_issue9904": ZERO}))
