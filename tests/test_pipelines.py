"""Trained pipelines on disk: swapped, loaded in a new process, packaged."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from subprocess import run

import numpy
import pytest
import spacy
from spacy_frameworks.architectures import swap_framework
from spacy_frameworks.wrappers import FRAMEWORKS

from .frameworks import ALL, MODULES, PAIRS, TOKENS, marks
from .pipelines import (
    NAMES,
    PREDICT,
    ROOT,
    TEXTS,
    assert_same_predictions,
    predictions,
    spacy_command,
    train_config,
)

N = len(TOKENS)
# Each config with a pair of its own, and every framework as the source and as the target. Further
# configs take minutes.
ONE_PAIR = [
    pytest.param(
        name,
        source,
        target,
        marks=[*marks(source, target), *([pytest.mark.slow] if i >= N else [])],
    )
    for i, name in enumerate(NAMES)
    for source, target in [(TOKENS[i % N], TOKENS[(i + 1 + i // N) % N])]
]
# Over the configs, from each framework to each of the others. All that there are takes minutes.
SWAPS = [
    pytest.param(
        name,
        source,
        target,
        marks=[
            *marks(source, target),
            *(
                []
                if (distance - 1, s % 2) == (i % (N - 1), i // (N - 1) % 2)
                else [pytest.mark.slow]
            ),
        ],
    )
    for i, name in enumerate(NAMES)
    for s, source in enumerate(TOKENS)
    for distance in range(1, N)
    for target in [TOKENS[(s + distance) % N]]
]


@pytest.fixture
def predict_in_new_process(run_python, tmp_path):
    """What a pipeline predicts in a new process, in which some modules cannot be imported."""

    def predict(folder: Path, missing: tuple[str, ...] = ()) -> dict[str, numpy.ndarray]:
        run_python(PREDICT, folder, tmp_path / "predictions.npz", *missing)
        return dict(numpy.load(tmp_path / "predictions.npz"))

    return predict


@pytest.mark.parametrize(("name", "source", "target"), ONE_PAIR)
def test_a_swapped_pipeline_loads_in_a_new_process(
    name, source, target, predict_in_new_process, tmp_path
):
    check_new_process(name, source, target, predict_in_new_process, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_every_swap_loads_in_a_new_process(name, source, target, predict_in_new_process, tmp_path):
    check_new_process(name, source, target, predict_in_new_process, tmp_path)


def check_new_process(name, source, target, predict, tmp_path):
    trained = train_config(name, source, tmp_path / "out")
    swap_framework(trained, target).to_disk(tmp_path / "swapped")
    # On Thinc it needs no framework.
    came = predict(tmp_path / "swapped", MODULES if target == "Thinc" else ())
    assert_same_predictions(came, predict(trained))


@pytest.mark.parametrize(("name", "source", "target"), SWAPS)
def test_a_swapped_pipeline_loads_from_disk_and_from_bytes(name, source, target, tmp_path):
    trained = spacy.load(train_config(name, source, tmp_path / "out"))
    swapped = swap_framework(trained, target)
    swapped.to_disk(tmp_path / "swapped")
    loaded = spacy.load(tmp_path / "swapped")
    assert loaded.config == swapped.config
    # The variable stays, and is the swap.
    assert loaded.config["vars"] == {"framework": target}
    expected = predictions(trained)
    assert_same_predictions(predictions(loaded), expected)
    again = swap_framework(loaded, target)
    again.from_bytes(swapped.to_bytes())
    assert_same_predictions(predictions(again), expected)
    extras = [fw.id for fw in FRAMEWORKS if fw.token == target]
    assert requirements(tmp_path / "swapped") == extras


# What a user does to a pipeline

OWN_CODE = '''
from pathlib import Path
from spacy.language import Language
from spacy.tokens import Doc

Doc.set_extension("count", default=0)
Doc.set_extension("mark", default="")


@Language.factory("counter")
class Counter:
    """Saves itself in folders alone, as spaCy's documentation shows it."""

    def __init__(self, nlp, name):
        self.count = 0

    def __call__(self, doc):
        doc._.count = self.count
        return doc

    def to_disk(self, path, exclude=()):
        Path(path).mkdir(exist_ok=True)
        (Path(path) / "count").write_text(str(self.count))

    def from_disk(self, path, exclude=()):
        self.count = int((Path(path) / "count").read_text())
        return self


@Language.component("marker")
def marker(doc):
    doc._.mark = "seen"
    return doc
'''

SECOND_CONFIG = """
[vars]
framework = "FRAMEWORK"

[paths]
vectors = null

[nlp]
lang = "en"
pipeline = ["tok2vec", "tagger", "textcat", "second", "many", "marker", "counter"]

[nlp.before_creation]
@callbacks = "spacy-frameworks.use_framework.v1"

[components]

[components.tok2vec]
source = "first/model-last"

[components.tagger]
source = "first/model-last"

[components.textcat]
source = "first/model-last"

[components.marker]
factory = "marker"

[components.counter]
factory = "counter"

[components.second]
factory = "tagger"

[components.second.model]
@architectures = "spacy-frameworks.Tagger.v1"
framework = ${vars.framework}

[components.second.model.tok2vec]
@architectures = "spacy.Tok2Vec.v2"

[components.second.model.tok2vec.embed]
@architectures = "spacy.MultiHashEmbed.v2"
width = 32
attrs = ["NORM"]
rows = [100]
include_static_vectors = true

[components.second.model.tok2vec.encode]
@architectures = "spacy-frameworks.FeedForward.v1"
framework = ${vars.framework}
width = 32

[components.many]
factory = "textcat_multilabel"

[components.many.model]
@architectures = "spacy-frameworks.TextCat.v1"
framework = ${vars.framework}
exclusive_classes = false

[initialize]
vectors = ${paths.vectors}

[corpora]

[corpora.train]
@readers = "spacy-frameworks.Corpus.v1"
paths = {"train":null,"dev":null}
split = "train"
limit = 30

[corpora.dev]
@readers = "spacy-frameworks.Corpus.v1"
paths = {"train":null,"dev":null}
split = "dev"
limit = 5

[training]
train_corpus = "corpora.train"
dev_corpus = "corpora.dev"
max_steps = 3
frozen_components = ["tagger"]
annotating_components = ["tok2vec"]
"""

# One process changes the trained pipeline and swaps it; a second one, which it starts, loads what
# it has written.
CHANGE_AND_SWAP = """
import subprocess, sys
target, *modules = sys.argv[1:]
import numpy, spacy, own
from spacy_frameworks.architectures import swap_framework
from spacy_frameworks.wrappers import FRAMEWORKS
from tests.pipelines import assert_same_predictions, predictions

nlp = spacy.load("second/model-last")
assert nlp.vocab.vectors_length == 3
nlp.rename_pipe("second", "renamed")
nlp.get_pipe("counter").count = 7
nlp.get_pipe("textcat").add_label("cinema")
nlp.get_pipe("many").add_label("cinema")
nlp.disable_pipe("many")
nlp.to_disk("changed")
expected = predictions(nlp)
assert expected["textcat"].shape[1] == 6

swapped = swap_framework("changed", target)
assert_same_predictions(predictions(swapped), expected)
swapped.to_disk("swapped")

missing = modules if target == "Thinc" else []
subprocess.run([sys.executable, "load.py", *missing], check=True)
nlp.enable_pipe("many")
assert_same_predictions(dict(numpy.load("came.npz")), predictions(nlp))
"""

LOAD = """
import sys
for name in sys.argv[1:]:
    sys.modules[name] = None
import own, numpy, spacy
from tests.pipelines import predictions

nlp = spacy.load("swapped")
assert nlp.disabled == ["many"], nlp.disabled
nlp.enable_pipe("many")
numpy.savez("came.npz", **predictions(nlp))
doc = nlp("so")
assert (doc._.count, doc._.mark, len(doc.cats)) == (7, "seen", 6), (doc._.count, doc.cats)
# It knows its categories, and takes more.
assert nlp.get_pipe("textcat").add_label("theatre")
"""


# Each framework with the one after the next. It takes long, so all but the first of them and the
# one to Thinc are left to `tox -e full`.
LONG = [
    pytest.param(
        source,
        target,
        marks=[*marks(source, target), *([pytest.mark.slow] if i and target != "Thinc" else [])],
    )
    for i, source in enumerate(TOKENS)
    for target in [TOKENS[(i + 2) % N]]
]


@pytest.mark.long
@pytest.mark.parametrize(("source", "target"), LONG)
def test_sourced_frozen_disabled_renamed_grown_and_own_components_are_swapped(
    source, target, tmp_path, run_python
):
    train_config("shared_tok2vec", source, tmp_path / "first")
    words = ["Anna", "kept", "the", "plan", "two", "onions"]
    vectors = [f"{word} {i} {-i} {i / 2}" for i, word in enumerate(words)]
    for name, text in {
        "own.py": OWN_CODE,
        "load.py": LOAD,
        "bare.cfg": SECOND_CONFIG.replace("FRAMEWORK", source),
        "vectors.txt": "\n".join([f"{len(words)} 3", *vectors]),
    }.items():
        (tmp_path / name).write_text(text)
    code = ("--code", "own.py")
    spacy_command("init", "vectors", "en", "vectors.txt", "vectors", cwd=tmp_path)
    spacy_command("init", "fill-config", "bare.cfg", "full.cfg", *code, cwd=tmp_path)
    with_vectors = ("--paths.vectors", "vectors", "--output", "second")
    spacy_command("train", "full.cfg", *code, *with_vectors, cwd=tmp_path)
    paths = {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    run_python(CHANGE_AND_SWAP, target, *MODULES, cwd=tmp_path, env=paths)


# Packages

LOAD_PACKAGES = """
import importlib, json, sys
import numpy
from pathlib import Path
from spacy_frameworks.wrappers import FRAMEWORKS, is_installed
TEXTS = json.loads(sys.argv[1])
for name in sys.argv[2:]:
    nlp = importlib.import_module(f"en_{name}").load()
    docs = list(nlp.pipe(TEXTS))
    said = [[[t.tag_ for t in doc], max(doc.cats, key=doc.cats.get, default="")] for doc in docs]
    Path(f"{name}.json").write_text(json.dumps(said))
Path("installed.json").write_text(json.dumps([fw.id for fw in FRAMEWORKS if is_installed(fw.id)]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("framework", ALL)
def test_packages_of_all_configs_install_in_a_fresh_environment(framework, tmp_path):
    """pip finds what it needs by the requirements of the packages alone."""
    expected, packages = {}, tmp_path / "packages"
    packages.mkdir()
    for name in NAMES:
        trained = train_config(name, framework, tmp_path / name)
        docs = list(spacy.load(trained).pipe(TEXTS))
        expected[name] = [
            [[t.tag_ for t in doc], max(doc.cats, key=doc.cats.get, default="")] for doc in docs
        ]
        options = ("--name", name, "--build", "wheel")
        spacy_command("package", trained, packages, *options, cwd=tmp_path)
    wheels = list(packages.glob("*/dist/*.whl"))
    assert len(wheels) == len(NAMES)
    # MXNet declares NumPy 1.
    versions = ROOT / "constraints" / ("numpy1.txt" if framework == "MXNet" else "numpy2.txt")
    env = {**os.environ, "PIP_CONSTRAINT": str(versions), "PYTHONPATH": ""}

    def execute(*command):
        arguments = list(map(str, command))
        done = run(arguments, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    execute(sys.executable, "-m", "venv", "fresh")
    python = tmp_path / "fresh" / "bin" / "python"
    # This package itself is on no index yet.
    execute(python, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", packages, ROOT)
    execute(python, "-m", "pip", "install", "--find-links", packages, *wheels)
    execute(python, "-c", LOAD_PACKAGES, json.dumps(TEXTS), *NAMES)
    for name in NAMES:
        assert json.loads((tmp_path / f"{name}.json").read_text()) == expected[name]
    installed = json.loads((tmp_path / "installed.json").read_text())
    assert installed == [fw.id for fw in FRAMEWORKS if fw.token == framework]


def requirements(folder: Path) -> list[str]:
    """The extras of this package that a pipeline's meta data ask for."""
    lines = json.loads((folder / "meta.json").read_text())["requirements"]
    (line,) = [line for line in lines if line.startswith("spacy-frameworks")]
    name, _, versions = line.partition(">=")
    assert versions
    return [
        extra for extra in name.removeprefix("spacy-frameworks").strip("[]").split(",") if extra
    ]
