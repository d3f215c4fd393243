"""Losses against small cases worked out by hand, and what the methods demand of their data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch

from flyball.errors import InvalidArgument
from flyball.train import losses
from flyball.train.objective import Answer, Dpo, Kto, Sft
from flyball.train.recipe import Recipe
from flyball.train.rows import Row


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


class Fixed:
    """Log-probabilities of tokens by the answer: with the adapter each token has `step` more."""

    def __init__(self, step: float = 0.5) -> None:
        self.step = step

    def logits(self, answers: Sequence[Answer], adapted: bool) -> torch.Tensor:
        rows = [[float(token), self.step * adapted] for _, answer in answers for token in answer]
        return torch.tensor(rows, requires_grad=adapted)

    def tokens(self, answers: Sequence[Answer], adapted: bool) -> list[torch.Tensor]:
        return [torch.tensor([-float(t) + self.step * adapted for t in answer], requires_grad=adapted)
                for _, answer in answers]  # fmt: skip


def row(name: str, answer: tuple[int, ...] | None, rejected: tuple[int, ...] | None = None, kind: str = "correction",
        weight: float = 1.0) -> Row:  # fmt: skip
    return Row(name, kind, weight, (hash(name) % 1000,), answer, rejected)


def test_sft_is_the_mean_over_tokens_by_weight() -> None:
    rows = [row("a", (1, 2)), row("b", (4,), weight=3.0)]
    objective = Sft(Fixed(0.0), Recipe(), rows)
    objective.begin(rows)
    whole = objective.part(rows).item()
    assert whole == pytest.approx((1 * (1 + 2) + 3 * 4) / (1 * 2 + 3 * 1))
    assert objective.part(rows[:1]).item() + objective.part(rows[1:]).item() == pytest.approx(whole)


def test_replayed_answers_keep_the_bases_distribution() -> None:
    rows = [row("a", (1, 2), kind="replay"), row("b", (1,), kind="replay", weight=2.0)]
    objective = Sft(Fixed(0.5), Recipe(keep=3.0), rows)
    objective.begin(rows)

    def divergence(token: float) -> float:  # of two tokens, whose logits are (token, 0) and (token, 0.5)
        p, q = sigmoid(token), sigmoid(token - 0.5)
        return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))

    expected = 3 * (divergence(1) + divergence(2) + 2 * divergence(1)) / 4
    assert objective.part(rows).item() == pytest.approx(expected, rel=1e-5)
    still = Sft(Fixed(0.0), Recipe(), rows)
    still.begin(rows)
    assert still.part(rows).item() == 0


def test_dpo_is_the_published_loss_beside_sfts() -> None:
    rows = [row("a", (1, 2), (5,)), row("b", (3,))]  # b is no pair: it is learned alone
    objective = Dpo(Fixed(0.5), Recipe(method="dpo", beta=0.2), rows)
    objective.begin(rows)
    chosen, rejected = 2 * 0.5, 0.5  # gains over the base: half a nat for each token
    sft = ((1 + 2 - 2 * 0.5) + (3 - 0.5)) / 3
    assert objective.part(rows).item() == pytest.approx(sft - math.log(sigmoid(0.2 * (chosen - rejected))))


def test_kto_is_the_published_loss_with_balanced_sides() -> None:
    rows = [row("a", (1, 2)), row("b", (2,), kind="good"), row("c", None, (3,), kind="bad")]
    objective = Kto(Fixed(0.5), Recipe(method="kto", beta=0.2), rows)
    objective.begin(rows)
    moved = (0.5 + 0.5 + 2 * 0.5) / 3  # answers to other questions: of 1, 1 and 2 tokens
    good = [1 - sigmoid(0.2 * (gain - moved)) for gain in (1.0, 0.5)]
    bad = 1 - sigmoid(-0.2 * (0.5 - moved))
    assert objective.part(rows).item() == pytest.approx((sum(good) + 2 * bad) / 3, rel=1e-5)


@pytest.mark.parametrize(("n_good", "n_bad"), [(1, 1), (30, 3), (2, 31)])
def test_sides_of_kto_weigh_alike(n_good: int, n_bad: int) -> None:
    good, bad = losses.kto_weights(n_good, n_bad)
    assert 1 <= good * n_good / (bad * n_bad) <= 4 / 3
    assert min(good, bad) == 1


def test_kto_refuses_what_it_cannot_learn_from() -> None:
    with pytest.raises(InvalidArgument, match="good answers alone; use sft"):
        Kto(Fixed(), Recipe(method="kto"), [row("a", (1,))])
    bad = [row("a", None, (1,), kind="bad")]
    with pytest.raises(InvalidArgument, match="with bad answers alone"):
        Kto(Fixed(), Recipe(method="kto"), bad)
    Kto(Fixed(), Recipe(method="kto", rate=1e-6), bad)
    with pytest.raises(InvalidArgument, match="batch: is 1; kto needs 2"):
        Recipe(method="kto", batch=1)


@pytest.mark.parametrize(
    ("field", "value"),
    [("rank", 0), ("steps", 0), ("batch", -1), ("rate", 0.0), ("rate", math.nan), ("alpha", math.inf), ("seed", -1),
     ("beta", 0.0), ("longest", 1), ("replay", -1), ("method", "ppo"), ("rank", True)],
)  # fmt: skip
def test_a_recipe_is_checked(field: str, value: object) -> None:
    with pytest.raises(InvalidArgument, match=field):
        Recipe(**{field: value})  # type: ignore[arg-type]


def test_the_rate_rises_and_falls() -> None:
    recipe = Recipe(rate=1.0, steps=20)
    rates = [recipe.rate_at(step) for step in range(20)]
    assert rates[:3] == pytest.approx([0.5, 1.0, 1.0])
    assert all(a > b for a, b in pairwise(rates[2:]))
    assert 0.1 < rates[-1] < 0.16
    assert Recipe(rate=1.0, steps=1).rate_at(0) == 1.0
