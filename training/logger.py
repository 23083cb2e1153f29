"""A logger for training: progress in the terminal, and files of what was measured."""

from __future__ import annotations

import csv as csv_files
import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from spacy.language import Language

from ..wrappers.framework import NotInstalledError, is_installed

Info = Optional[Dict[str, Any]]
Log = Tuple[Callable[[Info], None], Callable[[], None]]
Logger = Callable[[Language, IO, IO], Log]
# What is done with what was measured at an evaluation: numbers by name.
Write = Callable[[Dict[str, float]], None]


class LoggerError(ValueError):
    """A logger cannot write what it is to write."""


def create_logger(
    progress: bool = True,
    csv: Optional[str] = None,
    jsonl: Optional[str] = None,
    tensorboard: Optional[str] = None,
    others: Optional[Dict[str, Any]] = None,
) -> Logger:
    """Log a training: a table with a row for each evaluation, and files.

        [training.logger]
        @loggers = "spacy-frameworks.Logger.v1"
        csv = "log.csv"

    progress (bool): Whether to print the table, and on a terminal a bar with the time left.
    csv (Optional[str]): A file for a row of comma-separated values for each evaluation.
    jsonl (Optional[str]): A file for a line of JSON for each evaluation.
    tensorboard (Optional[str]): A folder for TensorBoard's files, which PyTorch's or TensorFlow's
        writer writes.
    others (Optional[Dict[str, Any]]): Further loggers, such as spaCy's, by any name, each a section
        of its own: [training.logger.others.console].
    RETURNS (Callable): As spaCy's loggers.

    Raises ValueError when training begins, if a file exists already; ImportError if nothing is
    installed that writes TensorBoard's files.
    """

    def setup(nlp: Language, stdout: IO = sys.stdout, stderr: IO = sys.stderr) -> Log:
        # All that can be wrong is found before the first is opened.
        for path in filter(None, (csv, jsonl)):
            if Path(path).exists():
                raise LoggerError(
                    f"The logger is to write {path}, which exists already. Move it away, or give "
                    "another name in [training.logger]."
                )
        names = _names(nlp)
        with ExitStack() as opened:
            begun = [setup_other(nlp, stdout, stderr) for setup_other in (others or {}).values()]
            for _, finish in begun:
                opened.callback(finish)
            writes: List[Write] = []
            if csv:
                writes.append(_csv_writer(opened.enter_context(_opened(csv))))
            if jsonl:
                writes.append(_jsonl_writer(opened.enter_context(_opened(jsonl))))
            if tensorboard:
                writes.append(_tensorboard_writer(tensorboard, opened))
            bar = _Bar(nlp, names, stdout, stderr) if progress else None
            if bar is not None:
                opened.callback(bar.stop)
            closing = opened.pop_all()

        begun_at = time.perf_counter()

        def log_step(info: Info) -> None:
            measured = None
            if info is not None:
                measured = _measured(info, names, time.perf_counter() - begun_at)
                for write in writes:
                    write(measured)
            if bar is not None:
                bar.step(measured)
            for log_other, _ in begun:
                log_other(info)

        return log_step, closing.close

    return setup


class _Names(NamedTuple):
    losses: List[str]
    scores: List[str]


def _names(nlp: Language) -> _Names:
    """What is measured: the loss of each component that is trained, and scores with a weight."""
    trained = [name for name, pipe in nlp.pipeline if getattr(pipe, "is_trainable", False)]
    weights = nlp.config["training"]["score_weights"]
    return _Names(trained, [name for name, weight in weights.items() if weight is not None])


def _measured(info: Dict[str, Any], names: _Names, elapsed: float) -> Dict[str, float]:
    """The numbers of an evaluation, always the same ones in the same order."""
    # spaCy's are whole ones; of a training that went on, they count from its first beginning.
    seconds = max(float(info["seconds"]), elapsed)
    scores = info["other_scores"]
    return {
        "epoch": info["epoch"],
        "step": info["step"],
        "seconds": round(seconds, 2),
        "words": info["words"],
        "words_per_second": round(info["words"] / seconds),
        "score": float(info["score"]),
        **{f"loss_{name}": float(info["losses"].get(name, 0.0)) for name in names.losses},
        **{name: float(scores.get(name, 0.0) or 0.0) for name in names.scores},
    }


def _opened(path: str) -> IO:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    # Each line is there as soon as it is written: whoever looks wants to see how far it came.
    return open(path, "x", encoding="utf8", newline="", buffering=1)


def _csv_writer(file: IO) -> Write:
    writer: Any = None

    def write(measured: Dict[str, float]) -> None:
        nonlocal writer
        if writer is None:
            writer = csv_files.DictWriter(file, list(measured))
            writer.writeheader()
        writer.writerow(measured)

    return write


def _jsonl_writer(file: IO) -> Write:
    return lambda measured: print(json.dumps(measured), file=file)


def _tensorboard_writer(folder: str, opened: ExitStack) -> Write:
    add, close = _tensorboards(folder)
    opened.callback(close)

    def write(measured: Dict[str, float]) -> None:
        for name, value in measured.items():
            if name != "step":
                add(name, value, int(measured["step"]))

    return write


def _tensorboards(folder: str) -> Tuple[Callable[[str, float, int], None], Callable[[], None]]:
    """What adds a number, and what closes the file. Both writers need TensorBoard itself."""
    try:
        if is_installed("pytorch"):
            from torch.utils.tensorboard import SummaryWriter

            writer = SummaryWriter(folder)
            return writer.add_scalar, writer.close
        if is_installed("tensorflow"):
            import tensorboard  # noqa: F401
            import tensorflow as tf

            events = tf.summary.create_file_writer(folder)

            def add(name: str, value: float, step: int) -> None:
                with events.as_default():
                    tf.summary.scalar(name, value, step=step)

            return add, events.close
    except ImportError as error:
        raise NotInstalledError(
            f"TensorBoard's files were asked for in [training.logger], and {error.name} is not "
            "installed. Install it with: pip install tensorboard",
            name=error.name,
        ) from None
    raise NotInstalledError(
        "TensorBoard's files were asked for in [training.logger]; PyTorch or TensorFlow writes "
        "them, and neither is installed. Ask for csv or jsonl, or install one, and tensorboard."
    )


class _Bar:
    """A table of evaluations, and on a terminal a bar below it."""

    def __init__(self, nlp: Language, names: _Names, stdout: IO, stderr: IO):
        training = nlp.config["training"]
        self.names = names
        self.max_steps = int(training["max_steps"] or 0)
        self.max_epochs = int(training["max_epochs"] or 0)
        self.steps = 0
        self.stdout = stdout
        self.console = Console(file=stderr)
        self.bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
            transient=True,
        )
        self.task = self.bar.add_task("step 0", total=self.max_steps or None)
        self.bar.start()
        self.widths: Dict[str, int] = {}
        self._row({name: name for name in self._columns()})

    def step(self, measured: Optional[Dict[str, float]]) -> None:
        self.steps += 1
        if measured is not None:
            self.steps = int(measured["step"]) + 1
            self._row(self._cells(measured))
            self.bar.update(self.task, total=self._total(int(measured["epoch"])))
        self.bar.update(self.task, completed=self.steps, description=f"step {self.steps}")

    def stop(self) -> None:
        self.bar.stop()

    def _total(self, epoch: int) -> Optional[int]:
        """How many steps it takes, as far as is known: patience may end it sooner."""
        known = [self.max_steps] if self.max_steps else []
        if self.max_epochs and epoch:
            # Whole epochs are behind us; how much of this one is not told.
            known.append(round(self.steps / (epoch + 0.5) * self.max_epochs))
        return max(min(known), self.steps) if known else None

    def _columns(self) -> List[str]:
        losses = [f"loss {name}" for name in self.names.losses]
        return ["epoch", "step", *losses, *self.names.scores, "score", "words/s"]

    def _cells(self, measured: Dict[str, float]) -> Dict[str, str]:
        losses = {f"loss {name}": f"{measured[f'loss_{name}']:.2f}" for name in self.names.losses}
        scores = {name: f"{100 * measured[name]:.2f}" for name in self.names.scores}
        return {
            "epoch": str(measured["epoch"]),
            "step": str(measured["step"]),
            **losses,
            **scores,
            "score": f"{measured['score']:.4f}",
            "words/s": f"{measured['words_per_second']:,}",
        }

    def _row(self, cells: Dict[str, str]) -> None:
        self.widths = self.widths or {name: max(8, len(name)) for name in cells}
        line = "  ".join(text.rjust(self.widths[name]) for name, text in cells.items())
        if self.console.is_terminal and self.stdout.isatty():
            # The bar makes room for it.
            self.bar.console.print(line, highlight=False, markup=False, soft_wrap=True)
        else:
            print(line, file=self.stdout, flush=True)
