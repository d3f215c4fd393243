"""Months of runs with known faults through the real stages: how often gates cry wolf, and what they find how soon.

FLYBALL_HISTORIES: how many, of each kind.
"""

from __future__ import annotations

import os
from collections import Counter
from random import Random

import pytest

from flyball.evidence.gates import Outcome
from flyball.reliability.stages.quality import HARM, harm_is_seen
from tests.python.reliability.simulated_runs import BLIND, PAIRS, World, alarms, outcome_of

N = int(os.environ.get("FLYBALL_HISTORIES", "1000"))
DAYS = 60
HEAL = ("quality", "self_heal")
MADE_UP = {"preflight", "scenario", "coverage"}


def test_clean_histories_raise_no_alarm() -> None:
    """At most 1 % of two-month histories have any false alarm of a gate."""
    counts: Counter[str] = Counter()
    for seed in range(N):
        counts.update(alarms(World(seed).days(DAYS)))
    assert all(n <= max(1, 0.01 * N) for n in counts.values()), counts


def test_a_slow_down_of_a_tenth_is_found_within_ten_runs() -> None:
    found = 0
    for seed in range(N):
        world = World(seed)
        world.days(20, ("metrics", "startup"))
        world.slow = 1.10
        found += any(record.failed("metrics") for record in world.days(10, ("metrics",)))
    assert found >= 0.95 * N, found


def quarantined(world: World) -> dict[str, int] | None:
    """Days of a harmful policy until it is quarantined: how many changes of each action were judged, and how many may.

    None after a false alarm, which the first test counts.
    """
    world.days(5, HEAL)
    if world.mode != "active":
        return None
    world.harm = 1.0
    judged: Counter[str] = Counter()
    while world.mode == "active":
        assert len(world.history) < 200
        record = world.run(HEAL)
        changes = record.values("scenario").get("applied", []) if record.machine == "" else []
        judged.update(change["action"] for change in changes if change["outcome"] in HARM)
    streak = next(x["value"] for x in record.values("quality")["limits"] if "streak, effective" in x["name"])
    return {"judged": max(judged.values()), "declared": streak}


def test_a_harmful_policy_is_quarantined_and_comes_back_only_mended() -> None:
    for seed in range(N):
        world = World(seed)
        found = quarantined(world)
        if found is None:
            continue
        assert found["judged"] <= found["declared"]
        unmended = world.days(40, HEAL)
        assert all(record.heal["mode"] != "active" for record in unmended)
        assert any(record.stages["self_heal"].verdict.reason_id == "HEAL_ROLLED_BACK" for record in unmended)
        world.harm = 0.03
        for _ in range(100):
            if world.run(HEAL).heal["mode"] == "active":
                break
        assert world.mode == "active"


@pytest.mark.parametrize("blind", BLIND)
def test_a_blind_run_is_no_evidence(blind: str) -> None:
    """Half of the runs are blind while the policy does harm, then all of them, whether it is mended or not."""
    late = 0
    for seed in range(N):
        world = World(seed, blind=blind)
        found = quarantined(world)
        if found is None:
            continue
        late += found["judged"] > found["declared"]
        world.blind_share = 1.0
        if blind != "guard_ended":
            world.harm = seed % 2
        after = world.days(20, HEAL)
        assert all(record.heal["mode"] != "active" for record in after)
        if blind in ("crash", "missing", "contended"):
            assert all(record.heal["mode"] == "quarantined" and record.heal["stable"] == 0 for record in after)
    assert late <= 0.01 * N, late


@pytest.mark.parametrize("blind", BLIND)
def test_blind_runs_among_others_raise_no_alarm_and_hinder_no_release(blind: str) -> None:
    counts: Counter[str] = Counter()
    for seed in range(N // len(BLIND)):
        world = World(seed, blind=blind, blind_share=0.3)
        counts.update(alarms(world.days(DAYS, HEAL)) - MADE_UP)
        if seed % 10 or blind == "crash":  # a crash in a trial rolls it back
            continue
        world.history[-1].heal.update({"mode": "quarantined", "stable": 0, "needed": 5, "undecided": 0})
        assert any(world.run(HEAL).heal["mode"] == "active" for _ in range(150))
    assert all(n <= max(1, 0.01 * N // len(BLIND)) for n in counts.values()), counts


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.9])
def test_the_power_of_an_outcome_is_what_is_said(share: float) -> None:
    """In the core itself; half a hundredth is what chance leaves of so many."""
    random, n = Random(1), 10_000
    found = Counter(outcome_of(sum(random.random() < share for _ in range(PAIRS))) for _ in range(n))
    assert found["regressed"] / n == pytest.approx(harm_is_seen(PAIRS, share), abs=0.015)
    if share >= 0.5:
        assert found["unchanged"] <= 0.05 * n


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
