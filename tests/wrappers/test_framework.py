import runpy
import sys
from pathlib import Path

import pytest
from spacy_frameworks.wrappers import FRAMEWORKS, framework, get_framework, is_installed

from ..frameworks import KNOWN, WRAPPED_IDS
from .conftest import ROOT


@pytest.mark.parametrize("fw", [*FRAMEWORKS, framework.THINC], ids=lambda fw: fw.id)
def test_frameworks_are_found_by_token_and_id_in_any_case(fw):
    assert get_framework(fw.token) is get_framework(fw.id) is fw
    assert get_framework(fw.token.capitalize()) is get_framework(fw.token.upper()) is fw


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Pytroch", "PyTorch"),
        ("torch", "PyTorch"),
        ("TF", "TensorFlow"),
        ("mxent", "MXNet"),
    ],
)
def test_unknown_names_are_refused_with_what_was_meant(name, meant):
    known = ", ".join(KNOWN)
    with pytest.raises(ValueError, match=rf"'{name}': expected one of {known}\. Did.*{meant}'\?"):
        get_framework(name)


def test_a_name_like_no_other_gets_no_guess():
    with pytest.raises(ValueError, match="expected one of") as error:
        get_framework("zzzzz")
    assert "Did you mean" not in str(error.value)


@pytest.mark.parametrize("fw", FRAMEWORKS, ids=lambda fw: fw.id)
def test_install_commands(fw, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 12, 0))
    assert framework.install_command(fw) == f'pip install "spacy-frameworks[{fw.id}]"'
    monkeypatch.setattr(sys, "version_info", (3, 13, 0))
    # NumPy 1, which MXNet asks for, has no wheel for Python 3.13.
    by_hand = "pip install --no-deps mxnet==1.9.1 && pip install requests setuptools"
    extra = f'pip install "spacy-frameworks[{fw.id}]"'
    assert framework.install_command(fw) == (by_hand if fw.id == "mxnet" else extra)


def test_the_list_can_be_read_alone():
    listed = runpy.run_path(str(ROOT / "wrappers" / "framework.py"))["FRAMEWORKS"]
    assert [tuple(fw) for fw in listed] == [tuple(fw) for fw in FRAMEWORKS]


def test_each_framework_has_a_folder_of_its_name():
    folders = {path.parent.name for path in Path(ROOT, "wrappers").glob("*/module.py")}
    assert folders == {fw.id for fw in FRAMEWORKS}


MISSING = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
from spacy_frameworks import wrappers

for fw in wrappers.FRAMEWORKS:
    for what in ("Wrapper", "RNNWrapper"):
        try:
            getattr(wrappers, fw.token + what)(lambda nO, nI: None)
        except ImportError as error:
            assert error.name == fw.module
            print(error)
        else:
            raise AssertionError(fw)
"""


def test_a_missing_framework_is_named_with_the_line_that_installs_it(run_python):
    blocked = tuple(fw.module for fw in FRAMEWORKS)
    expected = [
        f"{fw.token} is not installed, and a {fw.token} model was asked for. "
        f"Install it with: {framework.install_command(fw)}"
        for fw in FRAMEWORKS
        for _ in range(2)
    ]
    assert run_python(MISSING.format(blocked=blocked)).splitlines() == expected


@pytest.mark.parametrize("framework_id", WRAPPED_IDS)
def test_a_framework_that_was_ruled_out_counts_as_missing(framework_id, monkeypatch):
    fw = get_framework(framework_id)
    monkeypatch.setitem(sys.modules, fw.module, None)
    assert not is_installed(fw.id)
    with pytest.raises(ImportError, match=f"{fw.token} is not installed"):
        framework.require(fw.id)


@pytest.mark.parametrize("fw", FRAMEWORKS, ids=lambda fw: fw.id)
def test_an_installed_framework_that_fails_raises_its_own_error(fw, monkeypatch):
    def fail(name):
        raise ModuleNotFoundError("No module named 'what_it_needs'", name="what_it_needs")

    monkeypatch.setattr(framework.importlib, "import_module", fail)
    with pytest.raises(ModuleNotFoundError, match="what_it_needs"):
        framework.require(fw.id)


def test_thinc_is_always_installed():
    assert is_installed("Thinc")


KERAS_BACKEND = """
import keras
from spacy_frameworks.wrappers import TensorFlowWrapper
try:
    TensorFlowWrapper(keras.layers.Dense(3))
except ValueError as error:
    print(error)
"""


@pytest.mark.tensorflow
def test_keras_on_another_backend_is_refused(monkeypatch):
    import keras

    from .modules import tensorflow as fw

    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(ValueError, match=r"'jax'.*KERAS_BACKEND=tensorflow before Python starts"):
        fw.Wrapper(keras.layers.Dense(3))


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.pytorch
def test_keras_that_was_started_on_another_backend_is_refused(run_python):
    printed = run_python(KERAS_BACKEND, env={"KERAS_BACKEND": "torch"})
    assert "'torch'" in printed
    assert "KERAS_BACKEND=tensorflow before Python starts" in printed
