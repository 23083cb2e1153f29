from .load import OPS_NOT_RUN, thinc_ops_tests

globals().update(thinc_ops_tests("numpy", not_run=OPS_NOT_RUN))
