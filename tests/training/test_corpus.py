import hashlib
import random
import time
from collections import Counter, defaultdict

import pytest
import spacy
from spacy.tokens import DocBin
from spacy.training import Corpus, Example
from spacy.util import load_config_from_str, registry
from spacy_frameworks.training import corpus
from spacy_frameworks.training.corpus import create_corpus, sample

NO_PATHS = {"train": None, "dev": None, "vectors": None, "init_tok2vec": None}
CHECKSUMS = {
    "train": "c5b07727935991080a796213cb3932c701b83262223426c5e3cc3f0fb9fee929",
    "dev": "5721b0f36d3697fca89cda1f517383bbc65fde84d6675ae9a4a81a83e2e30eab",
}
CATEGORIES = {"cooking", "finance", "science", "sports", "travel"}
CONFIG = """
[paths]
train = null
dev = null
vectors = null
init_tok2vec = null

[corpora]

[corpora.train]
@readers = "spacy-frameworks.Corpus.v1"
paths = ${paths}
split = "train"

[corpora.dev]
@readers = "spacy-frameworks.Corpus.v1"
paths = ${paths}
split = "dev"
max_length = 0
gold_preproc = false
limit = 0
augmenter = null
"""


@pytest.fixture(scope="module")
def nlp():
    return spacy.blank("en")


@pytest.fixture(scope="module")
def train():
    return tagged("train")


@pytest.fixture(scope="module")
def dev():
    return tagged("dev")


@pytest.fixture
def files(nlp, tmp_path):
    """Two files of a user's own, and what is in them."""
    texts = {"train": ["One two. Three four.", "Five six."], "dev": ["Seven eight."]}
    for split, split_texts in texts.items():
        docs = [nlp.make_doc(text) for text in split_texts]
        for doc in docs:
            for token in doc:
                token.is_sent_start = token.i == 0 or doc[token.i - 1].text == "."
        DocBin(docs=docs).to_disk(tmp_path / f"{split}.spacy")
    return {split: str(tmp_path / f"{split}.spacy") for split in texts}, texts


def tagged(split):
    return [pair for doc in sample(split) for pair in zip(doc.words, doc.tags, strict=True)]


def tags_by(key, tokens):
    table = defaultdict(Counter)
    for word, tag in tokens:
        table[key(word)][tag] += 1
    return table


def commonest(counts):
    return counts.most_common(1)[0][0]


def accuracy(predict, tokens):
    return sum(predict(word) == tag for word, tag in tokens) / len(tokens)


def sentences(doc):
    starts = [i for i, is_start in enumerate(doc.sent_starts) if is_start]
    return [doc.words[i:j] for i, j in zip(starts, [*starts[1:], len(doc.words)], strict=True)]


def texts_of(examples):
    return [example.reference.text for example in examples]


# The sample


@pytest.mark.parametrize("split", ["train", "dev"])
def test_sample_is_the_same_everywhere(split):
    lines = [
        f"{word}\t{tag}\t{int(is_start)}\t{doc.category}"
        for doc in sample(split)
        for word, tag, is_start in zip(doc.words, doc.tags, doc.sent_starts, strict=True)
    ]
    assert hashlib.sha256("\n".join(lines).encode("utf8")).hexdigest() == CHECKSUMS[split]


def test_sample_neither_reads_nor_changes_the_global_random_state():
    random.seed(7)
    state = random.getstate()
    first = corpus._generate.__wrapped__("dev")
    assert random.getstate() == state
    random.seed(8)
    assert corpus._generate.__wrapped__("dev") == first == tuple(sample("dev"))


def test_sample_is_generated_in_a_second_and_once():
    start = time.process_time()
    corpus._generate.__wrapped__("train")
    assert time.process_time() - start < 1.0
    assert sample("train")[0] is sample("train")[0]


def test_changing_the_returned_list_leaves_the_sample_alone():
    sample("dev").clear()
    assert len(sample("dev")) == 80


@pytest.mark.parametrize(
    ("split", "n_docs", "low", "high"), [("train", 360, 1800, 2400), ("dev", 80, 400, 500)]
)
def test_sizes(split, n_docs, low, high):
    docs = sample(split)
    assert len(docs) == n_docs
    assert low <= sum(len(sentences(doc)) for doc in docs) <= high
    assert all(4 <= len(sentences(doc)) <= 8 for doc in docs)
    assert all(6 <= len(sentence) <= 20 for doc in docs for sentence in sentences(doc))


@pytest.mark.parametrize("split", ["train", "dev"])
def test_sentences_begin_with_a_capital_and_end_with_a_mark(split):
    for doc in sample(split):
        for sentence in sentences(doc):
            assert not sentence[0][0].islower()
            assert sentence[-1] in (".", "?")


@pytest.mark.parametrize("split", ["train", "dev"])
def test_categories_are_balanced(split):
    counts = Counter(doc.category for doc in sample(split))
    assert set(counts) == CATEGORIES
    assert len(set(counts.values())) == 1


def test_the_splits_share_no_sentence():
    first, second = ({s for doc in sample(x) for s in sentences(doc)} for x in ("train", "dev"))
    assert not first & second


def test_dev_has_no_tag_that_train_lacks(train, dev):
    assert len({tag for _, tag in train}) == 25
    assert {tag for _, tag in dev} == {tag for _, tag in train}


def test_a_fifth_of_dev_is_unseen_and_its_suffix_decides_the_tag(train, dev):
    seen = {word for word, _ in train}
    unseen = [(word, tag) for word, tag in dev if word not in seen]
    assert 0.20 <= len(unseen) / len(dev) <= 0.28
    assert len({tag for _, tag in unseen}) >= 10
    tables = [tags_by(lambda word, n=n: word[-n:], train) for n in (4, 3, 2)]

    def by_suffix(word):
        return next(
            commonest(table[word[-n:]])
            for n, table in zip((4, 3, 2), tables, strict=True)
            if word[-n:] in table
        )

    assert accuracy(by_suffix, unseen) >= 0.97


def test_invented_words_of_dev_have_stems_of_their_own(train, dev):
    def stems(tokens):
        heads = {head for heads in corpus.HEADS.values() for head in heads.split()}
        tails = set(corpus.TAILS)
        words = {word.lower() for word, _ in tokens}
        return {word[:6] for word in words if word[:3] in heads and word[3:6] in tails}

    assert len(stems(train)) > 1000
    assert len(stems(dev)) > 300
    assert not stems(train) & stems(dev)


def test_context_alone_decides_a_twentieth(train, dev):
    forms = tags_by(str, train)
    ambiguous = {
        word
        for word, counts in forms.items()
        if counts.most_common(1)[0][1] <= 2 / 3 * sum(counts.values())
    }
    assert ambiguous == {word for word, counts in forms.items() if len(counts) > 1}
    for tokens in (train, dev):
        undecided = [(word, tag) for word, tag in tokens if word in ambiguous]
        assert 0.05 <= len(undecided) / len(tokens) <= 0.07
        # Even a table of the split's own commonest tags is right on less than two thirds.
        own = tags_by(str, undecided)
        assert accuracy(lambda word, own=own: commonest(own[word]), undecided) <= 2 / 3


def test_the_commonest_tag_of_each_word_is_a_poor_tagger(train, dev):
    forms = tags_by(str, train)
    overall = commonest(Counter(tag for _, tag in train))
    table = {word: commonest(counts) for word, counts in forms.items()}
    assert 0.65 <= accuracy(lambda word: table.get(word, overall), dev) <= 0.80


def test_a_tagger_that_sees_one_word_at_a_time_can_reach_97_percent(train, dev):
    forms = tags_by(str, train)
    wrong = sum(commonest(forms[word]) != tag for word, tag in dev if word in forms)
    assert 0.965 <= 1 - wrong / len(dev) <= 0.98


def test_no_word_tells_the_topic_by_itself():
    docs_with = defaultdict(Counter)
    for doc in sample("train"):
        for word in set(doc.words):
            docs_with[word][doc.category] += 1
    n_docs = len(sample("train")) / len(CATEGORIES)
    # Some words do lean to a topic ...
    leaning = [
        c for c in docs_with.values() if c.total() >= 10 and max(c.values()) > 0.8 * c.total()
    ]
    assert len(leaning) >= 50
    # ... but each is absent from most of its documents.
    assert max(max(c.values()) for c in leaning) < 0.5 * n_docs


def test_unknown_split():
    with pytest.raises(ValueError, match=r"'test'.*'train' or 'dev'"):
        sample("test")


# The reader


@pytest.mark.parametrize("split", ["train", "dev"])
def test_without_paths_the_reader_yields_the_sample(nlp, split):
    examples = list(create_corpus(NO_PATHS, split)(nlp))
    docs = sample(split)
    assert len(examples) == len(docs)
    for example, doc in zip(examples, docs, strict=True):
        reference, predicted = example.reference, example.predicted
        assert tuple(token.text for token in reference) == doc.words
        assert tuple(token.tag_ for token in reference) == doc.tags
        assert tuple(bool(token.is_sent_start) for token in reference) == doc.sent_starts
        assert reference.cats == {label: float(label == doc.category) for label in CATEGORIES}
        assert [token.text for token in predicted] == list(doc.words)
        assert not predicted.has_annotation("TAG")
        assert not predicted.cats


def test_the_text_reads_as_text_and_the_tokenizer_agrees(nlp):
    for example in create_corpus(NO_PATHS, "dev")(nlp):
        text = example.reference.text
        assert " ." not in text
        assert " ," not in text
        assert text == text.strip()
        assert [token.text for token in nlp.make_doc(text)] == [t.text for t in example.reference]


def test_the_words_are_given_where_the_tokenizer_would_disagree():
    example = next(iter(create_corpus(NO_PATHS, "dev")(spacy.blank("xx"))))
    assert example.alignment.x2y.lengths.tolist() == [1] * len(example.reference)
    nlp = spacy.blank("en")
    nlp.tokenizer = lambda text: nlp.vocab and spacy.tokens.Doc(nlp.vocab, words=[text])
    example = next(iter(create_corpus(NO_PATHS, "dev")(nlp)))
    assert len(example.predicted) == len(example.reference) > 1


@pytest.mark.parametrize("paths", [{}, {"train": None}, NO_PATHS])
def test_absent_paths_are_null_paths(nlp, paths):
    assert len(list(create_corpus(paths, "dev")(nlp))) == 80


def test_every_call_yields_fresh_examples_in_the_same_order(nlp):
    reader = create_corpus(NO_PATHS, "dev")
    first, second = list(reader(nlp)), list(reader(nlp))
    assert texts_of(first) == texts_of(second)
    for a, b in zip(first, second, strict=True):
        assert a is not b
        assert a.reference is not b.reference
        assert a.predicted is not b.predicted


def test_limit(nlp):
    assert (
        texts_of(create_corpus(NO_PATHS, "dev", limit=7)(nlp))
        == texts_of(create_corpus(NO_PATHS, "dev")(nlp))[:7]
    )


def test_gold_preproc_and_max_length_give_sentences(nlp):
    expected = [sentence for doc in sample("dev")[:5] for sentence in sentences(doc)]
    for options in ({"gold_preproc": True}, {"max_length": 21}):
        examples = list(create_corpus(NO_PATHS, "dev", limit=5, **options)(nlp))
        assert [tuple(t.text for t in example.reference) for example in examples] == expected
        assert all(example.reference.has_annotation("TAG") for example in examples)


def test_augmenter(nlp):
    def twice(nlp, example):
        yield example
        yield Example(nlp.make_doc(example.text.upper()), example.reference)

    examples = list(create_corpus(NO_PATHS, "dev", limit=2, augmenter=twice)(nlp))
    assert [example.text.isupper() for example in examples] == [False, True, False, True]


@pytest.mark.parametrize("keep_mb", [0, 256])
def test_paths_are_read(nlp, files, keep_mb):
    paths, texts = files
    for split in ("train", "dev"):
        reader = create_corpus(paths, split, keep_mb=keep_mb)
        assert (type(reader) is Corpus) == (keep_mb == 0)
        assert texts_of(reader(nlp)) == texts[split]


def test_paths_take_the_options_too(nlp, files):
    paths, _ = files
    assert texts_of(create_corpus(paths, "train", limit=1)(nlp)) == ["One two. Three four."]
    parts = ["One two. ", "Three four.", "Five six."]
    assert texts_of(create_corpus(paths, "train", gold_preproc=True)(nlp)) == parts
    assert texts_of(create_corpus(paths, "train", max_length=4)(nlp)) == parts


def test_a_folder_of_files(nlp, files, tmp_path):
    paths, texts = files
    reader = create_corpus({"train": tmp_path, "dev": paths["dev"]}, "train")
    assert texts_of(reader(nlp)) == texts["dev"] + texts["train"]


@pytest.mark.parametrize("split", ["train", "dev"])
@pytest.mark.parametrize(("given", "missing"), [("train", "dev"), ("dev", "train")])
def test_one_path_without_the_other(files, split, given, missing):
    paths = {given: files[0][given], missing: None}
    with pytest.raises(ValueError, match=f"paths.{missing} is missing") as error:
        create_corpus(paths, split)
    assert "--paths.train" in str(error.value)
    assert "--paths.dev" in str(error.value)


@pytest.mark.parametrize("path", ["nowhere.spacy", ""])
def test_a_path_that_does_not_exist(files, path):
    paths = {**files[0], "dev": path}
    with pytest.raises(ValueError, match=f"paths.dev does not exist: '{path}'.*--paths.dev"):
        create_corpus(paths, "dev")


def test_unknown_split_of_the_reader(files):
    for paths in (NO_PATHS, files[0]):
        with pytest.raises(ValueError, match=r"'test'.*'train' or 'dev'"):
            create_corpus(paths, "test")


# In a config


@pytest.fixture
def registered():
    """The reader under the name that its entry point gives it, installed or not."""
    name = "spacy-frameworks.Corpus.v1"
    if name not in registry.readers.get_all():
        registry.readers(name, func=create_corpus)


def test_the_paths_section_reaches_the_reader(registered, nlp, files):
    config = load_config_from_str(CONFIG, interpolate=True)
    corpora = registry.resolve(config["corpora"], validate=True)
    assert [len(list(corpora[split](nlp))) for split in ("train", "dev")] == [360, 80]

    paths, texts = files
    overrides = {f"paths.{split}": path for split, path in paths.items()}
    config = load_config_from_str(CONFIG, overrides=overrides, interpolate=True)
    corpora = registry.resolve(config["corpora"], validate=True)
    assert [texts_of(corpora[split](nlp)) for split in ("train", "dev")] == list(texts.values())


def test_one_override_without_the_other(registered, files):
    overrides = {"paths.dev": files[0]["dev"]}
    config = load_config_from_str(CONFIG, overrides=overrides, interpolate=True)
    with pytest.raises(ValueError, match=r"paths\.train is missing"):
        registry.resolve(config["corpora"], validate=True)


def test_a_pipeline_learns_its_labels_from_the_sample(registered):
    config = load_config_from_str(CONFIG)
    nlp = spacy.blank("en")
    nlp.add_pipe("tagger")
    nlp.add_pipe("textcat")
    nlp.config["paths"].update(config["paths"])
    nlp.config["corpora"] = config["corpora"]
    nlp = spacy.training.initialize.init_nlp(nlp.config)
    assert len(nlp.get_pipe("tagger").labels) == 25
    assert set(nlp.get_pipe("textcat").labels) == CATEGORIES
