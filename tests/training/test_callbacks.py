"""The hook that puts a framework's kernels under whole pipelines."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import warnings

import numpy
import pytest
import spacy
from numpy.testing import assert_allclose
from spacy.language import Language
from spacy.training import Alignment, Example
from spacy.util import load_model_from_config
from spacy_frameworks.architectures import swap_config
from spacy_frameworks.training import callbacks
from spacy_frameworks.training.callbacks import use_framework
from spacy_frameworks.training.corpus import create_corpus
from spacy_frameworks.wrappers import (
    FRAMEWORKS,
    allocator,
    current_gpu_allocator,
    get_framework,
    process,
    undo_framework,
)
from spacy_frameworks.wrappers.framework import NUMPY
from spacy_frameworks.wrappers.ops import FasterNumpyOps, has_kernels, ops_class, warn_once
from spacy_frameworks.wrappers.pytorch import ops as pytorch_ops
from spacy_frameworks.wrappers.pytorch.ops import PyTorchOps
from thinc.api import (
    Adam,
    Config,
    Model,
    NumpyOps,
    fix_random_seed,
    get_current_ops,
    get_ops,
    set_current_ops,
)

from ..frameworks import KERNELS, NOT_THINCS, WRAPPED, cases, needs_all

TEXTS = ["Anna kept the plan.", "We roasted two onions, and they quickly left."] * 20

# A config as `spacy init config --pipeline tagger,textcat` makes it, in short.
STOCK = """
[nlp]
lang = "en"
pipeline = ["tok2vec", "tagger"]

[components]

[components.tok2vec]
factory = "tok2vec"

[components.tok2vec.model]
@architectures = "spacy.Tok2Vec.v2"

[components.tok2vec.model.embed]
@architectures = "spacy.MultiHashEmbed.v2"
width = 32
attrs = ["NORM", "SUFFIX"]
rows = [500, 250]
include_static_vectors = false

[components.tok2vec.model.encode]
@architectures = "spacy.MaxoutWindowEncoder.v2"
width = 32
depth = 2
window_size = 1
maxout_pieces = 3

[components.tagger]
factory = "tagger"

[components.tagger.model]
@architectures = "spacy.Tagger.v2"

[components.tagger.model.tok2vec]
@architectures = "spacy.Tok2VecListener.v1"
width = 32
"""

HOOK = """
[nlp.before_creation]
@callbacks = "spacy-frameworks.use_framework.v1"
framework = "{framework}"
"""


@pytest.fixture(autouse=True)
def what_the_hook_changes_as_it_was():
    before = get_current_ops()
    set_current_ops(NumpyOps())
    yield
    undo_framework()
    set_current_ops(before)


def trained(config: str, updates: int = 8) -> Language:
    fix_random_seed(0)
    # Embeddings hash with their layer's id, so that only pipelines of equal ids are comparable.
    Model.global_id = 0
    nlp = load_model_from_config(Config().from_str(config), auto_fill=True)
    docs = [
        example.reference for example in create_corpus({"train": None, "dev": None}, "train")(nlp)
    ][:16]
    examples = [Example(nlp.make_doc(doc.text), doc) for doc in docs]
    nlp.initialize(lambda: examples)
    optimizer = Adam(0.001, use_averages=True)
    for _ in range(updates):
        # Without dropout, whose masks are others on our ops than on Thinc's.
        nlp.update(examples, sgd=optimizer, drop=0.0)
    return nlp


def all_ops(nlp: Language) -> set:
    return {type(node.ops) for _, pipe in nlp.pipeline for node in pipe.model.walk()}


def scores(nlp: Language):
    docs = [nlp.get_pipe("tok2vec")(nlp.make_doc(text)) for text in TEXTS[:2]]
    return nlp.get_pipe("tagger").model.predict(docs)


@pytest.mark.parametrize("framework", KERNELS)
def test_a_stock_pipeline_trains_on_the_frameworks_ops_as_on_thincs(framework):
    stock = trained(STOCK)
    assert all_ops(stock) == {NumpyOps}
    fast = trained(STOCK + HOOK.format(framework=framework))
    (ops,) = all_ops(fast)
    assert ops is ops_class(get_framework(framework, (NUMPY,)))
    assert Alignment.from_strings(["a"], ["a"]) is Alignment.from_strings(["b"], ["b"])
    for ours, theirs in zip(scores(fast), scores(stock)):
        assert_allclose(ours, theirs, atol=2e-3)


@pytest.mark.parametrize("framework", WRAPPED)
def test_ops_survive_loading_copies_and_replaced_listeners(framework, tmp_path):
    nlp = trained(STOCK + HOOK.format(framework=framework), updates=1)
    expected = scores(nlp)
    nlp.to_disk(tmp_path)
    set_current_ops(NumpyOps())
    loaded = spacy.load(tmp_path)
    assert all_ops(loaded) == all_ops(nlp)
    for ours, theirs in zip(scores(loaded), expected):
        assert_allclose(ours, theirs, atol=1e-5)
    tagger = loaded.get_pipe("tagger")
    assert {type(node.ops) for node in tagger.model.copy().walk()} == all_ops(nlp)
    loaded.replace_listeners("tok2vec", "tagger", ["model.tok2vec"])
    assert all_ops(loaded) == all_ops(nlp)
    docs = [loaded.make_doc(text) for text in TEXTS[:2]]
    for ours, theirs in zip(tagger.model.predict(docs), expected):
        assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("framework", WRAPPED)
def test_ops_belong_to_the_context_not_to_a_pipeline(framework):
    fast = trained(STOCK + HOOK.format(framework=framework), updates=1)
    after = trained(STOCK, updates=1)
    assert all_ops(after) == all_ops(fast)


@pytest.mark.parametrize("framework", WRAPPED)
def test_annotating_in_two_processes(framework):
    nlp = trained(STOCK + HOOK.format(framework=framework), updates=2)
    expected = [[t.tag_ for t in doc] for doc in nlp.pipe(TEXTS)]
    found = [[t.tag_ for t in doc] for doc in nlp.pipe(TEXTS, n_process=2, batch_size=5)]
    assert found == expected


OWN_TAGGER = """
[nlp]
lang = "en"
pipeline = ["tagger"]

[components]

[components.tagger]
factory = "tagger"

[components.tagger.model]
@architectures = "spacy-frameworks.Tagger.v1"
framework = "{framework}"
nO = null
"""


@pytest.mark.parametrize("framework", WRAPPED)
def test_annotating_with_a_wrapped_network_in_two_processes(framework, monkeypatch):
    nlp = trained((OWN_TAGGER + HOOK).format(framework=framework), updates=2)
    expected = [[t.tag_ for t in doc] for doc in nlp.pipe(TEXTS)]
    # Ops of a framework that is not even installed come first, and are in nobody's way.
    PyTorchOps()
    monkeypatch.setattr(process, "_started", dict(sorted(process._started.items())))
    found = [[t.tag_ for t in doc] for doc in nlp.pipe(TEXTS, n_process=2, batch_size=5)]
    assert found == expected


@pytest.mark.parametrize("framework", cases(fw.token for fw in FRAMEWORKS if has_kernels(fw)))
def test_without_a_name_the_fastest_one_that_is_installed_is_taken(framework, monkeypatch):
    fw = get_framework(framework)
    tried = [f.id for f in FRAMEWORKS][: FRAMEWORKS.index(fw)]
    monkeypatch.setattr(callbacks, "is_installed", lambda name: name not in tried)
    use_framework()(Language)
    assert get_current_ops().name == fw.id


WITHOUT_KERNELS = """
import sys, warnings
from spacy.language import Language
from spacy_frameworks.training import callbacks
from spacy_frameworks.wrappers import set_framework_ops, undo_framework
from thinc.api import get_current_ops

def set_by_hook(*framework):
    callbacks.use_framework(*framework)(Language)
    print(get_current_ops().name, sys.argv[1] in sys.modules)
    undo_framework()

warnings.simplefilter("error")
callbacks.is_installed = lambda name: name == sys.argv[1]
set_by_hook()
set_by_hook(sys.argv[1])
callbacks.is_installed = lambda name: False
set_by_hook(sys.argv[1])
set_framework_ops(sys.argv[1])
print(get_current_ops().name, sys.argv[1] in sys.modules)
"""


@pytest.mark.parametrize("framework", cases(fw.id for fw in FRAMEWORKS if not has_kernels(fw)))
def test_a_framework_without_kernels_is_not_imported_for_numpys(framework, run_python):
    printed = run_python(WITHOUT_KERNELS, framework)
    assert printed.splitlines() == ["faster_numpy False"] * 4


def test_without_a_name_and_a_framework_it_is_numpys(monkeypatch):
    monkeypatch.setattr(callbacks, "is_installed", lambda name: False)
    use_framework()(Language)
    assert type(get_current_ops()) is FasterNumpyOps


@pytest.mark.parametrize("framework", KERNELS)
def test_kernel_threads_and_precision_reach_the_ops(framework):
    use_framework(framework, threads=2, kernel="numpy")(Language)
    ops = get_current_ops()
    assert (ops.kernel, ops.threads, ops.precision) == ("numpy", 2, "float32")
    with pytest.raises(ValueError, match="Unknown precision 'half'"):
        use_framework(framework, precision="half")


def test_a_precision_that_the_kernels_have_not_is_one_warning():
    warn_once.cache_clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            use_framework("NumPy", precision="bfloat16")(Language)
    (warning,) = caught
    assert "need its kernels" in str(warning.message)
    assert get_current_ops().precision == "float32"


@pytest.mark.pytorch
def test_a_precision_beside_a_kernel_that_has_it_not_is_a_warning(monkeypatch):
    monkeypatch.setattr(pytorch_ops, "has_bfloat16", lambda: True)
    warn_once.cache_clear()
    with pytest.warns(UserWarning, match="need its kernels"):
        use_framework("PyTorch", kernel="numpy", precision="bfloat16")(Language)
    assert get_current_ops().precision == "float32"


@pytest.mark.pytorch
def test_onednn_that_is_not_there_is_a_warning_and_mm(monkeypatch):
    monkeypatch.setattr(pytorch_ops, "has_onednn", lambda: False)
    warn_once.cache_clear()
    with pytest.warns(UserWarning, match="no oneDNN"):
        use_framework("PyTorch", kernel="onednn")(Language)
    assert get_current_ops().kernel == "mm"


@pytest.mark.pytorch
def test_a_pipeline_trained_in_bfloat16_runs_in_float32_where_there_is_none(monkeypatch, tmp_path):
    # PyTorch multiplies in bfloat16 on any processor, only not fast: what is missing here may be
    # the instructions.
    monkeypatch.setattr(pytorch_ops, "has_bfloat16", lambda: True)
    hook = HOOK.format(framework="PyTorch")
    exact = trained(STOCK + hook)
    monkeypatch.setitem(PyTorchOps._kernels, "mm", 1)
    monkeypatch.setitem(PyTorchOps._kernels, "onednn", 1)
    rounded = trained(STOCK + hook + 'precision = "bfloat16"')
    assert get_current_ops().precision == "bfloat16"
    for ours, theirs in zip(scores(rounded), scores(exact)):
        assert_allclose(ours, theirs, atol=0.05)
        assert ours.dtype == "float32" and (ours != theirs).any()
    for node in rounded.get_pipe("tok2vec").model.walk():
        assert all(node.get_param(name).dtype == "float32" for name in node.param_names)
    rounded.to_disk(tmp_path)
    monkeypatch.setattr(pytorch_ops, "has_bfloat16", lambda: False)
    warn_once.cache_clear()
    with pytest.warns(UserWarning, match="no instructions for products in bfloat16"):
        loaded = spacy.load(tmp_path)
    assert get_current_ops().precision == "float32"
    for ours, theirs in zip(scores(loaded), scores(rounded)):
        assert_allclose(ours, theirs, atol=0.05)


def test_a_variable_that_spacy_does_not_fill_in_is_an_error_that_says_so():
    with pytest.raises(ValueError, match=r"spaCy does not fill in variables.*leave it out"):
        use_framework("${vars.framework}")


@pytest.mark.parametrize(
    ("before", "after"),
    [((None, "mm"), (None, "mm")), (("MXNet", "numpy"), ("PyTorch", None))],
)
def test_swapping_a_pipelines_framework_swaps_the_kernels_that_are_named(before, after):
    name = {"@callbacks": "spacy-frameworks.use_framework.v1"}
    hook = {**name, "framework": before[0], "kernel": before[1]}
    swapped = swap_config(Config({"nlp": {"before_creation": hook}}), "PyTorch")
    found = swapped["nlp"]["before_creation"]
    assert (found["framework"], found["kernel"]) == after
    # The framework that it is on already has its kernel.
    again = {"nlp": {"before_creation": {**found, "kernel": "mm"}}}
    assert swap_config(Config(again), "PyTorch") == again


@pytest.mark.pytorch
@pytest.mark.skipif(
    multiprocessing.get_start_method() != "fork", reason="processes are started afresh here"
)
def test_a_forked_process_runs_what_is_no_product_on_pytorch_too():
    ops = get_ops("pytorch")
    table = numpy.ones((5000, 96), dtype="float32")
    indices = numpy.zeros((20000, 4), dtype="uint32")
    ops.gather_add(table, indices)
    child = multiprocessing.Process(target=ops.gather_add, args=(table, indices))
    child.start()
    child.join(60)
    exitcode = child.exitcode
    child.kill()
    assert exitcode == 0


def test_thinc_sets_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = get_current_ops()
        assert use_framework("Thinc")(Language) is Language
        assert get_current_ops() is before


@pytest.mark.parametrize("framework", WRAPPED)
def test_ops_can_be_left_out(framework):
    before = get_current_ops()
    assert use_framework(framework, ops=False)(Language) is Language
    assert get_current_ops() is before


def test_a_missing_framework_is_a_warning_and_the_pipeline_loads(monkeypatch):
    monkeypatch.setattr(callbacks, "is_installed", lambda name: False)
    with pytest.warns(UserWarning, match=r"MXNet is not installed.*pip install"):
        nlp = trained(STOCK + HOOK.format(framework="MXNet"), updates=1)
    assert all_ops(nlp) == {FasterNumpyOps}


@pytest.mark.filterwarnings("ignore:PyTorch is not installed")
@pytest.mark.parametrize("framework", ["PyTorch", None])
def test_a_kernel_that_is_not_installed_is_no_reason_not_to_load(framework, monkeypatch, tmp_path):
    monkeypatch.setattr(callbacks, "is_installed", lambda name: False)
    name = f'\nframework = "{framework}"' if framework else ""
    hook = HOOK.replace('\nframework = "{framework}"', name) + 'kernel = "mm"'
    trained(STOCK + hook, updates=1).to_disk(tmp_path)
    assert all_ops(spacy.load(tmp_path)) == {FasterNumpyOps}
    with pytest.raises(ValueError, match="Unknown kernel 'mm' of FasterNumpyOps"):
        use_framework("NumPy", kernel="mm")(Language)
    with pytest.raises(ValueError, match="Unknown kernel 'nm' of FasterNumpyOps"):
        use_framework(kernel="nm")(Language)


def test_an_unknown_framework_is_refused_with_the_names_that_exist():
    with pytest.raises(ValueError, match="Did you mean 'MXNet'"):
        use_framework("MXNett")


@pytest.mark.parametrize(("chosen", "expected"), [(True, "mxnet"), ("cuda_async", "cuda_async")])
def test_the_hook_chooses_a_gpu_allocator_on_a_stand_in_for_cupy(
    chosen, expected, gpu, cupy_ops, monkeypatch
):
    for ours in allocator._framework_allocators.values():
        monkeypatch.setattr(ours, "sees_gpu", lambda: True)
        monkeypatch.setattr(ours, "check_cuda_async", lambda: None)
    monkeypatch.setattr(callbacks, "is_installed", lambda name: True)
    use_framework("MXNet", ops=False, gpu_allocator=False)(Language)
    use_framework(ops=False)(Language)
    assert current_gpu_allocator() is None, "the networks choose"
    use_framework("MXNet", ops=False, gpu_allocator=chosen)(Language)
    assert current_gpu_allocator() == expected


def test_the_hook_refuses_an_unknown_gpu_allocator():
    with pytest.raises(ValueError, match="Did you mean 'cuda_async'"):
        use_framework(gpu_allocator="cuda-async")


@needs_all
@pytest.mark.parametrize("name", ["pytorch", "tensorflow"])
def test_spacys_commands_find_our_allocators_before_they_choose_one(name):
    code = (
        "import sys; from spacy.util import registry; registry.cli.get_all(); "
        f"from spacy.training.initialize import set_gpu_allocator; set_gpu_allocator({name!r}); "
        "print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@needs_all
def test_spacy_starts_without_importing_a_framework():
    code = (
        "import sys, spacy; from thinc.api import get_ops; get_ops('cpu'); "
        f"print([m for m in {NOT_THINCS} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
