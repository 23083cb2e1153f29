"""Write the pipelines that the upgrade test loads, with the version of this package that is
installed: one for each framework and each way in which a config has named the architectures.

    python -m tests.stored.make

A stored pipeline is never made again: what a released version saved has to stay readable.
"""

from __future__ import annotations

import tempfile
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Dict

import numpy
import spacy
import spacy_frameworks.architectures.custom  # noqa: F401  # the bare names
from spacy.cli.init_config import fill_config
from spacy.cli.train import train
from spacy_frameworks.wrappers.framework import FRAMEWORKS, THINC, Framework

from ..pipelines import predictions

STORED = Path(__file__).parent

CONFIG = """
[vars]
framework = "{framework}"

[paths]
train = null
dev = null

[nlp]
lang = "xx"
pipeline = {pipeline}

{hook}

[components]

{components}

[corpora]

[corpora.train]
@readers = "spacy-frameworks.Corpus.v1"
paths = ${{paths}}
split = "train"
limit = 40

[corpora.dev]
@readers = "spacy-frameworks.Corpus.v1"
paths = ${{paths}}
split = "dev"
limit = 2

[training]
train_corpus = "corpora.train"
dev_corpus = "corpora.dev"
seed = 0
max_steps = 12
eval_frequency = 12
"""

HOOK = """
[nlp.before_creation]
@callbacks = "spacy-frameworks.use_framework.v1"
"""

COMPONENT = """
[components.{name}]
factory = "{factory}"
"""

MODEL = """
[components.{name}.model]
@architectures = "{architecture}"
"""

FLAT = """
width = 16
hidden_width = 8
embed_size = 50
nM = 8
nC = 4
dropout = 0.1
"""

TOK2VEC = """
[{place}]
@architectures = "spacy.Tok2Vec.v2"

[{place}.embed]
@architectures = "spacy.MultiHashEmbed.v2"
width = 16
attrs = ["NORM", "SUFFIX"]
rows = [100, 50]
include_static_vectors = false

[{place}.encode]
@architectures = "{encoder}"
width = 16
"""

LISTENER = """
[components.{name}.model.tok2vec]
@architectures = "spacy.Tok2VecListener.v1"
width = 16
"""


def head(name: str, factory: str, architecture: str, arguments: str) -> str:
    model = MODEL.format(name=name, architecture=architecture)
    return COMPONENT.format(name=name, factory=factory) + model + arguments


def literal(fw: Framework) -> Dict[str, str]:
    """Every architecture, by the name that has the framework in it."""
    name = f"spacy-frameworks.{fw.token}{{}}.v1".format
    custom = f"spacy-frameworks.Custom{fw.custom}Model.v1"
    on_listener = "hidden_width = 8\n" + LISTENER
    components = {
        "tok2vec": COMPONENT.format(name="tok2vec", factory="tok2vec")
        + TOK2VEC.format(place="components.tok2vec.model", encoder=name("BiLSTMEncoder")),
        "tagger": head("tagger", "tagger", name("Tagger"), on_listener.format(name="tagger")),
        "textcat": head(
            "textcat",
            "textcat",
            name("TextCat"),
            "exclusive_classes = true\n" + on_listener.format(name="textcat"),
        ),
        "deep": head("deep", "tagger", name("Tagger"), FLAT + "depth = 2\nnormalize = true\n"),
        "many": head(
            "many", "textcat_multilabel", name("TextCat"), "exclusive_classes = false" + FLAT
        ),
        "custom": head("custom", "tagger", custom, "nO = null" + FLAT),
    }
    for encoder in ("FeedForward", "WindowEncoder", "TransformerEncoder"):
        component = encoder.lower()
        place = f"components.{component}.model.tok2vec"
        tok2vec = TOK2VEC.format(place=place, encoder=name(encoder))
        components[component] = head(component, "senter", "spacy.Tagger.v2", tok2vec)
    return components


def variable(fw: Framework) -> Dict[str, str]:
    """Names with a variable in them, as the configs of 0.1.0 had them."""
    name = "spacy-frameworks.${{vars.framework}}{}.v1".format
    place = "components.textcat.model.tok2vec"
    tok2vec = TOK2VEC.format(place=place, encoder=name("WindowEncoder"))
    exclusive = "exclusive_classes = true\n"
    return {
        "tagger": head("tagger", "tagger", name("Tagger"), FLAT),
        "textcat": head("textcat", "textcat", name("TextCat"), exclusive + tok2vec),
    }


def bare(fw: Framework) -> Dict[str, str]:
    """The names of spaCy's usage page, as they are printed there."""
    return {"tagger": head("tagger", "tagger", f"Custom{fw.custom}Model.v1", "nO = 25" + FLAT)}


KINDS = {"literal": literal, "variable": variable, "bare": bare}


def make(kind: str, fw: Framework, path: Path) -> None:
    """Train a small pipeline and write it, with its predictions, to a zip file."""
    components = KINDS[kind](fw)
    config = CONFIG.format(
        framework=fw.token,
        pipeline=str(list(components)).replace("'", '"'),
        hook=HOOK if kind == "variable" else "",
        components="".join(components.values()),
    )
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.cfg").write_text(config)
        filled = Path(folder) / "filled.cfg"
        fill_config(filled, Path(folder) / "config.cfg")
        train(filled, Path(folder) / "out")
        pipeline = Path(folder) / "out" / "model-last"
        numpy.savez_compressed(pipeline / "expected.npz", **predictions(spacy.load(pipeline)))
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(pipeline.rglob("*")):
                if file.is_file():
                    archive.write(file, file.relative_to(pipeline))


if __name__ == "__main__":
    folder = STORED / version("spacy-frameworks")
    folder.mkdir(exist_ok=True)
    for framework in (*FRAMEWORKS, THINC):
        for kind in KINDS:
            make(kind, framework, folder / f"{kind}-{framework.id}.zip")
