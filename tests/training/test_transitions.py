"""spaCy's parser and entity recognizer whose transitions are made step by step."""

from __future__ import annotations

import copy
import pickle
import random
import sys
import threading

import numpy
import pytest
import spacy
from numpy.testing import assert_allclose
from spacy import pipeline
from spacy.language import Language
from spacy.training import Example
from spacy.util import fix_random_seed
from spacy_frameworks.training import transitions
from spacy_frameworks.training.callbacks import use_framework
from spacy_frameworks.wrappers import undo_framework, use_framework_ops
from thinc.api import Config, set_dropout_rate

from ..frameworks import WRAPPED

factories = pytest.importorskip(
    "spacy.pipeline.factories", reason="compiled in earlier releases of spaCy"
)
OURS = {"ner": transitions.EntityRecognizer, "parser": transitions.DependencyParser}
SPACYS = {"ner": pipeline.EntityRecognizer, "parser": pipeline.DependencyParser}

SENTENCES = [
    ("Anna Berg kept the plan in Oslo", [1, 2, 2, 4, 2, 2, 5], [(0, 2, "PERSON"), (6, 7, "GPE")]),
    ("We roasted two onions", [1, 1, 3, 1], [(2, 3, "CARDINAL")]),
    ("They left Bergen", [1, 1, 1], [(2, 3, "GPE")]),
    ("so", [0], []),
]


@pytest.fixture(autouse=True)
def step_by_step(monkeypatch):
    """On every version of Python; afterwards, spaCy's factories are as they were."""
    monkeypatch.setattr(transitions, "TAKES_THE_LOCK", True)
    yield
    undo_framework()
    assert {name: getattr(factories, cls.__name__) for name, cls in SPACYS.items()} == SPACYS


def drawn_docs(vocab, count, seed=0):
    """Docs of many lengths, of the sentences' words in any order, empty ones among them."""
    draw = random.Random(seed)
    words = " ".join(text for text, *_ in SENTENCES).split()
    return [
        spacy.tokens.Doc(vocab, draw.choices(words, k=draw.randrange(25))) for _ in range(count)
    ]


def examples_of(nlp):
    examples = []
    for words, heads, entities in SENTENCES:
        doc = nlp.make_doc(words)
        deps = ["ROOT" if head == i else f"d{head % 3}" for i, head in enumerate(heads)]
        gold = {"heads": heads, "deps": deps}
        spans = [doc[start:end] for start, end, _ in entities]
        labels = [label for *_, label in entities]
        gold["entities"] = [
            (span.start_char, span.end_char, label) for span, label in zip(spans, labels)
        ]
        examples.append(Example.from_dict(doc, gold))
    return examples


def trained(framework, updates=15, **settings):
    """A parser and an entity recognizer, and their losses. The hook is that of its users."""
    config = Config({"nlp": {"lang": "en"}})
    if framework is not None:
        hook = {"@callbacks": "spacy-frameworks.use_framework.v1", "framework": framework}
        config["nlp"]["before_creation"] = hook
    nlp = spacy.util.load_model_from_config(config, auto_fill=True)
    for name in ("ner", "parser"):
        model = {**nlp.get_factory_meta(name).default_config["model"], **settings}
        rare = {"min_action_freq": 1} if name == "parser" else {}
        nlp.add_pipe(name, config={"model": model, **rare})
    fix_random_seed(0)
    optimizer = nlp.initialize(lambda: examples_of(nlp))
    losses = {}
    for _ in range(updates):
        # Without dropout, whose masks are others on our ops than on Thinc's.
        nlp.update(examples_of(nlp), sgd=optimizer, losses=losses, drop=0.0)
    return nlp, losses


def annotated(nlp, **how):
    docs = nlp.pipe(drawn_docs(nlp.vocab, 150), batch_size=64, **how)
    return [[(t.head.i, t.dep_, t.ent_iob_, t.ent_type_) for t in doc] for doc in docs]


def stock(nlp):
    """The pipeline with spaCy's own classes and Thinc's ops, on the same parameters."""
    config = nlp.config.copy()
    config["nlp"]["before_creation"] = None
    undo_framework()
    with use_framework_ops("Thinc"):
        return spacy.util.load_model_from_config(config).from_bytes(nlp.to_bytes())


@pytest.mark.parametrize("framework", WRAPPED)
def test_annotations_are_spacys(framework):
    nlp, _ = trained(framework)
    assert {name: type(component) for name, component in nlp.pipeline} == OURS
    came, theirs = annotated(nlp), stock(nlp)
    assert {name: type(component) for name, component in theirs.pipeline} == SPACYS
    assert came == annotated(theirs)
    # Something was learned.
    assert len({token[1:] for doc in came for token in doc}) > 3
    doc, expected = nlp("Anna Berg left Oslo"), theirs("Anna Berg left Oslo")
    assert doc.to_json() == expected.to_json()
    assert not len(nlp(""))


@pytest.mark.parametrize("framework", WRAPPED)
def test_training_is_spacys(framework):
    with use_framework_ops("Thinc"):
        expected, theirs = trained(None)
    nlp, losses = trained(framework)
    assert_allclose([losses[n] for n in theirs], list(theirs.values()), rtol=1e-3)
    for words, *_ in SENTENCES:
        assert nlp(words).to_json() == expected(words).to_json()


SMALL = {
    "no upper layer": {"use_upper": False},
    "one piece": {"maxout_pieces": 1},
    "neither": {"use_upper": False, "maxout_pieces": 1},
    "three pieces": {"maxout_pieces": 3},
}


@pytest.mark.parametrize("settings", SMALL.values(), ids=SMALL)
@pytest.mark.parametrize("framework", WRAPPED[:1])
def test_models_of_other_layers(framework, settings):
    nlp, _ = trained(framework, updates=8, **settings)
    assert annotated(nlp) == annotated(stock(nlp))


@pytest.mark.parametrize("framework", WRAPPED[:1])
def test_labels_that_were_never_seen_are_never_given(framework):
    nlp, _ = trained(framework)
    for name in nlp.pipe_names:
        component = nlp.get_pipe(name)
        component.add_label("LATE")
        assert component.model.attrs["unseen_classes"]
        # Without care, the new label would win everywhere.
        upper = component.model.get_ref("upper")
        b = upper.get_param("b").copy()
        b[sorted(component.model.attrs["unseen_classes"])] = 1000
        upper.set_param("b", b)
    came = annotated(nlp)
    assert "LATE" not in {value for doc in came for token in doc for value in token}
    theirs = stock(nlp)
    for name in nlp.pipe_names:
        # spaCy does not save them.
        unseen = nlp.get_pipe(name).model.attrs["unseen_classes"]
        theirs.get_pipe(name).model.attrs["unseen_classes"] = unseen
    assert came == annotated(theirs)


@pytest.mark.parametrize("framework", WRAPPED[:1])
def test_thincs_ops_and_beams_are_left_to_spacy(framework, monkeypatch):
    nlp, _ = trained(framework, updates=3)
    steps = []
    recorded = transitions._is_known
    monkeypatch.setattr(transitions, "_is_known", lambda model: steps.append(1) or recorded(model))
    annotated(nlp)
    assert steps
    steps.clear()
    with use_framework_ops("Thinc"):
        config = nlp.config.copy()
        config["nlp"]["before_creation"] = None
        plain = spacy.util.load_model_from_config(config).from_bytes(nlp.to_bytes())
        assert {name: type(component) for name, component in plain.pipeline} == OURS
        came = annotated(plain)
    assert not steps
    assert came == annotated(nlp)
    steps.clear()
    for name in nlp.pipe_names:
        nlp.get_pipe(name).cfg["beam_width"] = 4
    annotated(nlp)
    assert not steps


@pytest.mark.parametrize("framework", WRAPPED[:1])
def test_dropout_is_off_when_annotating(framework):
    nlp, _ = trained(framework)
    before = annotated(nlp)
    for _, component in nlp.pipeline:
        set_dropout_rate(component.model, 0.9)
    assert annotated(nlp) == before


# With the kernels of each framework, forked processes are tested by the hook's tests.
@pytest.mark.parametrize("framework", WRAPPED[:1])
def test_copies_pickles_files_and_processes(framework, tmp_path, run_python):
    nlp, _ = trained(framework)
    expected = annotated(nlp)
    ner = pickle.loads(pickle.dumps(nlp.get_pipe("ner")))
    assert type(ner) is transitions.EntityRecognizer
    assert type(copy.deepcopy(nlp.get_pipe("parser"))) is transitions.DependencyParser
    docs = drawn_docs(nlp.vocab, 150)
    came = [[(t.ent_iob_, t.ent_type_) for t in doc] for doc in ner.pipe(docs)]
    assert came == [[token[2:] for token in doc] for doc in expected]
    assert annotated(nlp, n_process=2) == expected
    nlp.to_disk(tmp_path / "nlp")
    assert annotated(spacy.load(tmp_path / "nlp")) == expected
    code = (
        "import sys, spacy, tests.training.test_transitions as t\n"
        "print(t.annotated(spacy.load(sys.argv[1])))"
    )
    assert run_python(code, tmp_path / "nlp").splitlines()[-1] == str(expected)


@pytest.mark.parametrize("framework", WRAPPED[:1])
def test_many_threads(framework):
    nlp, _ = trained(framework)
    docs = drawn_docs(nlp.vocab, 60)
    heads, wrong = [[t.head.i for t in d] for d in nlp.pipe(map(copy.deepcopy, docs))], []

    def work():
        with use_framework_ops(framework):
            for _ in range(5):
                came = [nlp.get_pipe("parser")(doc.copy()) for doc in docs if len(doc)]
                if [[t.head.i for t in d] for d in came] != [h for h in heads if h]:
                    wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("framework", WRAPPED[:1])
def test_an_error_in_a_step_is_raised(framework):
    nlp, _ = trained(framework, updates=1)
    upper = nlp.get_pipe("ner").model.get_ref("upper")
    upper.set_param("W", numpy.zeros((upper.get_dim("nO"), 3), "float32"))
    with pytest.raises(ValueError, match="Cannot multiply matrices of shapes"):
        nlp("Anna Berg left Oslo")


def test_without_need_nothing_is_replaced(monkeypatch):
    monkeypatch.setattr(transitions, "TAKES_THE_LOCK", False)
    use_framework("NumPy")(Language)
    assert factories.EntityRecognizer is pipeline.EntityRecognizer
    # Releases of spaCy whose factories are compiled have no such module.
    monkeypatch.setattr(transitions, "TAKES_THE_LOCK", True)
    with monkeypatch.context() as missing:
        missing.setitem(sys.modules, "spacy.pipeline.factories", None)
        use_framework("NumPy")(Language)
    assert factories.EntityRecognizer is pipeline.EntityRecognizer


@pytest.mark.parametrize("settings", [{"framework": "Thinc"}, {"ops": False}])
def test_the_hook_without_ops_replaces_nothing(settings):
    use_framework(**settings)(spacy.blank("en").__class__)
    assert factories.DependencyParser is pipeline.DependencyParser
