"""What a server or a batch job does with processes, for `test_processes.py`, which runs it in a
process of its own."""

from __future__ import annotations

import faulthandler
import importlib
import json
import multiprocessing
import os
import signal
import threading
import time
import warnings
from typing import Any, Callable, List

import numpy
import spacy
from spacy.training import Example
from spacy.util import load_model_from_config
from spacy_frameworks.wrappers import get_framework
from thinc.api import Config, Model, fix_random_seed

from ..pipelines import TEXTS
from ..wrappers.helpers import normal

CONFIG = """
[nlp]
lang = "en"
pipeline = ["tagger", "textcat"]
{hook}

[components]

[components.tagger]
factory = "tagger"

[components.tagger.model]
@architectures = "spacy-frameworks.Tagger.v1"
framework = "{first}"

[components.tagger.model.tok2vec]
@architectures = "spacy.Tok2Vec.v2"

[components.tagger.model.tok2vec.embed]
@architectures = "spacy.MultiHashEmbed.v2"
width = 32
attrs = ["NORM"]
rows = [100]
include_static_vectors = false

[components.tagger.model.tok2vec.encode]
@architectures = "spacy-frameworks.TransformerEncoder.v1"
framework = "{first}"
width = 32
depth = 1

[components.textcat]
factory = "textcat"

[components.textcat.model]
@architectures = "spacy-frameworks.TextCat.v1"
framework = "{second}"
exclusive_classes = true
"""
HOOK = '[nlp.before_creation]\n@callbacks = "spacy-frameworks.use_framework.v1"'

# Seconds after which a process is taken to hang, and says where.
WATCHDOG = 60
MANY = TEXTS * 10


def pipeline(first: str, second: str, hook: bool) -> spacy.Language:
    """A tagger and a textcat of two frameworks, after one step."""
    config = CONFIG.format(first=first, second=second, hook=HOOK if hook else "")
    nlp = load_model_from_config(Config().from_str(config), auto_fill=True)
    words = TEXTS[0].split()
    given = {"words": words, "tags": words, "cats": {"a": 1.0, "b": 0.0}}
    examples = [Example.from_dict(nlp.make_doc(TEXTS[0]), given)]
    fix_random_seed(0)
    nlp.initialize(lambda: examples)
    nlp.update(examples)
    return nlp


def annotations(docs: Any) -> List[Any]:
    """What the two components said, without the last digits."""
    return [[[t.tag_ for t in doc], [round(x, 4) for x in doc.cats.values()]] for doc in docs]


NLP: Any = None


def annotate(texts: List[str]) -> List[Any]:
    """A task of a pool, whose workers have the pipeline from their parent."""
    return annotations(NLP.pipe(texts))


def in_child(function: Callable[[], Any]) -> Any:
    """What a function returns in a forked process, or the error that it raises."""
    receive, send = multiprocessing.Pipe(duplex=False)
    pid = os.fork()
    if not pid:
        # As `multiprocessing`, it leaves without Python's end of a process.
        try:
            send.send(function())
        except Exception as error:
            send.send(f"{type(error).__name__}: {error}")
        os._exit(0)
    send.close()
    try:
        return receive.recv() if receive.poll(2 * WATCHDOG) else "hangs"
    except EOFError:
        return "died"
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def beside_predictions(function: Callable[[], Any]) -> Any:
    """What a function returns while three other threads predict."""
    is_over = threading.Event()

    def predict() -> None:
        while not is_over.is_set():
            annotate(TEXTS)

    others = [threading.Thread(target=predict) for _ in range(3)]
    for other in others:
        other.start()
    try:
        return function()
    finally:
        is_over.set()
        for other in others:
            other.join()


def own_module(framework: str) -> Model:
    """A wrapper around what a user writes."""
    fw = importlib.import_module(f"tests.wrappers.modules.{get_framework(framework).id}")
    return fw.Wrapper(fw.linear(normal(3, 4), normal(3)))


def own_modules(framework: str) -> Any:
    """What a wrapped module of a user's own does in a forked process: predictions, and a pass that
    was begun before. The differences, or the errors, and the seconds that it all took."""
    model, X = own_module(framework), normal(300, 4)
    expected, (_, backprop) = model.predict(X), model.begin_update(X)
    start = time.monotonic()
    predicted = in_child(lambda: float(numpy.abs(model.predict(X) - expected).max()))
    went_back = in_child(lambda: float(numpy.abs(backprop(expected)).max()))
    return predicted, went_back, time.monotonic() - start


def main(first: str, second: str, hook: bool, methods: List[str], forks: int) -> None:
    """Print what each of them gives, as JSON."""
    global NLP
    # JAX warns of every fork.
    warnings.simplefilter("ignore", RuntimeWarning)
    # None in this process: in a child, a second one would wait for the first one's thread.
    os.register_at_fork(
        after_in_child=lambda: faulthandler.dump_traceback_later(WATCHDOG, exit=True)
    )
    NLP = pipeline(first, second, hook)
    expected = annotations(NLP.pipe(MANY))
    found = {}
    for method in methods:
        multiprocessing.set_start_method(method, force=True)
        found[f"nlp.pipe, {method}"] = annotations(NLP.pipe(MANY, n_process=2, batch_size=7))
    with multiprocessing.get_context("fork").Pool(2) as pool:
        (found["Pool"],) = pool.map(annotate, [MANY])

    def prefork() -> Any:
        return [in_child(lambda: annotate(MANY)) for _ in range(forks)]

    for i, answer in enumerate(beside_predictions(prefork)):
        found[f"worker {i}"] = answer
    differ = {name: answer for name, answer in found.items() if answer != expected}
    own = own_modules(first) if first == second != "Thinc" else None
    print(json.dumps({"count": len(found), "differ": differ, "own": own}), flush=True)
