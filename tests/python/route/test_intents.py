"""What texts want: learned from examples, told with what it is worth."""

from __future__ import annotations

from pathlib import Path

import pytest

import flyball
from flyball.route.examples import bundled
from flyball.route.floors import certify
from flyball.route.intents import Intents, label_scores
from flyball.route.registry import Registry, load
from flyball.route.words import counts

from .registries import short_registry

SEEDS = {
    "5+3 kaç eder": "math",
    "Osmanlı tarihi anlat": "history",
    "Fizik kanunları nedir": "science",
    "Merhaba nasılsın": "general_chat",
    "Python liste oluştur": "code_python",
}


def a_registry(folder: Path, text: str) -> Registry:
    path = folder / "routes.toml"
    path.write_text(text)
    return load(path)


def test_the_bundled_set_is_balanced() -> None:
    said = bundled()
    assert len(said) >= 800
    counts = {(each.intent, each.language): 0 for each in said}
    for each in said:
        counts[each.intent, each.language] += 1
    assert len(set(counts.values())) == 1
    assert {language for _, language in counts} == {"tr", "en"}
    assert len({each.text for each in said}) == len(said)
    assert not {each.text for each in said} & set(SEEDS)


@pytest.mark.parametrize("text", SEEDS)
def test_texts_that_it_was_not_given(intents: Intents, text: str) -> None:
    assert next(iter(intents.probabilities(text))) == SEEDS[text]


def test_case_marks_and_keyboards_make_no_difference(intents: Intents) -> None:
    assert (
        intents.probabilities("OSMANLI TARİHİ ANLAT")
        == intents.probabilities("Osmanlı tarihi anlat")
        == intents.probabilities("osmanli  tarihi anlat")
    )


def test_equal_data_give_equal_bits(tmp_path: Path) -> None:
    first, again = (Intents.learn(a_registry(tmp_path, short_registry())) for _ in range(2))
    assert again.classifier.weights.tobytes() == first.classifier.weights.tobytes()
    assert again.unseen == first.unseen


def test_corrections_are_learned_and_win_over_examples(tmp_path: Path) -> None:
    text = "Nene Hatun kimdir"
    made = a_registry(tmp_path, short_registry())
    before = Intents.learn(made)
    corrected = Intents.learn(made, [(text, "science"), (text + "?", "science"), ("gone", "no_intent")])
    assert corrected.n_corrections == 2
    assert corrected.probabilities(text)["science"] > before.probabilities(text)["science"]
    example = made.intents["math"].examples[0]
    relearned = Intents.learn(made, [(example, "history")])
    assert relearned.labels.count("math") == 11


def test_nothing_to_read(intents: Intents) -> None:
    assert intents.probabilities(" \n") == {}
    assert sum(intents.probabilities("\ud800 \x00 🜁").values()) == pytest.approx(1, abs=1e-5)
    assert counts(["", "a"]).any(axis=1).tolist() == [False, True]


def test_floors_are_certified_by_counts() -> None:
    def certified(n: int, wrong: int) -> bool:
        said = [{"a": 0.9, "b": 0.1}] * n
        labels = ["b"] * wrong + ["a"] * (n - wrong)
        return certify(said, labels, {"a": 0.8, "b": 0.8}, 0.05).of["a"].certified

    assert not certified(58, 0)
    assert certified(59, 0)
    assert not certified(59, 1)
    assert certified(93, 1)


def test_what_a_floor_does_not_take_does_not_count() -> None:
    said = [{"a": 0.9, "b": 0.1}] * 60 + [{"b": 0.55, "a": 0.45}] * 40
    labels = ["a"] * 80 + ["b"] * 20
    floors = certify(said, labels, {"a": 0.8, "b": 0.6}, 0.05)
    assert (floors.of["b"].n_accepted, floors.of["b"].certified) == (0, False)
    assert (floors.together.n_accepted, floors.together.n_wrong, floors.together.certified) == (60, 0, True)
    assert floors.suggested == 0.56  # 60 without a mistake; with the others 20 more texts are wrong


def test_floors_are_suggested_from_the_highest_down() -> None:
    """Until the first that fails, so that none is found by trying many."""

    def suggested(*groups: tuple[float, int, int]) -> float | None:
        """Of groups of texts with one probability: how many, and how many of them are wrong."""
        rows = [
            ({"a": p, "b": 1 - p}, wrong)
            for p, n, n_wrong in groups
            for wrong in [True] * n_wrong + [False] * (n - n_wrong)
        ]
        return certify([p for p, _ in rows], ["b" if wrong else "a" for _, wrong in rows], {"a": 0.5}, 0.05).suggested

    assert suggested((0.9, 58, 0)) is None
    assert suggested((0.9, 59, 0)) == 0.05
    assert suggested((0.95, 30, 0), (0.9, 30, 0)) == 0.05
    assert suggested((0.95, 60, 5), (0.9, 1000, 0)) is None
    assert suggested((0.95, 60, 0), (0.9, 60, 30), (0.8, 10_000, 0)) == 0.91


def few(by: str, names: tuple[str, ...] = ("story", "sum")) -> str:
    texts = {
        "story": [
            "the fox ran home",
            "a bird sang all day",
            "the cat met a dog",
            "once there was a rabbit",
            "the sun rose",
        ],
        "sum": ["2 + 3", "4 + 5", "9 - 1", "7 + 7", "8 - 6"],
    }
    rows = "".join(f'[intents.{name}]\nmodels = ["m"]\nexamples = {texts[name]!r}\n' for name in names)
    return f'fallback = "story"\nby = "{by}"\njudge = "m"\n{rows}'


@pytest.mark.parametrize("by", ["labels", "embedding"])
def test_with_a_model(tmp_path: Path, demo: flyball.Model, by: str) -> None:
    intents = Intents.learn(a_registry(tmp_path, few(by)), judge=demo)
    assert sum(next(iter(p)) == label for p, label in zip(intents.unseen, intents.labels, strict=True)) >= 7
    again = Intents.learn(a_registry(tmp_path, few(by)), judge=demo)
    assert again.probabilities("6 + 2") == intents.probabilities("6 + 2")


def test_scores_of_labels_are_the_models_own(demo: flyball.Model) -> None:
    scores = label_scores(demo, ("story", "sum"), ["2 + 3"])[0]
    assert scores.sum() == pytest.approx(0)

    def likely(text: str, label: str) -> float:
        prompt, ending = demo.tokenize(f"Text: {text}\nTopic:"), demo.tokenize(f" {label}", add_special=False)
        return demo.score([*prompt, *ending]).total - demo.score(prompt).total

    gains = [likely("2 + 3", label) - likely("", label) for label in ("story", "sum")]
    assert scores[0] - scores[1] == pytest.approx(gains[0] - gains[1], abs=1e-4)
