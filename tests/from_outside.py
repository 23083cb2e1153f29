"""Puts the distribution with the toy framework where Python finds what is installed, here and in
the processes that tests start. Imported before anything asks for the list of frameworks."""

import os
import sys
from pathlib import Path

FOLDER = str(Path(__file__).parent / "toy_distribution")


def python_path(*folders: object) -> str:
    """The variable PYTHONPATH for a process that finds these folders, and the distribution."""
    return os.pathsep.join([*map(str, folders), FOLDER])


# In a worker of pytest-xdist it is there.
if FOLDER not in sys.path:
    sys.path.append(FOLDER)
    os.environ["PYTHONPATH"] = python_path(*filter(None, [os.environ.get("PYTHONPATH")]))
