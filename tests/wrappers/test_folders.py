"""The frameworks' folders are siblings: what one says, each says under the same name."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest
from spacy_frameworks.wrappers import FRAMEWORKS, all_frameworks

from .conftest import ROOT


def folder_of(fw):
    spec = importlib.util.find_spec(fw.folder or f"spacy_frameworks.wrappers.{fw.id}")
    return Path(spec.submodule_search_locations[0])


FOLDERS = {fw.id: folder_of(fw) for fw in all_frameworks()}
TOKENS = {fw.id: fw.token for fw in all_frameworks()}

# What a folder has to have, and what it may have, with the names in each: "Framework" stands for
# its token. Other files are its own.
NEEDED = {
    "__init__.py": set(),
    "arrays.py": {
        "is_tensor",
        "xp2tensor",
        "tensor2xp",
        "cast_like",
        "zeros_like",
        "takes_gradient",
    },
    "module.py": {"FrameworkModule"},
    "wrapper.py": {"FrameworkWrapper"},
}
OPTIONAL = {
    "allocator.py": {"FrameworkAllocator"},
    "ops.py": {"FrameworkOps"},
    "process.py": {"importing", "after_fork"},
    "rnn.py": {"PaddedRNN"},
}
# The arguments that those have in common, in this order.
ARGUMENTS = {
    "is_tensor": ["obj"],
    "xp2tensor": ["xp_tensor", "requires_grad", "device"],
    # The first is called after the framework, as in Thinc.
    "tensor2xp": ["ops"],
    "cast_like": ["tensor", "other"],
    "zeros_like": ["tensor"],
    "takes_gradient": ["tensor"],
    "importing": [],
    "after_fork": [],
    "FrameworkWrapper": [
        "convert_inputs",
        "convert_outputs",
        "model_class",
        "model_name",
        "nO",
        "nI",
        "config",
        "dropout",
    ],
    "FrameworkRNNWrapper": ["convert_inputs", "convert_outputs"],
}


def definitions(framework, file):
    """Public functions and classes of a file, with "Framework" in place of its name."""
    tree = ast.parse((FOLDERS[framework] / file).read_text())
    found = [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    return {
        node.name.replace(TOKENS[framework], "Framework"): node
        for node in found
        if not node.name.startswith("_")
    }


def methods(node):
    return {child.name: child for child in node.body if isinstance(child, ast.FunctionDef)}


def arguments(function):
    spec = function.args
    return [argument.arg for argument in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)]


def shared_files(framework):
    return {
        file: names
        for file, names in {**NEEDED, **OPTIONAL}.items()
        if (FOLDERS[framework] / file).exists()
    }


@pytest.mark.parametrize("framework", FOLDERS)
def test_a_folder_has_the_files_that_it_needs(framework):
    assert set(NEEDED) <= set(shared_files(framework))


@pytest.mark.parametrize("framework", FOLDERS)
def test_files_define_the_names_that_are_asked_for(framework):
    for file, names in shared_files(framework).items():
        found = set(definitions(framework, file))
        if file == "process.py":
            # Each of them has a default.
            assert found and found & names
        else:
            assert names <= found, file
    has_rnn = (FOLDERS[framework] / "rnn.py").exists()
    assert has_rnn == ("FrameworkRNNWrapper" in definitions(framework, "wrapper.py"))


@pytest.mark.parametrize("framework", FOLDERS)
def test_what_they_share_takes_the_same_arguments(framework):
    for file in shared_files(framework):
        for name, node in definitions(framework, file).items():
            if name in ARGUMENTS and isinstance(node, ast.FunctionDef):
                mine = [a for a in arguments(node) if a in ARGUMENTS[name]]
                if name.startswith("Framework"):
                    # Thinc's wrappers have them in different orders.
                    assert set(mine) == set(ARGUMENTS[name])
                else:
                    assert mine == ARGUMENTS[name], name


@pytest.mark.parametrize("framework", FOLDERS)
def test_what_a_folder_has_alone_is_used_there_alone(framework):
    own = {
        name
        for file, shared in shared_files(framework).items()
        for name in set(definitions(framework, file)) - shared
        if not name.startswith("Framework")
    }
    for path in [*ROOT.glob("wrappers/*.py"), *ROOT.glob("architectures/*.py")]:
        imported = {
            alias.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom) and framework in (node.module or "").split(".")
            for alias in node.names
        }
        assert not imported & own, path


SHARED_MODULE = ast.parse((ROOT / "wrappers" / "module.py").read_text())
(BASE,) = [n for n in SHARED_MODULE.body if getattr(n, "name", "") == "FrameworkModule"]


@pytest.mark.parametrize("framework", FOLDERS)
def test_modules_define_what_is_declared_with_the_same_arguments(framework):
    declared = methods(BASE)
    own = methods(definitions(framework, "module.py")["FrameworkModule"])
    for name in set(own) & set(declared) - {"__init__"}:
        assert arguments(own[name]) == arguments(declared[name]), name
    # Beyond that they have nothing that others could call. The model is an attribute there, and may
    # be put together anew each time.
    beyond = set(own) - set(declared) - {"model"}
    assert not {name for name in beyond if not name.startswith("_")}


@pytest.mark.parametrize("framework", FOLDERS)
def test_modules_say_everything_that_is_left_to_them(framework):
    open_ones = {
        name for name, method in methods(BASE).items() if "NotImplementedError" in ast.dump(method)
    }
    assert len(open_ones) > 10
    assert open_ones <= set(methods(definitions(framework, "module.py")["FrameworkModule"]))


def test_type_checkers_see_the_names_of_all_frameworks_that_are_shipped():
    source = (ROOT / "wrappers" / "__init__.py").read_text()
    seen = re.findall(r"^    from \.(\w+) import \*", source, re.M)
    assert sorted(seen) == sorted(fw.id for fw in FRAMEWORKS)


def test_the_contributors_page_says_which_files_a_folder_has():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\| `(\w+\.py)` \| (.*) \| (yes|no)\b", text, re.MULTILINE)
    assert {file for file, _, needed in rows if needed == "yes"} == set(NEEDED)
    assert {file for file, _, needed in rows if needed == "no"} == set(OPTIONAL)
    for file, what, _ in rows:
        names = {name.replace("Framework", "Toy") for name in {**NEEDED, **OPTIONAL}[file]}
        assert all(f"`{name}`" in what for name in names), file


def test_the_shared_shim_has_no_framework_in_it():
    text = (ROOT / "wrappers" / "shim.py").read_text().lower()
    assert not [name for name in FOLDERS if f'"{name}"' in text]
