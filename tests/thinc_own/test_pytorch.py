from .load import thinc_tests

globals().update(thinc_tests("pytorch", not_run={}))
