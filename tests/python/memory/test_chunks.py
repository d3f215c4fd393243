"""Documents in pieces: nothing is lost, no piece is long, and cuts are between paragraphs where there are any."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from flyball.memory.chunks import MOST_CHARACTERS, OVERLAP, chunks_of, joined

TEXTS = st.lists(st.text(st.sampled_from("ab.! \n"), max_size=400), max_size=20).map("".join)


@settings(deadline=None, max_examples=60)
@given(TEXTS)
def test_the_pieces_are_the_text(text: str) -> None:
    pieces = list(chunks_of(text))
    assert joined(pieces) == text
    assert all(len(piece.text) <= MOST_CHARACTERS for piece in pieces)
    assert all(text[piece.start :].startswith(piece.text) for piece in pieces)


def test_cuts_are_between_paragraphs() -> None:
    text = "\n\n".join(f"Paragraph {number}. " + "word " * 60 for number in range(12))
    pieces = list(chunks_of(text))
    assert len(pieces) > 3
    assert all(piece.text.endswith("\n\n") for piece in pieces[:-1])
    for one, next_one in pairwise(pieces):
        shared = one.start + len(one.text) - next_one.start
        assert 0 < shared <= OVERLAP
        assert text[next_one.start - 1].isspace()


def test_a_text_without_any_end_is_cut_anyway() -> None:
    pieces = list(chunks_of("x" * 10_000))
    assert joined(pieces) == "x" * 10_000
    assert len(pieces) < 15
