"""Masks: the vocabulary that llguidance sees, and errors that must never look like the end of an answer."""

from __future__ import annotations

from typing import Any

import pytest

import flyball
from flyball.constraints.compiled import Compiler, Masks
from flyball.constraints.constraint import Constraint
from flyball.constraints.vocabulary import Tokens

PIECES = [b"<s>", b"</s>", b" a", b"a", b" b", b"\n", b"<think>", b"</think>", b"ab", b"shown", b"", b'"', b"<", b"x"]
CONTROLS = {0, 1, 6, 7}
BOS, END, OPEN, CLOSE, SHOWN_END = 0, 1, 6, 7, 9


class Core:
    """A vocabulary that puts a space before texts, as those of SentencePiece do."""

    def info(self) -> dict[str, Any]:
        return {"n_vocab": len(PIECES)}

    def piece(self, token: int, special: bool) -> bytes:
        return b"" if token in CONTROLS and not special else PIECES[token]

    def is_end_of_generation(self, token: int) -> bool:
        return token in (END, SHOWN_END)

    def tokenize(self, utf8: bytes, add_special: bool, parse_special: bool) -> list[int]:
        assert not add_special
        assert not parse_special
        text, ids = b" " + utf8, []
        while text:
            length = next((n for n in range(5, 0, -1) if text[:n] in PIECES[2:6]), 0)
            if not length:
                if text[:1] != b" ":
                    raise flyball.Unsupported("text", "has no token")
                length = 1  # it vanishes: other bytes than were asked for
            else:
                ids.append(PIECES.index(text[:length]))
            text = text[length:]
        return ids


def allowed(masks: Masks, token: int | None) -> set[int]:
    masks.advance(token)
    return {i for i in range(len(PIECES)) if masks.mask[i // 32] >> (i % 32) & 1}


def take(masks: Masks, n: int) -> None:
    for token in range(n):
        masks.advance(token)


def begin(constraint: Constraint) -> Masks:
    return Compiler(Core()).compile(constraint).start()


def test_what_the_tokens_are() -> None:
    tokens = Tokens(Core())
    assert tokens.tokens[BOS] == b"\xff<s>"
    assert tokens.tokens[SHOWN_END] == b"\xffshown"  # it would end the answer wherever its text fits
    assert tokens.eos_token_id == END
    assert tokens.special_token_ids == [0, 1, 6, 7, 9]
    assert tokens.elements("x<think>\n</think>") == ["x", OPEN, "\n", CLOSE]
    assert tokens.elements("<thin") == ["<thin"]


def test_a_text_in_an_answer_has_no_space_before_it() -> None:
    tokens = Tokens(Core())
    assert tokens(b"a a") == [3, 2]
    assert tokens(b" a") == [2]
    assert tokens("ab") == [8]  # no tokens for it after a line break: the longest there are
    assert tokens(b"\xc3") == []


def test_every_token_that_ends_is_allowed_where_the_grammar_ends_and_only_there() -> None:
    masks = begin(Constraint.regex("ab?"))
    assert allowed(masks, None) == {3, 8}
    assert allowed(masks, 3) == {END, SHOWN_END}  # no token is "b" alone


def test_thoughts_come_first_where_the_model_wants_them() -> None:
    masks = begin(Constraint.regex("a").after_thinking("<think>", "</think>"))
    assert allowed(masks, None) == {OPEN, 3}
    assert allowed(masks, OPEN) == {2, 3, 4, 5, 8, 11, 12, 13, CLOSE}
    assert CLOSE in allowed(masks, 8)
    assert allowed(masks, CLOSE) == {3, 5, 2, }  # fmt: skip
    assert allowed(masks, 5) == {2, 3, 5}
    assert allowed(masks, 3) == {END, SHOWN_END}


def test_thoughts_that_the_prompt_has_opened_must_be_closed() -> None:
    masks = begin(Constraint.regex("a").after_thinking("<think>", "</think>", opened=True))
    assert allowed(masks, None) == {2, 3, 4, 5, 8, 11, 12, 13, CLOSE}
    assert END not in allowed(masks, 3)
    assert 3 in allowed(masks, CLOSE)
    assert allowed(masks, 3) == {END, SHOWN_END}


def test_thoughts_between_spelled_tags() -> None:
    masks = begin(Constraint.regex("x").after_thinking("<", '"'))
    assert allowed(masks, None) == {12, 13}
    assert END not in allowed(masks, 12)
    assert allowed(masks, 13) >= {12, 13, 11}
    assert allowed(masks, 11) >= {13}
    assert allowed(masks, 13) == {END, SHOWN_END}


def test_no_token_ends_an_answer() -> None:
    class Endless(Core):
        def is_end_of_generation(self, token: int) -> bool:
            return False

    with pytest.raises(flyball.Unsupported, match="no"):
        Compiler(Endless()).compile(Constraint.regex("a"))


# ---------------------------------------------------------------- it fails closed


class Fake:
    """A matcher whose n-th call goes wrong in one of the ways that there are."""

    def __init__(self, how: str, after: int = 1) -> None:
        self.how, self.left, self.broken = how, after, False

    def _call(self, name: str) -> bool:
        self.left -= self.how.startswith(name)
        if self.left >= 0:
            return True
        if self.how.endswith("raises"):
            raise RuntimeError("inside")
        self.broken = not self.how.endswith("silent")
        return False

    def consume_token(self, sampled_token: int) -> bool:
        return self._call("consume")

    def unsafe_compute_mask_ptr(self, trg_pointer: int, trg_byte_size: int) -> None:
        self._call("mask")

    def is_error(self) -> bool:
        return self.broken

    def get_error(self) -> str:
        return "fuel\nexhausted"


@pytest.mark.parametrize("how", ["consume", "consume raises", "consume silent", "mask", "mask raises"])
def test_every_way_to_fail_is_an_error(how: str) -> None:
    masks = Masks(Fake(how), 10)
    masks.advance(None)
    with pytest.raises(flyball.Error, match=r"^constraint: (cannot be applied any further|does not take token)"):
        take(masks, 3)


def test_a_token_that_was_not_allowed_is_an_error() -> None:
    masks = begin(Constraint.regex("aa"))
    masks.advance(None)
    with pytest.raises(flyball.Unsupported, match="cannot be applied"):
        masks.advance(11)
