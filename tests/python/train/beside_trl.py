"""The losses of training beside TRL's own code, on the same random log-probabilities; for an environment that has TRL.

python -m tests.python.train.beside_trl
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import torch
from torch import Tensor
from trl import DPOTrainer, KTOTrainer

from flyball.train.objective import Answer, Dpo, Kto
from flyball.train.recipe import Recipe
from flyball.train.rows import Row

_PROMPT, _BETA, _CASES = 3, 0.2, 50


class Drawn:
    """Log-probabilities of each answer's tokens, drawn once, with the adapter and without."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._drawn: dict[tuple[Answer, bool], Tensor] = {}

    def logits(self, answers: Sequence[Answer], adapted: bool) -> Tensor:
        raise NotImplementedError  # of replayed rows, which TRL does not have

    def tokens(self, answers: Sequence[Answer], adapted: bool) -> list[Tensor]:
        for answer in answers:
            if (answer, adapted) not in self._drawn:
                drawn = -torch.rand(len(answer[1]), generator=self._generator, dtype=torch.float64)
                self._drawn[answer, adapted] = 3 * drawn
        return [self._drawn[answer, adapted] for answer in answers]


def batch_of(scores: Drawn, answers: Sequence[Answer]) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """TRL's inputs, the adapter's log-probabilities by place, and the base's of whole answers."""
    n = _PROMPT + max(len(answer) for _, answer in answers)
    mask, log_probs = torch.zeros(len(answers), n), torch.zeros(len(answers), n - 1, dtype=torch.float64)
    for i, (drawn, (_, answer)) in enumerate(zip(scores.tokens(answers, True), answers, strict=True)):
        mask[i, _PROMPT : _PROMPT + len(answer)] = 1
        log_probs[i, _PROMPT - 1 : _PROMPT - 1 + len(answer)] = drawn
    inputs = {
        "input_ids": torch.zeros_like(mask).long(),
        "attention_mask": torch.ones_like(mask),
        "completion_mask": mask,
    }
    return inputs, log_probs, torch.stack([each.sum() for each in scores.tokens(answers, False)])


def trainer(**settings: Any) -> Any:
    """What TRL's losses read of a trainer."""
    accelerator = MagicMock(device="cpu")
    accelerator.gather_for_metrics = lambda value: value
    common = {"accelerator": accelerator, "beta": _BETA, "precompute_ref_logps": True, "aux_loss_enabled": False}
    return MagicMock(**common, **settings)


def model_with(log_probs: Tensor) -> Any:
    """A model with these outputs."""
    zeros = torch.zeros_like(log_probs)
    return lambda **_: SimpleNamespace(log_probs=log_probs, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool())


def dpo(seed: int) -> tuple[float, float]:
    """DPO with the SFT term: ours and TRL's."""
    scores = Drawn(seed)
    rows = [Row(f"{i}", "correction", 1.0, (i, 0, 0), tuple(range(2 + i)), tuple(range(5, 9))) for i in range(4)]
    objective = Dpo(scores, Recipe(method="dpo", beta=_BETA), rows)
    objective.begin(rows)
    answers: list[Answer] = [
        (row.prompt, text) for name in ("answer", "rejected") for row in rows if (text := getattr(row, name))
    ]
    inputs, log_probs, base = batch_of(scores, answers)
    inputs["ref_chosen_logps"], inputs["ref_rejected_logps"] = base.chunk(2)
    terms = {"loss_types": ["sigmoid", "sft"], "loss_weights": [1.0, 1.0], "f_divergence_type": "reverse_kl"}
    judge = trainer(**terms, ld_alpha=None, use_weighting=False)
    return objective.part(rows).item(), DPOTrainer._compute_loss(judge, model_with(log_probs), inputs, False).item()


def kto(seed: int) -> tuple[float, float]:
    """KTO over good and bad rows: ours and TRL's. TRL pairs with the answer before, ours with the one after."""
    scores = Drawn(seed)
    texts = [tuple(range(2 + i)) for i in range(6)]
    rows = [
        Row(f"{i}", "good" if i < 2 else "bad", 1.0, (i, 0, 0), text if i < 2 else None, None if i < 2 else text)
        for i, text in enumerate(texts)
    ]
    objective = Kto(scores, Recipe(method="kto", beta=_BETA), rows)
    objective.begin(rows)
    answers: list[Answer] = [(row.prompt, text) for row, text in zip(rows, texts, strict=True)]
    shifted: list[Answer] = [(row.prompt, text) for row, text in zip(rows, [*texts[1:], texts[0]], strict=True)]
    inputs, log_probs, base = batch_of(scores, answers)
    inputs |= {"label": torch.tensor([i < 2 for i in range(6)]), "ref_logps": base}
    inputs["ref_KL_logps"] = torch.stack([each.sum() for each in scores.tokens(shifted, False)])
    judge = trainer(calculate_KL=True, loss_type="kto", desirable_weight=2.0, undesirable_weight=1.0)
    judge._compute_kl_logps = lambda *_: torch.stack([each.sum() for each in scores.tokens(shifted, True)])
    return objective.part(rows).item(), KTOTrainer._compute_loss(judge, model_with(log_probs), inputs, False).item()


def main() -> None:
    """Print the largest difference of each loss."""
    for name, compare in (("dpo with sft", dpo), ("kto", kto)):
        pairs = [compare(seed) for seed in range(_CASES)]
        apart = max(abs(ours - theirs) / abs(theirs) for ours, theirs in pairs)
        span = f"{min(pairs)[0]:.3f} to {max(pairs)[0]:.3f}"
        print(f"{name}: {_CASES} random batches, losses {span}, at most {apart:.1e} apart")


if __name__ == "__main__":
    main()
