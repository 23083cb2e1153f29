"""The folder that a training writes, in which its models are whole at every moment.

spaCy writes `model-last` file by file, and makes `model-best` a copy of it. Here it does so in a
folder beside them, and each is put in its place when it is complete and on the disk: what was there
before stays until then.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import sys
from pathlib import Path
from typing import IO, Any, Iterator, cast

from spacy.training.loop import DIR_MODEL_BEST, DIR_MODEL_LAST

from .checkpoint import NAME as CHECKPOINT
from .checkpoint import ResumeError

# Inside of the output folder, so that it is on the same disk.
SCRATCH = ".training"
# In it, what had to be moved away before its successor could be moved in.
REPLACED = "replaced"

# Of Linux.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
# That a file system, or a kernel, cannot exchange two folders.
_CANNOT = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


class Output:
    """The output folder of a training, as its one writer sees it."""

    def __init__(self, path: Path):
        """
        path: The folder. It is made if it is not there.
        """
        self.path = path
        self.scratch = path / SCRATCH
        self.checkpoint = path / CHECKPOINT

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """A `with` block in which spaCy writes into `scratch`, which is gone afterwards."""
        self._clear()
        self.scratch.mkdir(parents=True)
        try:
            yield
        finally:
            self._clear()

    def named_on(self, stream: IO[str]) -> IO[str]:
        """A stream on which spaCy tells of this folder and not of the one where it writes."""
        return cast(IO[str], _Named(stream, self))

    def publish(self) -> None:
        """Put what spaCy has written in its place.

        Raises OSError if that fails. Each model is then the old or the new one.
        """
        # Whoever finds a new model-last finds the model-best that belongs to it.
        for name in (DIR_MODEL_BEST, DIR_MODEL_LAST):
            if (self.scratch / name).exists():
                _sync_tree(self.scratch / name)
                self._put_in_place(name)

    def write_checkpoint(self, data: bytes) -> None:
        """Replace the checkpoint. It comes after the models: where the process ends in between, the
        checkpoint is older than they are, and who resumes from it writes them once more."""
        new = self.scratch / CHECKPOINT
        new.write_bytes(data)
        _sync(new)
        new.replace(self.checkpoint)
        _sync(self.path)

    def read_checkpoint(self) -> bytes:
        """The checkpoint.

        Raises ResumeError if there is none.
        """
        if not self.checkpoint.exists():
            raise ResumeError(
                f"There is no {self.checkpoint}, so there is nothing to resume. It is written at "
                "each evaluation, and removed when the training is over. Train from the beginning, "
                "without --resume."
            )
        return self.checkpoint.read_bytes()

    def remove_checkpoint(self) -> None:
        """There is nothing to resume: the training is over, or cannot go on from here."""
        self.checkpoint.unlink(missing_ok=True)

    def _put_in_place(self, name: str) -> None:
        new, place, replaced = self.scratch / name, self.path / name, self.scratch / REPLACED / name
        if not place.exists():
            new.rename(place)
        elif not _exchange(new, place):
            replaced.parent.mkdir(exist_ok=True)
            place.rename(replaced)
            # A process that ends here leaves nothing in that place: see `_clear`.
            new.rename(place)
        _sync(self.path)
        # spaCy would write the next one into what there is of this one.
        for old in (new, replaced):
            if old.exists():
                shutil.rmtree(old)

    def _clear(self) -> None:
        for replaced in (self.scratch / REPLACED).glob("*"):
            if not (self.path / replaced.name).exists():
                replaced.rename(self.path / replaced.name)
        if self.scratch.exists():
            shutil.rmtree(self.scratch)


class _Named:
    def __init__(self, stream: IO[str], output: Output):
        self._stream, self._output = stream, output

    def write(self, text: str) -> int:
        return self._stream.write(text.replace(str(self._output.scratch), str(self._output.path)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step, so that there is something in each place all the time.
    False if nothing was done, since this system has no such step."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        # A C library of before 2018.
        return False
    names = os.fsencode(one), os.fsencode(other)
    failed = renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE)
    if failed and ctypes.get_errno() not in _CANNOT:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(one))
    return not failed


def _sync_tree(folder: Path) -> None:
    """Have all of a folder on the disk."""
    for path in (folder, *folder.rglob("*")):
        _sync(path)


def _sync(path: Path) -> None:
    # Windows opens no folders, and for a file it needs the right to write.
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
