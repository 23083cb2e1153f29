from .load import thinc_tests

globals().update(thinc_tests("mxnet", not_run={}))
