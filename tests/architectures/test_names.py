"""What is registered is what the list of names says, and so do the pages."""

from __future__ import annotations

import itertools
import re
from importlib.metadata import distribution
from pathlib import Path

import pytest
from spacy.util import registry
from spacy_frameworks.architectures import names, tagger, usage_page
from spacy_frameworks.architectures.names import NAMES, PREFIX
from spacy_frameworks.wrappers import FRAMEWORKS, framework
from thinc.api import Config

from ..pipelines import ROOT

pytestmark = pytest.mark.thinc

INSTALLED = [
    entry
    for entry in distribution("spacy-frameworks").entry_points
    if entry.group.startswith(("spacy_", "thinc_"))
]
FUNCTIONS = (
    "spacy_architectures",
    "spacy_callbacks",
    "spacy_loggers",
    "spacy_readers",
    "spacy_scorers",
    "thinc_layers",
)


def lines(group: str) -> list[str]:
    return names.entry_points(FRAMEWORKS, framework.THINC, ROOT / "wrappers")[group]


def test_the_distribution_has_the_entry_points_of_the_list():
    groups = {entry.group for entry in INSTALLED}
    assert groups == {name.group for name in NAMES}
    for group in groups:
        came = [f"{entry.name} = {entry.value}" for entry in INSTALLED if entry.group == group]
        assert sorted(came) == sorted(lines(group))
        assert len(came) == len({entry.name for entry in INSTALLED if entry.group == group})


@pytest.mark.parametrize("entry", INSTALLED, ids=lambda entry: entry.name)
def test_every_entry_point_is_an_object_of_that_name(entry):
    found = entry.load()
    assert found.__name__ == entry.value.rpartition(":")[2]
    assert found.__doc__
    if entry.group in FUNCTIONS:
        registered = getattr(registry, entry.group.partition("_")[2]).get(entry.name)
        assert registered is found


@pytest.mark.parametrize(
    ("file", "group", "name"),
    [("rnn.py", "thinc_layers", "{token}RNNWrapper"), ("ops.py", "thinc_ops", "{token}Ops")],
)
def test_what_a_folder_lacks_is_not_registered(file, group, name, tmp_path):
    one, *others = FRAMEWORKS
    for fw in FRAMEWORKS:
        (tmp_path / fw.id).mkdir()
    for fw in others:
        (tmp_path / fw.id / file).touch()
    found = "\n".join(names.entry_points(FRAMEWORKS, framework.THINC, tmp_path)[group])
    assert name.format(token=one.token) not in found
    assert all(name.format(token=fw.token) in found for fw in others)


# Pages


def expanded(text: str) -> list[str]:
    """ "{a,b}c" is "ac" and "bc"."""
    parts = [part.split(",") for part in re.split(r"[{}]", text)]
    return ["".join(choice) for choice in itertools.product(*parts)]


def on_page(path: Path, what: str) -> set[str]:
    """The registered names in some lines of a page."""
    found = re.findall(what, path.read_text(), re.MULTILINE)
    written = [
        name for line in found for name in re.findall(r"`(spacy-frameworks\.[^`\s$]+)`", line)
    ]
    return {name for text in written for name in expanded(text)}


def registered(*groups: str) -> set[str]:
    """What is registered in some groups, but for the short forms of architectures."""
    short = {
        PREFIX + names.short_name(name, fw)
        for name in NAMES
        if name.short
        for fw in (*FRAMEWORKS, framework.THINC)
    }
    return {entry.name for entry in INSTALLED if entry.group in groups} - short


def test_the_table_of_all_names_has_every_one():
    page = ROOT / "docs" / "architectures.md"
    assert on_page(page, r"^\| (?!`spacy)[^|]+ \| `spacy-frameworks.*$") == registered(*FUNCTIONS)


def test_the_page_of_the_architectures_describes_every_one():
    page = ROOT / "docs" / "architectures.md"
    named = on_page(page, r"^(?:## |\| )`spacy-frameworks.*$")
    assert named == registered("spacy_architectures", "spacy_loggers", "spacy_readers")


@pytest.mark.parametrize(
    "page", ["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
)
def test_every_name_on_a_page_is_registered(page):
    assert on_page(ROOT / page, r"^.*$") <= {entry.name for entry in INSTALLED}


def test_the_pages_list_the_short_forms_of_every_framework():
    page = ROOT / "docs" / "architectures.md"
    spelled = [PREFIX + names.short_name(names.CUSTOM_MODEL, fw) for fw in FRAMEWORKS]
    thincs = PREFIX + names.short_name(names.CUSTOM_MODEL, framework.THINC)
    assert {*spelled, thincs} <= on_page(page, r"^.*$")


# A framework of another distribution


def test_the_modules_have_short_forms_for_the_frameworks_that_there_are_now():
    assert tagger.ToyTagger is tagger.ToyTagger
    assert (tagger.ToyTagger.__name__, usage_page.CustomToyModel.__name__) == (
        "ToyTagger",
        "CustomToyModel",
    )
    with pytest.raises(AttributeError, match=r"tagger' has no attribute 'ToyTextCat'"):
        _ = tagger.ToyTextCat


def test_swap_knows_its_names_and_writes_none_that_is_not_registered():
    from spacy_frameworks.architectures import swap_config

    def swapped(before: str, target: str) -> dict:
        return swap_config(Config({"model": {"@architectures": before}}), target)["model"]

    ours = swapped("spacy-frameworks.ToyTagger.v1", "MXNet")
    assert ours == {"@architectures": "spacy-frameworks.MXNetTagger.v1"}
    assert swapped("CustomTorchModel.v1", "Toy") == {"@architectures": "CustomToyModel.v1"}
    theirs = swapped("spacy-frameworks.MXNetTagger.v1", "Toy")
    assert theirs == {"@architectures": "spacy-frameworks.Tagger.v1", "framework": "Toy"}
