"""A stream is cut where it may be cut, and goes on behind what was sent."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.scale.pieces import Elsewhere, Pieces, Sent

EVENTS = [f": tokens {n} {n + 10}\nid: a.1.2.{n + 1}\ndata: {n}\n\n".encode() for n in range(6)]
CLEAN = [f"id: a.1.2.{n + 1}\ndata: {n}\n\n".encode() for n in range(6)]
LINES = [f'{{"n": {n}}}\n'.encode() for n in range(6)]


def taken(pieces: Pieces, raw: bytes, cuts: list[int]) -> bytes:
    places = sorted({cut % (len(raw) + 1) for cut in cuts} | {0, len(raw)})
    return b"".join(pieces.take(raw[a:b]) for a, b in pairwise(places))


@given(st.lists(st.integers(0, 10_000), max_size=12))
def test_however_it_comes(cuts: list[int]) -> None:
    sent = Sent()
    assert taken(Pieces(sent, True), b"".join(EVENTS), cuts) == b"".join(CLEAN)
    assert (sent.last_id, sent.n, sent.tokens) == ("a.1.2.6", 6, list(range(10, 16)))


@given(st.integers(0, 400), st.lists(st.integers(0, 10_000), max_size=5))
def test_the_rest_comes_once(end: int, cuts: list[int]) -> None:
    """The first replica breaks off anywhere; the second sends what is behind the last id."""
    sent = Sent()
    raw = b"".join(EVENTS)
    first = Pieces(sent, True).take(raw[: end % len(raw)])
    n = int(sent.last_id.rpartition(".")[2] or 0)
    rest = taken(Pieces(sent, True), b"".join(EVENTS[n:]), cuts)
    assert first + rest == b"".join(CLEAN)
    assert sent.tokens == list(range(10, 16))


@given(st.integers(0, 100), st.lists(st.integers(0, 1000), max_size=5))
def test_lines_without_ids_are_counted(end: int, cuts: list[int]) -> None:
    """The second replica sends all of them again."""
    sent = Sent()
    raw = b"".join(LINES)
    first = Pieces(sent, False).take(raw[: end % len(raw)])
    assert first + taken(Pieces(sent, False), raw, cuts) == raw


def test_events_without_ids_are_counted_and_comments_are_not() -> None:
    sent = Sent()
    assert Pieces(sent, True).take(b":\n\ndata: 1\n\n:\n\nda") == b":\n\ndata: 1\n\n:\n\n"
    assert Pieces(sent, True).take(b"data: 1\n\n:\n\ndata: 2\n\n") == b":\n\ndata: 2\n\n"


def test_a_replica_that_ends_says_so() -> None:
    pieces = Pieces(Sent(), True)
    with pytest.raises(Elsewhere):
        pieces.take(b': elsewhere\ndata: {"error": {}}\n\n')


@pytest.mark.parametrize("line", [b": tokens x 1", b": tokens 0 1,", b": tokens 0 -", b": tokens "])
def test_comments_that_are_no_tokens(line: bytes) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        Pieces(Sent(), True).take(line + b"\ndata: 1\n\n")


def test_an_event_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flyball.scale.pieces._MOST_BYTES", 100)
    pieces = Pieces(Sent(), True)
    with pytest.raises(ValueError, match="no end"):
        pieces.take(b"data: " + b"x" * 100)


def test_tokens_are_known_from_the_beginning_on() -> None:
    """What comes again stands where it stood; what has a gap before it is of no use."""
    sent = Sent()
    for line in (b"0 5,6", b"0 5,6,7", b"9 1", b"3 8"):
        sent.learn(line)
    assert sent.tokens == [5, 6, 7, 8]
