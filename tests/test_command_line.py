"""spaCy's commands on the shipped configs, each in a process of its own, on files on disk."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from subprocess import run

import pytest
import spacy
from spacy.tokens import DocBin
from spacy_frameworks.training.corpus import create_corpus

from .frameworks import ALL
from .pipelines import CONFIGS, spacy_command

# A tagger on an encoder, a text classifier, and both on a shared one.
TRIED = {
    "tagger_window": ["tagger"],
    "textcat": ["textcat"],
    "shared_tok2vec": ["tok2vec", "tagger", "textcat"],
}


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """A folder with train.spacy, dev.spacy and texts.jsonl, made of the sample."""
    folder = tmp_path_factory.mktemp("data")
    nlp = spacy.blank("en")
    for split, limit in (("train", 120), ("dev", 20)):
        corpus = create_corpus({"train": None, "dev": None}, split, limit=limit)
        docs = [example.reference for example in corpus(nlp)]
        DocBin(docs=docs, store_user_data=True).to_disk(folder / f"{split}.spacy")
    lines = [json.dumps({"text": doc.text}) for doc in docs]
    (folder / "texts.jsonl").write_text("\n".join(lines))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("framework", ALL)
@pytest.mark.parametrize("name", TRIED)
def test_every_command_of_spacys(name, framework, data, tmp_path):
    def command(*arguments):
        return spacy_command(*arguments, cwd=tmp_path)

    paths = ("--paths.train", data / "train.spacy", "--paths.dev", data / "dev.spacy")
    of_framework = ("--vars.framework", framework)
    config, dev, trained = "config.cfg", data / "dev.spacy", "out/model-last"
    *_, head = TRIED[name]

    command("init", "fill-config", CONFIGS / f"{name}.cfg", config)
    command("debug", "config", config, *of_framework, *paths)
    for component in TRIED[name]:
        shown = command("debug", "model", config, component, "-P3", *of_framework, *paths)
        assert "STEP 3" in shown.stdout
    assert "20 evaluation docs" in command("debug", "data", config, *of_framework, *paths).stdout
    steps = ("--training.max_steps", 6, "--training.eval_frequency", 3)
    command("train", config, "--output", "out", *of_framework, *paths, *steps)

    command("evaluate", trained, dev, "--output", "scores.json")
    command("benchmark", "accuracy", trained, dev, "--output", "again.json")
    # All but the words per second.
    scores, again = (json.loads((tmp_path / f"{x}.json").read_text()) for x in ("scores", "again"))
    assert scores.pop("speed") and again.pop("speed") and scores == again
    batches = ("--batches", 30, "--warmup", 1, "--batch-size", 4)
    assert "words/s" in command("benchmark", "speed", trained, dev, *batches).stdout

    texts = data / "texts.jsonl"
    command("apply", trained, texts, "one.spacy")
    predicted = annotations(tmp_path / "one.spacy")
    assert len(predicted) == 20
    command("apply", trained, texts, "two.spacy", "--n-process", 2)
    assert annotations(tmp_path / "two.spacy") == predicted

    # It trains nothing, and so puts together what is trained. From its own config, spaCy's textcat
    # cannot be assembled either (E867: no labels).
    sources = [f'\n[components.{x}]\nsource = "{trained}"\n' for x in TRIED[name]]
    pipeline = f'[nlp]\nlang = "en"\npipeline = {json.dumps(TRIED[name])}\n\n[components]\n'
    (tmp_path / "parts.cfg").write_text(pipeline + "".join(sources))
    command("init", "fill-config", "parts.cfg", "assemble.cfg")
    command("assemble", "assemble.cfg", "assembled")
    command("apply", "assembled", texts, "assembled.spacy")
    assert annotations(tmp_path / "assembled.spacy") == predicted
    if head == "textcat":
        command("find-threshold", trained, dev, "textcat", "threshold", "cats_macro_f", "-n", 3)
    (tmp_path / "packages").mkdir()
    command("package", trained, "packages", "--build", "wheel", "--name", "tried")
    (wheel,) = tmp_path.glob("packages/*/dist/*.whl")
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--target", "site", str(wheel)]
    run(install, check=True, cwd=tmp_path, capture_output=True)
    code = (
        "import sys; sys.path.insert(0, 'site'); import en_tried; print(en_tried.load().pipe_names)"
    )
    loaded = run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert loaded.stdout.strip() == str(TRIED[name]), loaded.stderr


def annotations(path: Path) -> list:
    """Tags and categories of the docs in a file."""
    docs = DocBin().from_disk(path).get_docs(spacy.blank("en").vocab)
    return [([t.tag_ for t in doc], max(doc.cats, key=doc.cats.get, default="")) for doc in docs]
