"""Every block of code in README and docs runs as it is printed, page by page, in a folder with
`configs/`, `train.spacy`, `dev.spacy` and `stock.cfg`, which `spacy init config` made. Each runs in
a process of its own; that of Python has imported spaCy.

A comment in front of a block, which no reader of the page sees, says what else belongs to it:

    <!-- test: file NAME -->            write the block to this file
    <!-- test: line LINE of OLD as NEW -->  write it to NEW, in place of this line of OLD
    <!-- test: continue -->             run it behind the Python block before it
    <!-- test: run COMMAND -->          run this too (alone, or in front of a block)
    <!-- test: skip REASON -->          it cannot run here
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from subprocess import PIPE, STDOUT, run
from typing import Iterator, NamedTuple

import pytest
import spacy
from spacy.tokens import DocBin
from spacy_frameworks.training.corpus import create_corpus

from .frameworks import TOKENS, marks
from .pipelines import ROOT, spacy_command
from .prepared import SECONDS, Done, Prepared

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# A training ends soon, unless its command says itself how long it takes: spaCy's commands take this
# from the environment as if it were in front of their own arguments.
FEW = "--training.max_steps 20 --training.eval_frequency 20"
# Directives and blocks, in the order of the page.
ITEM = re.compile(r"^<!-- test: (.+?) -->$|^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    language: str
    text: str
    directive: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page with the directives in front of them; directives alone are blocks of
    bash."""
    text, directive = page.read_text(), ""
    for match in ITEM.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        if match[1] and match[1].startswith("run "):
            yield Block("bash", match[1].removeprefix("run "), "", line)
        elif match[1]:
            directive = match[1]
        else:
            yield Block(match[2], match[3], directive, line)
            directive = ""


@pytest.fixture(scope="session")
def start(tmp_path_factory) -> Path:
    """What a reader has: the configs, data of his own, and a config from spaCy."""
    start = tmp_path_factory.mktemp("start")
    (start / "configs").symlink_to(ROOT / "configs")
    for split, limit in (("train", 60), ("dev", 20)):
        corpus = create_corpus({"train": None, "dev": None}, split, limit=limit)
        docs = [example.reference for example in corpus(spacy.blank("en"))]
        DocBin(docs=docs).to_disk(start / f"{split}.spacy")
    spacy_command("init", "config", "stock.cfg", "--pipeline", "tagger", cwd=start)
    return start


@pytest.fixture
def folder(start, tmp_path) -> Path:
    """The same for one page, which may add to it."""
    shutil.copytree(start, tmp_path, symlinks=True, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture(scope="session")
def prepared() -> Iterator[Prepared]:
    with Prepared("import spacy") as prepared:
        yield prepared


@pytest.mark.long
@pytest.mark.parametrize(
    "page", [pytest.param(page, id=page.stem, marks=marks(*TOKENS)) for page in PAGES]
)
def test_the_blocks_of_a_page_run_as_printed(page, folder, prepared):
    before = ""
    run_here = [block for block in blocks(page) if not block.directive.startswith("skip ")]
    for block, following in zip(run_here, [*run_here[1:], None]):
        verb, _, rest = block.directive.partition(" ")
        if verb == "file":
            (folder / rest).write_text(block.text)
        elif verb == "line":
            place = re.fullmatch(r"(.+) of (\S+) as (\S+)", rest)
            assert place
            text, line = (folder / place[2]).read_text(), f"{place[1]}\n"
            assert text.count(line) == 1
            (folder / place[3]).write_text(text.replace(line, block.text))
        elif block.language == "bash":
            done = bash(block.text, folder)
            assert done.returncode == 0, f"{page.name}:{block.line}\n{done.output}"
        elif block.language == "python":
            before = before + block.text if verb == "continue" else block.text
            if following is not None and following.directive == "continue":
                # It runs with what is behind it, in one process.
                continue
            done = prepared.run(before, folder)
            assert done.returncode == 0, f"{page.name}:{block.line}\n{done.output}"
        else:
            raise AssertionError(f"{page.name}:{block.line}: nothing tests this block")


def bash(script: str, folder: Path) -> Done:
    own = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {**os.environ, "PATH": own, "PYTHONPATH": str(folder), "SPACY_CONFIG_OVERRIDES": FEW}
    command = ["bash", "-ec", script]
    done = run(command, cwd=folder, env=env, stdout=PIPE, stderr=STDOUT, text=True, timeout=SECONDS)
    return Done(done.returncode, done.stdout)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_block_that_is_skipped_says_why(page):
    for block in blocks(page):
        verb, _, reason = block.directive.partition(" ")
        assert verb in ("", "skip", "file", "line", "continue"), block.directive
        assert verb != "skip" or len(reason.split()) > 3, f"{page.name}:{block.line}"
        assert verb or block.language in ("bash", "python"), f"{page.name}:{block.line}"


def test_what_the_contributors_page_names_is_there():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    paths = set(re.findall(r"`([\w.]+/[\w./]*)`", text))
    assert len(paths) > 20
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []
