"""Trained pipelines move between frameworks."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import spacy
from numpy.testing import assert_allclose
from spacy.ml import CharacterEmbed
from spacy.util import registry
from spacy_frameworks.architectures import swap_config, swap_framework
from spacy_frameworks.wrappers import FRAMEWORKS, PyTorchWrapper
from thinc.api import Config, Model, chain, with_array

from ..frameworks import ALL
from .test_architectures import SMALL, examples, pipeline, probabilities, train

MARKS = {fw.token: getattr(pytest.mark, fw.id) for fw in FRAMEWORKS}
TOKENS = [*MARKS, "Thinc"]
PAIRS = [
    pytest.param(*pair, marks=[MARKS[token] for token in pair if token in MARKS])
    for pair in itertools.permutations(TOKENS, 2)
]
CONFIGS = Path(__file__).parent.parent.parent / "configs"


@pytest.mark.parametrize(("source", "target"), PAIRS)
@pytest.mark.parametrize("component", ["tagger", "textcat"])
def test_predictions_stay_and_a_round_trip_gives_the_same_bytes(source, target, component):
    nlp = pipeline(source, component, **SMALL, normalize=True, depth=2)
    train(nlp, epochs=1, limit=30)
    swapped = swap_framework(nlp, target)
    for one, other in zip(probabilities(nlp), probabilities(swapped)):
        assert_allclose(one, other, atol=1e-5)
    back = swap_framework(swapped, source)
    model, model_back = nlp.get_pipe(component).model, back.get_pipe(component).model
    assert back.get_pipe(component).labels == nlp.get_pipe(component).labels
    for node, node_back in zip(model.walk(), model_back.walk(), strict=True):
        assert [s.to_bytes() for s in node.shims] == [s.to_bytes() for s in node_back.shims]
        for name in node.param_names:
            assert (node.get_param(name) == node_back.get_param(name)).all()


@pytest.mark.parametrize("target", ALL)
def test_the_swapped_pipeline_is_saved_and_trained_further(target, tmp_path):
    nlp = pipeline("Thinc", **SMALL)
    train(nlp, epochs=1, limit=60)
    nlp.to_disk(tmp_path / "thinc")
    swap_framework(tmp_path / "thinc", target).to_disk(tmp_path / "swapped")
    loaded = spacy.load(tmp_path / "swapped")
    expected = [token.tag_ for doc in nlp.pipe(["Anna kept the plan."] * 2) for token in doc]
    assert [t.tag_ for doc in loaded.pipe(["Anna kept the plan."] * 2) for t in doc] == expected
    losses = []
    optimizer = loaded.resume_training()
    for _ in range(4):
        losses.append(loaded.update(examples(loaded, limit=8), sgd=optimizer)["tagger"])
    assert losses[-1] < losses[0]


def test_configs_keep_their_variable_or_get_the_name():
    config = Config().from_disk(CONFIGS / "tagger.cfg", interpolate=False)
    swapped = swap_config(config, "MXNet")
    assert swapped["vars"]["framework"] == "MXNet"
    assert config["vars"]["framework"] == "PyTorch"
    name = swapped.interpolate()["components"]["tagger"]["model"]["@architectures"]
    assert name == "spacy-frameworks.MXNetTagger.v1"
    for before, after in {
        "spacy-frameworks.PyTorchTextCat.v1": "spacy-frameworks.TensorFlowTextCat.v1",
        "spacy-frameworks.CustomTorchModel.v1": "spacy-frameworks.CustomTensorFlowModel.v1",
        "CustomMXNetModel.v1": "CustomTensorFlowModel.v1",
        "spacy.TextCatBOW.v3": "spacy.TextCatBOW.v3",
    }.items():
        config = Config({"model": {"@architectures": before, "sub": {"@architectures": before}}})
        swapped = swap_config(config, "tensorflow")["model"]
        assert swapped == {"@architectures": after, "sub": {"@architectures": after}}
    with pytest.raises(ValueError, match="Did you mean 'MXNet'"):
        swap_config(config, "mxnett")


@pytest.mark.pytorch
def test_a_pipeline_on_thinc_loads_where_no_framework_can_be_imported(tmp_path):
    nlp = pipeline("PyTorch", **SMALL)
    train(nlp, epochs=1, limit=30)
    swap_framework(nlp, "Thinc").to_disk(tmp_path / "nlp")
    script = f"""
import sys
for name in ("torch", "tensorflow", "keras", "mxnet"):
    sys.modules[name] = None
import numpy, spacy
from spacy_frameworks.architectures.corpus import create_corpus
nlp = spacy.load({str(tmp_path / "nlp")!r})
egs = create_corpus({{"train": None, "dev": None}}, "dev", limit=20)(nlp)
Y = nlp.get_pipe("tagger").model.predict([eg.predicted for eg in egs])
numpy.save({str(tmp_path / "Y.npy")!r}, numpy.vstack(Y))
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path)
    assert_allclose(numpy.load(tmp_path / "Y.npy"), numpy.vstack(probabilities(nlp)), atol=1e-5)


@registry.architectures("spacy-frameworks.tests.UsersOwn.v1")
def users_own(width: int) -> Model:
    import torch

    module = PyTorchWrapper(torch.nn.Linear(width, width), model_name="mine", nO=width, nI=width)
    embed = CharacterEmbed(width, 200, 8, 4, include_static_vectors=False)
    return chain(embed, with_array(module))


@pytest.mark.pytorch
def test_a_module_of_the_users_own_is_an_error_with_component_and_layer():
    own = {"@architectures": "spacy-frameworks.tests.UsersOwn.v1", "width": 32}
    nlp = pipeline("PyTorch", tok2vec=own)
    train(nlp, epochs=1, limit=8)
    before = nlp.to_bytes()
    with pytest.raises(ValueError, match=r"'mine' of the component 'tagger' .*converted to Thinc"):
        swap_framework(nlp, "Thinc")
    assert nlp.to_bytes() == before
    for one, other in zip(probabilities(nlp), probabilities(swap_framework(nlp, "PyTorch"))):
        assert_allclose(one, other, atol=1e-6)
