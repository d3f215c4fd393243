"""Whole runs: a perfect answerer, the bundled model, a random one; receipts; a prompt that does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

import flyball
from flyball.engine.receipt import Receipt
from flyball.scorecard.card import Card
from flyball.scorecard.checks import all_checks
from flyball.scorecard.run import run
from flyball.scorecard.subjects import Answer, LocalModel, Scripted, Usage
from flyball.scorecard.text import as_text
from tests.python.conftest import ModelFile

from .conftest import Ticking

CHECKS = all_checks()
FEW = CHECKS[::16]
PERFECT = {check.prompt: check.example for check in CHECKS}


def fast(model: flyball.Model) -> LocalModel:
    """With a clock of its own, so that no verdict is of this machine's speed."""
    return LocalModel(model, Ticking(0.001))


def test_a_perfect_answerer_is_kept() -> None:
    card = run(Scripted(PERFECT), CHECKS, 3, "0.1.0")
    assert card.decision.size == "keep small"
    assert [share.passed - share.n for share in card.shares.values()] == [0, 0, 0]
    assert len(card.answers) == 3 * len(CHECKS)
    assert "Verdict: keep small" in as_text(card)


@pytest.mark.parametrize(
    ("subject", "size"),
    [
        (Scripted(PERFECT, first_s=2.5), "try 3-8B"),
        (Scripted(PERFECT, tokens_s=19.0), "try 3-8B"),
        (Scripted({}), "need bigger"),
        (Scripted(dict.fromkeys(PERFECT, "I do not know.")), "need bigger"),
        (Scripted({check.prompt: check.example for check in CHECKS if check.group == "follow"}), "try 3-8B"),
        (Scripted({check.prompt: check.example for check in CHECKS if check.group != "grounded"}), "keep small"),
        (Scripted(PERFECT, tokens=3), "undecided"),
    ],
)
def test_what_other_answerers_get(subject: Scripted, size: str) -> None:
    assert run(subject, CHECKS, 1, "0.1.0").decision.size == size


def test_the_bundled_model_needs_a_bigger_one_and_its_card_is_stable(demo: flyball.Model, tmp_path: Path) -> None:
    first = run(fast(demo), CHECKS, 1, "0.1.0")
    assert first.decision.size == "need bigger"
    assert first.shares["coherent"].passed >= 1  # it was trained on sums
    with flyball.Model.load(flyball.demo_model_path(), threads=1) as other:
        again = run(fast(other), CHECKS[::6], 1, "0.1.0")
    answers = {answer.check: answer for answer in first.answers}
    assert [answers[answer.check] for answer in again.answers] == list(again.answers)
    assert [timed.digest for timed in again.timed] == [timed.digest for timed in first.timed]
    assert first.subject.fingerprint == demo.info.fingerprint
    assert first.peak_bytes
    assert Card.load(first.save(tmp_path / "card.json")) == first


def test_a_random_model_needs_a_bigger_one(model_file: ModelFile) -> None:
    with flyball.Model.load(model_file()) as model:
        card = run(fast(model), CHECKS, 1, "0.1.0")
    assert card.decision.size == "need bigger"
    assert all(share.passed == 0 for share in card.shares.values())
    assert "no chat template" in as_text(card)


def test_every_answer_is_traced_to_a_receipt_that_verifies(demo: flyball.Model) -> None:
    kept: dict[str, Receipt] = {}
    card = run(fast(demo), FEW, 2, "0.1.0", keep=kept.__setitem__)
    assert len(kept) == len(card.answers) + len(card.timed)
    assert all(flyball.verify(receipt, model=demo) for receipt in kept.values())
    assert {answer.digest for answer in card.answers} <= {receipt.digest for receipt in kept.values()}
    assert {timed.digest for timed in card.timed} <= {receipt.digest for receipt in kept.values()}
    for answer in card.answers:
        receipt = kept[f"{answer.check}-{answer.seed}"]
        assert (receipt.digest, receipt["text"]) == (answer.digest, answer.text)


def test_a_prompt_that_does_not_fit_has_failed(model_file: ModelFile) -> None:
    with flyball.Model.load(model_file(), context=64) as model:
        card = run(fast(model), FEW, 1, "0.1.0")
    assert {answer.passed for answer in card.answers} == {False}
    assert any("context" in answer.why for answer in card.answers)
    assert card.latency_s == ()


class Odd(Scripted):
    """Sends what cannot be stored as it is, and uses a processor and a half."""

    def __init__(self, clock: Ticking) -> None:
        super().__init__({})
        self._clock, self._used = clock, 0.0

    def answer(self, prompt: str, seed: int, max_tokens: int) -> Answer:
        """Half a surrogate and a megabyte."""
        return Answer("\ud800" + "a" * (1 << 20), 5, 0.1, 0.2)

    def usage(self) -> Usage:
        """Grows by 1.5 seconds with each second."""
        used, self._used = self._used, self._used + 1.5
        return Usage(7_000_000, used)


def test_odd_answers_are_stored_and_the_processor_is_averaged(tmp_path: Path) -> None:
    clock = Ticking(1.0)
    card = run(Odd(clock), CHECKS[:1], 1, "0.1.0", clock=clock)
    assert Card.load(card.save(tmp_path / "card.json")) == card
    assert len(card.answers[0].text) < 30_000
    assert card.peak_bytes == 7_000_000
    assert card.processor_percent == pytest.approx(300)  # two looks in one second


def test_progress_is_shown_to_the_end() -> None:
    seen: list[tuple[str, int, int]] = []
    run(Scripted(PERFECT), FEW, 2, "0.1.0", lambda *step: seen.append(step))
    assert seen[-1] == ("checks", 2 * len(FEW), 2 * len(FEW))
    assert ("timing", 0, 10) in seen
