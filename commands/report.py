"""The report of a comparison: one HTML file with tables and plots, which needs nothing else."""

from __future__ import annotations

import importlib.util
import io
import re
import statistics
import zlib
from html import escape
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Tuple

Run = Dict[str, Any]

# For eyes that do not tell red from green: Okabe and Ito, "Color Universal Design", 2008.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES: Tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)), (0, (1, 1)))
# matplotlib writes colors into the file; this one becomes that of the text around the plot.
INK = "#010203"

STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fff; --soft: #5f6368; --line: #d9dce0;
  --mark: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --paper: #16181a; --soft: #a3a8ad; --line: #3a3f44; --mark: #56b4e9; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 4rem; color: var(--ink);
  background: var(--paper); font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; }
h3 { font-size: 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th:first-child, td:first-child, td.text { text-align: left; }
td.text { white-space: normal; }
thead th { color: var(--soft); font-weight: 600; white-space: normal; vertical-align: bottom; }
figure { margin: 1rem 0; } figure svg { width: 100%; height: auto; color: var(--ink); }
figcaption, .soft { color: var(--soft); font-size: .9rem; }
pre { overflow-x: auto; padding: .8rem; border: 1px solid var(--line); border-radius: .4rem;
  font-size: .85rem; }
summary { cursor: pointer; color: var(--mark); }
.plots { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); }
@media (max-width: 24rem) { .plots { grid-template-columns: 1fr; } }
@media print { details > pre { white-space: pre-wrap; } body { max-width: none; }
  h2 { break-after: avoid; } figure, tr { break-inside: avoid; } }
"""


class Row(NamedTuple):
    """A framework with a config, over its seeds.

    runs: Those that ended well.
    errors: What the others ended with.
    """

    config: str
    framework: str
    runs: List[Run]
    errors: List[str]

    def mean(self, name: str) -> float:
        return statistics.fmean(run[name] for run in self.runs)

    def memory(self) -> str:
        """In MB; "" where the system did not tell."""
        told = [run["memory"] for run in self.runs if run["memory"] is not None]
        return f"{statistics.fmean(told) / 1e6:,.0f}" if told else ""

    def spread(self) -> float:
        """Between the best and the worst seed."""
        scores = [run["score"] for run in self.runs]
        return max(scores) - min(scores)


class Column(NamedTuple):
    heading: str
    text: Callable[[Row], str]


COLUMNS = (
    Column("score", lambda row: f"{row.mean('score'):.4f}"),
    Column("spread", lambda row: f"{row.spread():.4f}" if len(row.runs) > 1 else ""),
    Column("training, words/s", lambda row: f"{row.mean('training'):,.0f}"),
    Column("prediction, words/s", lambda row: f"{row.mean('prediction'):,.0f}"),
    Column("training, s", lambda row: f"{row.mean('seconds'):,.0f}"),
    Column("memory, MB", Row.memory),
    Column("size, MB", lambda row: f"{row.mean('size') / 1e6:,.2f}"),
)


def check_matplotlib() -> None:
    """Raise ImportError if there is nothing to plot with."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ImportError(
            "The report has plots by matplotlib, which is not installed. Install it with: "
            'pip install "spacy-frameworks[report]"',
            name="matplotlib",
        )


def rows_of(results: Dict[str, Any]) -> List[Row]:
    """A row for each config and framework, in the order in which they were trained."""
    found: Dict[Tuple[str, str], Row] = {}
    for run in results["runs"]:
        key = run["config"], run["framework"]
        row = found.setdefault(key, Row(*key, [], []))
        if "error" in run:
            row.errors.append(f"seed {run['seed']}: {run['error']}")
        else:
            row.runs.append(run)
    return list(found.values())


def show(results: Dict[str, Any]) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.markup import escape as plain
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("config", "framework"):
        table.add_column(heading, overflow="fold")
    for column in COLUMNS:
        table.add_column(column.heading, justify="right", overflow="fold")
    rows = rows_of(results)
    for row in rows:
        cells = [column.text(row) for column in COLUMNS] if row.runs else ["failed"]
        table.add_row(row.config, row.framework, *cells)
    console = Console()
    console.print(table)
    for row in rows:
        for error in row.errors:
            console.print(f"{row.config} with {row.framework}, {plain(error)}", highlight=False)


def write_report(results: Dict[str, Any], path: Path) -> None:
    """Write the report.

    results: As results.json has them.
    """
    path.write_text("\n".join(_page(results)) + "\n", encoding="utf8")


def _page(results: Dict[str, Any]) -> Iterator[str]:
    rows = rows_of(results)
    configs = list(dict.fromkeys(row.config for row in rows))
    title = f"{' and '.join(configs)}, by framework"
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>"
    yield f"<h1>{escape(title)}</h1>"
    machine, versions = results["machine"], results["versions"]
    numbers = ", ".join(f"{name} {number}" for name, number in versions.items())
    yield (
        f'<p class="soft">{escape(machine["system"])}, {machine["cores"]} cores; '
        f"{escape(numbers)}.</p>"
    )
    for config in configs:
        yield from _of_config(config, [row for row in rows if row.config == config])
    yield "<h2>How to repeat it</h2>"
    yield f"<pre>{escape(results['command'])}</pre>"
    for name, text in results["configs"].items():
        yield f"<details><summary>{escape(name)}.cfg</summary><pre>{escape(text)}</pre></details>"
    yield "</body>\n</html>"


def _of_config(config: str, rows: List[Row]) -> Iterator[str]:
    yield f'<section id="{escape(config)}"><h2>{escape(config)}</h2>'
    yield from _table(rows)
    there = [row for row in rows if row.runs]
    if there:
        yield '<div class="plots">'
        yield from _plots(there)
        yield "</div>"
        yield from _by_label(there)
        yield from _confusions(there)
    yield "</section>"


def _table(rows: List[Row]) -> Iterator[str]:
    yield '<div class="wide"><table><thead><tr><th scope="col">framework</th>'
    yield "".join(f'<th scope="col">{column.heading}</th>' for column in COLUMNS)
    yield "</tr></thead><tbody>"
    for row in rows:
        yield f'<tr><th scope="row">{escape(row.framework)}</th>'
        if row.runs:
            yield "".join(f"<td>{column.text(row)}</td>" for column in COLUMNS)
        for error in row.errors:
            if row.runs:
                yield f'</tr><tr><th scope="row">{escape(row.framework)}</th>'
            yield f'<td class="text" colspan="{len(COLUMNS)}">failed, {escape(error)}</td>'
        yield "</tr>"
    yield "</tbody></table></div>"
    yield (
        '<p class="soft">Means over the seeds that were trained to the end. The score is the best '
        "of the evaluations in training; its spread is that between the best and the worst seed. "
        "Words per second are, in training, those of whole steps: passes forward and back, the "
        "optimizer and its averages, but not reading, evaluating and saving; in prediction, those "
        "of the best pipeline. Memory is what the process had at most, where the system tells.</p>"
    )


# Plots


def _plots(rows: List[Row]) -> Iterator[str]:
    measures = [("score", _scores), ("loss of a step", _losses)]
    for measure, of in measures:
        for x in ("step", "seconds"):
            label = f"{measure} by {x}"
            ends = "; ".join(f"{row.framework} ends at {of(row.runs[0])[-1]:.4g}" for row in rows)
            description = f"Lines of the {label}, one for each framework and seed. {ends}."
            yield _figure(_curves(rows, x, of, measure), label, description)


def _scores(run: Run) -> List[float]:
    return [line["score"] for line in run["curve"]]


def _losses(run: Run) -> List[float]:
    """Of all components together. The logger has the sum since the evaluation before."""
    names = [name for name in run["curve"][0] if name.startswith("loss_")]
    steps = [-1, *(line["step"] for line in run["curve"])]
    return [
        sum(line[name] for name in names) / (step - before)
        for line, before, step in zip(run["curve"], steps, steps[1:])
    ]


def _curves(rows: List[Row], x: str, of: Callable[[Run], List[float]], measure: str) -> str:
    figure, axes = _new_figure()
    for i, row in enumerate(rows):
        for run in row.runs:
            axes.plot(
                [line[x] for line in run["curve"]],
                of(run),
                color=COLORS[i % len(COLORS)],
                linestyle=DASHES[i % len(DASHES)],
                linewidth=1.6,
                label=row.framework if run is row.runs[0] else None,
            )
    axes.set_xlabel(x)
    axes.set_ylabel(measure)
    axes.legend(frameon=False, labelcolor=INK, fontsize=9)
    return _svg(figure)


def _new_figure() -> Tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axes = figure.add_subplot()
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    for side, spine in axes.spines.items():
        spine.set_color(INK)
        spine.set_visible(side in ("left", "bottom"))
    axes.tick_params(colors=INK)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    return figure, axes


def _svg(figure: Any) -> str:
    import matplotlib

    file = io.StringIO()
    # Letters stay letters, and the same plot is the same text.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "spacy-frameworks"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    # Several plots on a page have parts with names of their own.
    prefix = f"p{zlib.crc32(svg.encode()):x}-"
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    return re.sub(r'(url\(|href=")#', rf"\1#{prefix}", svg)


def _figure(svg: str, caption: str, description: str) -> str:
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{escape(description)}" ', 1)
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


# Labels


def _by_label(rows: List[Row]) -> Iterator[str]:
    """F of each label, where a component has that; of the first seed."""
    names = [
        name
        for name, value in rows[0].runs[0]["scores"].items()
        if name.endswith("_per_type") and value
    ]
    for name in names:
        scores = [row.runs[0]["scores"].get(name) or {} for row in rows]
        labels = sorted({label for found in scores for label in found})
        yield f"<h3>{escape(name)}</h3>"
        yield '<div class="wide"><table><thead><tr><th scope="col">label</th>'
        yield "".join(f'<th scope="col">{escape(row.framework)}</th>' for row in rows)
        yield "</tr></thead><tbody>"
        for label in labels:
            cells = (_f_of(found.get(label)) for found in scores)
            yield f'<tr><th scope="row">{escape(str(label))}</th>'
            yield "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
        yield "</tbody></table></div>"


def _f_of(found: Any) -> str:
    value = found.get("f") if isinstance(found, dict) else found
    return f"{value:.3f}" if isinstance(value, (int, float)) else ""


def _confusions(rows: List[Row]) -> Iterator[str]:
    for row in rows:
        for component, matrix in row.runs[0]["confusions"].items():
            if not matrix["labels"]:
                continue
            labels = matrix["labels"]
            part = f" of {matrix['of']}" if matrix["of"] > len(labels) else ""
            yield (
                f"<details><summary>{escape(row.framework)}: what {escape(component)} confuses, "
                f"{len(labels)}{part} labels</summary>"
            )
            yield '<div class="wide"><table><thead><tr><th scope="col">gold, predicted</th>'
            yield "".join(f'<th scope="col">{escape(label)}</th>' for label in labels)
            yield "</tr></thead><tbody>"
            for label, counts in zip(labels, matrix["counts"]):
                yield f'<tr><th scope="row">{escape(label)}</th>'
                yield "".join(f"<td>{n or ''}</td>" for n in counts) + "</tr>"
            yield "</tbody></table></div></details>"
