"""GO, WATCH and NO-GO of stubs with injected times, each for its reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from flyball.evidence.gates import Outcome
from flyball.pilot.stub import Times
from flyball.pilot.verdict import Finding, Verdict, decide

from .scripted import CLASH, live, replayed

QUICK, NONE = 100.0, 0.0


def test_a_deliberately_slow_stub_is_no_go(tmp_path: Path) -> None:
    _, path = live(tmp_path, 5)
    found = replayed(path, 5, Times(added_ms={"judge": 3500.0})).decision
    assert found.verdict is Verdict.NO_GO
    assert found.causes[0].startswith("turn_duration_ms over 3000 in 5 of 5 turns; with 95 % at least 54.9 %")


def test_a_borderline_stub_is_watch_for_its_turns(tmp_path: Path) -> None:
    _, path = live(tmp_path, 60, lambda turn, agent: 3100.0 if agent == "judge" and turn in (7, 30) else 10.0)
    found = replayed(path, 60, Times(recorded=True)).decision
    assert found.verdict is Verdict.WATCH
    (cause,) = found.causes
    assert cause.startswith("turn_duration_ms over 3000 in 2 of 60 turns")
    assert cause.endswith("undecided, 64 more turns within it would do")
    assert decide([3100.0] * 2 + [QUICK] * 122, [NONE] * 124, [NONE] * 124).verdict is Verdict.GO


def test_a_borderline_stub_is_watch_for_its_map_helper(tmp_path: Path) -> None:
    _, path = live(tmp_path, 59)
    found = replayed(path, 59, Times(added_ms={"map": 450.0})).decision
    assert found.verdict is Verdict.WATCH
    (cause,) = found.causes
    assert cause.startswith("map_fn_latency_ms over 400 in 59 of 59 turns")


def test_a_borderline_stub_is_watch_for_conflicts(tmp_path: Path) -> None:
    _, path = live(tmp_path, 59, answers={"world": CLASH})
    found = replayed(path, 59, Times()).decision
    assert found.verdict is Verdict.WATCH
    (cause,) = found.causes
    assert cause.startswith("conflicts over 2 in 59 of 59 turns")


def test_fifty_nine_quick_turns_are_go_and_three_lucky_ones_watch(tmp_path: Path) -> None:
    _, path = live(tmp_path, 60)
    assert replayed(path, 59, Times()).decision.verdict is Verdict.GO
    assert replayed(path, 60, Times()).decision.verdict is Verdict.GO
    for turns, more in ((3, 56), (58, 1)):
        found = replayed(path, turns, Times()).decision
        assert found.verdict is Verdict.WATCH
        (cause,) = found.causes
        assert cause.startswith(f"too few turns: {turns} within")
        assert cause.endswith(f"show nothing yet; {more} more are needed")


@pytest.mark.parametrize(
    ("over", "n", "outcome"),
    [
        (0, 58, Outcome.INCONCLUSIVE),
        (0, 59, Outcome.PASS),
        (1, 92, Outcome.INCONCLUSIVE),
        (1, 93, Outcome.PASS),
        (1, 1, Outcome.INCONCLUSIVE),  # one slow turn of one is no proof either
        (2, 2, Outcome.FAIL),
        (59, 59, Outcome.FAIL),
    ],
)
def test_a_limit_is_judged_by_the_bounds_of_the_share_over_it(over: int, n: int, outcome: Outcome) -> None:
    found = Finding("turn_duration_ms", 3000, n, over)
    assert found.outcome is outcome
    assert (found.more == 0) == (outcome is Outcome.PASS)


def test_the_limits_themselves_are_kept() -> None:
    assert decide([3000.0] * 59, [400.0] * 59, [2] * 59).verdict is Verdict.GO
    assert decide([3000.1] * 59, [400.0] * 59, [2] * 59).verdict is Verdict.NO_GO
    assert decide([], [], []).verdict is Verdict.WATCH
