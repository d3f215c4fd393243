"""The card as a file, as text, and beside another one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import flyball
from flyball.scorecard.card import Answered, Card, Timed
from flyball.scorecard.difference import difference
from flyball.scorecard.subjects import About
from flyball.scorecard.text import as_markdown, as_text

GROUPS = ("follow", "coherent", "grounded")


def make(
    right: tuple[int, int, int] = (30, 30, 30),
    latency_s: float = 0.2,
    tokens_s: float = 50.0,
    n: int = 30,
    seeds: int = 3,
    **more: Any,
) -> Card:
    """A card with so many checks right in each group, of n."""
    answers = [
        Answered(f"{group}-{i}", group, seed, "" if i < good else "is empty", "text", 5, f"{i + seed:064x}")
        for group, good in zip(GROUPS, right, strict=True)
        for i in range(n)
        for seed in range(seeds)
    ]
    timed = [Timed("cold", 1.0, 2.0, 3, None), *[Timed("warm", 0.1, 0.2, 3, None)] * 3]
    timed += [Timed("real", latency_s, 1.0, 60, None)] * 3 + [Timed("long", 0.1, 100 / tokens_s, 100, None)] * 3
    card = Card("0.1.0", "ab" * 32, seeds, About("small one", "Q4_K", 10**9), "cpu, 2 processors", tuple(timed),
                tuple(answers), 123_000_000, 187.5)  # fmt: skip
    return replace(card, **more)


def test_a_file_has_all_of_a_card(tmp_path: Path) -> None:
    card = make((30, 20, 2))
    path = card.save(tmp_path / "card.json")
    assert Card.load(path) == card
    stored = json.loads(path.read_text())
    assert (stored["schema"], stored["kind"], stored["verdict"]["size"]) == (1, "scorecard", "undecided")
    assert stored["verdict"]["groups"]["grounded"]["passed"] == 2
    unknown = replace(
        make(), peak_bytes=None, processor_percent=None, hardware="", subject=About("x", place="http://h/v1")
    )
    assert Card.load(unknown.save(path)) == unknown


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": 2}, "schema is 2"),
        ({"kind": "results"}, "must be scorecard"),
        ({"checks": "zz"}, "is no SHA-256"),
        ({"checks": None}, "is null"),
        ({"n_seeds": 0}, "must be from 1"),
        ({"n_seeds": 2}, "must have 2 of each check"),
        ({"answers": []}, "keep small"),
        ({"answers": 3}, "must be an array"),
        ({"timed": [{"kind": "hot"}]}, "must be one of: cold"),
        ({"timed": [{"kind": "warm", "first_s": -1}]}, "must not be negative"),
        ({"verdict": {"size": "need bigger"}}, "but the answers give 'keep small'"),
        ({"peak_bytes": "much"}, "must be a whole number"),
        ({"subject": {}}, "name is missing"),
    ],
)
def test_a_file_that_does_not_hold_together_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = tmp_path / "card.json"
    path.write_text(json.dumps(make().as_dict() | change))
    with pytest.raises(flyball.FormatError, match=said):
        Card.load(path)


def test_an_answer_that_was_made_right_later_does_not_fit_the_verdict(tmp_path: Path) -> None:
    stored = make((2, 2, 2)).as_dict()
    for answer in stored["answers"]:
        answer["why"] = ""
    (tmp_path / "card.json").write_text(json.dumps(stored))
    with pytest.raises(flyball.FormatError, match="verdict is 'need bigger'"):
        Card.load(tmp_path / "card.json")


def test_a_check_passes_with_more_than_half_of_its_seeds() -> None:
    card = make()
    first = [replace(answer, why="no") if answer.seed == 0 else answer for answer in card.answers]
    assert replace(card, answers=tuple(first)).shares["follow"].passed == 30
    two = [replace(answer, why="no") if answer.seed < 2 else answer for answer in card.answers]
    assert replace(card, answers=tuple(two)).shares["follow"].passed == 0


def test_tokens_are_counted_or_the_rate_is_not_known() -> None:
    assert make(tokens_s=40).tokens_s == pytest.approx((40, 40, 40))
    card = make()
    unknown = [replace(timed, tokens=None) if timed.kind == "long" else timed for timed in card.timed]
    assert replace(card, timed=tuple(unknown)).tokens_s == ()
    short = [replace(timed, tokens=3) if timed.kind == "long" else timed for timed in card.timed]
    assert replace(card, timed=tuple(short)).tokens_s == ()
    assert replace(card, timed=tuple(short)).decision.size == "undecided"


def test_the_text_has_the_form_to_copy() -> None:
    text = as_text(make())
    assert text.startswith(
        "Model: small one  Quant: Q4_K  Hardware: cpu, 2 processors\n"
        "Warm start latency (s): 0.2  Real prompt latency (s): 0.2 to the first token, 1 in all  tok/s: 50\n"
        "Peak RSS (MB): 123  CPU avg %: 188\n"
        "Quality (90 checks, 3 seeds): follow 30/30  coherent 30/30  no-hallucination 30/30\n"
        "Verdict: keep small\n"
    )
    assert "270 of 280 answers have a receipt" in text
    empty = as_text(replace(make(seeds=1), timed=(), hardware="", peak_bytes=None, processor_percent=None))
    assert "Hardware: -\nWarm start latency (s): -  Real prompt latency (s): - to" in empty
    assert "1 seed)" in empty


def test_a_name_gives_neither_commands_nor_markup() -> None:
    card = replace(make(), subject=About("\x1b[2J|<b>\n`x`", note="a\nb"))
    assert "\x1b" not in as_text(card)
    assert "Model:  [2J|<b> `x`  Quant: -" in as_text(card)
    assert r"| model |  \[2J\|\<b\> \`x\` |" in as_markdown(card)
    assert "## Scorecard: keep small" in as_markdown(card)


def test_a_difference_is_what_goes_beyond_the_intervals() -> None:
    found = difference(make((30, 20, 25)), make((30, 2, 26), latency_s=0.5, tokens_s=80.0))
    changed = {change.name: change.direction for change in found.changes}
    assert changed == {
        "verdict": "",  # the first one is undecided
        "follow": "",
        "coherent": "worse",
        "grounded": "",
        "latency s": "worse",
        "tok/s": "better",
        "peak MB": "",
    }
    assert found.worse
    assert found.gained == ("grounded-25",)
    assert len(found.lost) == 18
    assert (found.n_equal, found.n_both) == (270, 270)
    assert not difference(make(), make()).worse


def test_verdicts_and_machines_are_compared_where_they_can_be() -> None:
    good, bad = make(), make((1, 1, 1))
    assert difference(good, bad).changes[0].direction == "worse"
    assert difference(bad, good).changes[0].direction == "better"
    elsewhere = make(latency_s=1.5, hardware="another")
    assert {change.direction for change in difference(good, elsewhere).changes} == {""}


def test_a_check_that_vanished_is_worse_and_others_are_not_compared() -> None:
    more, fewer = make(), make((29, 29, 29), n=29, checks="cd" * 32)
    found = difference(more, fewer)
    assert found.vanished == ("coherent-29", "follow-29", "grounded-29")
    assert found.worse
    back = difference(fewer, more)
    assert back.added == found.vanished
    assert not back.worse
    assert difference(make(), make((1, 1, 1), checks="cd" * 32)).changes[1].direction == ""
