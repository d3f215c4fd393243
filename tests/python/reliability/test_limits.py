"""Limits and bounds of gates: a number that decides nothing or everything is refused."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

import flyball
from flyball.bench.compare import Bounds
from flyball.cli import main
from flyball.image.patience import Patience
from flyball.reliability.results import Limits


@pytest.mark.parametrize(
    "wrong",
    [
        *(
            f"{key} = {value}"
            for key in ("drift_level", "harmful_share")
            for value in ("nan", "inf", "0", "1", "-1", "2")
        ),
        *(f"{key} = {value}" for key in ("canary_good", "canary_bad") for value in ("0", "1", "0.0", "1.0", "nan")),
        *(f"{key} = {value}" for key in ("least_slow_down", "bench_counters") for value in ("nan", "inf", "0.9", "-2")),
        *(
            f"{key} = {value}"
            for key in ("harmful_streak", "drift_events")
            for value in ("0", "1.5", "2.0", "-1", "nan")
        ),
        "canary_threshold = 101",
        "stable_streak = inf",
        "quality_window = 0",
        "first_token_ms = nan",
        "model_select_ms = 0",
        "warn_percent = inf",
        "canary_good = 0.4",
        "canary_bad = 0.01",
        "warn_percent = 40",
        "curriculum = 1",
    ],
)
def test_limits_that_decide_nothing_or_everything_are_refused(wrong: str, tmp_path: Path) -> None:
    path = tmp_path / "limits.toml"
    path.write_text(wrong)
    with pytest.raises(flyball.FormatError, match=rf"limits.toml.*{wrong.split()[0]}.* must be"):
        Limits.read(path)
    assert main(["reliability", "run", "--artifacts", str(tmp_path / "a"), "--limits", str(path)]) == 2
    assert not (tmp_path / "a" / "history.jsonl").exists()


def test_every_default_is_a_limit_that_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "limits.toml"
    defaults = {key: value for key, value in vars(Limits()).items() if key not in ("sources", "stages")}
    path.write_text("".join(f"{key} = {str(value).lower()}\n" for key, value in defaults.items()))
    assert {key: getattr(Limits.read(path), key) for key in defaults} == defaults


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.99, -1.0])
def test_a_comparison_takes_no_bound_that_nothing_can_reach(bad: float) -> None:
    with pytest.raises(flyball.InvalidArgument, match=r"slow_down.*must be a ratio from 1 on"):
        Bounds(slow_down=bad)
    with pytest.raises(flyball.InvalidArgument, match=r"counters.*must be a ratio from 1 on"):
        Bounds(counters=bad)


@pytest.mark.parametrize("bad", [math.nan, 0.0, -1.0])
def test_a_time_limit_is_a_time(bad: float) -> None:
    with pytest.raises(flyball.InvalidArgument, match="must be above 0 seconds"):
        Patience(os.getpid(), bad)
