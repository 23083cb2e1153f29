"""Text classifiers: the mean of the tokens' vectors, and the framework's feed-forward network."""

from __future__ import annotations

from typing import List, Optional

import numpy
from spacy.tokens import Doc
from thinc.api import Model, chain
from thinc.types import Floats2d

from ..wrappers import resize_wrapper
from .layers import embedding, logistic_output, mean_per_doc, softmax_output, with_labels
from .networks import FeedForward, build_network, resize_network
from .per_framework import short_forms


def build_textcat(
    framework: str,
    exclusive_classes: bool,
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
) -> Model[List[Doc], Floats2d]:
    """A text classifier whose network is one of the framework's.

    framework (str): "PyTorch", "TensorFlow", "MXNet", "JAX" or "Thinc", in upper or lower case.
    exclusive_classes (bool): Whether exactly one category is true of a text: true for `textcat`,
        false for `textcat_multilabel`.
    nO (int): Number of categories. None, the default, takes it from the data.
    width, embed_size, nM, nC (int): Of spaCy's CharacterEmbed: output width, rows of its table,
        size of a character's vector, and number of characters.
    hidden_width (int), depth (int): Units and number of the hidden layers.
    normalize (bool): Layer normalization in the hidden layers.
    dropout (float): Rate of dropout. `spacy train` overrides it by `[training] dropout`.
    tok2vec, embed (Model): A sublayer in place of CharacterEmbed, such as `spacy.Tok2Vec.v2` or a
        listener.
    RETURNS (Model): From docs to an array with a row of probabilities per doc.

    Only with nO = None, categories can be added later.

    Raises ValueError if there is no such framework, and from `initialize` if nO is more than the
    number of categories; fewer are refused by spaCy when they are added. ImportError if the
    framework is not installed.
    """
    tok2vec = embedding(tok2vec, embed, width, embed_size, nM, nC)
    network = build_network(framework, FeedForward(hidden_width, depth, normalize), dropout, nO)
    output = softmax_output(nO) if exclusive_classes else logistic_output(nO)
    model: Model[List[Doc], Floats2d] = chain(mean_per_doc(tok2vec), network, output)
    model.attrs["multi_label"] = not exclusive_classes
    if nO is None:
        # Where nO is fixed, spaCy refuses a category too many (E922).
        model.attrs["resize_output"] = resize_output
    return with_labels(model, tok2vec, nO)


# How far below the smallest bias that of a new exclusive category starts.
BELOW = 10.0


def resize_output(model: Model[List[Doc], Floats2d], new_nO: int) -> Model[List[Doc], Floats2d]:
    """Make room for new categories, in place. As attrs["resize_output"] of a model, it is called by
    spaCy's `add_label`.

    model (Model): Its last two layers are the network, one of this package's or a wrapper that was
        given a function to build its module, and `softmax_output` or `logistic_output`; which of
        these, is in attrs["multi_label"]. attrs["new_bias"], if it has one, is where the bias of a
        new category starts that is not exclusive.
    new_nO (int): How many categories there will be.
    RETURNS (Model): The same model. One that is not initialized, or has as many, stays as it is.

    What was learned stays. The weights of a new category are zero. Its bias is zero where
    categories are not exclusive, if `new_bias` does not say otherwise. Where they are, it is so low
    that the predictions stay as they are, yet not spaCy's -5000, which no training can raise.
    """
    *_, network, output = model.layers
    if network.has_dim("nO") is not True or new_nO <= network.get_dim("nO"):
        # Not initialized yet: the data will tell.
        return model
    start = model.attrs.get("new_bias", 0.0)
    resize = resize_network if "network" in network.attrs else resize_wrapper
    resized = resize(network, new_nO, lambda b: start if model.attrs["multi_label"] else _below(b))
    model.layers[-2] = resized
    for node, dims in ((model, ["nO"]), (output, ["nO", "nI"])):
        for dim in dims:
            node.set_dim(dim, new_nO, force=True)
    return model


def _below(b: numpy.ndarray) -> float:
    """The bias of a new exclusive category beside those that are there."""
    lowest = float(b.min())
    others = b[b > lowest]
    # spaCy adds one category after another: each starts where the first one does.
    has_new = others.size and float(others.min()) - lowest > 0.9 * BELOW
    return lowest if has_new else lowest - BELOW


__getattr__ = short_forms(__name__)
