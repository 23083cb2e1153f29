"""Each framework computes on one thread, as `tests/__init__.py` says, here and in children."""

from __future__ import annotations

import sys

import pytest
import threadpoolctl

from .frameworks import WRAPPED_IDS, said

ON_LINUX = pytest.mark.skipif(
    sys.platform != "linux", reason="threads and libraries are found as on Linux"
)


@ON_LINUX
def test_numpy_computes_on_one_thread_whoever_has_imported_it():
    pools = threadpoolctl.threadpool_info()
    assert pools and {pool["num_threads"] for pool in pools} == {1}


@ON_LINUX
@pytest.mark.parametrize("framework", WRAPPED_IDS)
def test_a_framework_computes_on_one_thread(framework, run_python, capfd):
    code = said(framework, "PRINT_THREADS")
    assert run_python(code).split() == ["1"]
    exec(code, {})
    assert capfd.readouterr().out.split() == ["1"]
