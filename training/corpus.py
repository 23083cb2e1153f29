"""A corpus reader that needs no files: without paths it reads a small sample corpus of its own.

The sample is Jabberwocky. A grammar gives the sentences and their tags, lists of words give the
topics, and about a quarter of the words are invented: a made-up stem, which `dev` never shares
with `train`, and a suffix that decides the tag. So a tagger must read the characters of a word to
tag what it has never seen, and the words around it to tag the few whose form does not decide
("the plan", "to plan"). The topic of a document shows in some of its words and in the first
syllable of some of the invented ones; others belong to another topic or to none.
"""

from functools import cache
from itertools import islice
from pathlib import Path
from random import Random
from typing import Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple, Union

from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Corpus, Example
from spacy.vocab import Vocab

from .kept_corpus import KeptCorpus

# Sentences are about six times as many.
N_DOCS = {"train": 360, "dev": 80}
SEEDS = {"train": 1, "dev": 2}

# How often an open-class word is invented, is topical, and is then of a topic drawn at random.
P_INVENTED, P_TOPICAL, P_STRAY = 0.53, 0.46, 0.1

# A stem is a head and a tail. The heads tell the topic; the tails keep the splits apart: of each
# seven in a row one is of dev, so that every sound occurs in both.
HEADS = {
    "cooking": "bro sau",
    "finance": "fis qua",
    "science": "neu zar",
    "sports": "dri rac",
    "travel": "lug tov",
    "any": "ban dal fen gro hab kel mun nep pra rud tam wex",
}
TAILS = [a + b + c for a in "bdglmnprtvz" for b in "aeiou" for c in "klmnrs"]
SPLIT_TAILS = {"train": [t for i, t in enumerate(TAILS) if i % 7], "dev": TAILS[::7]}

# Only words that inflect by adding a letter or two, and whose form has one tag.
OPEN_WORDS = {
    "cooking": {
        "noun": "soup oven sauce kitchen onion recipe butter plate spoon chef pepper cake",
        "verb": "roast grill toast boil season melt simmer",
        "adjective": "tasty salty crispy spicy",
    },
    "finance": {
        "noun": "bank loan market dollar bond price investor tariff budget debt broker asset",
        "verb": "audit discount deposit reward borrow",
        "adjective": "wealthy annual costly bankrupt",
    },
    "science": {
        "noun": "atom planet molecule cell telescope magnet gene sensor neutron fossil",
        "verb": "detect predict inspect heat expand",
        "adjective": "nuclear electric genetic solar",
    },
    "sports": {
        "noun": "player goal stadium ball team striker athlete league racket medal",
        "verb": "kick jump defend sprint attack",
        "adjective": "athletic olympic amateur offside",
    },
    "travel": {
        "noun": "hotel train airport tourist passport island ticket suitcase harbour",
        "verb": "board depart wander visit return",
        "adjective": "foreign tropical coastal remote",
    },
    "any": {
        "noun": "friend house garden morning letter teacher river window problem number reason",
        "verb": "open follow remember discover enjoy explain need collect consider mention",
        "adjective": "old red good common useful modern strange famous quiet",
        "degree": "quick slow warm cold bright dark soft hard long short",
        "adverb": "often quickly slowly never really soon gladly always",
        "name": "Anna Peter Maria Oscar Lisbon Vienna",
    },
}
# Per tag: the kind of word, its ending, and the endings that an invented stem takes instead.
INFLECTIONS = {
    "NN": ("noun", "", "ation ness ment"),
    "NNS": ("noun", "s", "ations ments ists"),
    "NNP": ("name", "", "burg ford stead"),
    "VB": ("verb", "", "ize ify"),
    "VBZ": ("verb", "s", "izes ifies"),
    "VBD": ("verb", "ed", "ized ified ed"),
    "VBG": ("verb", "ing", "izing ifying ing"),
    "JJ": ("adjective", "", "ous ful ive"),
    "JJR": ("degree", "er", "ier"),
    "JJS": ("degree", "est", "est"),
    "RB": ("adverb", "", "ously fully"),
}
CLOSED_WORDS = {
    "A": "a a the the this every another",
    "SOME": "the these some many several",
    "MY": "my your his our their",
    "WE": "we they she he",
    "TWO": "two three seven ten 40 1950",
    "CAN": "can will must should",
    "IN": "in on near with for under behind",
    "AND": "and or",
    "SAID": "said thought knew",
    # Only the context decides the tag of these, as it does for "that".
    "PLAN": "plan walk record change answer offer support report",
    "HELD": "held kept found made left brought",
}
# `word/TAG` or `CLASS/TAG` is a token, a bare tag an open-class word, the rest is expanded.
GRAMMAR = {
    "S": [
        "SG ACT PP ./.",
        "PL ACT PP ./.",
        "WE/PRP HELD/VBD NP PP ./.",
        "SG VBZ NP ,/, AND/CC PL ACT ./.",
        "WE/PRP SAID/VBD that/IN CLAUSE ./.",
        "SG SAID/VBD that/IN WE/PRP ACT PP ./.",
        "RB ,/, WE/PRP CAN/MD DO PP ./.",
        "PL CAN/MD DO before/IN CLAUSE ./.",
        "SG wanted/VBD to/TO DO ,/, but/CC NP ACT ./.",
        "VBG NP is/VBZ JJR than/IN VBG NP ./.",
        "while/IN VBG NP PP ,/, WE/PRP ACT ./.",
        "there/EX are/VBP TWO/CD NNS PP ./.",
        "SG has/VBZ HELD/VBN NP PP ./.",
        "PL had/VBD HELD/VBN PL ,/, AND/CC CLAUSE ./.",
        "who/WP CAN/MD DO PP ?/.",
        "SG is/VBZ the/DT JJS NN PP ./.",
    ],
    "CLAUSE": ["SG VBZ NP", "SG ACT", "WE/PRP ACT"],
    "ACT": ["VBD NP", "VBD NP", "RB VBD NP", "VBD NP RB", "HELD/VBD NP"],
    "DO": ["VB NP", "VB NP RB", "PLAN/VB NP"],
    "PP": ["IN/IN NP"],
    "NP": ["SG"] * 6 + ["PL"] * 8 + ["that/DT NOUN"],
    "SG": ["A/DT NOUN", "A/DT NOUN", "A/DT JJ NOUN", "MY/PRP$ JJ NOUN", "NNP"],
    "PL": ["SOME/DT NNS", "SOME/DT JJ NNS", "JJ NNS", "TWO/CD NNS", "MY/PRP$ NNS"],
    "NOUN": ["NN"] * 12 + ["PLAN/NN"],
}
LENGTHS = range(6, 21)


class SampleDoc(NamedTuple):
    words: Tuple[str, ...]
    tags: Tuple[str, ...]
    sent_starts: Tuple[bool, ...]
    category: str


def sample(split: str) -> List[SampleDoc]:
    """The sample corpus as plain data.

    split (str): "train" or "dev".
    RETURNS (List[SampleDoc]): Documents of four to eight sentences on one topic; the same ones on
        every call, platform and Python.

    Raises ValueError on any other split.
    """
    _check_split(split)
    return list(_generate(split))


@cache
def _generate(split: str) -> Tuple[SampleDoc, ...]:
    rng = Random(SEEDS[split])
    topics = [topic for topic in HEADS if topic != "any"]

    def expand(symbol: str, topic: str) -> Iterator[Tuple[str, str]]:
        if symbol in GRAMMAR:
            for part in rng.choice(GRAMMAR[symbol]).split():
                yield from expand(part, topic)
        elif symbol in INFLECTIONS:
            yield open_word(symbol, topic), symbol
        else:
            word, tag = symbol.rsplit("/", 1)
            yield rng.choice(CLOSED_WORDS.get(word, word).split()), tag

    def open_word(tag: str, topic: str) -> str:
        kind, ending, invented_endings = INFLECTIONS[tag]
        if rng.random() >= P_TOPICAL:
            topic = "any"
        elif rng.random() < P_STRAY:
            topic = rng.choice(topics)
        if rng.random() < P_INVENTED:
            stem = rng.choice(HEADS[topic].split()) + rng.choice(SPLIT_TAILS[split])
            word = stem + rng.choice(invented_endings.split())
        else:
            words = OPEN_WORDS[topic].get(kind) or OPEN_WORDS["any"][kind]
            word = rng.choice(words.split()) + ending
        return word.capitalize() if tag == "NNP" else word

    def sentence(topic: str) -> Tuple[List[str], List[str]]:
        while True:
            tokens = list(expand("S", topic))
            if len(tokens) in LENGTHS:
                words, tags = [word for word, _ in tokens], [tag for _, tag in tokens]
                # The one word in "u" is "useful".
                for i, following in enumerate(words[1:]):
                    if words[i] == "a" and following[0] in "aeio":
                        words[i] = "an"
                words[0] = words[0][0].upper() + words[0][1:]
                return words, tags

    docs = []
    for i in range(N_DOCS[split]):
        topic = topics[i % len(topics)]
        sentences = [sentence(topic) for _ in range(rng.randrange(4, 9))]
        docs.append(
            SampleDoc(
                words=tuple(word for words, _ in sentences for word in words),
                tags=tuple(tag for _, tags in sentences for tag in tags),
                sent_starts=tuple(j == 0 for words, _ in sentences for j in range(len(words))),
                category=topic,
            )
        )
    return tuple(docs)


class SampleCorpus(Corpus):
    """spaCy's Corpus, whose path is the name of a split of the sample."""

    def __call__(self, nlp: Language) -> Iterator[Example]:
        references = islice(self.read_sample(nlp.vocab), self.limit if self.limit >= 1 else None)
        make = self.make_examples_gold_preproc if self.gold_preproc else self.make_examples
        for example in make(nlp, references):
            yield from self.augmenter(nlp, example)

    def read_sample(self, vocab: Vocab) -> Iterator[Doc]:
        docs = sample(str(self.path))
        categories = sorted({doc.category for doc in docs})
        for words, tags, sent_starts, category in docs:
            # No space before a mark, nor at the end.
            following = (*words[1:], ".")
            doc = Doc(
                vocab,
                words=list(words),
                spaces=[word not in (",", ".", "?") for word in following],
                tags=list(tags),
                sent_starts=list(sent_starts),
            )
            doc.cats = {label: float(label == category) for label in categories}
            yield doc

    def _make_example(self, nlp: Language, reference: Doc, gold_preproc: bool) -> Example:
        # The words are given, whatever the language's tokenizer would make of the text.
        return super()._make_example(nlp, reference, True)


def create_corpus(
    paths: Optional[Dict[str, Optional[Union[str, Path]]]] = None,
    split: Optional[str] = None,
    max_length: int = 0,
    gold_preproc: bool = False,
    limit: int = 0,
    augmenter: Optional[Callable] = None,
    path: Optional[Union[str, Path]] = None,
    keep_mb: int = 256,
) -> Callable[[Language], Iterable[Example]]:
    """Read a split from the user's files or, where no paths are given, from the sample corpus. What
    was read and tokenized once is kept for the next time that the same pipeline asks for it.

    paths (Optional[Dict[str, Optional[Union[str, Path]]]]): The config's [paths]; only "train" and
        "dev" are looked at: a .spacy file, or a folder of them, or null.
    split (Optional[str]): "train" or "dev".
    max_length (int), gold_preproc (bool), limit (int), augmenter (Callable): As for
        spacy.Corpus.v1.
    path (Optional[Union[str, Path]]): In place of `paths` and `split`, a .spacy file or a folder
        of them, as for spacy.Corpus.v1.
    keep_mb (int): A corpus whose docs take up to so many MB (10^6 bytes) in memory is kept. A
        larger one is read anew each time, and with 0 every one is.
    RETURNS (Callable[[Language], Iterable[Example]]): The reader. Like spaCy's it does not
        shuffle: the training loop does. The examples are fresh on every call.

    Raises ValueError if the split is another one, if one of the two paths is given without the
    other, if there is neither a split nor a path, or both, if a path does not exist, or if
    `keep_mb` is negative.
    """
    if keep_mb < 0:
        raise ValueError(
            f"keep_mb is {keep_mb}: expected how many MB of docs to keep, or 0 to keep none."
        )
    if split is not None and path is None:
        _check_split(split)
        path = _find_path(paths or {}, split)
    elif split is None and paths is None and path is not None:
        path = _check_path(path, "path")
    else:
        raise ValueError(
            f"The corpus got path = {_quote(path)} and split = {_quote(split)}. Expected either "
            "paths = ${paths} with split, or path alone, such as path = ${paths.train}, which is "
            "set with --paths.train."
        )
    reader = (SampleCorpus if path is None else Corpus)(
        split if path is None else path,
        limit=limit,
        gold_preproc=gold_preproc,
        max_length=max_length,
        augmenter=None if keep_mb else augmenter,
    )
    if not keep_mb:
        return reader
    return KeptCorpus(reader, None if path is None else Path(path), keep_mb, augmenter)


def _check_split(split: str) -> None:
    if split not in N_DOCS:
        accepted = " or ".join(repr(name) for name in N_DOCS)
        raise ValueError(f"Unknown split {split!r}: expected {accepted}.")


def _find_path(
    paths: Dict[str, Optional[Union[str, Path]]], split: str
) -> Optional[Union[str, Path]]:
    given = [name for name in N_DOCS if paths.get(name) is not None]
    missing = [name for name in N_DOCS if name not in given]
    if not given:
        return None
    if missing:
        raise ValueError(
            f"paths.{missing[0]} is missing, while paths.{given[0]} is {str(paths[given[0]])!r}. "
            "Give both --paths.train and --paths.dev, or neither, for the sample corpus."
        )
    return _check_path(paths[split], f"paths.{split}", f"; set it with --paths.{split}")


def _check_path(path: Optional[Union[str, Path]], name: str, advice: str = "") -> Union[str, Path]:
    # Path("") would be the current folder.
    if not path or not Path(path).exists():
        raise ValueError(
            f"{name} does not exist: {str(path)!r}. Expected a .spacy file or a folder of "
            f"them{advice}."
        )
    return path


def _quote(value: Optional[Union[str, Path]]) -> str:
    return "null" if value is None else repr(str(value))
