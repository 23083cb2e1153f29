"""What goes wrong in a command is said in one message, and ends with exit code 1."""

from __future__ import annotations

import configparser
import contextlib
from pathlib import Path
from typing import Iterator

from click import ClickException
from wasabi import msg


@contextlib.contextmanager
def as_messages() -> Iterator[None]:
    """A block in which errors that the user can do something about are messages without a
    traceback."""
    try:
        yield
    except (ValueError, ImportError, OSError, configparser.Error, ClickException) as error:
        # spaCy raises click's, of which Typer has a copy that does not know them.
        msg.fail(str(error), exits=1)


def check_output(path: Path, force: bool) -> None:
    """End with an error if there is something at the path that must not be overwritten."""
    if path.exists() and not force:
        msg.fail(
            f"{path} exists already",
            "Choose another path, or have it overwritten with --force.",
            exits=1,
        )


def check_input(path: Path) -> None:
    """End with an error if there is no such file."""
    if not path.is_file():
        msg.fail(f"There is no file {path}", exits=1)
