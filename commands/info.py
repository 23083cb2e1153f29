"""`spacy frameworks info`: what is installed, and what works here."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Dict, List

import typer

# Seconds until a framework that neither works nor fails is given up. Importing takes a few.
PATIENCE = 120
PACKAGES = ("spacy-frameworks", "spacy", "thinc", "numpy")
PROBE = "from spacy_frameworks.commands.probe import main; main({!r})"


def info_cli(
    as_json: bool = typer.Option(False, "--json", "-j", help="Print JSON"),
) -> None:
    """
    Show which frameworks are installed, and what each of them does on this machine.

    Each is imported in a process of its own, where a small wrapped model of it predicts and takes a
    training step. Of one that is not installed, there is the line that installs it.
    """
    from concurrent.futures import ThreadPoolExecutor

    from rich.console import Console

    from ..wrappers import all_frameworks
    from ..wrappers.framework import NUMPY, THINC, install_command, is_installed

    known = (*all_frameworks(), NUMPY, THINC)
    there = [fw for fw in known if fw in (NUMPY, THINC) or is_installed(fw.id)]
    names = ", ".join(fw.token for fw in there)
    with Console(stderr=True).status(f"Trying {names}"), ThreadPoolExecutor(_cores()) as pool:
        probed = dict(zip(there, pool.map(_probed, [fw.id for fw in there])))
    frameworks = {
        fw.token: probed.get(fw) or {"installed": None, "install": install_command(fw)}
        for fw in known
    }
    found = {"versions": versions(), "machine": machine(), "frameworks": frameworks}
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        _show(found)


def _probed(name: str) -> Dict[str, Any]:
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROBE.format(name)],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"works": f"did not answer within {PATIENCE} seconds"}
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        said = done.stderr.strip().splitlines()
        return {"works": f"ended with code {done.returncode}: {said[-1] if said else 'no message'}"}
    found: Dict[str, Any] = json.loads(lines[-1])
    return found


def versions() -> Dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            # It runs from a checkout that was not installed.
            continue
    return found


def machine() -> Dict[str, Any]:
    return {"system": platform.platform(), "processor": platform.machine(), "cores": _cores()}


def _cores() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _show(found: Dict[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    console.print("  ".join(f"{name} {number}" for name, number in found["versions"].items()))
    machine = found["machine"]
    console.print(f"{machine['system']}, {machine['cores']} cores\n")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "version", "works", "device", "threads", "kernels", "GPU memory"):
        table.add_column(heading, overflow="fold")
    notes: List[str] = []
    for token, fw in found["frameworks"].items():
        if "install" in fw:
            table.add_row(token, "not installed")
            notes.append(f"{token}: {fw['install']}")
            continue
        works = fw["works"]
        table.add_row(
            token,
            str(fw.get("installed") or ""),
            "[green]yes[/green]" if works is True else "[red]no[/red]",
            str(fw.get("device", "")),
            str(fw.get("threads", "")),
            str(fw.get("kernel", "")),
            str(fw.get("allocator") or ""),
        )
        if works is not True:
            notes.append(f"{token}: {works}")
        elif fw.get("why"):
            notes.append(f"{token}'s kernels: {fw['why']}")
    console.print(table)
    if notes:
        console.print()
    for note in notes:
        console.print(escape(note), highlight=False)
