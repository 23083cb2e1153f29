"""Every link between the pages points to something that is there, and every page is in the site.
This needs no Sphinx, which `tox -e docs` has."""

from __future__ import annotations

import os
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Iterator

import pytest
import spacy_frameworks.architectures
import spacy_frameworks.components
import spacy_frameworks.training
import spacy_frameworks.wrappers

from .pipelines import ROOT

DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *(ROOT / folder / "README.md" for folder in ("benchmarks", "constraints", "examples/project")),
    *sorted(DOCS.glob("*.md")),
]
FENCED = re.compile(r"^(```|~~~).*?^\1$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"(`+)[^`].*?\1", re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
TOCTREE = re.compile(r"^~~~\{toctree\}\n(.*?)^~~~$", re.MULTILINE | re.DOTALL)


def links(page: Path) -> Iterator[str]:
    """What a page links to, outside of code, on this machine."""
    text = CODE.sub("", FENCED.sub("", page.read_text()))
    return (link for link in LINK.findall(text) if not link.startswith(("http:", "https:")))


@cache
def anchors(page: Path) -> set[str]:
    """Those that GitHub makes of the headings: lower case, without marks, numbered if repeated."""
    found: Counter[str] = Counter()
    names = set()
    for heading in re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text()), re.MULTILINE):
        words = re.sub(r"\[(.+?)\]\(.+?\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", words).strip().replace(" ", "-")
        names.add(f"{name}-{found[name]}" if found[name] else name)
        found[name] += 1
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_point_to_what_is_there(page):
    wrong = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        is_page = target.suffix == ".md" and target.exists()
        if not target.exists() or (anchor and not (is_page and anchor in anchors(target))):
            wrong.append(link)
    assert wrong == []


def toctree() -> list[Path]:
    names = []
    for lines in TOCTREE.findall((DOCS / "index.md").read_text()):
        entries = [line for line in lines.splitlines() if line and not line.startswith(":")]
        names += [re.sub(r".*<(.+)>", r"\1", entry) for entry in entries]
    return [Path(os.path.normpath(DOCS / name)) for name in names]


def test_every_page_is_in_the_contents_of_the_site_and_the_other_way_around():
    named = toctree()
    there = [path.with_suffix("") for path in [*PAGES, *DOCS.glob("*.rst")]]
    assert sorted(named) == sorted(set(there) - {DOCS / "index"})


PACKAGES = [
    spacy_frameworks.wrappers,
    spacy_frameworks.architectures,
    spacy_frameworks.training,
    spacy_frameworks.components,
]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_the_reference_shows_the_public_names(package):
    page = DOCS / f"api_{package.__name__.rpartition('.')[2]}.rst"
    shown = re.findall(r"^\.\. (?:autoapi\w+|py:data):: (?:.+\.)?(\w+)$", page.read_text(), re.M)
    assert sorted(shown) == sorted(package.__all__)
