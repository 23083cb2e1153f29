"""`spacy frameworks convert`: a trained pipeline on another framework."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator, List, NamedTuple, Optional, Tuple

import numpy
import typer
from wasabi import msg

from .errors import as_messages, check_input, check_output
from .options import CODE

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

# Scores are rounded differently; one token in so many may be between two labels.
TOLERANCE, ONE_TOKEN_IN = 1e-3, 1000
SAMPLE_DOCS = 40


def convert_cli(
    model: str = typer.Argument(..., help="Path or package name of a trained pipeline"),
    output_path: Path = typer.Argument(..., help="Folder to write the converted pipeline to"),
    to: str = typer.Option(
        ..., "--to", "-t", help="The framework: PyTorch, TensorFlow, MXNet, JAX or Thinc"
    ),
    verify: Optional[Path] = typer.Option(
        None,
        "--verify",
        "-v",
        help="A .spacy file whose docs both predict; a sample of English if there is none",
    ),
    code_path: Optional[Path] = CODE,
    force: bool = typer.Option(False, "--force", "-f", help="Overwrite the output if it exists"),
) -> None:
    """
    Write a trained pipeline for another framework, with its weights.

    Both pipelines predict the same docs before anything is written, and nothing is written if the
    predictions differ.
    """
    check_output(output_path, force)
    if verify is not None:
        check_input(verify)
    import spacy
    from spacy.cli._util import import_code

    from ..architectures import swap_framework

    import_code(code_path)
    with as_messages():
        nlp = spacy.load(model)
        swapped = swap_framework(nlp, to)
        result = compared(nlp, swapped, verify)
        # Of NaN, no comparison is true.
        if not result.cats <= TOLERANCE or result.tokens * ONE_TOKEN_IN > result.of:
            raise ValueError(
                f"The converted pipeline predicts otherwise: {result}. Nothing is written. If all "
                "layers are those of spacy-frameworks, this is an error of ours: please report it."
            )
        _write(swapped, output_path)
    msg.good(f"Wrote {output_path}", f"On {result.docs} docs, {result}.")


class Difference(NamedTuple):
    """Between the predictions of two pipelines.

    docs: How many were predicted.
    tokens: How many tokens have another annotation, or docs other extension attributes.
    of: How many tokens there are.
    cats: The largest difference of the score of a category.
    """

    docs: int
    tokens: int
    of: int
    cats: float

    def __str__(self) -> str:
        return (
            f"{self.tokens} of {self.of} tokens are annotated differently, and scores of "
            f"categories differ by up to {self.cats:.0e}"
        )


def compared(one: Language, other: Language, path: Optional[Path] = None) -> Difference:
    """What two pipelines that should be the same predict differently.

    path: A .spacy file. If None, docs of the sample are taken.
    """
    words = list(_words(one, path))
    docs, tokens, of, cats = 0, 0, 0, 0.0
    for first, second in zip(_predicted(one, words), _predicted(other, words)):
        docs, of = docs + 1, of + len(first)
        tokens += sum(a != b for a, b in zip(_annotations(first), _annotations(second)))
        tokens += not _alike(first.user_data, second.user_data)
        scores = [abs(first.cats[label] - second.cats[label]) for label in first.cats]
        # In contrast to Python's, this one is NaN if one of them is.
        cats = float(numpy.max([cats, *scores]))
    return Difference(docs, tokens, of, cats)


def _words(nlp: Language, path: Optional[Path]) -> Iterator[Tuple[List[str], List[bool]]]:
    from spacy.tokens import DocBin

    from ..training.corpus import sample

    if path is None:
        for doc in sample("dev")[:SAMPLE_DOCS]:
            yield list(doc.words), [True] * len(doc.words)
    else:
        for doc in DocBin().from_disk(path).get_docs(nlp.vocab):
            yield [t.text for t in doc], [bool(t.whitespace_) for t in doc]


def _predicted(nlp: Language, words: List[Tuple[List[str], List[bool]]]) -> Iterator[Doc]:
    from spacy.tokens import Doc

    return nlp.pipe(Doc(nlp.vocab, words=text, spaces=spaces) for text, spaces in words)


def _alike(one: Any, other: Any) -> bool:
    """Whether values are the same, floats up to their tolerance. Of what is neither a JSON value
    nor an array, such as a span of the doc, the type is compared: it may not equal its own copy."""
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= TOLERANCE
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, numpy.ndarray) and isinstance(other, numpy.ndarray):
        return one.shape == other.shape and _alike(one.tolist(), other.tolist())
    if isinstance(one, (str, bytes, int, float)) or one is None:
        return bool(one == other)
    return type(one) is type(other)


def _annotations(doc: Doc) -> Iterator[Tuple[Any, ...]]:
    for t in doc:
        spans = sorted(
            (key, span.label_)
            for key, group in doc.spans.items()
            for span in group
            if span.start <= t.i < span.end
        )
        yield (
            t.tag_,
            t.pos_,
            str(t.morph),
            t.lemma_,
            t.dep_,
            t.head.i,
            t.ent_iob_,
            t.ent_type_,
            spans,
        )


def _write(nlp: Language, path: Path) -> None:
    """Beside the path first, so that what is there is whole or replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        nlp.to_disk(Path(folder) / "new")
        if path.exists():
            os.replace(path, Path(folder) / "old")
        os.replace(Path(folder) / "new", path)
