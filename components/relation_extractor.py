"""A trainable component that finds relations between a doc's entities."""

from __future__ import annotations

import warnings
from itertools import islice
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple

import numpy
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc, Span
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Config, Model
from thinc.types import Floats2d

from .relation_scorer import Key, gold_relations, place_of, score_relations
from .relations import EXTENSION, make_relation, read_relations

# How near to 0 and 1 a probability counts as it is, in float32.
SMALLEST = 2.0**-23

DEFAULT_MODEL = """
[model]
@architectures = "spacy-frameworks.RelationModel.v1"
framework = "Thinc"

[model.tok2vec]
@architectures = "spacy.HashEmbedCNN.v2"
pretrained_vectors = null
width = 96
depth = 4
embed_size = 2000
window_size = 1
maxout_pieces = 3
subword_features = true

[model.pairs]
@architectures = "spacy-frameworks.EntityPairs.v1"
"""


@Language.factory(
    "relation_extractor",
    assigns=[f"doc._.{EXTENSION}"],
    requires=["doc.ents"],
    default_config={
        "model": Config().from_str(DEFAULT_MODEL)["model"],
        "threshold": 0.5,
        "scorer": {"@scorers": "spacy-frameworks.relation_scorer.v1"},
    },
    default_score_weights={
        "relations_f": 1.0,
        "relations_p": 0.0,
        "relations_r": 0.0,
        "relations_per_type": None,
    },
)
def make_relation_extractor(
    nlp: Language,
    name: str,
    model: Model[List[Doc], Floats2d],
    threshold: float,
    scorer: Optional[Callable],
) -> RelationExtractor:
    """Make the component from its section in a config."""
    return RelationExtractor(nlp.vocab, model, name, threshold=threshold, scorer=scorer)


class RelationExtractor(TrainablePipe):
    """Finds relations between a doc's entities, and writes them to `doc._.relations`.

    The entities come from the doc, so what finds them is in front of it in the pipeline. In
    training it has to be among the `annotating_components`, or the reader hands the entities over.
    Training, with `update`, is spaCy's: see `TrainablePipe`.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[List[Doc], Floats2d],
        name: str = "relation_extractor",
        *,
        threshold: float = 0.5,
        scorer: Optional[Callable] = score_relations,
    ):
        """
        vocab (Vocab): The vocabulary that is shared by the pipeline.
        model (Model): From docs to an array of probabilities with a row for each pair of entities
            of the batch, in the order of attrs["find_pairs"](docs), and a column for each label.
        name (str): What the component is called in the pipeline.
        threshold (float): From which probability on a relation is written to the doc, between 0
            and 1. It is not saved with the weights: the pipeline's config has it.
        scorer (Optional[Callable]): From examples to a dict of scores. With None, there are
            no scores.

        Raises ValueError if the threshold is out of its range, or the model finds no pairs.
        """
        if not 0 <= threshold <= 1:
            raise ValueError(f"Expected a threshold between 0 and 1, got {threshold}.")
        if "find_pairs" not in model.attrs:
            raise ValueError(
                f"The model '{model.name}' of the component '{name}' has no attrs['find_pairs'], "
                "which says which pairs of entities its rows are about. Use "
                "spacy-frameworks.RelationModel.v1, or set it, as this one does."
            )
        super().__init__(vocab, model, name)
        self.cfg: Dict[str, Any] = {"labels": []}
        self.threshold = threshold
        self.scorer = scorer

    @property
    def labels(self) -> Tuple[str, ...]:
        """The relations that it knows, in the order of the model's columns."""
        return tuple(self.cfg["labels"])

    @property
    def label_data(self) -> Tuple[str, ...]:
        """What `initialize` takes as `labels`, and `spacy init labels` saves."""
        return self.labels

    def add_label(self, label: str) -> int:
        """Add a relation. A model that is trained already gets a column more and keeps what it has
        learned.

        label (str): The relation.
        RETURNS (int): 1, or 0 if it was there.

        Raises ValueError if it is no text, or if the model is not made to grow (E922).
        """
        if not isinstance(label, str) or not label:
            raise ValueError(f"Expected a label of at least one letter, got {label!r}.")
        if label in self.labels:
            return 0
        self._allow_extra_label()
        self.cfg["labels"].append(label)
        self.vocab.strings.add(label)
        if self.is_resizable:
            self.set_output(len(self.labels))
        return 1

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Optional[Language] = None,
        labels: Optional[Iterable[str]] = None,
    ) -> None:
        """Learn which labels there are, and have the model find its widths and draw its weights.

        get_examples (Callable[[], Iterable[Example]]): Gives the training data.
        nlp (Optional[Language]): The pipeline, which is not needed here.
        labels (Optional[Iterable[str]]): The labels; those of the data if None.

        Raises ValueError if there are no labels (E143), or if the data is none.
        """
        validate_get_examples(get_examples, "RelationExtractor.initialize")
        if labels is None:
            found = (read_relations(example.reference) or [] for example in get_examples())
            labels = sorted({relation.label for relations in found for relation in relations})
        for label in labels:
            self.add_label(label)
        self._require_labels()
        # No component has run yet, so only the references have entities.
        docs = [example.reference for example in islice(get_examples(), 10)]
        # Of the truth, the model wants to know the width alone.
        truth = self.model.ops.alloc2f(len(self._find_pairs(docs)), len(self.labels))
        self.model.initialize(X=docs, Y=truth)

    def predict(self, docs: Iterable[Doc]) -> Floats2d:
        """The probability of each relation for each pair of entities. The docs stay as they are.

        docs (Iterable[Doc]): The docs, with entities.
        RETURNS (Floats2d): A row for each pair of the batch, a column for each label.

        Raises ValueError if there are no labels yet (E143).
        """
        self._require_labels()
        return self.model.predict(list(docs))

    def set_annotations(self, docs: Iterable[Doc], scores: Floats2d) -> None:
        """Write the relations whose probability reaches the threshold to `doc._.relations`.

        docs (Iterable[Doc]): The docs.
        scores (Floats2d): What `predict` returned for them.
        """
        docs = list(docs)
        found: List[List[Dict[str, Any]]] = [[] for _ in docs]
        pairs, array = self._find_pairs(docs), self.model.ops.to_numpy(scores)
        for row, column in zip(*numpy.nonzero(array >= self.threshold)):
            i, head, child = pairs[row]
            score = float(array[row, column])
            found[i].append(make_relation(head, child, self.labels[column], score))
        for doc, relations in zip(docs, found):
            setattr(doc._, EXTENSION, relations)

    def get_loss(self, examples: Iterable[Example], scores: Floats2d) -> Tuple[float, Floats2d]:
        """The cross entropy of each label by itself, and its gradient.

        Squared errors, which spaCy's textcat takes, have next to no gradient where a probability is
        near 0. Of all pairs few have a relation, so that is where each label is after a few steps,
        and a rare one may stay there.

        They are sums over the pairs, not means: how the data is cut into batches, and over how many
        processes, makes no difference.

        examples (Iterable[Example]): The batch. A reference that says nothing about relations
            (None) has no part in it.
        scores (Floats2d): What the model gives for the predicted docs.
        RETURNS (Tuple[float, Floats2d]): The loss, and its gradient with respect to the scores.

        Raises ValueError if a relation in a reference has another form than it should.
        """
        examples = list(examples)
        validate_examples(examples, "RelationExtractor.get_loss")
        keys = [gold_relations(example) for example in examples]
        golds = [None if gold is None else set(gold) for gold in keys]
        if not len(scores) and any(golds):
            warnings.warn(
                f"The component '{self.name}' finds no pair of entities in a batch of "
                f"{len(examples)} docs that have relations to learn. The entities are those of the "
                "predicted docs: name the component that finds them in [training] "
                "annotating_components, or have the reader hand over the gold ones "
                "(gold_entities = true of spacy-frameworks.RelationCorpus.v1).",
                stacklevel=2,
            )
        truth = numpy.zeros(scores.shape, dtype="float32")
        is_known = numpy.zeros((len(scores), 1), dtype="float32")
        for row, (i, head, child) in enumerate(self._find_pairs([eg.x for eg in examples])):
            gold = golds[i]
            if gold is not None:
                is_known[row] = 1
                truth[row] = [Key(place_of(head), place_of(child), x) in gold for x in self.labels]
        ops = self.model.ops
        Y, known = ops.asarray2f(truth), ops.asarray2f(is_known)
        P = ops.xp.clip(scores, SMALLEST, 1 - SMALLEST)
        loss = -(known * ops.xp.log(Y * P + (1 - Y) * (1 - P))).sum()
        return float(loss), known * (P - Y) / (P * (1 - P))

    def _find_pairs(self, docs: List[Doc]) -> List[Tuple[int, Span, Span]]:
        return self.model.attrs["find_pairs"](docs)
