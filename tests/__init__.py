"""Each framework computes on one thread, in the tests and in the processes that they start, and a
framework from outside is there.

Workers of pytest-xdist share the cores, and what a test sees shall not depend on how many are free.
The libraries read the variables when they are imported, so this is the first file that is. Plugins
of pytest may have imported NumPy already, such as JAX's jaxtyping.
"""

import os
import sys
from pathlib import Path

import threadpoolctl

THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "MXNET_CPU_WORKER_NTHREADS",
    "NPROC",
)
os.environ.update(dict.fromkeys(THREADS, "1"))
threadpoolctl.threadpool_limits(1)

# The distribution of the toy framework, where Python finds what is installed, here and in processes
# that tests start: spaCy's registries look once, when they are first imported.
TOY_DISTRIBUTION = str(Path(__file__).parent / "toy_distribution")


def python_path(*folders: object) -> str:
    """The variable PYTHONPATH for a process that finds these folders, and that distribution."""
    return os.pathsep.join([*map(str, folders), TOY_DISTRIBUTION])


if TOY_DISTRIBUTION not in sys.path:
    sys.path.append(TOY_DISTRIBUTION)
    os.environ["PYTHONPATH"] = python_path(*filter(None, [os.environ.get("PYTHONPATH")]))
