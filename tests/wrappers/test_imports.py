import json

import pytest
from spacy_frameworks.wrappers import get_framework

from ..frameworks import IDS, MODULES, NOT_THINCS, TOKENS, marks

# Nothing can be imported that is not there.
pytestmark = marks(*IDS)

LIGHT = f"""
import importlib.util, json, sys
import spacy
before = set(sys.modules)
import spacy_frameworks.wrappers
printed = {{
    "added": sorted(
        name for name in set(sys.modules) - before if name.partition(".")[0] in {MODULES!r}
    ),
    "loaded": sorted({{name.partition(".")[0] for name in sys.modules}}),
    "top level": [
        importlib.util.find_spec(name) is None for name in ("wrappers", "architectures", "training")
    ],
}}
print(json.dumps(printed))
"""


def test_importing_the_wrappers(run_python, tmp_path):
    """It imports no framework beyond what spaCy does, and takes no name at the top level."""
    # Outside of the repository, as a user's process is.
    printed = json.loads(run_python(LIGHT, cwd=tmp_path, env={"PYTHONPATH": ""}).splitlines()[-1])
    assert printed["added"] == []
    assert not set(NOT_THINCS) & set(printed["loaded"])
    assert printed["top level"] == [True, True, True]


OF_ONE = """
import importlib, sys, numpy
from spacy_frameworks.architectures import FeedForward, build_network
importlib.import_module({module!r})
# What a framework imports by itself, as TensorFlow does JAX, is its own.
before = {{name.partition(".")[0] for name in sys.modules}}
model = build_network({framework!r}, FeedForward(3), nO=2, nI=2)
model.initialize()
model.from_bytes(model.copy().to_bytes())
model.begin_update(numpy.ones((3, 2), "f"))[1](numpy.ones((3, 2), "f"))
model.predict(numpy.ones((3, 2), "f"))
print(*sorted({{name.partition(".")[0] for name in sys.modules}} - before))
"""


@pytest.mark.parametrize("framework", TOKENS)
def test_a_model_of_one_framework_imports_no_other(framework, run_python):
    own = get_framework(framework)
    code = OF_ONE.format(framework=framework, module=own.module)
    loaded = set(run_python(code).splitlines()[-1].split())
    assert not loaded & set(NOT_THINCS) - {own.module, *own.model_roots}
