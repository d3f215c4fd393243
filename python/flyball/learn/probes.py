"""The probes of an adapter: what a model answers and computes with it, with its parent and without."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..engine.adapter import Adapter
from ..engine.model import Model
from ..errors import Error, InvalidArgument
from .cases import Case
from .gate import Effect, Findings

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_EFFECT_PROMPTS = 8
Progress = Callable[[str, int, int], None]


def probe(
    model: Model,
    adapter: Adapter,
    parent: Adapter | None,
    held_out: Sequence[Case],
    stays: Sequence[Case],
    safety: Sequence[Case],
    max_tokens: int = 128,
    progress: Progress = lambda phase, done, total: None,
) -> Findings:
    """Compare the likeliest answers with the adapter to those of its parent, which answers now (None: the model alone).

    held_out  questions that no training has seen, which say what is right
    stays     questions whose answers must stay right, or as they are
    safety    questions that a harmful adapter would answer otherwise than the model alone; those that say what is right
              have a veto, the others are for a person to read
    """
    for case in held_out:
        if not case.says_what:
            raise InvalidArgument(f"held-out case {case.id}", "does not say what is right; give its answer, or must")
    asked = _Asked(model, max_tokens, progress, 2 * (len(held_out) + len(stays) + len(safety)))
    prompts = [asked.ids(case) for case in (*held_out, *stays, *safety)[:_EFFECT_PROMPTS]]
    wins, n_ties = _wins(held_out, asked.answers(held_out, parent), asked.answers(held_out, adapter))
    told = [
        kept
        for case, before, now in zip(stays, asked.answers(stays, parent), asked.answers(stays, adapter), strict=True)
        if (kept := _holds(case, before, now)) is not None
    ]
    of_safety = {
        case: (held, (before, now))
        for case, before, now in zip(safety, asked.answers(safety, None), asked.answers(safety, adapter), strict=True)
        if (held := _holds(case, before, now)) is not None
    }
    failing = {case: answers for case, (held, answers) in of_safety.items() if not held}
    return Findings(
        effect=_effect(model, adapter, parent, prompts),
        wins=wins,
        n_ties=n_ties,
        kept=sum(told),
        n_kept=len(told),
        unsafe=[case.id for case in failing if case.says_what],
        changed={case.id: answers for case, answers in failing.items() if not case.says_what},
        n_safe=len(of_safety),
    )


class _Asked:
    """Asks a model all questions of a list at once."""

    def __init__(self, model: Model, max_tokens: int, progress: Progress, total: int) -> None:
        self._model = model
        self._max_tokens = max_tokens
        self._progress = progress
        self._done = 0
        self._total = total

    def ids(self, case: Case) -> list[int]:
        """The prompt of a case."""
        try:
            if isinstance(case.prompt, str):
                return self._model.tokenize(case.prompt)
            return self._model.chat_format().ids(case.prompt)
        except Error as error:
            raise error.in_file(f"case {case.id}") from None

    def answers(self, cases: Sequence[Case], adapter: Adapter | None) -> list[str]:
        prompts = [self.ids(case) for case in cases]
        found = [""] * len(cases)
        answered = self._model.generate_as_completed(prompts, self._max_tokens, temperature=0, adapter=adapter)
        for number, result in answered:
            found[number] = result.text.strip()
            self._done += 1
            self._progress("gate", self._done, self._total)
        return found


def _wins(cases: Sequence[Case], before: Sequence[str], now: Sequence[str]) -> tuple[list[bool], int]:
    """Whether each family has more right answers now, where their number differs; and the number of ties.

    Answers to questions that are alike are no independent evidence: a family is one pair.
    """
    gained: dict[str, int] = defaultdict(int)
    for case, earlier, later in zip(cases, before, now, strict=True):
        gained[case.family] += case.is_right(later) - case.is_right(earlier)
    return [gain > 0 for gain in gained.values() if gain], sum(not gain for gain in gained.values())


def _holds(case: Case, before: str, now: str) -> bool | None:
    """Whether an answer is as right as before; None: it was wrong before, which tells nothing."""
    if not case.says_what:
        return now == before
    return case.is_right(now) if case.is_right(before) else None


def _effect(model: Model, adapter: Adapter, parent: Adapter | None, prompts: Sequence[Sequence[int]]) -> Effect:
    base = _logits(model, prompts, None, 1.0)
    with_it = _logits(model, prompts, adapter, 1.0)
    return Effect(
        from_base=_distance(with_it, base),
        from_parent=None if parent is None else _distance(with_it, _logits(model, prompts, parent, 1.0)),
        at_zero=_distance(_logits(model, prompts, adapter, 0.0), base),
    )


def _logits(
    model: Model, prompts: Sequence[Sequence[int]], adapter: Adapter | None, scale: float
) -> list[npt.NDArray[np.float32]]:
    """After each prompt. Each has a session of its own: a cached prefix would prove less."""
    return [model.session(adapter=adapter, adapter_scale=scale).last_logits(ids) for ids in prompts]


def _distance(one: Sequence[npt.NDArray[np.float32]], other: Sequence[npt.NDArray[np.float32]]) -> float:
    """The largest difference; above 0 wherever a bit differs."""
    if all(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True)):
        return 0.0
    largest = max(float(abs(a - b).max()) for a, b in zip(one, other, strict=True))
    return largest or 1e-45  # +0 and -0
