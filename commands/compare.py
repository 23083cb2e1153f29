"""`spacy frameworks compare`: the same training in each framework."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

import typer
from wasabi import msg

from .errors import as_messages, check_input
from .options import CODE
from .trial import Trial

# What a comparison writes into its folder.
RUNS, CONFIGS, RESULTS, REPORT = "runs", "configs", "results.json", "report.html"
# How often the display looks whether a training has gone on, in seconds.
EVERY = 0.5
# How much of what a training that failed has printed is told.
LAST_LINES = 15


def compare_cli(
    ctx: typer.Context,
    config_path: Path = typer.Argument(..., help="Path to the config file"),
    also: Optional[List[Path]] = typer.Option(None, "--also", help="A further config"),
    frameworks: str = typer.Option(
        "all", "--frameworks", "-F", help="Such as PyTorch,Thinc; all for those that are installed"
    ),
    seeds: int = typer.Option(
        1, "--seeds", "-s", min=1, help="How many seeds each is trained with"
    ),
    output_path: Path = typer.Option(
        Path("comparison"), "--output", "-o", help="Folder for pipelines, results and the report"
    ),
    code_path: Optional[Path] = CODE,
    use_gpu: int = typer.Option(-1, "--gpu-id", "-g", help="GPU ID or -1 for CPU"),
    force: bool = typer.Option(False, "--force", "-f", help="Begin again where there are results"),
) -> None:
    """
    Train the same config in each framework, and write a table, results.json and a report.

    Values of the config are overridden as in `spacy train`, such as --paths.train. A comparison
    that was interrupted goes on with what is missing. A framework that fails is a row of the table
    with its error.
    """
    from spacy.cli._util import parse_config_overrides

    for path in (config_path, *(also or ())):
        check_input(path)
    with as_messages():
        overrides = parse_config_overrides(ctx.args)
        from .report import check_matplotlib, show, write_report

        check_matplotlib()
        configs = [config_path, *(also or ())]
        tokens = _chosen(frameworks)
        runs = planned(configs, tokens, seeds, output_path, overrides, code_path, use_gpu)
        _begin(output_path, runs, force)
        _run_all(runs)
        results = collected(runs)
        text = json.dumps(as_json(results), indent=2, allow_nan=False)
        (output_path / RESULTS).write_text(text, encoding="utf8")
        write_report(results, output_path / REPORT)
    show(results)
    if all("error" in run for run in results["runs"]):
        msg.fail("Every training failed", exits=1)
    print(f"\n{output_path / REPORT}")


class Planned(NamedTuple):
    """A training that is to be done.

    config: The name of the config, without its ending.
    framework: Config token.
    text: The config on this framework.
    """

    config: str
    framework: str
    text: str
    trial: Trial


def planned(
    configs: List[Path],
    frameworks: List[str],
    seeds: int,
    output: Path,
    overrides: Dict[str, Any],
    code: Optional[Path],
    use_gpu: int,
) -> List[Planned]:
    """Every training of a comparison. Prints which layers are replaced.

    Raises ValueError if a config cannot be read, or two have the same name.
    """
    from spacy.util import load_config

    from ..architectures import swap_config
    from ..architectures.stock import replace_stock
    from .config_text import rewritten

    if len({path.stem for path in configs}) < len(configs):
        raise ValueError("Two of the configs have the same name: rename one of them.")
    runs = []
    for path in configs:
        # The same ones in each framework.
        replaced: Dict[str, None] = {}
        text, before = path.read_text(encoding="utf8"), load_config(path, interpolate=False)
        for framework in frameworks:
            after = swap_config(before, framework)
            replaced.update(dict.fromkeys(map(str, replace_stock(after, framework))))
            config = output / CONFIGS / f"{path.stem}-{framework}.cfg"
            swapped = rewritten(text, before, after)
            for seed in range(seeds):
                folder = output / RUNS / f"{path.stem}-{framework}-{seed}"
                imported = str(code) if code else None
                trial = Trial(str(config), str(folder), seed, overrides, imported, use_gpu)
                runs.append(Planned(path.stem, framework, swapped, trial))
        for each in replaced:
            msg.info(f"In {path}, except with Thinc, replaced {each}")
        if len({run.text for run in runs if run.config == path.stem}) < len(frameworks):
            msg.warn(
                f"In {path}, nothing changes with the framework",
                "`spacy init fill-config` writes all models of components into it.",
            )
    return runs


def _chosen(frameworks: str) -> List[str]:
    """The tokens of the frameworks that are named, each once."""
    from ..wrappers import all_frameworks, is_installed
    from ..wrappers.framework import THINC, get_framework

    if frameworks.lower() == "all":
        return [fw.token for fw in (*all_frameworks(), THINC) if fw == THINC or is_installed(fw.id)]
    named = [get_framework(name.strip()).token for name in frameworks.split(",")]
    return list(dict.fromkeys(named))


def _begin(output: Path, runs: List[Planned], force: bool) -> None:
    """Have a folder with the configs, in which there is nothing but results of these trainings.

    Raises ValueError if there is something else.
    """
    settings = output / RUNS / "settings.json"
    if not settings.exists():
        if (output / RUNS).exists():
            raise ValueError(f"{output / RUNS} is not of a comparison. Choose another --output.")
        mine = [output / name for name in (CONFIGS, RESULTS, REPORT) if (output / name).exists()]
        if mine and not force:
            raise ValueError(
                f"{mine[0]} exists already. Choose another --output, or have it overwritten with "
                "--force."
            )
    # Of the same configs, data and overrides: more frameworks or seeds may join them.
    wanted = {run.trial.folder: _digest(run) for run in runs}
    there = json.loads(settings.read_text()) if settings.exists() else {}
    others = [folder for folder in wanted if there.get(folder, wanted[folder]) != wanted[folder]]
    if others and not force:
        raise ValueError(
            f"{output} has results of another config or with other values: {others[0]}. Choose "
            "another --output, or begin again with --force."
        )
    if force:
        shutil.rmtree(output / RUNS, ignore_errors=True)
        there = {}
    for name in (RUNS, CONFIGS):
        (output / name).mkdir(parents=True, exist_ok=True)
    settings.write_text(json.dumps({**there, **wanted}))
    for run in runs:
        Path(run.trial.config).write_text(run.text, encoding="utf8")


def _digest(run: Planned) -> str:
    trial = run.trial
    code = Path(trial.code).read_text(encoding="utf8") if trial.code else ""
    settings = [run.text, code, trial.seed, trial.overrides, trial.use_gpu]
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _run_all(runs: List[Planned]) -> None:
    """Run what has no result yet, one after the other, with one display for all."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    todo = [run for run in runs if not run.trial.result.exists()]
    if len(todo) < len(runs):
        msg.info(f"{len(runs) - len(todo)} of {len(runs)} trainings are done already")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("", total=len(todo))
        for run in todo:
            name = f"{run.config} with {run.framework}, seed {run.trial.seed}"
            for said in _run(run.trial):
                progress.update(task, description=f"{name}{said}")
            error = error_of(run.trial)
            if error:
                progress.console.print(f"{name} failed: {error}", markup=False, highlight=False)
            elif not console.is_terminal:
                progress.console.print(f"{name}: done", markup=False, highlight=False)
            progress.advance(task)


def _run(trial: Trial) -> Iterator[str]:
    """Run a trial in a process of its own. Gives how far it has come, again and again."""
    folder = Path(trial.folder)
    # What an interrupted one has left.
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    settings = folder / "trial.json"
    settings.write_text(json.dumps(trial._asdict()), encoding="utf8")
    command = [sys.executable, "-m", "spacy_frameworks.commands.trial", str(settings)]
    env = {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ}
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=env)
        try:
            while process.poll() is None:
                yield _said(trial)
                time.sleep(EVERY)
        finally:
            # Ctrl-C ends it, too.
            process.kill()
            process.wait()
    if process.returncode:
        (folder / "error.txt").write_text(_last_lines(folder / "log.txt", process.returncode))


def _said(trial: Trial) -> str:
    if not trial.curve.exists():
        return ""
    # The last line may not be whole yet.
    lines = trial.curve.read_text().split("\n")[:-1]
    if not lines:
        return ""
    last = json.loads(lines[-1])
    return f": step {last['step']}, score {last['score']:.3f}"


def _last_lines(log: Path, code: int) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    if code < 0:
        # It has not said so itself, such as where there was no memory left.
        lines.append(f"It was ended by {signal.Signals(-code).name}.")
    return "\n".join(lines[-LAST_LINES:]) or f"It ended with code {code}, and without a message."


def error_of(trial: Trial) -> str:
    """The last line of what a training that failed has printed; "" if it did not fail."""
    file = Path(trial.folder) / "error.txt"
    return file.read_text().splitlines()[-1] if file.exists() else ""


def collected(runs: List[Planned]) -> Dict[str, Any]:
    """All results, as results.json has them."""
    from .info import machine, versions

    return {
        "versions": {**versions(), **_of_frameworks(runs)},
        "machine": machine(),
        "command": shlex.join(["spacy", *sys.argv[1:]]),
        "configs": {f"{run.config}-{run.framework}": run.text for run in runs},
        "runs": [
            {"config": run.config, "framework": run.framework, **_outcome(run.trial)}
            for run in runs
        ],
    }


def as_json(value: Any) -> Any:
    """The same with null for numbers that JSON does not have, such as a loss that became NaN."""
    if isinstance(value, dict):
        return {key: as_json(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _outcome(trial: Trial) -> Dict[str, Any]:
    base = {"seed": trial.seed, "folder": trial.folder, "overrides": trial.overrides}
    if trial.result.exists():
        return {**base, **json.loads(trial.result.read_text(encoding="utf8"))}
    return {**base, "error": error_of(trial)}


def _of_frameworks(runs: List[Planned]) -> Dict[str, str]:
    from importlib.metadata import packages_distributions, version

    from ..wrappers.framework import THINC, get_framework, is_installed

    found = {}
    names = packages_distributions()
    for token in dict.fromkeys(run.framework for run in runs):
        fw = get_framework(token)
        if fw != THINC and is_installed(fw.id) and fw.module in names:
            found[fw.module] = version(names[fw.module][0])
    return found
