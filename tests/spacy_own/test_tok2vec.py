from .load import spacy_tests

PLACE = (
    "asks for the listener as the first of the tagger's layers; in ours it is the ref `tok2vec`, "
    "one layer deeper, because a batch without tokens has to be taken. Listeners of our models are "
    "replaced in test_replace_listeners_from_config and test_tok2vec_listener_source_*"
)

globals().update(spacy_tests("pipeline.test_tok2vec", not_run={"test_replace_listeners": PLACE}))
