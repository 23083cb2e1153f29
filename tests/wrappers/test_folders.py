"""The frameworks' folders are siblings: what one says, each says under the same name."""

import ast

import pytest
from spacy_frameworks.wrappers import FRAMEWORKS

from .conftest import ROOT

FOLDERS = {fw.id: ROOT / "wrappers" / fw.id for fw in FRAMEWORKS}

# What a framework has alone, with the reason.
ALONE = {
    # Which kernels and instructions there are, where others take NumPy's product.
    "pytorch": {"processor.py", "linear.py"},
    # Makes MXNet importable; lends its memory, for which other frameworks have functions.
    "mxnet": {"compat.py", "arrays.py:memory", "arrays.py:address"},
    # Thinc's decorator for Keras models; functions to call, where others have modules; TensorFlow
    # computes on aligned memory only, and takes what is aligned without a copy.
    "tensorflow": {"wrapper.py:keras_subclass", "traced.py", "arrays.py:unaligned"},
}

# Overrides in a shim of what FrameworkShim defines privately, and what Thinc's shims have besides.
NOT_DECLARED = {
    "tensorflow": {"gradients", "__str__"},
    "pytorch": set(),
    "mxnet": set(),
}


def files(framework):
    names = {path.name for path in FOLDERS[framework].glob("*.py")}
    return names - ALONE.get(framework, set())


def definitions(framework, file):
    """Public functions and classes of a file, with "Framework" in place of its name."""
    token = next(fw.token for fw in FRAMEWORKS if fw.id == framework)
    tree = ast.parse((FOLDERS[framework] / file).read_text())
    found = [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    return {
        node.name.replace(token, "Framework"): node
        for node in found
        if not node.name.startswith("_")
        and f"{file}:{node.name}" not in ALONE.get(framework, set())
    }


def methods(node):
    return {
        child.name: child
        for child in node.body
        if isinstance(child, ast.FunctionDef)
        and (not child.name.startswith("_") or child.name.startswith("__"))
    }


def arguments(function):
    spec = function.args
    return [argument.arg for argument in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)]


OTHERS = list(FOLDERS)[1:]
FIRST = next(iter(FOLDERS))
FILES = sorted(files(FIRST))


@pytest.mark.parametrize("other", OTHERS)
def test_folders_have_the_same_files(other):
    assert files(other) == files(FIRST)


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("file", FILES)
def test_files_define_the_same_names(file, other):
    assert set(definitions(other, file)) == set(definitions(FIRST, file))


@pytest.mark.parametrize("framework", FOLDERS)
def test_what_is_alone_is_there(framework):
    for name in ALONE.get(framework, set()):
        file, _, function = name.partition(":")
        text = (FOLDERS[framework] / file).read_text()
        assert not function or f"def {function}(" in text


@pytest.mark.parametrize("other", OTHERS)
def test_arrays_cross_over_by_functions_that_begin_alike(other):
    ours, theirs = definitions(FIRST, "arrays.py"), definitions(other, "arrays.py")
    assert {"is_tensor", "xp2tensor", "tensor2xp"} <= set(ours)
    for name, function in ours.items():
        # The first is called after the framework, as in Thinc.
        shared = [a for a in arguments(theirs[name])[1:] if a in arguments(function)]
        assert shared == arguments(function)[1:]


@pytest.mark.parametrize("framework", FOLDERS)
def test_shims_override_only_what_the_shared_one_declares(framework):
    shared = ast.parse((ROOT / "wrappers" / "shim.py").read_text())
    (base,) = [n for n in shared.body if getattr(n, "name", "") == "FrameworkShim"]
    declared = methods(base)
    own = methods(definitions(framework, "shim.py")["FrameworkShim"])
    assert set(own) - set(declared) == NOT_DECLARED[framework]
    for name in set(own) & set(declared) - {"__init__"}:
        assert arguments(own[name]) == arguments(declared[name]), name


@pytest.mark.parametrize("framework", FOLDERS)
def test_shims_say_everything_that_is_left_to_them(framework):
    shared = ast.parse((ROOT / "wrappers" / "shim.py").read_text())
    (base,) = [n for n in shared.body if getattr(n, "name", "") == "FrameworkShim"]
    open_ones = {
        name for name, method in methods(base).items() if "NotImplementedError" in ast.dump(method)
    }
    assert len(open_ones) > 10
    assert open_ones <= set(methods(definitions(framework, "shim.py")["FrameworkShim"]))


@pytest.mark.parametrize("other", OTHERS)
def test_wrappers_take_the_same_arguments_where_thinc_does(other):
    for name, function in definitions(FIRST, "wrapper.py").items():
        mine = set(arguments(function))
        theirs = set(arguments(definitions(other, "wrapper.py")[name]))
        shared = {"convert_inputs", "convert_outputs"}
        if name == "FrameworkWrapper":
            shared |= {"model_class", "model_name", "device", "nO", "nI", "config", "dropout"}
        assert shared <= mine & theirs
