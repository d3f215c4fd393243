"""Months of runs with known faults through the real stages: how often gates cry wolf, and what they find how soon.

FLYBALL_HISTORIES: how many, of each kind.
"""

from __future__ import annotations

import os
from collections import Counter

from flyball.evidence.gates import Outcome
from tests.python.reliability.simulated_runs import World, alarms

N = int(os.environ.get("FLYBALL_HISTORIES", "1000"))
DAYS = 60
HEAL = ("quality", "self_heal")


def test_clean_histories_raise_no_alarm() -> None:
    """At most 1 % of two-month histories have any false alarm of a gate."""
    counts: Counter[str] = Counter()
    for seed in range(N):
        counts.update(alarms(World(seed).days(DAYS)))
    assert all(n <= 0.01 * N for n in counts.values()), counts


def test_a_slow_down_of_a_tenth_is_found_within_ten_runs() -> None:
    found = 0
    for seed in range(N):
        world = World(seed)
        world.days(20, ("metrics", "startup"))
        world.slow = 1.10
        found += any(record.failed("metrics") for record in world.days(10, ("metrics",)))
    assert found >= 0.95 * N, found


def test_a_harmful_policy_is_quarantined_and_comes_back_only_mended() -> None:
    for seed in range(N):
        world = World(seed)
        world.days(10, HEAL)
        if world.mode != "active":
            continue  # a false alarm, which the test above counts
        world.harm = 1.0
        n_changes = 0
        while world.mode == "active":
            record = world.run(HEAL)
            n_changes += len(record.values("scenario")["applied"])
            streak = next(x["value"] for x in record.values("quality")["limits"] if "streak, effective" in x["name"])
            # The streak is declared; a run has two changes, so that it may end behind the one that completes it.
            assert n_changes <= streak + 1
        unmended = world.days(40, HEAL)
        assert all(record.heal["mode"] != "active" for record in unmended)
        assert any(record.stages["self_heal"].verdict.reason_id == "HEAL_ROLLED_BACK" for record in unmended)
        world.harm = 0.03
        for _ in range(100):
            if world.run(HEAL).heal["mode"] == "active":
                break
        assert world.mode == "active"


def test_reasons_that_were_never_seen_are_found_at_a_hundred_events() -> None:
    """A tenth of the decisions is enough; the permutations make these histories dear, so that there are fewer."""
    found = 0
    for seed in range(N // 10):
        world = World(seed)
        world.days(15, ("reason_drift",))
        world.unseen = 0.1
        record = world.days(3, ("reason_drift",))[-1]
        assert record.values("reason_drift")["n"] <= 110
        found += record.failed("reason_drift")
    assert found >= 0.8 * (N // 10), found


def test_a_gate_without_history_does_not_pass() -> None:
    first = World(1).run()
    outcomes = {name: first.stages[name].verdict.outcome for name in ("startup", "metrics", "reason_drift", "quality")}
    assert set(outcomes.values()) == {Outcome.INCONCLUSIVE}
    assert all(first.stages[name].verdict.reason_id.endswith("_INSUFFICIENT_DATA") for name in outcomes)
