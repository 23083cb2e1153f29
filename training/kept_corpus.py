"""A corpus reader that reads and tokenizes once for each pipeline.

`spacy train` calls the reader of the training corpus several times before the first step (each
trainable component checks the examples, and most look through them for labels), and that of the
dev corpus at every evaluation. spaCy's reader decodes the file and tokenizes each time; this one
does it the first time, and copies from then on, which takes a sixth of the time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple
from weakref import WeakKeyDictionary

from spacy.language import Language
from spacy.tokenizer import Tokenizer
from spacy.tokens import Doc
from spacy.training import Corpus, Example
from spacy.training.augment import dont_augment
from spacy.training.corpus import FILE_TYPE, walk_corpus

# Of a Doc besides its tokens: the object and the empty arrays, dicts and lists that it holds.
BYTES_PER_DOC = 1500


class Kept(NamedTuple):
    """What the reader made of a corpus. No one but the reader sees these docs."""

    state: Tuple[Any, ...]
    docs: List[Tuple[Optional[Doc], Doc]]


# By pipeline, not by reader: spaCy makes one reader from the config for `nlp.initialize`, and
# another for the training.
_kept: WeakKeyDictionary[Language, Dict[Tuple[Any, ...], Kept]] = WeakKeyDictionary()


class KeptCorpus:
    """The examples of a spaCy corpus, equal to what it gives and as fresh, from copies."""

    def __init__(
        self,
        corpus: Corpus,
        path: Optional[Path],
        keep_mb: int,
        augmenter: Optional[Callable[[Language, Example], Iterable[Example]]] = None,
    ):
        """
        corpus (Corpus): What makes the examples, without an augmenter.
        path (Optional[Path]): Where it reads, if it reads files.
        keep_mb (int): How many MB the kept docs may take. A corpus that needs more is not kept.
        augmenter (Optional[Callable]): Of each example, what to yield. It may draw at random, so
            what it makes is not kept.
        """
        self.corpus = corpus
        self.path = path
        self.keep_mb = keep_mb
        self.augmenter = dont_augment if augmenter is None else augmenter

    def __call__(self, nlp: Language) -> Iterator[Example]:
        for example in self._examples(nlp):
            yield from self.augmenter(nlp, example)

    def _examples(self, nlp: Language) -> Iterator[Example]:
        corpus = self.corpus
        of_pipeline = _kept.setdefault(nlp, {})
        options = (corpus.limit, corpus.gold_preproc, corpus.max_length)
        key = (type(corpus), corpus.path, *options)
        tokenizer = _tokenizer_state(nlp)
        state = (nlp.vocab, tokenizer, self._files())
        kept = of_pipeline.get(key)
        if kept is not None and kept.state == state:
            for predicted, reference in kept.docs:
                # Whoever gets the example may write into both.
                y = reference.copy()
                if predicted is None:
                    yield corpus._make_example(nlp, y, corpus.gold_preproc)
                else:
                    yield Example(predicted.copy(), y)
            return

        of_pipeline.pop(key, None)
        docs: Optional[List[Tuple[Optional[Doc], Doc]]] = []
        size = 0
        for example in corpus(nlp):
            if docs is not None:
                # Copies have no objects for their tokens yet, which a Doc makes when it is looked
                # at, and holds on to.
                x, y = (None if tokenizer is None else example.x.copy()), example.y.copy()
                docs.append((x, y))
                size += sum(doc.mem.size + BYTES_PER_DOC for doc in (x, y) if doc is not None)
                # What is made in a memory zone points at words that will be gone.
                if size > self.keep_mb * 10**6 or nlp.vocab.in_memory_zone:
                    docs = None
            yield example
        if docs is not None:
            of_pipeline[key] = Kept(state, docs)

    def _files(self) -> List[Tuple[Any, ...]]:
        """What tells whether the files have changed."""
        if self.path is None:
            return []
        files = [(path.resolve(), path.stat()) for path in walk_corpus(self.path, FILE_TYPE)]
        return [(path, stat.st_ino, stat.st_size, stat.st_mtime_ns) for path, stat in files]


def _tokenizer_state(nlp: Language) -> Optional[Tuple[Any, ...]]:
    """All that decides how a text is tokenized, or None where that is not known: with a tokenizer
    other than spaCy's rules, or a pipeline that makes docs in a way of its own. Then only the
    references are kept."""
    make_doc, tokenizer = nlp.make_doc, nlp.tokenizer
    if getattr(make_doc, "__func__", None) is not Language.make_doc:
        return None
    if type(tokenizer) is not Tokenizer:
        return None
    return (
        tokenizer,
        tokenizer.prefix_search,
        tokenizer.suffix_search,
        tokenizer.infix_finditer,
        tokenizer.token_match,
        tokenizer.url_match,
        tokenizer.faster_heuristics,
        # A special case that is added later goes into the same dict.
        dict(tokenizer.rules or {}),
        nlp.max_length,
    )
