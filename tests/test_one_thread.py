"""Each framework computes on one thread, as `tests/__init__.py` says, here and in children."""

from __future__ import annotations

import sys

import pytest

from .frameworks import WRAPPED_IDS, said


@pytest.mark.skipif(sys.platform != "linux", reason="threads and libraries are found as on Linux")
@pytest.mark.parametrize("framework", WRAPPED_IDS)
def test_a_framework_computes_on_one_thread(framework, run_python, capfd):
    code = said(framework, "PRINT_THREADS")
    assert run_python(code).split() == ["1"]
    exec(code, {})
    assert capfd.readouterr().out.split() == ["1"]
