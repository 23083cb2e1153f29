"""Each framework computes on one thread, as `tests/__init__.py` says, here and in children."""

from __future__ import annotations

import sys

import pytest
from spacy_frameworks.wrappers import FRAMEWORKS

from .frameworks import WRAPPED_IDS

PRODUCT = {
    "pytorch": """
import torch
torch.ones((600, 600)) @ torch.ones((600, 600))
print(torch.get_num_threads())
""",
    # TensorFlow tells only what Python has set, not what it took from the environment. Its workers
    # have names.
    "tensorflow": """
from pathlib import Path
import tensorflow as tf
tf.matmul(tf.ones((600, 600)), tf.ones((600, 600))).numpy()
names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
print(names.count("tf_Compute"))
""",
    # MXNet has no function that tells. Its products are its OpenBLAS's.
    "mxnet": """
import ctypes
from pathlib import Path
from spacy_frameworks.wrappers.framework import require
mx = require("mxnet")
mx.nd.dot(mx.nd.ones((600, 600)), mx.nd.ones((600, 600))).asnumpy()
library = ctypes.CDLL(str(Path(mx.__file__).parent / "libopenblas.so.0"))
print(library.openblas_get_num_threads())
""",
}


def test_every_framework_is_asked():
    assert set(PRODUCT) == {fw.id for fw in FRAMEWORKS}


@pytest.mark.skipif(sys.platform != "linux", reason="threads and libraries are found as on Linux")
@pytest.mark.parametrize("framework", WRAPPED_IDS)
def test_a_framework_computes_on_one_thread(framework, run_python, capfd):
    assert run_python(PRODUCT[framework]).split() == ["1"]
    exec(PRODUCT[framework], {})
    assert capfd.readouterr().out.split() == ["1"]
