"""What the hook changes in spaCy is there until it is undone, and the original afterwards."""

from __future__ import annotations

import functools
import pickle
import warnings

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Alignment, Example
from spacy_frameworks.training import patches, transitions
from spacy_frameworks.training.callbacks import use_framework
from spacy_frameworks.wrappers import set_framework_ops, undo_framework, use_framework_ops
from spacy_frameworks.wrappers.ops import FasterNumpyOps
from spacy_frameworks.wrappers.patches import ARITHMETIC, Held, Replacement
from thinc.api import NumpyOps, get_current_ops, set_current_ops

from ..changes import attributes, changed
from ..frameworks import KERNELS

# In earlier releases of spaCy they are compiled.
HAS_FACTORIES = bool(patches.parsers()) or not transitions.TAKES_THE_LOCK
THINCS = [f"{row.owner}:{row.name}" for row in ARITHMETIC]
FACTORIES = [f"{row.owner}:{row.name}" for row in patches.PARSERS]
ALIGNMENT = "spacy.training.alignment:Alignment.from_strings"
HOOK = {"@callbacks": "spacy-frameworks.use_framework.v1", "framework": "NumPy"}


@pytest.fixture(autouse=True)
def everything_is_left(monkeypatch):
    """On every version of Python."""
    monkeypatch.setattr(transitions, "TAKES_THE_LOCK", True)
    spacy.blank("en")
    before = get_current_ops()
    set_current_ops(NumpyOps())
    yield
    undo_framework()
    set_current_ops(before)


def expected(*places):
    there = [] if not patches.parsers() else FACTORIES
    return sorted([*places, *there])


@pytest.mark.parametrize("framework", KERNELS)
def test_after_an_undo_everything_is_as_it_was(framework):
    before, ops = attributes(), get_current_ops()
    for _ in range(2):
        for _ in range(3):
            use_framework(framework)(Language)
            assert changed(before) == expected(ALIGNMENT, *THINCS)
        assert isinstance(get_current_ops(), FasterNumpyOps)
        undo_framework()
        assert changed(before) == [] and get_current_ops() is ops


def test_the_hook_in_a_config_and_its_undo():
    before = attributes()
    nlp = spacy.blank("en", config={"nlp": {"before_creation": HOOK}})
    assert changed(before) == expected(ALIGNMENT, *THINCS)
    nlp.add_pipe("ner")
    assert spacy.blank("en").add_pipe("ner").__class__ is nlp.get_pipe("ner").__class__
    undo_framework()
    assert changed(before) == []
    # What was made stays what it is; what is made now is spaCy's.
    if patches.parsers():
        assert type(nlp.get_pipe("ner")) is transitions.EntityRecognizer
    assert type(spacy.blank("en").add_pipe("ner")) is spacy.pipeline.EntityRecognizer


def test_the_alignment_has_a_switch_of_its_own():
    before = attributes()
    use_framework("NumPy", alignment=False)(Language)
    assert changed(before) == expected(*THINCS)
    use_framework("NumPy")(Language)
    assert changed(before) == expected(ALIGNMENT, *THINCS)


@pytest.mark.parametrize("settings", [{"framework": "Thinc"}, {"ops": False}])
def test_without_kernels_nothing_is_changed(settings):
    before = attributes()
    use_framework(**settings)(Language)
    assert changed(before) == []


def test_on_a_gpu_nothing_is_changed(cupy_ops):
    before, ops = attributes(), get_current_ops()
    use_framework("NumPy")(Language)
    assert changed(before) == [] and get_current_ops() is ops


def test_blocks_and_statements_beside_the_hook():
    before = attributes()
    with use_framework_ops("NumPy"):
        use_framework("NumPy")(Language)
        assert changed(before) == expected(ALIGNMENT, *THINCS)
    assert changed(before) == expected(ALIGNMENT, *THINCS)
    assert type(get_current_ops()) is NumpyOps
    set_framework_ops("NumPy")
    undo_framework()
    assert changed(before) == []


IMPORTS = """
import spacy, spacy.pipeline.factories, spacy.training, thinc.api
from tests.changes import attributes, changed
before = attributes()
from spacy_frameworks import architectures, training
from spacy_frameworks.training import alignment, callbacks, corpus, patches, transitions
callbacks.use_framework()
print([place for place in changed(before) if not place.startswith("thinc.backends:")])
"""


@pytest.mark.skipif(not HAS_FACTORIES, reason="compiled in earlier releases of spaCy")
def test_imports_change_nothing(run_python):
    assert run_python(IMPORTS) == "[]\n"


def decorated(original):
    @functools.wraps(original.__func__)
    def from_strings(*args):
        return original.__func__(*args)

    return classmethod(from_strings)


def other_way(original):
    def from_strings(cls, A, B):
        return original.__func__(cls, A, B[:-1])

    from_strings.__module__ = original.__func__.__module__
    from_strings.__qualname__ = original.__func__.__qualname__
    return classmethod(from_strings)


@pytest.mark.parametrize("change", [decorated, other_way])
def test_an_alignment_that_is_not_known_is_left_alone_with_one_warning(change, monkeypatch):
    theirs = change(vars(Alignment)["from_strings"])
    monkeypatch.setattr(Alignment, "from_strings", theirs)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            use_framework("NumPy")(Language)
            assert vars(Alignment)["from_strings"] is theirs
            undo_framework()
    (warning,) = caught
    assert "Alignment.from_strings is not the one" in str(warning.message)


@pytest.mark.skipif(not HAS_FACTORIES, reason="compiled in earlier releases of spaCy")
def test_a_factory_of_somebody_elses_component_is_left_alone(monkeypatch):
    class Other(spacy.pipeline.EntityRecognizer):
        pass

    monkeypatch.setattr("spacy.pipeline.factories.EntityRecognizer", Other)
    (row,) = (row for row in patches.PARSERS if row.name == "EntityRecognizer")
    own, held = Replacement(row.owner, row.name, row.ours, row.why, row.known), Held()
    with pytest.warns(UserWarning, match="factories.EntityRecognizer is not the one"):
        held.enter(own)
    held.leave_all()
    assert vars(spacy.pipeline.factories)["EntityRecognizer"] is Other


def test_the_old_paths_lead_here():
    from spacy_frameworks import training
    from spacy_frameworks.architectures import callbacks, corpus, kept_corpus
    from spacy_frameworks.architectures import transitions as old

    assert callbacks.use_framework is training.use_framework is use_framework
    assert corpus.create_corpus is training.create_corpus
    assert corpus.sample("dev")[0].__class__ is corpus.SampleDoc
    assert kept_corpus.KeptCorpus.__module__ == "spacy_frameworks.training.kept_corpus"
    assert old.DependencyParser is transitions.DependencyParser
    # As it stands in a pickle that was made before the move.
    old_place = b"cspacy_frameworks.architectures.transitions\nEntityRecognizer\n."
    assert pickle.loads(old_place) is transitions.EntityRecognizer


def test_examples_are_aligned_alike_under_the_hook_and_after_it():
    vocab = spacy.blank("en").vocab
    tokens = (["We", "left", "Oslo"], ["We", "left", "Os", "lo"])
    docs = [Doc(vocab, words, spaces=[True, True, False, False][: len(words)]) for words in tokens]

    def aligned():
        return [Example(x, y).alignment.x2y.data.tolist() for x in docs for y in docs]

    stock = aligned()
    assert stock[0] == [0, 1, 2] and stock[1] == [0, 1, 2, 3]
    use_framework("NumPy")(Language)
    assert aligned() == stock
    undo_framework()
    assert aligned() == stock
