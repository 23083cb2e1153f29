"""Maps the folders under one namespace, and derives extras and entry points from the list of
frameworks and that of names. Everything else is in pyproject.toml."""

import runpy
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
framework = runpy.run_path(str(HERE / "wrappers" / "framework.py"))
names = runpy.run_path(str(HERE / "architectures" / "names.py"))
FRAMEWORKS = framework["FRAMEWORKS"]

ROOTS = {
    # The name alone, with the version.
    "spacy_frameworks": "package",
    "spacy_frameworks.wrappers": "wrappers",
    "spacy_frameworks.architectures": "architectures",
    "spacy_frameworks.training": "training",
    "spacy_frameworks.components": "components",
    "spacy_frameworks.commands": "commands",
}

packages = [
    name
    for root, folder in ROOTS.items()
    for name in (root, *(f"{root}.{sub}" for sub in find_packages(str(HERE / folder))))
]
extras = {fw.id: list(fw.requirements) for fw in FRAMEWORKS}
extras["all"] = [line for lines in extras.values() for line in lines]
# The plots of `spacy frameworks compare`.
extras["report"] = ["matplotlib>=3.8"]
# Ray Train asks Ray's dashboard for the state of its processes.
extras["ray"] = [*extras["pytorch"], "ray[default,train]>=2.60"]
extras["dev"] = [
    "autograd>=1.8",
    "pytest>=8",
    "pytest-timeout>=2",
    "pytest-xdist>=3",
    "hypothesis>=6",
    "ruff>=0.6",
    "mypy>=1.11",
    "tox>=4",
]

setup(
    packages=packages,
    package_dir=ROOTS,
    package_data={root: ["py.typed"] for root in ROOTS},
    extras_require=extras,
    entry_points=names["entry_points"](FRAMEWORKS, framework["THINC"], HERE / "wrappers"),
)
