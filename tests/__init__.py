"""Each framework computes on one thread, in the tests and in the processes that they start.

Workers of pytest-xdist share the cores, and what a test sees shall not depend on how many are free.
The libraries read the variables when they are imported, so this is the first file that is.
"""

import os

THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "MXNET_CPU_WORKER_NTHREADS",
)
os.environ.update(dict.fromkeys(THREADS, "1"))
