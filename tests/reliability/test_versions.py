"""What is not supported is refused, with the version that was found and those that are wanted. What
is supported is tested in environments of its own, such as `tox -e spacy3813`."""

from __future__ import annotations

import configparser
import importlib
from importlib.metadata import requires

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from spacy_frameworks.wrappers import get_framework
from spacy_frameworks.wrappers.framework import FRAMEWORKS, require

from ..conftest import ROOT
from ..frameworks import SHIPPED_IDS
from ..wrappers.conftest import modules_of

# Older than all that is wanted, and, of what is wanted in one version alone, newer.
OTHERS = {"==": ["1.0", "99.0"], ">=": ["0.1", "0.4.33.dev1"]}


@pytest.mark.parametrize("framework", SHIPPED_IDS)
def test_a_version_that_is_not_supported_is_refused(framework, monkeypatch):
    fw, found = modules_of(framework), get_framework(framework)
    (wanted,) = Requirement(found.requirements[0]).specifier
    module = importlib.import_module(found.module)
    require(framework)
    for version in OTHERS[wanted.operator]:
        monkeypatch.setattr(module, "__version__", version)
        said = rf"{found.token} {version} is installed.* needs {found.module}{wanted}.*pip install"
        for start in (lambda: require(framework), lambda: fw.Wrapper(fw.builder)):
            with pytest.raises(ImportError, match=said):
                start()
    # A build of somebody's own.
    monkeypatch.setattr(module, "__version__", "ours")
    fw.Wrapper(fw.builder)


def test_the_oldest_version_of_all_that_is_wanted_has_an_environment():
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    deps = [line.rpartition(": ")[2] for line in tox["testenv"]["deps"].splitlines()]
    constraints = (ROOT / "constraints" / "oldest.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in [*deps, *constraints] if "==" in line)
    ours = [line for line in requires("spacy-frameworks") or () if "extra ==" not in line]
    # MXNet is wanted in one version, which its own environment has.
    ours += [fw.requirements[0] for fw in FRAMEWORKS if "==" not in fw.requirements[0]]
    assert len(ours) >= 8
    for requirement in map(Requirement, ours):
        oldest = next(s.version for s in requirement.specifier if s.operator == ">=")
        version = pinned.get(requirement.name) or pinned[f"{requirement.name}-cpu"]
        # The first that can be installed may have another last number.
        assert Version(version).release[:2] == Version(oldest).release[:2], requirement
        assert requirement.specifier.contains(version), requirement
