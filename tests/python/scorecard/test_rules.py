"""Every check with answers that pass and answers that do not, hostile ones included."""

from __future__ import annotations

from itertools import pairwise

import pytest

from flyball.scorecard.checks import GROUPS, MOST_CHARACTERS, Check, all_checks, digest_of
from flyball.scorecard.json_rules import equals, is_number, is_text, is_texts, json_array, json_object
from flyball.scorecard.rules import (
    Rule,
    bullets,
    n_lines,
    n_paragraphs,
    n_sentences,
    n_words,
    numbered,
    parted,
    plain,
    sentences,
    whole_sentences,
    words,
)
from flyball.scorecard.text_rules import (
    contains,
    contains_one,
    ends,
    exactly,
    iso_date,
    lacks,
    lacks_words,
    last_number,
    letters,
    lower,
    no_digits,
    numbers_of,
    one_word,
    placeholders,
    shouts_only,
    starts,
    times,
    titled,
    upper,
    wrapped,
)

CHECKS = all_checks()
each_check = pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)

HOSTILE = {
    "empty": "",
    "blank": " \n\t ",
    "long": "a" * (1 << 20),
    "dots": "." * MOST_CHARACTERS,
    "dots and a letter": "." * (MOST_CHARACTERS - 1) + "x",
    "lines": "\n" * (MOST_CHARACTERS - 2) + "x",
    "blanks in lines": "x\n" + " " * (MOST_CHARACTERS - 4) + "\n",
    "brackets": "[" * MOST_CHARACTERS,
    "deep JSON": '{"a":' * 4000,
    "unbalanced JSON": '{"title": "a", "risks": ["b"',
    "large number": "9" * 10_000,
    "escape": "\x1b[2Jyes",
    "null": "\x00",
    "surrogate": "\ud800",
    "ligatures": "\ufdfa" * MOST_CHARACTERS,
    "Turkish": "İIıi",
}

# rule, answers that keep it, answers that do not
RULES: list[tuple[str, Rule, list[str], list[str]]] = [
    ("n_words", n_words(2, 3), ["a b", "it's a well-known"], ["a", "a b c d", "", "..."]),
    ("n_lines", n_lines(2, 2), ["a\nb", "a b\n\n c d "], ["a", "a\nb\nc", "a b c\nd"]),
    ("n_paragraphs", n_paragraphs(2), ["a\n\nb", "a\n \t\nb", "a\n\n\n\nb"], ["a\nb", "a\n\nb\n\nc"]),
    ("n_sentences", n_sentences(2), ["One. Two!", 'He said "no." I left.', "It is 3.5 m. Yes?!"], ["One.", "A. B", ""]),
    ("whole_sentences", whole_sentences(), ["A b. C d.", "Été. B."], ["A b. c d.", "Go on. Go on."]),
    ("bullets", bullets(2, 2), ["- a\n- b c"], ["- a", "* a\n* b", "Here:\n- a\n- b", "- \n- b", "- a b c\n- d"]),
    ("numbered", numbered(2), ["1. a\n2. b"], ["1. a\n3. b", "1) a\n2) b", "1. a"]),
    ("parted", parted(",", 3, 2), ["a, b, c"], ["a, b", "a, b,", "a, A, b", "a b c, d, e"]),
    ("contains", contains("ice", "ısı"), ["ICE ısı"], ["notice ısı", "ice"]),
    ("contains marks", contains("istanbul"), ["İstanbul", "ISTANBUL"], ["stanbul"]),
    ("contains_one", contains_one("ten", "10"), ["Ten", "it is 10."], ["often", "9", "110"]),
    ("lacks", lacks("a", "n't"), ["moon"], ["Moan", "Á", "isn’t"]),
    ("lacks_words", lacks_words("the"), ["other"], ["The other"]),
    ("times", times("garden", 2), ["Garden, garden"], ["garden", "gardens garden", "garden garden garden"]),
    ("no_digits", no_digits(), ["seven"], ["7", "٧"]),
    ("upper", upper(), ["STOP! 1", "İĞ"], ["STOp", "ı"]),
    ("lower", lower(), ["stop 1", "ı"], ["Stop", "İ"]),
    ("titled", titled(), ["The Fox"], ["The fox"]),
    ("shouts_only", shouts_only("NEVER"), ["I NEVER lie."], ["I never lie.", "I NEVER LIE."]),
    ("starts", starts("Yes,"), ["Yes, so"], ["yes, so", ""]),
    ("ends", ends("."), ["a."], ["a", ""]),
    ("wrapped", wrapped('"', '"'), ['"a b"'], ['"a', '""', '"a" "b"', 'a "b"', '"']),
    ("wrapped angles", wrapped("<<", ">>"), ["<<a>>"], ["<a>", "<<>>", "<<a>> b", "<<a>", "<<>"]),
    ("placeholders", placeholders(2), ["[a] [b c]"], ["[a]", "[] [a]", "[a] [b] [c]", "[a\nb] [c]"]),
    ("exactly", exactly("a", "b"), ["a", "b"], ["a.", "A", "", "a b"]),
    ("one_word", one_word("yes"), ["Yes.", "yes", "YES!"], ["yes sir", "no", "'yes'"]),
    ("iso_date", iso_date(2024, 2), ["2024-02-29"], ["2024-02-30", "2024-03-01", "20240229", "٢٠٢٤-02-01"]),
    ("letters", letters("GREEK"), ["άλφα, βήτα"], ["alfa", "άλφa", "12"]),
    ("last_number", last_number(1200), ["1,200", "5, then 1200.", "1200.00", "01200"], ["1200 or 5", "", "1200.5"]),
    ("numbers_of", numbers_of("in 1846, 4 rooms"), ["1846", "four", ""], ["1847", "18", "in 4 rooms of 5"]),
    (
        "json_object",
        json_object({"a": is_text, "n": is_number, "l": is_texts(1, 2), "t": equals(True)}),
        ['{"a": "x", "n": 1.5, "l": ["y"], "t": true}'],
        [
            '{"a": "x", "n": 1, "l": ["y"], "t": 1}',
            '{"a": "x", "n": true, "l": ["y"], "t": true}',
            '{"a": " ", "n": 1, "l": ["y"], "t": true}',
            '{"a": "x", "n": 1, "l": [], "t": true}',
            '{"n": 1, "a": "x", "l": ["y"], "t": true}',
            '{"a": "x", "n": NaN, "l": ["y"], "t": true}',
            '{"a": "x", "a": "x", "n": 1, "l": ["y"], "t": true}',
            '{"a": "x", "n": 1, "l": ["y"], "t": true, "more": 1}',
            '```json\n{"a": "x", "n": 1, "l": ["y"], "t": true}\n```',
            'Here: {"a": "x", "n": 1, "l": ["y"], "t": true}',
            "[]",
            "{",
        ],
    ),
    ("json_array", json_array(equals([1, 2])), ["[1, 2]"], ["[2, 1]", "[1]", '{"a": 1}', "1, 2", "[1, 2] ok"]),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "good", "bad"), [row[1:] for row in RULES], ids=[row[0] for row in RULES])
def test_a_rule_tells_answers_apart(rule: Rule, good: list[str], bad: list[str]) -> None:
    assert [text for text in good if rule(text)] == []
    assert [text for text in bad if not rule(text)] == []


def test_words_and_sentences() -> None:
    assert words("It's a well-known fact: 3 mm.") == ["It's", "a", "well-known", "fact", "3", "mm"]
    assert sentences("One... Two?! 'Three.' ") == ["One", "Two", "'Three"]
    assert plain("İıÉ’ß") == "iıe'ss"


@each_check
def test_the_example_passes_and_hostile_answers_fail(check: Check) -> None:
    assert check.judge(f"  {check.example}\r\n") == (True, "")
    for name, answer in HOSTILE.items():
        judged = check.judge(answer)
        assert not judged.passed, name
        assert judged.why.isprintable(), name
        assert len(judged.why) < 300, name


@each_check
def test_an_answer_to_another_check_fails(check: Check) -> None:
    """But for those that two checks may have in common, which are few."""
    others = [other for other in CHECKS if other.example != check.example]
    passing = [other.id for other in others if check.judge(other.example).passed]
    assert len(passing) <= 3, passing


@each_check
def test_the_example_with_more_around_it_fails(check: Check) -> None:
    """Text around it, in capitals and with a number, breaks every check but those whose form leaves room for it."""
    roomy = ("contain-4", "end", "twice", "words-most-15", "asterisks", "no-the")
    wrapped_in = f"sure! 77 here\n\n{check.example}\n\nis THERE anything else? 78"
    assert not check.judge(wrapped_in).passed or check.id.removeprefix("follow-") in roomy


def test_what_is_asked() -> None:
    n = {group: sum(check.group == group for check in CHECKS) for group in GROUPS}
    assert n == {"follow": 57, "coherent": 30, "grounded": 40}
    for name in ("id", "prompt", "seed"):
        assert len({getattr(check, name) for check in CHECKS}) == len(CHECKS)
    assert digest_of(CHECKS) == digest_of(all_checks())
    assert digest_of(CHECKS) != digest_of(CHECKS[1:])
    assert all(b.seed - a.seed >= 1000 for a, b in pairwise(CHECKS))


def test_the_sums_are_right() -> None:
    """The results once more, by hand: fixed numbers, on every machine and version of Python."""
    found = {check.id: check.prompt for check in CHECKS if check.id.startswith("coherent-sum")}
    results = {check.id: check.example.split("\n")[-1] for check in CHECKS if check.id in found}
    for name, prompt in found.items():
        a, b = (int(word) for word in prompt.strip("?").replace("What is ", "").split(" + "))
        assert str(a + b) == results[name]


def test_neither_always_refusing_nor_always_answering_is_grounded() -> None:
    grounded = [check for check in CHECKS if check.group == "grounded"]
    refused = sum(check.judge("Not in the passage.").passed for check in grounded)
    assert refused == len(grounded) / 2
    copied = sum(check.judge(check.prompt.split("\n")[0]).passed for check in grounded)
    assert copied == 0
