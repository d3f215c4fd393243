"""Error budgets and burn rates against cases computed by hand."""

from __future__ import annotations

import pytest

from flyball.slo.budget import HOUR, WINDOWS, Budget, Counter, budget, counters
from flyball.slo.history import lines
from flyball.slo.record import read_all
from flyball.slo.targets import DEFAULTS
from tests.python.slo.conftest import MakeRun

NOW = 1_000 * HOUR


def states(found: Budget) -> list[str]:
    return [burn.state for burn in found.burns]


def test_the_windows_are_those_of_the_workbook() -> None:
    """A rate of 14.4 for an hour uses 2 % of 30 days, and so on."""
    for window in WINDOWS:
        assert window.rate * window.long / (30 * 24 * HOUR) == pytest.approx(window.share)


def test_a_budget_by_hand() -> None:
    # 100 iterations at an objective of 95 % may have 5 bad ones; there are 2, so 3 of 5 are left.
    found = budget([Counter(NOW - 24 * HOUR, 98, 100)], 0.95, NOW)
    assert (found.good, found.all) == (98, 100)
    assert found.left == pytest.approx(0.6)
    assert budget([Counter(NOW, 90, 100)], 0.95, NOW).left == pytest.approx(-1.0)


def test_burn_rates_by_hand() -> None:
    # 1 % may fail. In the last 5 minutes 20 of 100 failed: 20 times too fast. In the hour 30 of 200: 15 times.
    found = budget([Counter(NOW - HOUR / 2, 90, 100), Counter(NOW - 60, 80, 100)], 0.99, NOW)
    assert found.burns[0].short == pytest.approx(20)
    assert found.burns[0].long == pytest.approx(15)
    assert states(found) == ["alert", "alert", "alert"]


def test_an_alert_needs_both_windows() -> None:
    # The hour burns 15 times too fast, the last 5 minutes not at all: it is over.
    found = budget([Counter(NOW - HOUR / 2, 70, 100), Counter(NOW - 60, 100, 100)], 0.99, NOW)
    assert found.burns[0].long == pytest.approx(15)
    assert found.burns[0].state == "quiet"


def test_few_iterations_are_unknown() -> None:
    found = budget([Counter(NOW, 0, 19)], 0.99, NOW)
    assert found.left is None
    assert states(found) == ["unknown"] * 3
    assert budget([Counter(NOW, 0, 20)], 0.99, NOW).burns[0].state == "alert"


def test_an_objective_that_cannot_burn_so_fast_is_told() -> None:
    # With an objective of 90 % the rate is at most 10, which never reaches 14.4.
    assert states(budget([Counter(NOW, 0, 100)], 0.90, NOW)) == ["blind", "alert", "alert"]


def test_what_is_older_does_not_count() -> None:
    found = budget([Counter(NOW - 31 * 24 * HOUR, 0, 100), Counter(NOW, 100, 100)], 0.95, NOW)
    assert (found.good, found.all, found.left) == (100, 100, 1.0)


def test_an_iteration_is_good_if_it_meets_every_target(make_run: MakeRun) -> None:
    target = DEFAULTS["short-question"]
    slow, late = target.latency_p95_ms + 1, 2 * target.first_token_ms + 1  # the first token is at half the time
    assert late <= slow
    path = make_run(5.0, {"short-question": [20.0, 21.0, slow]})
    line = lines(read_all(path.parent))["short-question"]
    assert counters(line, target) == [Counter(5.0, 2, 3)]
