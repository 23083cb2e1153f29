"""The output folder: what is in a place is whole, and the last that was saved."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from spacy_frameworks.training.parallel import output as module
from spacy_frameworks.training.parallel.checkpoint import ResumeError
from spacy_frameworks.training.parallel.output import Output

WAYS = {
    "in one step": None,
    # As other systems do, and file systems that cannot exchange folders.
    "in two": lambda one, other: False,
}


@pytest.fixture(params=WAYS)
def output(request, tmp_path, monkeypatch) -> Output:
    if WAYS[request.param] is not None:
        monkeypatch.setattr(module, "_exchange", WAYS[request.param])
    elif not sys.platform.startswith("linux"):
        pytest.skip("Linux alone exchanges folders")
    return Output(tmp_path / "out")


def write(folder: Path, *names: str) -> None:
    """A folder that says in each of its files which these are."""
    for name in names:
        path = folder / name / "file"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(" ".join(names))


def files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_each_model_takes_the_place_of_the_last_one(output):
    with output.writing():
        for i, names in enumerate((["model-last", "model-best"], ["model-last"])):
            for name in names:
                write(output.scratch / name, f"only-{i}", "tagger")
            assert (output.path / "model-last").exists() == (i > 0)
            output.publish()
            assert not files(output.scratch)
        output.write_checkpoint(b"one")
        output.write_checkpoint(b"two")
        assert output.read_checkpoint() == b"two"
        output.remove_checkpoint()
    assert files(output.path) == {
        "model-best/only-0/file": "only-0 tagger",
        "model-best/tagger/file": "only-0 tagger",
        "model-last/only-1/file": "only-1 tagger",
        "model-last/tagger/file": "only-1 tagger",
    }
    with pytest.raises(ResumeError, match="nothing to resume"):
        output.read_checkpoint()


def test_what_was_there_stays_until_something_is_saved(output):
    write(output.path / "model-last", "tagger")
    before = files(output.path)
    with pytest.raises(RuntimeError, match="stopped"), output.writing():
        write(output.scratch / "model-last", "half")
        raise RuntimeError("stopped")
    assert files(output.path) == before
    # A process that was killed left what it wrote.
    write(output.scratch / "model-last", "half")
    with output.writing():
        assert not any(output.scratch.iterdir())
    assert files(output.path) == before


def test_a_model_comes_back_whose_successor_was_not_moved_in(tmp_path):
    output = Output(tmp_path)
    write(tmp_path / "model-last", "tagger")
    before = files(tmp_path)
    # As a process leaves it that was killed between two steps.
    write(output.scratch / "model-last", "new")
    (output.scratch / module.REPLACED).mkdir()
    (tmp_path / "model-last").rename(output.scratch / module.REPLACED / "model-last")
    with output.writing():
        pass
    assert files(tmp_path) == before


def test_spacys_messages_name_the_output_folder(tmp_path):
    output, stream = Output(tmp_path / "out"), io.StringIO()
    print("Saved to", output.scratch / "model-last", file=output.named_on(stream))
    assert stream.getvalue() == f"Saved to {tmp_path / 'out' / 'model-last'}\n"
