"""The model of spaCy's usage page "Layers and Model Architectures", in every framework.

https://spacy.io/usage/layers-architectures#frameworks
"""

from __future__ import annotations

from typing import List, Optional

from spacy.ml import CharacterEmbed
from spacy.tokens import Doc
from thinc.api import Model, chain, with_array
from thinc.types import Floats2d

from .layers import any_batch, softmax_output, with_labels
from .networks import FeedForward, build_network
from .per_framework import short_forms
from .words import once_per_type


def build_custom_model(
    framework: str,
    nO: Optional[int],
    width: int,
    hidden_width: int,
    embed_size: int,
    nM: int,
    nC: int,
    dropout: float,
) -> Model[List[Doc], List[Floats2d]]:
    """The page's tagger: two linear layers, each with ReLU and dropout, on CharacterEmbed.

    The softmax is outside of the network, where its gradient is right; inside, as the page has
    it, the loss goes through its Jacobian once more, and the tagger trains worse.

    nO (int): Number of tags; None takes it from the data.
    width, embed_size, nM, nC (int): Of spaCy's CharacterEmbed: output width, rows of its table,
        size of a character's vector, and number of characters.
    hidden_width (int): Units of the hidden layer.
    dropout (float): Rate of dropout. `spacy train` overrides it by `[training] dropout`.
    RETURNS (Model): From docs to an array of probabilities per doc.

    Raises ValueError from `initialize` if nO is more than the number of tags in the data.
    """
    char_embed = CharacterEmbed(width, embed_size, nM, nC, include_static_vectors=False)
    layers = build_network(framework, FeedForward(hidden_width, activate_output=True), dropout, nO)
    with Model.define_operators({">>": chain}):
        model = any_batch(char_embed) >> with_array(layers >> softmax_output(nO))
    return with_labels(once_per_type(model), char_embed, nO)


__getattr__ = short_forms(__name__)
