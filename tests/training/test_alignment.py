"""Tokens that are the same are aligned without a look at their characters."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from spacy.training import Alignment
from spacy.training.align import get_alignments
from spacy_frameworks.training.alignment import from_strings

WORD = st.text(st.sampled_from("aA\u0130\u1e9e \n.\U0001f600"), min_size=1, max_size=4)


@given(st.lists(WORD, max_size=8), st.lists(st.integers(1, 3), min_size=30, max_size=30))
def test_tokens_are_aligned_as_spacy_aligns_them(words, cuts):
    text = "".join(words)
    ends = list(itertools.accumulate(cuts))
    others = [text[a:b] for a, b in itertools.pairwise([0, *ends]) if a < len(text)]
    for gold in (words, others):
        ours = from_strings.__func__(Alignment, words, gold)
        spacys = Alignment.from_indices(*get_alignments(words, gold))
        for one, other in ((ours.x2y, spacys.x2y), (ours.y2x, spacys.y2x)):
            assert one.data.tolist() == other.data.tolist()
            assert one.lengths.tolist() == other.lengths.tolist()
