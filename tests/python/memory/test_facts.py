"""Facts by rules: what is one, and what only looks like one."""

from __future__ import annotations

import pytest

from flyball.memory import facts_in


@pytest.mark.parametrize(
    ("message", "facts"),
    [
        ("Benim adım Kaan", [("name", "Kaan")]),
        ("Merhaba! Benim adım Kaan ve İstanbul'da yaşıyorum.", [("name", "Kaan"), ("home", "İstanbul")]),
        ("BENİM ADIM IŞIL", [("name", "IŞIL")]),
        ("İsmim Ayşe Nur Yılmaz.", [("name", "Ayşe Nur Yılmaz")]),
        ("Ben Ankara’da oturuyorum, 34 yaşındayım.", [("home", "Ankara"), ("age", "34")]),
        ("Mesleğim öğretmen", [("work", "öğretmen")]),
        ("Doktor olarak çalışıyorum.", [("work", "Doktor")]),
        ("Hi, my name is Ada Lovelace.\nI live in New York.", [("name", "Ada Lovelace"), ("home", "New York")]),
        ("I'm 41 years old and I work as an engineer", [("age", "41"), ("work", "engineer")]),
        ("by the way, my name is Nora", [("name", "Nora")]),
        ("Benim adım Nesrin", [("name", "Nesrin")]),
    ],
)
def test_facts(message: str, facts: list[tuple[str, str]]) -> None:
    assert [(fact.slot, fact.value) for fact in facts_in(message)] == facts


@pytest.mark.parametrize(
    "message",
    [
        "Benim adım ne?", "benim adım ne", "Benim adım Kaan mı", "Benim adım Kaan değil.", "Adım adım anlat",
        "Adım atmak istiyorum", "My name is not Bob.", "What is my name?", "My name is what?", "my name is on the list",
        "He said my name is Bob", "She lives in Paris", "Onun adı Kaan", "If my name is Bob then hide", "", "?", "\0",
        "\ud800", "Benim adım " + "a" * 3000, "I am 5 minutes late", "I live in", "yaşındayım",
        "My name is Kaan?", "Kardeşim 30 yaşında", "34 yaşındayım diyor", "You live in Rome",
    ],
)  # fmt: skip
def test_no_facts(message: str) -> None:
    assert facts_in(message) == []


def test_hostile_messages_take_no_long_time() -> None:
    for message in ("a " * 1000, "benim adım " * 180, "'" * 2000, "x-" * 1000, "i live in " * 200, " " * 2000):
        facts_in(message)
