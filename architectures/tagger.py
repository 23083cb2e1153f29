"""Taggers: a vector per token, the framework's feed-forward network on it, softmax."""

from __future__ import annotations

from typing import List, Optional

from spacy.tokens import Doc
from thinc.api import Model, chain, with_array
from thinc.types import Floats2d

from .layers import any_batch, embedding, softmax_output, with_labels
from .networks import FeedForward, build_network
from .per_framework import short_forms
from .words import once_per_type


def build_tagger(
    framework: str,
    nO: Optional[int] = None,
    width: int = 96,
    hidden_width: int = 48,
    embed_size: int = 2000,
    nM: int = 64,
    nC: int = 8,
    dropout: float = 0.2,
    depth: int = 1,
    normalize: bool = False,
    tok2vec: Optional[Model[List[Doc], List[Floats2d]]] = None,
    embed: Optional[Model[List[Doc], List[Floats2d]]] = None,
) -> Model[List[Doc], List[Floats2d]]:
    """A tagger whose network is one of the framework's.

    framework (str): "PyTorch", "TensorFlow", "MXNet", "JAX" or "Thinc", in upper or lower case.
    nO (int): Number of tags. None, the default, takes it from the data.
    width, embed_size, nM, nC (int): Of spaCy's CharacterEmbed: output width, rows of its table,
        size of a character's vector, and number of characters.
    hidden_width (int), depth (int): Units and number of the hidden layers.
    normalize (bool): Layer normalization in the hidden layers.
    dropout (float): Rate of dropout. `spacy train` overrides it by `[training] dropout`.
    tok2vec, embed (Model): A sublayer in place of CharacterEmbed, such as `spacy.Tok2Vec.v2` or a
        listener.
    RETURNS (Model): From docs to an array of probabilities per doc.

    Raises ValueError if there is no such framework, and from `initialize` if nO is more than the
    number of tags in the data; ImportError if the framework is not installed.
    """
    tok2vec = embedding(tok2vec, embed, width, embed_size, nM, nC)
    network = build_network(framework, FeedForward(hidden_width, depth, normalize), dropout, nO)
    with Model.define_operators({">>": chain}):
        model = any_batch(tok2vec) >> with_array(network >> softmax_output(nO))
    return with_labels(once_per_type(model), tok2vec, nO)


__getattr__ = short_forms(__name__)
