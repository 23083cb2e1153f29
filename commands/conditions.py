"""What decides what comes out of a training, besides its seed: results are those of the same
training only where all of it is the same."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, Sequence

from ..wrappers.framework import THINC, get_framework, is_installed
from .info import versions

# Bytes of a file that are read at once.
BLOCK = 2**20


def versions_with(tokens: Sequence[str]) -> Dict[str, Dict[str, str]]:
    """By framework, the versions of Python and of the packages that a training in it runs on.

    tokens: Config tokens of the frameworks.
    """
    # Both read the metadata of what is installed.
    common, names = versions(), packages_distributions()
    found = {}
    for token in tokens:
        fw, found[token] = get_framework(token), dict(common)
        if fw != THINC and is_installed(fw.id) and fw.module in names:
            found[token][fw.module] = version(names[fw.module][0])
    return found


def digest_of(value: Any) -> str:
    """A hash of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def digest_of_files(paths: Mapping[str, Any], without: Path) -> str:
    """A hash of what the files, folders and installed packages contain that a config's section
    [paths] names. When they were written is not in it, so that a copy is the same.

    paths: The section, with its variables filled in.
    without: A folder in which nothing is read, where one of them is around it.
    """
    return digest_of({name: _content(value, without.resolve()) for name, value in paths.items()})


def _content(value: Any, without: Path) -> Any:
    from spacy.util import get_package_version

    if not isinstance(value, str) or not value:
        return None
    path = Path(value)
    if not path.exists():
        # Such as vectors of a package; None for what is not there at all.
        return get_package_version(value)
    return {file.relative_to(path).as_posix(): _hashed(file) for file in _files(path, without)}


def _files(path: Path, without: Path) -> Iterator[Path]:
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file() and without not in file.resolve().parents:
            yield file


def _hashed(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while block := opened.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
