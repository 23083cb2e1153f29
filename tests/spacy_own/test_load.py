"""The models in spaCy's tests are ours, and spaCy's again afterwards."""

from __future__ import annotations

import pytest
import spacy
from spacy.language import Language

from ..frameworks import ALL
from .load import use_models

NETWORKS = {
    "tok2vec": {"WindowEncoder"},
    "tagger": {"WindowEncoder", "FeedForward"},
    "textcat": {"FeedForward"},
    "textcat_multilabel": {"FeedForward"},
}


def architectures() -> list[str]:
    return [
        Language.get_factory_meta(component).default_config["model"]["@architectures"]
        for component in NETWORKS
    ]


@pytest.mark.parametrize("framework", ALL)
def test_components_without_a_config_have_networks_of_the_framework(framework):
    spacy.blank("en")
    before = architectures()
    with pytest.MonkeyPatch.context() as patch:
        use_models(framework, patch)
        nlp = spacy.blank("en")
        for component in NETWORKS:
            model = nlp.add_pipe(component).model
            networks = {node.name for node in model.walk() if "network" in node.attrs}
            assert networks == NETWORKS[component]
        assert architectures() != before
    assert architectures() == before
