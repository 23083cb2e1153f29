"""The reader that keeps what it made gives what spaCy's gives, each time as fresh."""

import gc
import os
import random
import weakref
from functools import partial

import pytest
import spacy
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Corpus
from spacy.training.augment import create_lower_casing_augmenter
from spacy.util import compile_infix_regex, registry
from spacy_frameworks.training.corpus import create_corpus

from ..pipelines import spacy_command

# No framework has a part in it.
pytestmark = pytest.mark.thinc

TEXTS = [
    "I'm gonna go to Lisbon. Don't wait for me in New York!",
    "We saw (and heard) well-known people.  They've left.",
    "e.g. this one, at 10a.m. on spacy.io/usage",
]
OPTIONS = [
    {},
    {"gold_preproc": True},
    {"max_length": 9},
    {"limit": 2},
    {"gold_preproc": True, "limit": 3},
]
# Each attribute of a token that a file may hold.
ATTRS = ["ORTH", "NORM", "TAG", "POS", "MORPH", "LEMMA", "HEAD", "DEP", "SENT_START"]
ATTRS += ["ENT_IOB", "ENT_TYPE", "ENT_KB_ID", "ENT_ID", "SPACY"]


@pytest.fixture
def nlp():
    return spacy.blank("en")


@pytest.fixture
def file(tmp_path):
    """A file with all that a file may hold."""
    nlp = spacy.blank("en")
    docs = [nlp.make_doc(text) for text in TEXTS]
    # Words that the tokenizer would split, and no spaces.
    docs.insert(1, Doc(nlp.vocab, words=["can't", "(stop)", "now", "."]))
    docs.append(Doc(nlp.vocab, words=[]))
    for doc in docs[:4]:
        for token in doc:
            token.tag_ = f"T{token.text[:1].upper()}"
            token.lemma_ = token.text.lower()
            token.set_morph("Number=Sing")
            token.head, token.dep_ = doc[max(token.i - 1, 0)], "dep"
        doc[0].norm_ = "first"
        doc.ents = [Span(doc, 1, 3, label="GPE", kb_id="Q1")]
        doc.spans["some"] = [Span(doc, 0, 2, label="A"), Span(doc, 1, 3, label="B", span_id="x")]
        doc.spans["some"].attrs["of"] = ["spans"]
        doc.cats = {"long": float(len(doc) > 10), "short": float(len(doc) <= 10)}
        doc.user_data["note"] = {"of": {"this": "doc"}}
        for i, token in enumerate(doc):
            token.dep_ = "ROOT" if i == 0 else "dep"
    path = tmp_path / "corpus.spacy"
    DocBin(attrs=ATTRS, docs=docs, store_user_data=True).to_disk(path)
    return path


def content(examples):
    """All that is in the docs of the examples."""
    bins = []
    for docs in ([eg.x for eg in examples], [eg.y for eg in examples]):
        both = DocBin(attrs=ATTRS, docs=docs, store_user_data=True)
        hooks = [(doc.user_hooks, doc.tensor.tolist(), doc.has_unknown_spaces) for doc in docs]
        bins.append((both.to_bytes(), [doc.to_json() for doc in docs], hooks))
    return bins, [eg.to_dict() for eg in examples], [eg.alignment.x2y.data for eg in examples]


def assert_equal(came, expected):
    assert len(came) == len(expected) > 0
    (bins, dicts, aligned), (bins_, dicts_, aligned_) = content(came), content(expected)
    assert dicts == dicts_
    assert bins == bins_
    assert [a.tolist() for a in aligned] == [a.tolist() for a in aligned_]


def write_into(examples):
    """What a component, or a user, may do to a doc."""
    for example in examples:
        for doc in (example.predicted, example.reference):
            doc[0].tag_, doc[0].lemma_ = "WRITTEN", "written"
            doc.cats["written"] = 1.0
            doc.user_data["written"] = True
            doc.user_data.setdefault("note", {}).setdefault("of", {})["written"] = 1
            doc.spans["written"] = [Span(doc, 0, 1, label="WRITTEN")]
            doc.spans.setdefault("some", []).attrs["of"] = "written"
            doc.tensor = doc.to_array(["ORTH"])
            doc.set_ents([Span(doc, 0, 1, label="WRITTEN")])
            with doc.retokenize() as retokenizer:
                retokenizer.merge(doc[0:2])


def spoil(path):
    """Make a file unreadable, in such a way that it seems unchanged."""
    stat = path.stat()
    path.write_bytes(b"\0" * stat.st_size)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def is_kept(reader, nlp, path):
    """Whether the reader does without the file."""
    data = path.read_bytes()
    stat = path.stat()
    spoil(path)
    try:
        next(iter(reader(nlp)))
        return True
    except ValueError as error:
        if "E1014" in str(error):
            return False
        raise
    finally:
        path.write_bytes(data)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize("options", OPTIONS)
def test_every_pass_gives_what_spacys_reader_gives(nlp, file, options):
    reader = create_corpus(path=file, **options)
    for _ in range(3):
        examples = list(reader(nlp))
        assert_equal(examples, list(Corpus(file, **options)(nlp)))
        write_into(examples)
    assert is_kept(reader, nlp, file)


def test_what_is_written_during_a_pass_is_gone_in_the_next(nlp, file):
    reader = create_corpus(path=file)
    for _ in range(3):
        for example, expected in zip(reader(nlp), Corpus(file)(nlp), strict=True):
            assert_equal([example], [expected])
            write_into([example])


def test_a_pass_after_training_and_evaluation_gives_the_same(nlp, file):
    reader = create_corpus(path=file)
    nlp.add_pipe("tagger")
    nlp.initialize(lambda: reader(nlp))
    examples = list(reader(nlp))
    for _ in range(3):
        nlp.update(examples, annotates=["tagger"])
        nlp.evaluate(reader(nlp))
        for example in examples:
            nlp.get_pipe("tagger")(example.predicted)
        assert_equal(list(reader(nlp)), list(Corpus(file)(nlp)))


def test_passes_at_the_same_time(nlp, file):
    reader = create_corpus(path=file)
    for _ in range(2):
        for one, two in zip(reader(nlp), reader(nlp), strict=True):
            assert_equal([one], [two])
            assert one.x is not two.x and one.y is not two.y


def test_readers_with_other_options_do_not_mix(nlp, file):
    for _ in range(2):
        for options in OPTIONS:
            came = list(create_corpus(path=file, **options)(nlp))
            assert_equal(came, list(Corpus(file, **options)(nlp)))


def test_the_next_reader_of_the_pipeline_has_it_too(nlp, file):
    list(create_corpus(path=file)(nlp))
    assert is_kept(create_corpus(path=str(file)), nlp, file)
    assert is_kept(create_corpus({"train": file, "dev": file}, "dev"), nlp, file)


def test_another_pipeline_gets_docs_of_its_own(nlp, file):
    reader = create_corpus(path=file)
    for pipeline in (nlp, spacy.blank("en"), spacy.blank("de"), nlp):
        examples = list(reader(pipeline))
        assert all(eg.x.vocab is eg.y.vocab is pipeline.vocab for eg in examples)
        assert_equal(examples, list(Corpus(file)(pipeline)))


def test_the_docs_go_with_their_pipeline(file):
    nlp = spacy.blank("en")
    gone = weakref.ref(nlp)
    reader = create_corpus(path=file)
    examples = list(reader(nlp))
    assert is_kept(reader, nlp, file)
    del nlp, examples
    gc.collect()
    assert gone() is None


def add_special_case(nlp):
    nlp.tokenizer.add_special_case("people", [{"ORTH": "peo"}, {"ORTH": "ple"}])


def change_infixes(nlp):
    nlp.tokenizer.infix_finditer = compile_infix_regex(["el"]).finditer


def change_prefixes(nlp):
    nlp.tokenizer.prefix_search = None


def change_suffixes(nlp):
    nlp.tokenizer.suffix_search = None


def match_tokens(nlp):
    nlp.tokenizer.token_match = lambda text: text.startswith("(") or None


def match_no_url(nlp):
    nlp.tokenizer.url_match = None


def drop_rules(nlp):
    nlp.tokenizer.rules = {}


def replace_tokenizer(nlp):
    nlp.tokenizer = spacy.tokenizer.Tokenizer(nlp.vocab)


def load_tokenizer(nlp):
    plain = spacy.tokenizer.Tokenizer(nlp.vocab)
    nlp.tokenizer.from_bytes(plain.to_bytes())


@pytest.mark.parametrize(
    "change",
    [
        add_special_case,
        change_infixes,
        change_prefixes,
        change_suffixes,
        match_tokens,
        match_no_url,
        drop_rules,
        replace_tokenizer,
        load_tokenizer,
    ],
)
def test_a_changed_tokenizer_tokenizes(nlp, file, change):
    reader = create_corpus(path=file)
    before = [[token.text for token in example.x] for example in reader(nlp)]
    assert is_kept(reader, nlp, file)
    change(nlp)
    for _ in range(2):
        examples = list(reader(nlp))
        assert [[token.text for token in example.x] for example in examples] != before
        assert_equal(examples, list(Corpus(file)(nlp)))


def test_a_text_that_has_become_too_long_is_spacys_error(nlp, file):
    reader = create_corpus(path=file)
    list(reader(nlp))
    nlp.max_length = 10
    with pytest.raises(ValueError, match="E088"):
        list(reader(nlp))


def test_a_tokenizer_that_is_not_spacys_is_always_asked(nlp, file):
    class ByLength:
        """Splits into pieces of so many characters, which may change at any time."""

        size = 3

        def __call__(self, text):
            pieces = [text[i : i + self.size] for i in range(0, len(text), self.size)]
            return Doc(nlp.vocab, words=pieces, spaces=[False] * len(pieces))

    nlp.tokenizer = ByLength()
    for options in OPTIONS:
        reader = create_corpus(path=file, **options)
        for ByLength.size in (3, 3, 4):
            assert_equal(list(reader(nlp)), list(Corpus(file, **options)(nlp)))
        # The references are kept all the same.
        assert is_kept(reader, nlp, file)


def test_a_pipeline_that_makes_docs_in_its_own_way_is_always_asked(nlp, file):
    reader = create_corpus(path=file)
    list(reader(nlp))
    nlp.make_doc = lambda text: nlp.tokenizer(text.upper())
    for _ in range(2):
        assert_equal(list(reader(nlp)), list(Corpus(file)(nlp)))
        assert next(reader(nlp)).x.text.isupper()


def test_another_vocab(nlp, file):
    reader = create_corpus(path=file)
    list(reader(nlp))
    other = spacy.blank("en")
    nlp.vocab, nlp.tokenizer = other.vocab, other.tokenizer
    assert all(eg.x.vocab is eg.y.vocab is other.vocab for eg in reader(nlp))


def test_a_changed_file_is_read(nlp, file):
    reader = create_corpus(path=file)
    list(reader(nlp))
    DocBin(docs=[nlp.make_doc("Something else")]).to_disk(file)
    assert [example.text for example in reader(nlp)] == ["Something else"]


def test_a_file_that_took_the_place_of_another_is_read(nlp, file, tmp_path):
    reader = create_corpus(path=file)
    list(reader(nlp))
    spoil(file)
    data, stat = file.read_bytes(), file.stat()
    other = tmp_path / "other"
    other.write_bytes(data)
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(file)
    with pytest.raises(ValueError, match="E1014"):
        list(reader(nlp))


def test_a_file_that_comes_into_a_folder_is_read(nlp, file, tmp_path):
    reader = create_corpus(path=tmp_path)
    before = list(reader(nlp))
    DocBin(docs=[nlp.make_doc("One more")]).to_disk(tmp_path / "more.spacy")
    assert len(list(reader(nlp))) == len(before) + 1
    (tmp_path / "more.spacy").unlink()
    assert len(list(reader(nlp))) == len(before)


def test_an_augmenter_draws_each_time(nlp, file):
    """spaCy's own, at random."""
    augmenter = partial(create_lower_casing_augmenter, level=0.5)
    reader, spacys = create_corpus(path=file, augmenter=augmenter()), Corpus(file)
    spacys.augmenter = augmenter()
    texts = set()
    for seed in range(6):
        random.seed(seed)
        came = list(reader(nlp))
        random.seed(seed)
        assert_equal(came, list(spacys(nlp)))
        texts.add(tuple(example.text for example in came))
    assert len(texts) > 1


def test_an_augmenter_that_writes_into_the_example(nlp, file):
    def shout(nlp, example):
        write_into([example])
        yield example

    reader, spacys = create_corpus(path=file, augmenter=shout), Corpus(file, augmenter=shout)
    for _ in range(3):
        assert_equal(list(reader(nlp)), list(spacys(nlp)))


def test_a_pass_that_was_left_is_not_kept(nlp, file):
    reader = create_corpus(path=file)
    next(reader(nlp))
    assert not is_kept(reader, nlp, file)
    assert_equal(list(reader(nlp)), list(Corpus(file)(nlp)))


@pytest.fixture
def large(nlp, tmp_path):
    """A file of docs that take three MB when they are kept."""
    docs = [nlp.make_doc("word " * 100) for _ in range(60)]
    DocBin(docs=docs).to_disk(tmp_path / "large.spacy")
    return tmp_path / "large.spacy"


@pytest.mark.parametrize(("keep_mb", "kept"), [(0, False), (1, False), (2, False), (5, True)])
def test_only_what_is_within_the_bound_is_kept(nlp, large, keep_mb, kept):
    reader = create_corpus(path=large, keep_mb=keep_mb)
    for _ in range(2):
        assert_equal(list(reader(nlp)), list(Corpus(large)(nlp)))
        assert is_kept(reader, nlp, large) == kept


def test_a_corpus_that_outgrows_the_bound_is_given_up(nlp, large):
    reader = create_corpus(path=large, keep_mb=5)
    list(reader(nlp))
    DocBin(docs=[nlp.make_doc("word " * 300) for _ in range(60)]).to_disk(large)
    assert len(list(reader(nlp))) == 60
    assert not is_kept(reader, nlp, large)


def test_what_is_read_in_a_memory_zone_ends_with_it(nlp, file):
    reader = create_corpus(path=file)
    with nlp.memory_zone():
        list(reader(nlp))
        assert not is_kept(reader, nlp, file)
    for _ in range(2):
        assert_equal(list(reader(nlp)), list(Corpus(file)(nlp)))
    with nlp.memory_zone():
        assert_equal(list(reader(nlp)), list(Corpus(file)(nlp)))
    assert_equal(list(reader(nlp)), list(Corpus(file)(nlp)))


def test_the_sample_is_kept_too(nlp):
    for _ in range(2):
        for split in ("train", "dev"):
            readers = [create_corpus({}, split, keep_mb=keep_mb) for keep_mb in (0, 256)]
            spacys, ours = (list(reader(nlp)) for reader in readers)
            assert_equal(ours, spacys)
            write_into(ours)


def test_a_relative_path_is_of_its_folder(nlp, file, tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    DocBin(docs=[nlp.make_doc("Something else")]).to_disk(tmp_path / "other" / file.name)
    reader_of = partial(create_corpus, path=file.name)
    monkeypatch.chdir(tmp_path)
    list(reader_of()(nlp))
    monkeypatch.chdir(tmp_path / "other")
    assert [example.text for example in reader_of()(nlp)] == ["Something else"]


# Arguments


def test_path_takes_the_place_of_paths_and_split(file):
    both = {"train": str(file), "dev": str(file)}
    wrong = [
        {},
        {"path": None},
        {"paths": both},
        {"path": file, "split": "dev"},
        {"path": file, "paths": both},
        {"path": file, "paths": both, "split": "train"},
    ]
    for arguments in wrong:
        with pytest.raises(ValueError, match=r"got path = .*set with --paths\.train"):
            create_corpus(**arguments)
    with pytest.raises(ValueError, match=r"path does not exist: 'nowhere.spacy'"):
        create_corpus(path="nowhere.spacy")


def test_keep_mb_is_not_negative(file):
    with pytest.raises(ValueError, match=r"keep_mb is -1.*or 0"):
        create_corpus(path=file, keep_mb=-1)


# In a stock config


@pytest.fixture
def stock(tmp_path):
    """A config of spaCy's own, and files of a user's own."""
    nlp = spacy.blank("en")
    for split in ("train", "dev"):
        reader = create_corpus({}, split, limit=60)
        DocBin(docs=[example.y for example in reader(nlp)]).to_disk(tmp_path / f"{split}.spacy")
    spacy_command("init", "config", "stock.cfg", "--pipeline", "tagger,textcat", cwd=tmp_path)
    return tmp_path


def trained(config, cwd):
    """The lines of a training: losses and scores at each evaluation."""
    files = ("--paths.train", "train.spacy", "--paths.dev", "dev.spacy")
    options = ("--training.max_steps", 8, "--training.eval_frequency", 2, "--system.seed", 1)
    out = spacy_command("train", config, *files, *options, cwd=cwd).stdout.splitlines()
    lines = [line.split() for line in out if line.split() and line.split()[0].isdigit()]
    assert len(lines) == 5
    return lines


def test_a_stock_config_trains_the_same_with_one_word_changed(stock):
    text = (stock / "stock.cfg").read_text()
    assert text.count('"spacy.Corpus.v1"') == 2
    ours = text.replace('"spacy.Corpus.v1"', '"spacy-frameworks.Corpus.v1"')
    (stock / "ours.cfg").write_text(ours)
    assert trained("ours.cfg", stock) == trained("stock.cfg", stock)
    # And with what spaCy fills in.
    spacy_command("init", "fill-config", "ours.cfg", "filled.cfg", cwd=stock)
    filled = spacy.util.load_config(stock / "filled.cfg")
    assert filled["corpora"]["train"]["keep_mb"] == 256
    assert trained("filled.cfg", stock) == trained("stock.cfg", stock)


def test_one_training_reads_each_file_once(stock, monkeypatch):
    """The reader of `nlp.initialize` and that of the training are two, and share."""
    monkeypatch.chdir(stock)
    text = (stock / "stock.cfg").read_text()
    config = spacy.util.load_config_from_str(
        text.replace('"spacy.Corpus.v1"', '"spacy-frameworks.Corpus.v1"'),
        overrides={"paths.train": "train.spacy", "paths.dev": "dev.spacy"},
    )
    nlp = spacy.training.initialize.init_nlp(config)
    corpora = registry.resolve(nlp.config.interpolate()["corpora"])
    assert is_kept(corpora["train"], nlp, stock / "train.spacy")
    assert not is_kept(corpora["dev"], nlp, stock / "dev.spacy")
