"""`spacy frameworks convert`: a trained pipeline on another framework."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator, List, NamedTuple, Optional, Sequence, Tuple

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
        golds = read_docs(verify)
        result = compared(nlp, swapped, golds)
        # Of NaN, no comparison is true.
        if not result.cats <= TOLERANCE or result.tokens * ONE_TOKEN_IN > result.of:
            raise ValueError(
                f"The converted pipeline predicts otherwise: {result}. Nothing is written. If all "
                "layers are those of spacy-frameworks, this is an error of ours: please report it."
            )
        unseen = unseen_components(nlp, golds)
        _write(swapped, output_path)
    msg.good(f"Wrote {output_path}", f"On {result.docs} docs, {result}.")
    if unseen:
        msg.warn(
            f"Not compared: {', '.join(unseen)}",
            "They annotate none of these docs, or are disabled. Their weights are converted as the "
            "others' are. To compare them, hand over docs that they annotate: --verify docs.spacy",
        )


class Difference(NamedTuple):
    """Between the predictions of two pipelines.

    docs: How many were predicted.
    tokens: How many tokens have another annotation, or docs other extension attributes.
    of: How many tokens there are.
    cats: The largest difference of the score of a category or a span.
    """

    docs: int
    tokens: int
    of: int
    cats: float

    def __str__(self) -> str:
        return (
            f"{self.tokens} of {self.of} tokens are annotated differently, and scores of "
            f"categories and spans differ by up to {self.cats:.0e}"
        )


def read_docs(path: Optional[Path] = None) -> List[Doc]:
    """The docs of a .spacy file; a sample without annotation if there is none."""
    from spacy.tokens import Doc, DocBin
    from spacy.vocab import Vocab

    from ..training.corpus import sample

    if path is not None:
        return list(DocBin().from_disk(path).get_docs(Vocab()))
    return [Doc(Vocab(), words=list(each.words)) for each in sample("dev")[:SAMPLE_DOCS]]


def compared(one: Language, other: Language, golds: Sequence[Doc]) -> Difference:
    """What two pipelines that should be the same predict differently.

    golds: Docs as `read_docs` gives them.
    """
    docs, tokens, of, cats = 0, 0, 0, 0.0
    for first, second in zip(one.pipe(_docs(one, golds)), other.pipe(_docs(other, golds))):
        docs, of = docs + 1, of + len(first)
        tokens += sum(a != b for a, b in zip(_annotations(first), _annotations(second)))
        tokens += not _alike(first.user_data, second.user_data)
        scores = [abs(first.cats[label] - second.cats[label]) for label in first.cats]
        scores.extend(_differences_of_spans(first, second))
        # In contrast to Python's, this one is NaN if one of them is.
        cats = float(numpy.max([cats, *scores]))
    return Difference(docs, tokens, of, cats)


def unseen_components(nlp: Language, golds: Sequence[Doc]) -> List[str]:
    """Components that are disabled, or have a model and annotate none of some docs, so that nobody
    would see it if they predicted otherwise. The docs are those of `compared`, or the first."""
    docs = list(_docs(nlp, golds[:SAMPLE_DOCS]))
    unseen = list(nlp.disabled)
    for name, component in nlp.pipeline:
        before = [_everything(doc) for doc in docs]
        docs = [component(doc) for doc in docs]
        has_changed = not all(map(_alike, map(_everything, docs), before))
        if getattr(component, "is_trainable", False) and not has_changed:
            unseen.append(name)
    return unseen


def _everything(doc: Doc) -> Any:
    """What a component may have annotated. An empty list of something is nothing."""
    extensions = {
        key: value
        for key, value in doc.user_data.items()
        if not isinstance(value, (list, tuple, dict)) or value
    }
    return list(_annotations(doc)), dict(doc.cats), extensions, doc.tensor.size


def _docs(nlp: Language, golds: Sequence[Doc]) -> Iterator[Doc]:
    """Docs without annotation; with entities, where the pipeline needs them and finds none."""
    from spacy.tokens import Doc, Span

    assigned = [value for name in nlp.pipe_names for value in nlp.get_pipe_meta(name).assigns]
    for gold in golds:
        spaces = [bool(t.whitespace_) for t in gold]
        doc = Doc(nlp.vocab, words=[t.text for t in gold], spaces=spaces)
        if gold.ents and "doc.ents" not in assigned:
            doc.ents = [Span(doc, ent.start, ent.end, ent.label_) for ent in gold.ents]
        yield doc


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
            t.is_sent_start,
            t.ent_iob_,
            t.ent_type_,
            t.ent_kb_id_,
            t.ent_id_,
            spans,
        )


def _differences_of_spans(first: Doc, second: Doc) -> Iterator[float]:
    """Of the scores of the same spans; other spans are other annotations."""
    for key, group in first.spans.items():
        one, other = (g.attrs.get("scores") for g in (group, second.spans.get(key, group)))
        if one is not None and other is not None and len(one) == len(other):
            yield from numpy.abs(numpy.asarray(one) - numpy.asarray(other)).ravel()


def _write(nlp: Language, path: Path) -> None:
    """Beside the path first, so that what is there is whole or replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        new, old = Path(folder) / "new", Path(folder) / "old"
        nlp.to_disk(new)
        try:
            if path.exists():
                os.replace(path, old)
            os.replace(new, path)
        except BaseException:
            # Ctrl-C may come between the two, and the folder takes with it what is left there.
            if old.exists() and not path.exists():
                os.replace(old, path)
            raise
