"""Texts that are nearly the same."""

from __future__ import annotations

import random

import pytest

from flyball.folding import fold
from flyball.learn.families import family_of
from flyball.learn.similar import jaccard, near_between, near_pairs, shingles
from flyball.store.question import as_json

LONG = "Please explain in one short sentence why the sky looks blue on a clear day in the summer."


@pytest.mark.parametrize(
    ("a", "b"),
    [("IŞIK", "ışık"), ("İstanbul", "istanbul"), ("Işık", "isik"), ("Straße", "STRASSE"), (" a\n b ", "A B")],
)
def test_folding(a: str, b: str) -> None:
    assert fold(a) == fold(b)


def test_near_texts_are_found() -> None:
    texts = [
        LONG,
        "Something else.",
        LONG.upper() + "!",
        LONG.replace("short ", ""),
        "What is 12 - 3?",
        "What is 12 - 4?",
    ]
    assert [(i, j) for i, j, _ in near_pairs(texts)] == [(0, 2), (0, 3), (2, 3)]
    word_problem = "Mia has {} apples and gives {} of them to her brother. How many apples are left for Mia?"
    assert list(near_pairs([word_problem.format(9, 4), word_problem.format(8, 4)])) == []
    assert near_between([LONG + "?", "other"], ["none", LONG]) == {0: 1}


def test_similarity_is_of_sets() -> None:
    assert jaccard(shingles("abcdef"), shingles("ABCDEF")) == 1
    assert jaccard(shingles("abcdefgh"), shingles("12345678")) == 0
    assert len(shingles("")) == len(shingles("a")) == 1
    assert jaccard(shingles("\ud800 \0"), shingles("\ud800 \0")) == 1


def test_every_near_pair_of_many_is_found() -> None:
    rng = random.Random(1)
    words = [
        "ball",
        "arm",
        "sleeve",
        "governor",
        "steam",
        "engine",
        "valve",
        "speed",
        "measure",
        "turn",
        "watt",
        "mill",
    ]
    texts = [" ".join(rng.choices(words, k=14)) for _ in range(150)]
    texts += [text.replace(" ", "  ", 1) + "." for text in texts[:50]]
    sets = [shingles(text) for text in texts]
    wanted = [(i, j) for i in range(200) for j in range(i + 1, 200) if jaccard(sets[i], sets[j]) >= 0.8]
    assert [(i, j) for i, j, _ in near_pairs(texts)] == wanted
    assert len(wanted) >= 50


def test_families_are_shapes() -> None:
    same = ["What is 45 - 17?", "what is 3 - 1", [{"role": "user", "content": "WHAT IS 1,000 - 2.5?"}]]
    assert {family_of(as_json(each)) for each in same} == {"what is # - #"}  # type: ignore[arg-type]
    assert family_of(as_json('Translate "kedi" now.')) == family_of(as_json('Translate "a dog" now'))
    assert family_of(as_json("2 + 2"), "sums") == "sums"
