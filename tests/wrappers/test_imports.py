import json

MODULES = ("torch", "tensorflow", "keras", "mxnet")

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
    assert not {"tensorflow", "keras", "mxnet"} & set(printed["loaded"])
    assert printed["top level"] == [True, True, True]
