"""`spacy frameworks compare`: the same training in each framework."""

from __future__ import annotations

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
# Beside the folders of the trainings: what each of them was.
TRAININGS = "trainings.json"
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
        there = _begin(output_path, runs, force)
        _run_all(runs)
        results = collected(there)
        text = json.dumps(as_json(results), indent=2, allow_nan=False)
        (output_path / RESULTS).write_text(text, encoding="utf8")
        write_report(results, output_path / REPORT)
    show(results)
    if not any(run.trial.result.exists() for run in runs):
        msg.fail("Every training failed", exits=1)
    print(f"\n{output_path / REPORT}")


class Planned(NamedTuple):
    """A training that is to be done, or was done before.

    config: The name of the config, without its ending.
    framework: Config token.
    text: The config on this framework.
    versions: Of Python and the packages that it runs on, by their names.
    digests: Hashes of what else decides what comes out, by what errors call it.
    command: The command that asks for it.
    """

    config: str
    framework: str
    text: str
    trial: Trial
    versions: Dict[str, str]
    digests: Dict[str, str]
    command: str

    @property
    def name(self) -> str:
        """That of its folder."""
        return Path(self.trial.folder).name

    @property
    def conditions(self) -> Dict[str, str]:
        """Versions and digests, by what errors call them."""
        numbers = {f"the version of {name}": number for name, number in self.versions.items()}
        return {**numbers, **self.digests}


def planned(
    configs: List[Path],
    frameworks: List[str],
    seeds: int,
    output: Path,
    overrides: Dict[str, Any],
    code: Optional[Path],
    use_gpu: int,
) -> List[Planned]:
    """Every training of a comparison. Prints which layers are replaced, and reads what the configs
    name under [paths].

    Raises ValueError if a config cannot be read, or two have the same name.
    """
    from spacy.util import load_config

    from ..architectures import swap_config
    from ..architectures.stock import replace_stock
    from .conditions import digest_of, digest_of_files, versions_with
    from .config_text import rewritten

    if len({path.stem for path in configs}) < len(configs):
        raise ValueError("Two of the configs have the same name: rename one of them.")
    imported = code.read_text(encoding="utf8") if code else ""
    common = {
        "the values of the command": digest_of(overrides),
        "the code": digest_of(imported),
        "the GPU": str(use_gpu),
    }
    versions = versions_with(frameworks)
    command = shlex.join(["spacy", *sys.argv[1:]])
    runs = []
    for path in configs:
        # The same ones in each framework.
        replaced: Dict[str, None] = {}
        text, before = path.read_text(encoding="utf8"), load_config(path, interpolate=False)
        paths = load_config(path, overrides, interpolate=True).get("paths", {})
        digests = {
            **common,
            f"the config {path.stem}": digest_of(text),
            f"the files of {path.stem}": digest_of_files(paths, without=output),
        }
        for framework in frameworks:
            after = swap_config(before, framework)
            replaced.update(dict.fromkeys(map(str, replace_stock(after, framework))))
            config = output / CONFIGS / f"{path.stem}-{framework}.cfg"
            swapped = rewritten(text, before, after)
            own = {**digests, f"the config {path.stem}-{framework}": digest_of(swapped)}
            for seed in range(seeds):
                folder = output / RUNS / f"{path.stem}-{framework}-{seed}"
                imports = str(code) if code else None
                trial = Trial(str(config), str(folder), seed, overrides, imports, use_gpu)
                what = (path.stem, framework, swapped, trial)
                runs.append(Planned(*what, versions[framework], own, command))
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


def _begin(output: Path, runs: List[Planned], force: bool) -> List[Planned]:
    """Have a folder with the configs, in which there is nothing but results under the same
    conditions. What was trained under others and has failed is forgotten.

    Returns the trainings that the folder is of: these, and those that were done before.

    Raises ValueError if there is something else.
    """
    record = output / RUNS / TRAININGS
    if not record.exists():
        if (output / RUNS).exists():
            raise ValueError(f"{output / RUNS} is not of a comparison. Choose another --output.")
        mine = [output / name for name in (CONFIGS, RESULTS, REPORT) if (output / name).exists()]
        if mine and not force:
            raise ValueError(
                f"{mine[0]} exists already. Choose another --output, or have it overwritten with "
                "--force."
            )
    elif force:
        shutil.rmtree(output / RUNS)
    # More configs, frameworks and seeds may join them: what these say nothing of stays as it is.
    now = {name: value for run in runs for name, value in run.conditions.items()}
    asked_for = {run.name for run in runs}
    kept = {}
    for run in _recorded(output):
        # A framework may need an environment with other versions than the next one.
        then = run.conditions if run.name in asked_for else run.digests
        others = [name for name, value in then.items() if now.get(name, value) != value]
        if others and run.trial.result.exists():
            raise ValueError(
                f"{output} has results of other trainings, such as {run.trial.folder}. What "
                f"differs: {', '.join(others)}. Choose another --output, or begin again with "
                "--force."
            )
        if not others:
            kept[run.name] = run
    all_of_it = {**kept, **{run.name: run for run in runs}}
    for name in (RUNS, CONFIGS):
        (output / name).mkdir(parents=True, exist_ok=True)
    as_dicts = {name: run._asdict() for name, run in all_of_it.items()}
    record.write_text(json.dumps(as_dicts), encoding="utf8")
    for run in runs:
        Path(run.trial.config).write_text(run.text, encoding="utf8")
    # One that was interrupted, and is not asked for now, is no row.
    return [
        run
        for run in all_of_it.values()
        if run in runs or run.trial.result.exists() or error_of(run.trial)
    ]


def _recorded(output: Path) -> Iterator[Planned]:
    """The trainings that a folder is of, which may have been at another place."""
    record = output / RUNS / TRAININGS
    if not record.exists():
        return
    for name, run in json.loads(record.read_text(encoding="utf8")).items():
        trial = Trial(*run["trial"])
        config = output / CONFIGS / Path(trial.config).name
        moved = trial._replace(config=str(config), folder=str(output / RUNS / name))
        yield Planned(**{**run, "trial": moved})


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
        said = _last_lines(folder / "log.txt", process.returncode)
        (folder / "error.txt").write_text(said, encoding="utf8")


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
    return file.read_text(encoding="utf8").splitlines()[-1] if file.exists() else ""


def collected(runs: List[Planned]) -> Dict[str, Any]:
    """All results, as results.json has them."""
    from .info import machine

    return {
        "versions": _versions(runs),
        "machine": machine(),
        "command": "\n".join(dict.fromkeys(run.command for run in runs)),
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


def _versions(runs: List[Planned]) -> Dict[str, str]:
    """Of each package, or all that it had."""
    found: Dict[str, Dict[str, None]] = {}
    for run in runs:
        for name, number in run.versions.items():
            found.setdefault(name, {})[number] = None
    return {name: ", ".join(numbers) for name, numbers in found.items()}


def _outcome(trial: Trial) -> Dict[str, Any]:
    base = {"seed": trial.seed, "folder": trial.folder, "overrides": trial.overrides}
    if trial.result.exists():
        return {**base, **json.loads(trial.result.read_text(encoding="utf8"))}
    return {**base, "error": error_of(trial)}
