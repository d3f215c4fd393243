"""What a step makes smaller: the losses of a batch, computed in parts that fit in memory.

Each loss is a sum over rows, given numbers of the whole batch: begin() takes the batch, part() gives the share of some
of its rows. Under all methods replayed rows, which are answers of the base, keep the base's distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from ..errors import InvalidArgument
from . import losses
from .recipe import Recipe
from .rows import Row

Answer = tuple[tuple[int, ...], tuple[int, ...]]  # a prompt and what follows it
_RATE_OF_BAD = 1e-5


class Scorer(Protocol):
    """The forward pass over answers."""

    def logits(self, answers: Sequence[Answer], adapted: bool) -> Tensor:
        """Before each token of the answers, (tokens, n_vocab)."""

    def tokens(self, answers: Sequence[Answer], adapted: bool) -> list[Tensor]:
        """Log-probabilities of each answer's tokens."""


class Sft:
    """Learn the answers."""

    def __init__(self, scorer: Scorer, recipe: Recipe, rows: Sequence[Row]) -> None:
        self._scorer = scorer
        self._recipe = recipe
        self._n_learned = 0.0
        self._n_kept = 0.0

    def begin(self, rows: Sequence[Row]) -> None:
        """Take a batch."""
        self._n_learned, self._n_kept = (
            sum(weight * len(answer) for (_, answer), weight in side) for side in (self._learned(rows), _kept(rows))
        )

    def part(self, rows: Sequence[Row]) -> Tensor:
        """The loss of some rows of the batch, with its gradient."""
        total = torch.zeros(())
        if learned := self._learned(rows):
            scored = self._scorer.tokens([answer for answer, _ in learned], True)
            total = total + losses.sft(scored, [weight for _, weight in learned]) / self._n_learned
        if kept := _kept(rows):
            answers = [answer for answer, _ in kept]
            with torch.no_grad():
                base = self._scorer.logits(answers, False)
            drift = losses.drift(self._scorer.logits(answers, True), base)
            weights = torch.tensor([weight for (_, tokens), weight in kept for _ in tokens])
            total = total + self._recipe.keep * (weights * drift).sum() / self._n_kept
        return total

    def _learned(self, rows: Sequence[Row]) -> list[tuple[Answer, float]]:
        """The answers to learn, with their weights."""
        return [
            ((row.prompt, row.answer), row.weight) for row in rows if row.answer is not None and row.kind != "replay"
        ]


class Dpo(Sft):
    """Prefer answers to the rejected ones, and learn them: preference alone lowers both where they are alike."""

    def __init__(self, scorer: Scorer, recipe: Recipe, rows: Sequence[Row]) -> None:
        super().__init__(scorer, recipe, rows)
        self._base: dict[Answer, Tensor] = {}
        self._n_pairs = 0.0

    def begin(self, rows: Sequence[Row]) -> None:
        """Take a batch."""
        super().begin(rows)
        self._n_pairs = sum(weight for _, _, weight in _pairs(rows))

    def part(self, rows: Sequence[Row]) -> Tensor:
        """The loss of some rows of the batch, with its gradient."""
        total = super().part(rows)
        if pairs := _pairs(rows):
            answers, rejected, weights = zip(*pairs, strict=True)
            gains = (self.sums(answers, True), self.sums(rejected, True))
            each = losses.dpo(*gains, self.sums(answers, False), self.sums(rejected, False), self._recipe.beta)
            total = total + (torch.tensor(weights) * each).sum() / self._n_pairs
        return total

    def sums(self, answers: Sequence[Answer], adapted: bool) -> Tensor:
        """Log-probabilities of whole answers, (n,); the base's are computed once, each alone, so that their bits do not
        depend on the batch that asked first."""
        if adapted:
            return torch.stack([each.sum() for each in self._scorer.tokens(answers, True)])
        for answer in answers:
            if answer not in self._base:
                with torch.no_grad():
                    self._base[answer] = self._scorer.tokens([answer], False)[0].sum()
        return torch.stack([self._base[answer] for answer in answers])


class Kto(Dpo):
    """Make good answers likelier and bad ones less likely than the base has them, each by itself."""

    def __init__(self, scorer: Scorer, recipe: Recipe, rows: Sequence[Row]) -> None:
        super().__init__(scorer, recipe, rows)
        judged = _judged(rows)
        n_good = sum(good for _, good, _ in judged)
        if not n_good and recipe.rate > _RATE_OF_BAD:
            what = (
                f"is {recipe.rate:g}; with bad answers alone, which do not say what is right, at most {_RATE_OF_BAD:g}"
            )
            raise InvalidArgument("rate", what)
        self._weight_of = losses.kto_weights(n_good, len(judged) - n_good)
        self._moved = torch.zeros(())
        self._n_judged = 0

    def begin(self, rows: Sequence[Row]) -> None:
        """Take a batch of at least two rows."""
        super().begin(rows)
        judged = _judged(rows)
        self._n_judged = len(judged)
        texts = {prompt: answer for (prompt, answer), _, _ in judged}  # one of each question
        others = [*list(texts.values())[1:], *list(texts.values())[:1]]
        mismatched = list(zip(texts, others, strict=True))
        with torch.no_grad():
            base = torch.stack([each.sum() for each in self._scorer.tokens(mismatched, False)])
            self._moved = losses.kto_moved(self.sums(mismatched, True), base)

    def part(self, rows: Sequence[Row]) -> Tensor:
        """The loss of some rows of the batch, with its gradient."""
        total = Sft.part(self, rows)
        if judged := _judged(rows):
            answers, good, weights = zip(*judged, strict=True)
            scored, base = self.sums(answers, True), self.sums(answers, False)
            each = losses.kto(scored, base, torch.tensor(good), self._moved, self._recipe.beta)
            factors = [weight * self._weight_of[0 if good else 1] for good, weight in zip(good, weights, strict=True)]
            total = total + (torch.tensor(factors) * each).sum() / self._n_judged
        return total

    def _learned(self, rows: Sequence[Row]) -> list[tuple[Answer, float]]:
        return []


OBJECTIVES: dict[str, type[Sft]] = {"sft": Sft, "dpo": Dpo, "kto": Kto}


def _kept(rows: Sequence[Row]) -> list[tuple[Answer, float]]:
    """Replayed answers, with their weights."""
    return [((row.prompt, row.answer), row.weight) for row in rows if row.answer is not None and row.kind == "replay"]


def _pairs(rows: Sequence[Row]) -> list[tuple[Answer, Answer, float]]:
    """The right and the wrong answer where a row has both, and its weight."""
    return [
        ((row.prompt, row.answer), (row.prompt, row.rejected), row.weight)
        for row in rows
        if row.answer is not None and row.rejected is not None and row.kind != "replay"
    ]


def _judged(rows: Sequence[Row]) -> list[tuple[Answer, bool, float]]:
    """Answers that somebody judged, whether they are good, and their row's weight."""
    return [
        ((row.prompt, text), good, row.weight)
        for row in rows
        if row.kind != "replay"
        for text, good in ((row.answer, True), (row.rejected, False))
        if text is not None
    ]
