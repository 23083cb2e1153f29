"""Pipelines as their users have them: trained from a config, on disk, loaded in a new process."""

from __future__ import annotations

import sys
from pathlib import Path
from subprocess import CompletedProcess, run
from typing import Any, Dict

import numpy
import spacy
from numpy.testing import assert_allclose
from spacy.cli.train import train
from spacy.tokens import Span

ROOT = Path(__file__).parent.parent
CONFIGS = ROOT / "configs"
NAMES = sorted(path.stem for path in CONFIGS.glob("*.cfg"))
# So few steps of so few documents that a training takes a second.
FEW = {"corpora.train.limit": 40, "corpora.dev.limit": 20, "training.max_steps": 3}
TEXTS = ["Anna kept the plan .", "We roasted two onions , and they quickly left .", "so"]

# Saves what `predictions` gives of a pipeline, where the modules that follow cannot be imported.
PREDICT = """
import sys
folder, output, *missing = sys.argv[1:]
for name in missing:
    sys.modules[name] = None
import numpy, spacy
from tests.pipelines import predictions
numpy.savez(output, **predictions(spacy.load(folder)))
"""


def train_config(name: str, framework: str, output: Path, **overrides: Any) -> Path:
    """Train a shipped config for a few steps, by the function behind `spacy train`, and return the
    folder of the pipeline."""
    given = {"vars.framework": framework, **FEW, **overrides}
    train(CONFIGS / f"{name}.cfg", output, overrides=given)
    return output / "model-last"


def predictions(nlp: spacy.Language) -> Dict[str, numpy.ndarray]:
    """What each component's model gives for `TEXTS`, before spaCy makes annotations of it."""
    docs = [nlp.make_doc(text) for text in TEXTS]
    for doc in docs:
        # Two entities, for what relates them to each other.
        doc.ents = [Span(doc, i, i + 1, label="NAME") for i in sorted({0, len(doc) - 1})]
    given = {}
    for name, component in nlp.pipeline:
        if not hasattr(component, "model"):
            continue
        output = component.model.predict(docs)
        given[name] = numpy.vstack(output)
        if name == "tok2vec":
            # The listeners of the others find it there.
            component.set_annotations(docs, output)
    return given


def assert_same_predictions(came: Dict[str, Any], expected: Dict[str, Any]) -> None:
    """The same to float32 rounding."""
    assert set(came) == set(expected)
    for name in expected:
        assert_allclose(came[name], expected[name], atol=1e-5, err_msg=name)


def spacy_command(*arguments: Any, cwd: Path, fails: bool = False) -> CompletedProcess[str]:
    """Run a command of spaCy's in a process of its own."""
    command = [sys.executable, "-m", "spacy", *map(str, arguments)]
    done = run(command, capture_output=True, text=True, cwd=cwd, timeout=500, check=False)
    assert (done.returncode != 0) == fails, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done
