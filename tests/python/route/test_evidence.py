"""How well texts of the bundled set are read that were not seen, and that none of them was seen in disguise."""

from __future__ import annotations

import numpy as np
import pytest

from flyball.evidence.stats import share_bounds, wilson_interval
from flyball.route import words
from flyball.route.evidence import Accuracy, accuracy, by_language, calibration, curve, floor_table
from flyball.route.examples import bundled
from flyball.route.floors import CONFIDENCE, certify
from flyball.route.intents import Intents
from flyball.route.training import Training

ERROR = 0.05


def training(texts: list[str], labels: list[str]) -> Training:
    counts = words.counts(texts)
    return Training(counts, labels, words.variants(counts), by_rarity=True)


@pytest.mark.parametrize(("hits", "n"), [(0, 1), (0, 30), (7, 30), (30, 30), (663, 840)])
def test_intervals_are_wilsons(hits: int, n: int) -> None:
    from scipy.stats import binomtest

    lower, upper = wilson_interval(hits, n, 0.95)
    found = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert (lower, upper) == pytest.approx((found.low, found.high), abs=1e-12)
    assert wilson_interval(0, 0, 0.95) == (0.0, 1.0)


def test_most_of_what_was_left_out_is_right_in_both_languages(intents: Intents) -> None:
    whole, languages = accuracy(intents), by_language(intents)
    assert whole.n == len(bundled()) >= 800
    assert whole.lower > 0.78
    assert set(languages) == {"tr", "en"}
    for found in languages.values():
        assert found.n == whole.n // 2
        assert found.lower > 0.72


def test_a_floor_is_certified_for_five_percent_wrong(intents: Intents) -> None:
    """On the bundled set, by counts: at the suggested floor and at every higher one that takes enough texts."""
    suggested = intents.floors.suggested
    assert suggested is not None
    (row,) = floor_table(intents, [suggested])
    assert row.upper <= ERROR
    assert row.n_accepted > len(bundled()) / 3, "a floor that takes next to nothing is worth nothing"
    wrong = [name != label for name, p, label in said(intents) if p >= suggested]
    assert share_bounds(sum(wrong), len(wrong), CONFIDENCE)[1] == row.upper
    names = dict.fromkeys(intents.labels, suggested)
    assert certify(intents.unseen, intents.labels, names, ERROR).together.certified


def said(intents: Intents) -> list[tuple[str, float, str]]:
    return [(*next(iter(p.items())), label) for p, label in zip(intents.unseen, intents.labels, strict=True)]


def test_probabilities_mean_what_they_say(intents: Intents) -> None:
    """Calibrated out of fold: of the texts with about this probability about this share is right."""
    bins = calibration(intents)
    assert sum(each.right.n for each in bins) == len(intents.labels)
    assert sum(abs(each.said - each.right.share) * each.right.n for each in bins) / len(intents.labels) < 0.05
    for each in bins:
        assert each.low < each.said <= each.high
        assert each.right.lower - 0.05 < each.said < each.right.upper + 0.05


def test_more_examples_are_better(intents: Intents) -> None:
    found = curve(intents, (100, 400, 800, 10_000))
    assert set(found) == {100, 400, 800}
    assert found[100].upper < found[400].lower < found[400].upper < found[800].upper
    assert {each.n for each in found.values()} == {len(intents.labels)}


def test_no_text_was_seen_in_disguise(intents: Intents) -> None:
    """Translations that follow each other, and variants wherever they are, are left out together."""
    made = intents.training()
    folds = made._folds
    pairs = [
        number
        for number in range(0, len(folds), 2)
        if made.variants[number : number + 2].tolist() == [number, number + 1]
    ]
    assert len(pairs) > 300
    assert all(folds[number] == folds[number + 1] for number in pairs)
    counts = made.vectors / np.linalg.norm(made.vectors, axis=1, keepdims=True)
    alike = np.argwhere(np.triu(counts @ counts.T, 1) >= words.ALIKE)
    assert len(alike) > 40
    assert all(folds[one] == folds[other] for one, other in alike)
    sizes = np.bincount(folds)
    assert len(sizes) == 5
    assert sizes.min() > len(folds) / 8


def test_variants_that_are_learned_by_heart_are_worth_nothing() -> None:
    """Labels by chance, each text in two spellings: who leaves out one spelling alone would find them easy."""
    chance = np.random.default_rng(1)
    texts: list[str] = []
    labels: list[str] = []
    for copy in ("", "!"):
        for number in range(60):
            word = "".join(chr(97 + each) for each in np.random.default_rng(number).integers(0, 26, 30))
            texts.append(word + copy)
            labels.append("ab"[number % 2] if not copy else labels[number])
    order = chance.permutation(60)
    texts = [texts[each] for each in order] + texts[60:]
    labels = [labels[each] for each in order] + labels[60:]
    _, unseen = training(texts, labels).train()
    right = Accuracy.of([next(iter(p)) == label for p, label in zip(unseen, labels, strict=True)])
    assert right.lower < 0.5 < 0.75
    assert right.share < 0.65


def test_variants_of_a_whole_label_leave_some_to_learn_from() -> None:
    texts = [f"What is {number} + 1?" for number in range(20)] + [f"{word} {word}" for word in "abcdefghijklmnop"]
    _, unseen = training(texts, ["sum"] * 20 + ["word"] * 16).train()
    assert all(next(iter(p)) == "sum" for p in unseen[:20])


def test_random_texts_are_grouped_as_if_one_after_the_other() -> None:
    """The groups are those of a search through all links between texts."""
    for seed in range(30):
        chance = np.random.default_rng(seed)
        texts = ["".join(chance.choice(list("ab c"), 6)) for _ in range(25)]
        rows = words.counts(texts)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        unit = rows / np.where(lengths > 0, lengths, 1)
        links = unit @ unit.T >= words.ALIKE
        expected = np.arange(25)
        for start in range(25):
            reached, more = {start}, [start]
            while more:
                new = set(np.flatnonzero(links[more.pop()]).tolist()) - reached
                reached |= new
                more += new
            expected[start] = min(reached)
        assert words.variants(rows).tolist() == expected.tolist()
