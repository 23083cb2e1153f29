import json

import numpy
import pytest
import thinc
from spacy_frameworks.commands.info import info_cli
from spacy_frameworks.wrappers import all_frameworks, is_installed

from ..frameworks import ALL
from ..pipelines import spacy_command


@pytest.mark.parametrize("framework", ALL)
def test_a_framework_that_works_is_said_to_work(framework, run_python):
    code = (
        "import json, sys; from spacy_frameworks.commands.probe import probed\n"
        "print(json.dumps(probed(sys.argv[1])))"
    )
    found = json.loads(run_python(code, framework.lower()).splitlines()[-1])
    assert found["works"] is True
    assert found["installed"][0].isdigit()
    assert found["threads"] >= 1
    assert len(found["why"]) > 10
    assert found["kernel"]


def test_all_frameworks_are_listed(tmp_path):
    found = json.loads(spacy_command("frameworks", "info", "--json", cwd=tmp_path).stdout)
    assert found["versions"]["numpy"] == numpy.__version__
    for fw in all_frameworks():
        listed = found["frameworks"][fw.token]
        if is_installed(fw.id):
            assert listed["works"] is True
        else:
            assert "pip install" in listed["install"]
    assert found["frameworks"]["Thinc"]["installed"] == thinc.__version__


def test_a_framework_that_does_not_work_is_said_not_to(capsys, monkeypatch):
    """Each is tried in a process that is told to end at once."""
    monkeypatch.setattr(
        "spacy_frameworks.commands.info.PROBE", "import sys; sys.exit('it is broken: {0}')"
    )
    info_cli(as_json=True)
    found = json.loads(capsys.readouterr().out)["frameworks"]
    assert found["NumPy"] == {"works": "ended with code 1: it is broken: numpy"}
    info_cli(as_json=False)
    assert "NumPy: ended with code 1: it is broken" in capsys.readouterr().out
