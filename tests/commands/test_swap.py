import pytest
import spacy
from spacy.cli import app
from spacy.util import load_config
from spacy_frameworks.architectures import swap_config
from spacy_frameworks.architectures.stock import replace_stock
from spacy_frameworks.commands.config_text import rewritten
from spacy_frameworks.training import create_corpus
from thinc.api import Config
from typer.testing import CliRunner

from ..pipelines import CONFIGS, spacy_command

STOCK = """
# A tagger and a text classifier of spaCy's own.
[nlp]
lang = "en"
pipeline = ["tagger", "textcat"]
before_creation = null

[components]

[components.tagger]
factory = "tagger"

# What tags.
[components.tagger.model]
@architectures = "spacy.Tagger.v2"
nO = null

[components.tagger.model.tok2vec]
@architectures = "spacy.HashEmbedCNN.v2"
pretrained_vectors = null
width = 32
# Two layers are enough.
depth = 2
embed_size = 200
window_size = 1
maxout_pieces = 3
subword_features = true

[components.textcat]
factory = "textcat"
model = {"@architectures":"spacy.TextCatBOW.v3","exclusive_classes":true,"ngram_size":1}

[training]
# Few.
max_steps = 20
"""


def swap(*arguments, fails=False):
    done = CliRunner().invoke(app, ["frameworks", "swap", *map(str, arguments)])
    assert (done.exit_code != 0) == fails, done.output
    if fails:
        assert done.exit_code == 1
    return " ".join(done.output.split())


@pytest.fixture
def stock(tmp_path):
    path = tmp_path / "stock.cfg"
    path.write_text(STOCK)
    return path


def test_the_group_is_one_of_spacys_commands(tmp_path):
    done = spacy_command("frameworks", "--help", cwd=tmp_path)
    for command in ("info", "swap", "convert", "summary", "train"):
        assert command in done.stdout


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIGS.glob("*.cfg")))
def test_of_a_shipped_config_one_line_changes(name, tmp_path):
    path, out = CONFIGS / f"{name}.cfg", tmp_path / "out.cfg"
    swap(path, out, "--to", "MXNet")
    before, after = path.read_text().splitlines(), out.read_text().splitlines()
    changed = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
    assert changed == [('framework = "PyTorch"', 'framework = "MXNet"')]


def test_layers_of_spacys_are_replaced_and_listed_and_the_rest_of_the_file_stays(stock, tmp_path):
    out = tmp_path / "out.cfg"
    said = swap(stock, out, "--to", "JAX")
    assert "[components.tagger.model.tok2vec] spacy.HashEmbedCNN.v2 -> " in said
    assert "(vectors of words in place of a bag of n-grams)" in said
    text = out.read_text()
    for line in STOCK.splitlines():
        if line.startswith(("#", "[nlp", "[training", "max_steps", "lang", "factory")):
            assert line in text
    config = load_config(out)["components"]
    assert config["tagger"]["model"]["@architectures"] == "spacy.Tagger.v2"
    tok2vec = config["tagger"]["model"]["tok2vec"]
    assert tok2vec["embed"]["rows"] == [200, 100, 100, 100]
    assert tok2vec["encode"] == {
        "@architectures": "spacy-frameworks.WindowEncoder.v1",
        "framework": "JAX",
        "width": 32,
        "window_size": 1,
        "depth": 2,
        "maxout_pieces": 3,
    }
    assert config["textcat"]["model"]["exclusive_classes"] is True
    assert config["textcat"]["model"]["framework"] == "JAX"


def in_versions(tok2vec, encoder):
    """The encoder that HashEmbedCNN makes, spelled out."""
    return {
        "@architectures": tok2vec,
        "embed": {
            "@architectures": "spacy.MultiHashEmbed.v2",
            "width": 32,
            "attrs": ["NORM", "PREFIX", "SUFFIX", "SHAPE"],
            "rows": [200, 100, 100, 100],
            "include_static_vectors": False,
        },
        "encode": {
            "@architectures": encoder,
            "width": 32,
            "depth": 1,
            "window_size": 1,
            "maxout_pieces": 3,
        },
    }


FIRST = in_versions("spacy.Tok2Vec.v1", "spacy.MaxoutWindowEncoder.v1")
SECOND = in_versions("spacy.Tok2Vec.v2", "spacy.MaxoutWindowEncoder.v2")


@pytest.mark.parametrize("tok2vec", [None, FIRST, SECOND], ids=["cnn", "first", "second"])
def test_the_replaced_encoder_computes_what_spacys_does(tok2vec, stock):
    """With the same parameters, and in one layer: of more, spaCy's see other rows beyond the ends
    of a doc."""
    config = load_config(stock, interpolate=False)
    tagger = config["components"]["tagger"]["model"]
    tagger["tok2vec"] = tok2vec or {**tagger["tok2vec"], "depth": 1}
    config["nlp"]["pipeline"] = ["tagger"]
    # On Thinc, spaCy's own would stay.
    swapped = config.copy()
    replace_stock(swapped, "PyTorch")
    swapped = swap_config(swapped, "Thinc")
    corpus = create_corpus({"train": None, "dev": None}, "train", limit=8)
    values, outputs = [], []
    for each in (config, swapped):
        nlp = spacy.util.load_model_from_config(each, auto_fill=True)
        examples = list(corpus(nlp))
        nlp.initialize(lambda examples=examples: examples)
        model = nlp.get_pipe("tagger").model.get_ref("tok2vec")
        values = values or [node.get_param(name) for node, name in _parameters(model)]
        for (node, name), value in zip(_parameters(model), values, strict=True):
            node.set_param(name, value)
        outputs.append(model.predict([example.reference for example in examples]))
    for came, expected in zip(*outputs):
        assert abs(came - expected).max() < 1e-6
        assert expected.std() > 0.01


def test_an_encoder_of_the_first_version_elsewhere_stays():
    # It gets an array, where ours gets a list.
    model = {"@layers": "with_array.v1", "layer": FIRST["encode"]}
    config = Config(
        {"components": {"tok2vec": {"model": {"@layers": "chain.v1", "*": {"a": model}}}}}
    )
    before = config.copy()
    assert replace_stock(config, "PyTorch") == [] and config == before


def _parameters(model):
    """Those of one kind behind each other, layer by layer: the layers are nested differently."""
    found = [(node, name) for node in model.walk() for name in node.param_names]
    return sorted(found, key=lambda each: (each[1], each[0].get_param(each[1]).shape))


def test_the_hook_is_added_on_request_and_a_callback_that_is_there_is_not_overwritten(
    stock, tmp_path
):
    swap(stock, tmp_path / "out.cfg", "--to", "PyTorch", "--hook")
    written = load_config(tmp_path / "out.cfg")["nlp"]["before_creation"]
    assert written == {"@callbacks": "spacy-frameworks.use_framework.v1"}
    stock.write_text(
        STOCK.replace("before_creation = null", 'before_creation = {"@callbacks":"own.v1"}')
    )
    said = swap(stock, tmp_path / "no.cfg", "--to", "PyTorch", "--hook", fails=True)
    assert "'own.v1'" in said
    assert not (tmp_path / "no.cfg").exists()


def test_the_difference_is_shown_where_nothing_is_written(stock):
    said = swap(stock, "--to", "TensorFlow")
    assert '-@architectures = "spacy.HashEmbedCNN.v2"' in said
    assert '+framework = "TensorFlow"' in said
    assert stock.read_text() == STOCK


def test_errors_say_what_to_do_and_overwrite_nothing(stock, tmp_path):
    out = tmp_path / "out.cfg"
    assert "Did you mean 'TensorFlow'?" in swap(stock, out, "--to", "tensorflo", fails=True)
    assert "There is no file" in swap(tmp_path / "no.cfg", out, "--to", "MXNet", fails=True)
    (tmp_path / "bad.cfg").write_text("[nlp\nlang = 3")
    assert "Config validation" in swap(tmp_path / "bad.cfg", out, "--to", "MXNet", fails=True)
    assert not out.exists()
    (tmp_path / "twice.cfg").write_text("[nlp]\nlang = 3\nlang = 3")
    assert "already exists" in swap(tmp_path / "twice.cfg", out, "--to", "MXNet", fails=True)
    (tmp_path / "less.cfg").write_text(STOCK.replace("embed_size = 200\n", ""))
    said = swap(tmp_path / "less.cfg", out, "--to", "MXNet", fails=True)
    assert "[components.tagger.model.tok2vec] has no 'embed_size'" in said
    assert not out.exists()
    out.write_text("mine")
    assert "--force" in swap(stock, out, "--to", "MXNet", fails=True)
    assert out.read_text() == "mine"
    swap(stock, out, "--to", "MXNet", "--force")
    assert "MXNet" in out.read_text()


def test_windows_line_endings_stay(tmp_path):
    text = (CONFIGS / "tagger.cfg").read_text()
    (tmp_path / "config.cfg").write_bytes(text.replace("\n", "\r\n").encode())
    swap(tmp_path / "config.cfg", tmp_path / "out.cfg", "--to", "MXNet")
    expected = text.replace('"PyTorch"', '"MXNet"').replace("\n", "\r\n")
    assert (tmp_path / "out.cfg").read_bytes() == expected.encode()


def test_variables_that_name_a_setting_of_a_replaced_layer_get_its_value(stock, tmp_path):
    listener = """
[components.morphologizer]
factory = "morphologizer"

[components.morphologizer.model]
@architectures = "spacy.Tagger.v2"

[components.morphologizer.model.tok2vec]
@architectures = "spacy.Tok2VecListener.v1"
width = ${components.tagger.model.tok2vec.width}
upstream = ${nlp.lang}
"""
    stock.write_text(STOCK + listener)
    swap(stock, tmp_path / "out.cfg", "--to", "MXNet")
    assert "\nwidth = 32\nupstream = ${nlp.lang}\n" in (tmp_path / "out.cfg").read_text()
    tok2vec = load_config(tmp_path / "out.cfg", interpolate=True)["components"]["morphologizer"]
    assert tok2vec["model"]["tok2vec"]["width"] == 32


def test_a_config_in_which_there_is_nothing_to_swap_is_said_to_be_one(tmp_path):
    path = tmp_path / "bare.cfg"
    path.write_text('[nlp]\nlang = "en"\npipeline = ["tagger"]\n')
    assert "spacy init fill-config" in swap(path, tmp_path / "out.cfg", "--to", "MXNet")
    assert (tmp_path / "out.cfg").read_text() == path.read_text()


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        (lambda c: c["a"].pop("x"), ["[a]", "y = 2", "", "# of b", "[b]", 'z = {"k": 1}']),
        (lambda c: c.pop("b"), ["[a]", "x = [1,", "  2]", "y = 2"]),
        (
            lambda c: c["b"].update(z=None, w="${a.y}"),
            ["[a]", "x = [1,", "  2]", "y = 2", "", "# of b", "[b]", "z = null", "w = ${a.y}"],
        ),
    ],
)
def test_what_is_rewritten_is_read_as_what_was_to_be_written(change, lines):
    text = '[a]\nx = [1,\n  2]\ny = 2\n\n# of b\n[b]\nz = {"k": 1}\n'
    before = Config().from_str(text, interpolate=False)
    after = before.copy()
    change(after)
    written = rewritten(text, before, after)
    assert written.rstrip().splitlines() == lines
    assert Config().from_str(written, interpolate=False) == after


@pytest.mark.parametrize(
    ("text", "written"),
    [
        # A comment behind a header, keys with spaces in front and a colon behind.
        ("[a]  # of a\n  x: 1\n  y: 2\n", "[a]  # of a\n  x = 3\n  y: 2\n"),
        # A value goes on behind comments and blank lines.
        ("[a]\nx = [1,\n# c\n\n  2]\ny = 2\n", "[a]\nx = 3\ny = 2\n"),
        # What ends a line elsewhere.
        ('[a]\nx = 1\ny = "\u2028"\n', '[a]\nx = 3\ny = "\u2028"\n'),
    ],
)
def test_odd_forms_are_read_as_spacy_reads_them(text, written):
    before = Config().from_str(text, interpolate=False)
    after = before.copy()
    after["a"]["x"] = 3
    assert rewritten(text, before, after) == written
