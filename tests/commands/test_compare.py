"""Comparisons of a few steps, by spaCy's command line."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest
import spacy
import spacy.cli._util
from spacy.training import Example
from spacy.training.loop import train_while_improving
from spacy_frameworks.commands.compare import _begin, as_json, planned
from spacy_frameworks.commands.report import rows_of, write_report
from spacy_frameworks.commands.trial import Trial, timed_steps
from spacy_frameworks.commands.trial import run as run_trial
from spacy_frameworks.wrappers import allocator, current_gpu_allocator, get_framework
from thinc.api import Optimizer

from ..frameworks import ONE_OR_ALL
from ..pipelines import CONFIGS, FEW, spacy_command
from ..training.parallel.command import is_running
from .test_swap import STOCK

SOME = {**FEW, "training.max_steps": 6, "training.eval_frequency": 3}
OVERRIDES = [argument for name, value in SOME.items() for argument in (f"--{name}", value)]
BOW = {"@architectures": "spacy.TextCatBOW.v3", "length": 8192, "exclusive_classes": True}
BOW.update(ngram_size=1, no_output_layer=False)
# What is imported in front of each training, which has its settings as an argument.
FAILS = """
import sys
if "textcat" in sys.argv[-1]:
    # As on Windows.
    sys.modules["resource"] = None
if "tagger-Thinc-1" in sys.argv[-1]:
    raise RuntimeError("There is no memory left, and <b>that</b> is all.")
"""


def compare(folder, *arguments, fails=False):
    command = ("frameworks", "compare", CONFIGS / "tagger.cfg", *arguments, *OVERRIDES)
    return spacy_command(*command, cwd=folder, fails=fails)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A folder with a comparison of two configs and two seeds, of which one training failed."""
    folder = tmp_path_factory.mktemp("compared")
    (folder / "fails.py").write_text(FAILS)
    also = ("--also", CONFIGS / "textcat.cfg", "--code", "fails.py")
    done = compare(folder, *also, "--frameworks", "Thinc", "--seeds", 2)
    return folder, done


@pytest.fixture(scope="module")
def results(compared):
    return json.loads((compared[0] / "comparison" / "results.json").read_text())


def test_the_last_line_is_the_path_of_the_report(compared):
    folder, done = compared
    path = done.stdout.splitlines()[-1]
    assert path == "comparison/report.html"
    assert (folder / path).stat().st_size > 10_000


def test_results_have_what_was_measured(results):
    assert [(run["config"], run["seed"]) for run in results["runs"]] == [
        ("tagger", 0),
        ("tagger", 1),
        ("textcat", 0),
        ("textcat", 1),
    ]
    for run in results["runs"]:
        if "error" in run:
            continue
        assert [line["step"] for line in run["curve"]] == [0, 3, 6]
        assert run["score"] == max(line["score"] for line in run["curve"])
        assert run["training"] > 100
        assert run["prediction"] > 100
        assert run["size"] > 1e5
    tagger, _, textcat, _ = results["runs"]
    assert 1e8 < tagger["memory"] < 1e10
    assert tagger["scores"]["tag_acc"] == pytest.approx(tagger["score"], abs=1e-6)
    assert set(textcat["scores"]["cats_f_per_type"]) == set(
        textcat["confusions"]["textcat"]["labels"]
    )
    assert sum(map(sum, textcat["confusions"]["textcat"]["counts"])) == FEW["corpora.dev.limit"]


def test_where_the_system_tells_no_memory_the_rest_is_in_the_results_and_the_report(results, page):
    assert [run["memory"] for run in results["runs"] if run["config"] == "textcat"] == [None, None]
    size = max(run["size"] for run in results["runs"] if run["config"] == "textcat")
    assert f"<td></td>\n<td>{size / 1e6:,.2f}</td>" in page.replace("</td><td>", "</td>\n<td>")


def test_a_step_is_timed_with_its_optimizer_and_without_evaluation():
    class Slow(Optimizer):
        def __call__(self, key, weights, gradient, **kwargs):
            time.sleep(0.005)
            return super().__call__(key, weights, gradient, **kwargs)

    def evaluate():
        time.sleep(0.8)
        return 0.0, {}

    nlp = spacy.blank("en")
    nlp.add_pipe("textcat", config={"model": BOW})
    nlp.add_pipe("ner")
    doc = nlp.make_doc("one two three")
    example = Example.from_dict(doc, {"cats": {"A": 1.0, "B": 0.0}, "entities": [(0, 3, "ONE")]})
    nlp.initialize(lambda: [example])
    batches = ((0, [example]) for _ in range(3))
    # spaCy's own loop.
    given = {"dropout": 0.0, "eval_frequency": 1, "accumulate_gradient": 1, "patience": 0}
    given.update(max_steps=0, exclude=[], annotating_components=[], before_update=None)
    with timed_steps(nlp) as steps:
        assert len(list(train_while_improving(nlp, Slow(0.01), batches, evaluate, **given))) == 3
    assert [words for words, _ in steps] == [3, 3, 3]
    assert all(0.05 < seconds < 0.8 for _, seconds in steps)


def test_what_is_no_number_in_json_is_null():
    found = {"curve": [{"loss": float("nan"), "step": 3}], "score": float("inf"), "seed": 0}
    assert as_json(found) == {"curve": [{"loss": None, "step": 3}], "score": None, "seed": 0}


def test_a_training_that_fails_is_a_row_with_its_error_and_not_the_end(compared, results):
    _, done = compared
    error = "RuntimeError: There is no memory left, and <b>that</b> is all."
    failed = [run for run in results["runs"] if "error" in run]
    assert [(run["config"], run["seed"], run["error"]) for run in failed] == [("tagger", 1, error)]
    assert " ".join(done.stdout.split()).count(error) == 1


def test_it_goes_on_with_what_is_missing_and_shows_what_was_there(compared, results, tmp_path):
    folder, _ = compared
    # A copy, at another place and with other times.
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True, copy_function=shutil.copyfile)
    (tmp_path / "comparison").rename(tmp_path / "moved")
    runs = tmp_path / "moved" / "runs"
    # As an interruption leaves it.
    (runs / "textcat-Thinc-0" / "result.json").unlink()
    before = {path: path.stat().st_mtime for path in runs.glob("*/result.json")}
    also = ("--also", CONFIGS / "textcat.cfg", "--code", "fails.py", "--output", "moved")
    done = compare(tmp_path, *also, "--frameworks", "Thinc", "--seeds", 1)
    assert "1 of 2 trainings are done already" in done.stdout
    after = {path: path.stat().st_mtime for path in runs.glob("*/result.json")}
    assert set(after) - set(before) == {runs / "textcat-Thinc-0" / "result.json"}
    assert {path: after[path] for path in before} == before
    again = json.loads((tmp_path / "moved" / "results.json").read_text())
    assert len(again["runs"]) == 4
    for first, second in zip(results["runs"], again["runs"]):
        assert second["folder"] == first["folder"].replace("comparison", "moved")
        # One seed is one training.
        for name in ("config", "seed", "score", "error"):
            assert first.get(name) == second.get(name)
    commands = again["command"].splitlines()
    assert ["--seeds 1" in command for command in commands] == [True, False]


@pytest.fixture
def trained(tmp_path):
    """A function that plans trainings on a file, has a folder with them, and gives the folder's
    trainings, which have results then."""
    data = tmp_path / "data" / "train.spacy"
    data.parent.mkdir()
    data.write_bytes(b"first")
    shutil.copy(CONFIGS / "tagger.cfg", tmp_path / "data")

    def train(framework, seeds=1, config=data.parent / "tagger.cfg", **options):
        given = {"paths.train": str(data), "paths.dev": str(tmp_path), **options}
        output = tmp_path / "comparison"
        runs = planned([config], [framework], seeds, output, given, None, -1)
        there = _begin(output, runs, force=False)
        for run in runs:
            Path(run.trial.folder).mkdir(exist_ok=True)
            (Path(run.trial.folder) / "result.json").write_text("{}")
        return [run.name for run in there]

    return train


def test_results_of_the_same_settings_are_together(trained, tmp_path):
    assert trained("Thinc", 2) == ["tagger-Thinc-0", "tagger-Thinc-1"]
    # Another time is not another file, and the comparison is not of the data around it.
    os.utime(tmp_path / "data" / "train.spacy", (0, 0))
    assert trained("MXNet") == ["tagger-Thinc-0", "tagger-Thinc-1", "tagger-MXNet-0"]
    both = ["tagger-Thinc-0", "tagger-Thinc-1", "tagger-MXNet-0", "textcat-Thinc-0"]
    assert trained("Thinc", config=CONFIGS / "textcat.cfg") == both
    assert trained("Thinc") == both


@pytest.mark.parametrize("what", ["the files", "the config", "the values"])
def test_results_of_other_settings_are_refused(what, trained, tmp_path):
    trained("Thinc")
    options = {}
    if what == "the files":
        # As long, and at the same time.
        data = tmp_path / "data" / "train.spacy"
        times = data.stat().st_atime_ns, data.stat().st_mtime_ns
        data.write_bytes(b"other")
        os.utime(data, ns=times)
    elif what == "the config":
        with (tmp_path / "data" / "tagger.cfg").open("a") as config:
            config.write("# Other\n")
    else:
        options = {"training.dropout": 0.4}
    # So they are beside another framework, with which they would be in one table.
    for framework in ("Thinc", "MXNet"):
        with pytest.raises(ValueError, match=rf"tagger-Thinc-0\. What differs: {what}.*--force"):
            trained(framework, **options)
    # Nothing is lost where there is no result.
    (tmp_path / "comparison" / "runs" / "tagger-Thinc-0" / "result.json").unlink()
    assert trained("MXNet", **options) == ["tagger-MXNet-0"]


def test_a_framework_with_other_versions_stands_beside_but_is_not_taken_for_this_one(
    trained, tmp_path
):
    trained("Thinc")
    record = tmp_path / "comparison" / "runs" / "trainings.json"
    text = record.read_text()
    installed = f'"thinc": "{version("thinc")}"'
    assert text.count(installed) == 1
    record.write_text(text.replace(installed, '"thinc": "8.3.0"'))
    # It may need an environment of its own.
    assert trained("MXNet") == ["tagger-Thinc-0", "tagger-MXNet-0"]
    with pytest.raises(ValueError, match="What differs: the version of thinc"):
        trained("Thinc")


def test_results_of_other_values_are_not_mixed_or_overwritten(compared):
    folder, _ = compared
    before = (folder / "comparison" / "results.json").read_text()
    other = ("--frameworks", "Thinc", "--training.dropout", "0.4")
    done = compare(folder, *other, fails=True)
    assert "--force" in done.stdout + done.stderr
    assert (folder / "comparison" / "results.json").read_text() == before


def test_nothing_that_is_not_of_a_comparison_is_cleared(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mine").write_text("")
    (tmp_path / "configs").mkdir()
    here = ("--frameworks", "Thinc", "--output", ".", "--force")
    assert "is not of a comparison" in compare(tmp_path, *here, fails=True).stdout
    assert (tmp_path / "runs" / "mine").exists()
    assert not list((tmp_path / "configs").iterdir())


def test_errors_say_what_to_do(tmp_path):
    done = compare(tmp_path, "--frameworks", "tensorflo", fails=True)
    assert "Did you mean 'TensorFlow'?" in " ".join((done.stdout + done.stderr).split())
    done = compare(tmp_path, "--framework", "Thinc", fails=True)
    assert "No such option '--framework'" in done.stdout
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "comparison" / "runs").exists()
    wrong = ("--frameworks", "Thinc", "--corpora.train.limits", "40")
    said = " ".join(compare(tmp_path, *wrong, fails=True).stdout.split())
    assert re.search("seed 0: [a-z.]*train -> limits ", said)


@pytest.fixture
def begun(tmp_path):
    """A comparison that is running, and a function that waits for the training of a seed."""
    command = [sys.executable, "-m", "spacy", "frameworks", "compare", str(CONFIGS / "tagger.cfg")]
    limits = ("--frameworks", "Thinc", "--seeds", "2", "--corpora.train.limit", "40")
    running = subprocess.Popen(
        [*command, *limits], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    def trains(seed):
        curve = tmp_path / "comparison" / "runs" / f"tagger-Thinc-{seed}" / "curve.jsonl"
        until = time.monotonic() + 120
        while not (curve.exists() and curve.read_text()) and time.monotonic() < until:
            time.sleep(0.1)
        (child,) = _children_of(running.pid)
        return child

    yield running, trains
    running.kill()
    running.wait()


def test_what_is_compared_is_said(tmp_path, capsys):
    (tmp_path / "stock.cfg").write_text(STOCK)
    (tmp_path / "bare.cfg").write_text('[nlp]\nlang = "en"\npipeline = []\n')
    for name, framework in (("stock", "JAX"), ("bare", "MXNet")):
        planned([tmp_path / f"{name}.cfg"], ["Thinc", framework], 1, tmp_path, {}, None, -1)
        said = " ".join(capsys.readouterr().out.split())
        assert ("spacy.HashEmbedCNN.v2 ->" in said) == (name == "stock")
        assert ("nothing changes with the framework" in said) == (name == "bare")


def test_each_training_is_told_the_gpu_and_is_another_one_on_it(tmp_path):
    on_cpu, on_gpu = (
        planned([CONFIGS / "tagger.cfg"], ["Thinc"], 1, tmp_path, {}, None, gpu) for gpu in (-1, 3)
    )
    assert [run.trial.use_gpu for run in (*on_cpu, *on_gpu)] == [-1, 3]
    _begin(tmp_path, on_cpu, force=False)
    (tmp_path / "runs" / "tagger-Thinc-0").mkdir()
    (tmp_path / "runs" / "tagger-Thinc-0" / "result.json").write_text("{}")
    with pytest.raises(ValueError, match=r"What differs: the GPU\."):
        _begin(tmp_path, on_gpu, force=False)


def test_on_a_gpu_a_training_takes_memory_as_its_config_says_on_a_stand_in_for_cupy(
    gpu, monkeypatch, tmp_path
):
    monkeypatch.setattr(allocator._framework_allocators["pytorch"], "check", lambda: None)
    # It would look for a GPU that can compute.
    monkeypatch.setattr(spacy.cli._util, "setup_gpu", lambda use_gpu: None)
    config = CONFIGS / "tagger.cfg"
    few = {**FEW, "training.max_steps": 1, "vars.framework": "Thinc"}
    said = {**few, "nlp.before_creation.gpu_allocator": False, "system.gpu_allocator": "pytorch"}
    before = current_gpu_allocator()
    run_trial(Trial(str(config), str(tmp_path), 0, said, None, 0))
    assert (before, current_gpu_allocator()) == (None, "pytorch")


def test_ctrl_c_ends_the_training_too(begun):
    running, trains = begun
    child = trains(0)
    running.send_signal(signal.SIGINT)
    assert running.wait(60) != 0
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


@pytest.mark.slow
def test_a_training_that_is_killed_is_a_row_and_one_whose_comparison_is_killed_ends(
    begun, tmp_path
):
    running, trains = begun
    os.kill(trains(0), signal.SIGKILL)
    child = trains(1)
    error = tmp_path / "comparison" / "runs" / "tagger-Thinc-0" / "error.txt"
    assert error.read_text().splitlines()[-1] == "It was ended by SIGKILL."
    running.kill()
    until = time.monotonic() + 60
    while is_running(child) and time.monotonic() < until:
        time.sleep(0.1)
    assert not is_running(child)


def _children_of(pid):
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(line) for line in found.stdout.split()]


@pytest.mark.parametrize("framework", ONE_OR_ALL)
def test_it_trains_in_the_framework(framework, tmp_path):
    compare(tmp_path, "--frameworks", framework)
    results = json.loads((tmp_path / "comparison" / "results.json").read_text())
    (run,) = results["runs"]
    assert get_framework(framework).module in results["versions"]
    assert run["score"] > 0
    assert (
        f'framework = "{framework}"'
        in (tmp_path / run["folder"] / "model-best" / "config.cfg").read_text()
    )


# The report


@pytest.fixture(scope="module")
def page(compared):
    return (compared[0] / "comparison" / "report.html").read_text()


def test_the_page_needs_nothing_else(page):
    assert "<script" not in page
    assert not re.search(r'(src|href)="(?!#)', page)
    assert "@import" not in page


def test_every_plot_says_what_is_on_it(page):
    plots = re.findall(r"<figure><svg ([^>]*)>", page)
    # Score and loss by step and by second, of each config.
    assert len(plots) == 8
    for attributes in plots:
        assert 'role="img"' in attributes
        assert re.search(r'aria-label="Lines of the .+Thinc ends at [\d.e+]+', attributes)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_the_page_has_scores_labels_confusions_errors_and_configs(page, results):
    score = results["runs"][0]["score"]
    assert f"<td>{score:.4f}</td>" in page
    assert "<h3>cats_f_per_type</h3>" in page
    assert "what textcat confuses, 5 labels" in page
    # Nothing of what was printed becomes part of the page.
    assert "<b>that</b>" not in page
    assert "&lt;b&gt;that&lt;/b&gt;" in page
    assert "tagger-Thinc.cfg" in page
    assert "--training.max_steps 6" in page


def test_in_a_browser_it_is_as_wide_as_the_window(compared, tmp_path):
    """In Chromium, on a desktop and on a phone. Wide tables scroll on their own."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    page = (compared[0] / "comparison" / "report.html").read_text()
    numbers = "root.scrollWidth, innerWidth, document.querySelectorAll('figure svg').length"
    tells = (
        "<script>const root = document.documentElement;"
        f"document.title = [{numbers}].join(' ')</script></body>"
    )
    (tmp_path / "page.html").write_text(page.replace("</body>", tells))
    for width in (500, 1200):
        done = subprocess.run(
            [
                chromium,
                *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
                *("--no-first-run", "--disable-background-networking", "--disable-sync"),
                *("--disable-component-update", f"--user-data-dir={tmp_path / str(width)}"),
                *(f"--window-size={width},900", "--dump-dom", f"file://{tmp_path / 'page.html'}"),
            ],
            capture_output=True,
            text=True,
            timeout=120,
        )
        found = re.search(r"<title>(\d+) (\d+) (\d+)</title>", done.stdout)
        assert found, done.stderr
        wide, window, plots = map(int, found.groups())
        assert wide <= window == width
        assert plots == 8


def test_frameworks_of_which_every_seed_failed_have_a_row(tmp_path):
    runs = [{"config": "c", "framework": "MXNet", "seed": 0, "folder": "f", "error": "It failed."}]
    results = {"runs": runs, "versions": {}, "machine": {"system": "s", "cores": 2}}
    write_report({**results, "command": "spacy", "configs": {}}, tmp_path / "report.html")
    assert "failed, seed 0: It failed." in (tmp_path / "report.html").read_text()
    (row,) = rows_of(results)
    assert row.errors == ["seed 0: It failed."]
