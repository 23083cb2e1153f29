"""spaCy's tests of its components, with the architectures of this package as their models."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Dict, Mapping

import pytest
from spacy.language import Language
from spacy.pipeline.factories import register_factories
from thinc.api import fix_random_seed

from ..frameworks import ALL
from ..load import collect, load


def spacy_tests(name: str, not_run: Mapping[str, str]) -> Dict[str, Any]:
    """The tests of one of spaCy's files, for a test module's namespace.

    Each runs once for every framework. The models are the framework's where a test leaves them to
    spaCy, and where a config of it has one that has a counterpart here.

    not_run: Names of tests that this package must not pass, with the reason.
    """
    module = load(f"spacy.tests.{name}")
    return {**collect(module, not_run), "our_models": _our_models(module)}


def default_models(framework: str) -> Dict[str, Dict[str, Any]]:
    """Models by the component whose default they replace, of the sizes of spaCy's.

    spaCy's tests count on what its tagger has: an encoder, because in one of them only the
    neighbours of a word tell its tag, and no hidden layer, because in another an encoder that is
    not trained has to do.
    """
    prefix = f"spacy-frameworks.{framework}"
    embed = {
        "@architectures": "spacy.MultiHashEmbed.v2",
        "width": 96,
        "attrs": ["NORM", "PREFIX", "SUFFIX", "SHAPE"],
        "rows": [2000, 1000, 1000, 1000],
        "include_static_vectors": False,
    }
    encode = {"@architectures": f"{prefix}WindowEncoder.v1"}
    tok2vec = {"@architectures": "spacy.Tok2Vec.v2", "embed": embed, "encode": encode}
    textcat = {"@architectures": f"{prefix}TextCat.v1"}
    return {
        "tok2vec": tok2vec,
        "tagger": {"@architectures": f"{prefix}Tagger.v1", "depth": 0, "tok2vec": tok2vec},
        "textcat": {**textcat, "exclusive_classes": True},
        "textcat_multilabel": {**textcat, "exclusive_classes": False},
    }


def use_models(framework: str, patch: pytest.MonkeyPatch) -> None:
    """Have a framework's models as the defaults of spaCy's components until the patch is undone."""
    register_factories()
    for component, model in default_models(framework).items():
        # Changed in place, because spaCy's tests have names for it, such as DEFAULT_TOK2VEC_MODEL.
        default = Language.get_factory_meta(component).default_config["model"]
        for key in list(default):
            patch.delitem(default, key)
        for key, value in model.items():
            patch.setitem(default, key, value)


def use_names(framework: str, module: ModuleType, patch: pytest.MonkeyPatch) -> None:
    """Have the names of what has a counterpart here point at it in a test module's configs."""
    prefix = f"spacy-frameworks.{framework}"
    counterparts = {
        '"spacy.Tagger.v2"': f'"{prefix}Tagger.v1"\n    depth = 0',
        '"spacy.MaxoutWindowEncoder.v2"': f'"{prefix}WindowEncoder.v1"',
    }
    for name, config in vars(module).items():
        if name.startswith("cfg_string"):
            for theirs, ours in counterparts.items():
                config = config.replace(theirs, ours)
            patch.setattr(module, name, config)


def _our_models(module: ModuleType) -> Any:
    @pytest.fixture(autouse=True, params=ALL)
    def our_models(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        use_models(request.param, monkeypatch)
        use_names(request.param, module, monkeypatch)
        # spaCy's tests leave the seed open, and ask much of what so little training gives.
        fix_random_seed(0)

    return our_models
