"""`spacy frameworks swap`: a config on another framework."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Optional

import typer
from wasabi import msg
from wasabi.util import color

from .errors import as_messages, check_input, check_output

HOOK = {"@callbacks": "spacy-frameworks.use_framework.v1"}


def swap_cli(
    config_path: Path = typer.Argument(..., help="Path to the config file"),
    output_path: Optional[Path] = typer.Argument(
        None, help="File to write the new config to. Without it, what would change is shown"
    ),
    to: str = typer.Option(
        ..., "--to", "-t", help="The framework: PyTorch, TensorFlow, MXNet, JAX or Thinc"
    ),
    diff: bool = typer.Option(False, "--diff", "-d", help="Show what changes in the file"),
    hook: bool = typer.Option(
        False, "--hook", help="Add the hook that runs the whole pipeline on faster kernels"
    ),
    force: bool = typer.Option(False, "--force", "-f", help="Overwrite the output if it exists"),
) -> None:
    """
    Write a config for another framework.

    Architectures of spacy-frameworks are switched by one word. In a config of spaCy's own, encoders
    are replaced by those of spacy-frameworks that compute the same, or nearly the same, and each
    replacement is listed. The rest of the file, with its comments, stays as it is.
    """
    from spacy.util import load_config

    from ..architectures import swap_config
    from ..architectures.stock import replace_stock
    from .config_text import rewritten

    check_input(config_path)
    if output_path is not None:
        check_output(output_path, force)
    with as_messages():
        with config_path.open(encoding="utf8") as file:
            text, ends = file.read(), file.newlines
        before = load_config(config_path, interpolate=False)
        after = swap_config(before, to)
        replaced = replace_stock(after, to)
        if hook:
            _add_hook(after)
        written = rewritten(text, before, after)
    lines = list(
        difflib.unified_diff(
            text.splitlines(),
            written.splitlines(),
            str(config_path),
            str(output_path or "swapped"),
            lineterm="",
            n=1,
        )
    )
    if not lines:
        msg.warn(
            f"Nothing in {config_path} is on another framework than {to}",
            "The models of components are not in the file, or have no layer that could be swapped. "
            "`spacy init fill-config` writes all of them into it.",
        )
    for each in replaced:
        msg.info(f"Replaced {each}")
    if diff or output_path is None:
        for line in lines:
            print(_colored(line))
    if output_path is not None:
        with as_messages():
            # On Windows, lines end with two characters. A mixture becomes one of them.
            newline = ends if isinstance(ends, str) else "\n"
            output_path.write_text(written, encoding="utf8", newline=newline)
        msg.good(f"Wrote {output_path}", f"spacy train {output_path} --output ./output")


def _add_hook(config: dict) -> None:
    nlp = config.setdefault("nlp", {})
    there = nlp.get("before_creation")
    if there and there.get("@callbacks") != HOOK["@callbacks"]:
        raise ValueError(
            f"[nlp.before_creation] has a callback already, {there.get('@callbacks')!r}, and there "
            "can be one. Leave --hook out, or call spacy_frameworks.training.use_framework() in it."
        )
    nlp["before_creation"] = there or dict(HOOK)


def _colored(line: str) -> str:
    colors = {"+": "green", "-": "red", "@": "blue"}
    return str(color(line, fg=colors.get(line[:1])))
