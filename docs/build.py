"""Make the site: `python docs/build.py`, or `python docs/build.py linkcheck`.

Sphinx wants all pages below one folder, and sphinx-autoapi wants the packages under their names. So
both are copied to `build/docs/source`, with the same paths as here: links between pages, and to
files such as `../configs/tagger.cfg`, are the same on GitHub and in the site.
"""

from __future__ import annotations

import ast
import re
import shutil
import sys
from pathlib import Path

from sphinx.cmd.build import main

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "docs"
SOURCE = BUILD / "source"
FOLDERS = ["docs", "configs", "examples", "benchmarks"]
# Caches, and what a run of the example project leaves.
LEFT_OUT = ["__pycache__", "corpus", "metrics", "packages", "training"]
PAGES = ["*.md", "constraints/*.md"]

# Whoever opens the site at its root.
REDIRECT = """<!doctype html>
<title>spacy-frameworks</title>
<meta http-equiv="refresh" content="0; url=docs/index.html">
<a href="docs/index.html">spacy-frameworks</a>
"""


def copy_sources() -> None:
    # From scratch: what did not change may link to what is gone.
    shutil.rmtree(BUILD, ignore_errors=True)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, SOURCE / name, ignore=shutil.ignore_patterns(*LEFT_OUT))
    for pattern in PAGES:
        for page in ROOT.glob(pattern):
            copy(page, SOURCE / page.relative_to(ROOT))
    redirect = SOURCE / "docs" / "redirect" / "index.html"
    redirect.parent.mkdir()
    redirect.write_text(REDIRECT)
    for package, folder in package_folders().items():
        copy_package(ROOT / folder, SOURCE.joinpath(*package.split(".")))


def package_folders() -> dict[str, str]:
    """Which folder is which package, as `setup.py` says."""
    for node in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ROOTS":
            return ast.literal_eval(node.value)
    raise ValueError("Expected the packages in setup.py, as ROOTS.")


def copy_package(folder: Path, target: Path) -> None:
    """What a package's `__init__.py` names, and nothing besides: to read all takes long."""
    for init in folder.rglob("__init__.py"):
        place = target / init.parent.relative_to(folder)
        copy(init, place / init.name)
        for module in re.findall(r"^from \.(\w+) import", init.read_text(), re.MULTILINE):
            if (init.parent / f"{module}.py").exists():
                copy(init.parent / f"{module}.py", place / f"{module}.py")


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)


if __name__ == "__main__":
    builder = sys.argv[1] if len(sys.argv) > 1 else "html"
    copy_sources()
    out = BUILD / builder
    options = ["-b", builder, "-c", str(SOURCE / "docs"), "-d", str(BUILD / "doctrees")]
    result = main([*options, "-q", "-n", "-W", "--keep-going", str(SOURCE), str(out)])
    if not result:
        print(f"{out}/index.html" if builder == "html" else f"{out}/output.txt")
    sys.exit(result)
