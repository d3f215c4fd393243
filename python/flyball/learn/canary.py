"""A canary's share of the requests, and what becomes of it: its outcomes beside those of the rest.

The request's key chooses, so a repeated question has one side, and counts once. If both sides are alike, a bad outcome
is the canary's with the probability of its share: that is what the e-processes bet against.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..evidence.gates import Verdict, failed, inconclusive, passed
from .gate import LIMIT, e_value, e_value_below

CANARY, CONTROL = "canary", "control"
SLOWER = 1.5  # times the other's cost of a token; below that, it is what an adapter costs
WORSE = 2.0  # times the rest's bad outcomes: to be shown as not so bad before it becomes active by itself
LEAST_ANSWERS = 50  # of a canary that becomes active by itself
_LEAST_TOKENS = 8  # of an answer whose speed counts; the first one is the prompt's
_TESTS = 3  # failures, ratings, speed: each is given its part of the false alarms
E_LIMIT = LIMIT * _TESTS  # evidence from which on it is worse


@dataclass(frozen=True)
class Outcome:
    """What became of a request, in the order of their ends.

    arm       CANARY or CONTROL
    key       of the request
    is_good   what users said: True, False, or None for nothing
    token_cycles  what a token after the first one cost; None: not measured
    """

    arm: str
    key: str
    has_failed: bool
    is_good: bool | None = None
    token_cycles: float | None = None


def is_canary(request_key: str, digest: str, share: int) -> bool:
    """Whether a request is one of the canary's `share` percent."""
    drawn = hashlib.sha256(f"{digest}:{request_key}".encode()).digest()
    return int.from_bytes(drawn[:8], "big") < share * (1 << 64) // 100


def token_cycles(decode_cycles: int | None, n_tokens: int | None) -> float | None:
    """Cycles of a token after the first one, of an answer that is long enough to tell."""
    if decode_cycles is None or n_tokens is None or n_tokens < _LEAST_TOKENS:
        return None
    return decode_cycles / (n_tokens - 1)


def compare(outcomes: Iterable[Outcome], share: int, may_promote: bool = False) -> Verdict:
    """Whether the canary is worse than the rest: fail; or, with `may_promote`, surely not much worse: pass."""
    distinct = {(outcome.arm, outcome.key): outcome for outcome in outcomes}  # a repetition is no new evidence
    listed = list(distinct.values())
    null = share / 100
    n = {arm: sum(each.arm == arm for each in listed) for arm in (CANARY, CONTROL)}
    failures = [each.arm for each in listed if each.has_failed]
    bad = [each.arm for each in listed if each.is_good is False]
    n_slower, n_pairs = _slower(listed)
    e_values = {
        "failures": e_value(failures.count(CANARY), len(failures), null),
        "ratings": e_value(bad.count(CANARY), len(bad), null),
        "speed": e_value(n_slower, n_pairs),
    }
    evidence: dict[str, Any] = {
        "answers": n,
        "failures": _by_arm(failures),
        "bad": _by_arm(bad),
        "slower_pairs": [n_slower, n_pairs],
        "e": {name: round(value, 3) for name, value in e_values.items()},
        "e_limit": E_LIMIT,
        "share": share,
    }
    worst = max(e_values, key=lambda name: e_values[name])
    if e_values[worst] >= E_LIMIT:
        return failed("ADAPTER_CANARY_WORSE", f"{worst} of the canary are worse than the others'", **evidence)
    outcomes_bad = [each.arm for each in listed if each.has_failed or each.is_good is False]
    twice = WORSE * null / (WORSE * null + 1 - null)  # the canary's part, if it were so much worse
    against = e_value_below(outcomes_bad.count(CANARY), len(outcomes_bad), twice)
    evidence |= {"e_not_worse": round(against, 3), "not_worse_than": WORSE}
    if may_promote and n[CANARY] >= LEAST_ANSWERS and against >= LIMIT:
        what = f"after {n[CANARY]} answers, bad outcomes are not {WORSE:g} times as frequent as elsewhere"
        return passed("ADAPTER_CANARY_PASSED", what, **evidence)
    what = f"after {n[CANARY]} answers of the canary and {n[CONTROL]} others, neither is shown to be worse"
    return inconclusive("ADAPTER_UNDECIDED", what, **evidence)


def _by_arm(arms: Sequence[str]) -> dict[str, int]:
    return {arm: arms.count(arm) for arm in (CANARY, CONTROL)}


def _slower(outcomes: Sequence[Outcome]) -> tuple[int, int]:
    """Pairs of a canary's answer with the other side's one that ended last before it, each used once: how many of them
    cost the canary SLOWER times as much, and how many there are."""
    n_slower = n_pairs = 0
    before: float | None = None
    for each in outcomes:
        if each.token_cycles is None:
            continue
        if each.arm == CONTROL:
            before = each.token_cycles
        elif before is not None:
            n_pairs += 1
            n_slower += each.token_cycles > SLOWER * before
            before = None
    return n_slower, n_pairs
