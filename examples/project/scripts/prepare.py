"""Writes the sample that comes with spacy-frameworks into .spacy files. For data of your own, read
it here instead, and make a Doc with tags of each text."""

from pathlib import Path

import spacy
import typer
from spacy.tokens import DocBin
from spacy_frameworks.training import create_corpus


def main(folder: Path) -> None:
    """Write train.spacy and dev.spacy into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    nlp = spacy.blank("en")
    for split in ("train", "dev"):
        docs = [example.reference for example in create_corpus({}, split)(nlp)]
        path = folder / f"{split}.spacy"
        DocBin(docs=docs).to_disk(path)
        print(f"{path}: {len(docs)} docs, {sum(map(len, docs))} tokens")


if __name__ == "__main__":
    typer.run(main)
