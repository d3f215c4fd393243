"""The steps of a training run. The same machine, versions and number of threads give the same bytes, resumed or not."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import NonFinite
from .decoder import Decoder
from .lora import Lora
from .objective import OBJECTIVES, Answer
from .recipe import Recipe
from .rows import Row

_MOST_TOKENS = 2048  # padded, that are computed at once
_BETAS = (0.9, 0.99)  # a run is short: the second moment must not remember its begin


class Scores:
    """Logits and log-probabilities of answers' tokens, with the adapter or without."""

    def __init__(self, decoder: Decoder, lora: Lora) -> None:
        self._decoder = decoder
        self._lora = lora

    def logits(self, answers: Sequence[Answer], adapted: bool) -> Tensor:
        """Before each token of the answers, (tokens, n_vocab)."""
        n_fed = max(len(prompt) + len(answer) - 1 for prompt, answer in answers)
        ids = torch.zeros(len(answers), n_fed, dtype=torch.int64)
        for row, (prompt, answer) in zip(ids, answers, strict=True):
            fed = (*prompt, *answer[:-1])
            row[: len(fed)] = torch.tensor(fed)
        states = self._decoder.hidden(ids, self._lora if adapted else None)
        spans = [(len(prompt) - 1, len(prompt) + len(answer) - 1) for prompt, answer in answers]
        return self._decoder.logits(torch.cat([row[a:b] for row, (a, b) in zip(states, spans, strict=True)]))

    def tokens(self, answers: Sequence[Answer], adapted: bool) -> list[Tensor]:
        """Log-probabilities of each answer's tokens."""
        targets = torch.tensor([token for _, answer in answers for token in answer])
        scored = -F.cross_entropy(self.logits(answers, adapted), targets, reduction="none")
        return list(torch.split(scored, [len(answer) for _, answer in answers]))


class Trainer:
    """Trains `lora`; each step has `batch` rows of the examples and a third as many replayed ones.

    losses  of the steps that are done
    """

    def __init__(self, decoder: Decoder, lora: Lora, recipe: Recipe, rows: Sequence[Row]) -> None:
        self._lora = lora
        self._recipe = recipe
        learned, kept = ([row for row in rows if (row.kind == "replay") == replayed] for replayed in (False, True))
        self._streams = [(side, n) for side, n in ((learned, recipe.batch), (kept, -(-recipe.batch // 3))) if side]
        self._scores = Scores(decoder, lora)
        self._objective = OBJECTIVES[recipe.method](self._scores, recipe, rows)
        self._optimizer = torch.optim.AdamW(
            lora.parameters(), lr=recipe.rate, betas=_BETAS, weight_decay=0.0, foreach=False
        )
        self.losses: list[float] = []

    @property
    def done(self) -> bool:
        """Whether all steps are."""
        return len(self.losses) >= self._recipe.steps

    def step(self) -> float:
        """Take one step and give its loss. Raises NonFinite."""
        number = len(self.losses)
        batch = [row for rows, n in self._streams for row in _batch(rows, n, self._recipe.seed, number)]
        self._objective.begin(batch)
        self._optimizer.zero_grad()
        loss = 0.0
        for rows in _parts(batch):
            share = self._objective.part(rows)
            torch.autograd.backward(share)
            loss += share.item()
        if not math.isfinite(loss):
            raise NonFinite(f"step {number + 1}", f"has the loss {loss}; a smaller learning rate may help")
        torch.nn.utils.clip_grad_norm_(self._lora.parameters(), self._recipe.clip, foreach=False)
        for group in self._optimizer.param_groups:
            group["lr"] = self._recipe.rate_at(number)
        self._optimizer.step()
        self.losses.append(loss)
        return loss

    def loss_of(self, rows: Sequence[Row]) -> float | None:
        """Nats per token of the answers, with the adapter as it is; None without answers."""
        answers = [(row.prompt, row.answer) for row in rows if row.answer is not None]
        with torch.no_grad():
            total = sum(self._scores.tokens([answer], True)[0].sum().item() for answer in answers)
        return -total / sum(len(answer) for _, answer in answers) if answers else None

    def state(self) -> dict[str, Any]:
        """All that the next step depends on."""
        lora = {name: tensor.detach() for name, tensor in self._lora.tensors()}
        return {"lora": lora, "optimizer": self._optimizer.state_dict(), "losses": self.losses}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where state() was taken."""
        with torch.no_grad():
            for name, tensor in self._lora.tensors():
                tensor.copy_(state["lora"][name])
        self._optimizer.load_state_dict(state["optimizer"])
        self.losses = list(state["losses"])


def _batch(rows: Sequence[Row], n: int, seed: int, number: int) -> list[Row]:
    """The rows of a step: every epoch has all of them, in an order of its own; a batch may span two."""
    n = min(n, len(rows))
    places = range(number * n, (number + 1) * n)
    orders = {epoch: _order(len(rows), seed, epoch) for epoch in {place // len(rows) for place in places}}
    return [rows[orders[place // len(rows)][place % len(rows)]] for place in places]


def _order(n: int, seed: int, epoch: int) -> list[int]:
    order = list(range(n))
    random.Random(f"{seed}/{epoch}").shuffle(order)
    return order


def _parts(batch: Sequence[Row]) -> Iterator[list[Row]]:
    """The batch in parts of bounded size; rows of like length go together, as they are padded to the longest."""
    part: list[Row] = []
    for row in sorted(batch, key=lambda row: row.n_tokens):
        if part and (len(part) + 1) * row.n_tokens > _MOST_TOKENS:
            yield part
            part = []
        part.append(row)
    yield part
