"""What a round measures: its sizes, its commands, and the plan of its load."""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path

import pytest

import flyball
from flyball.cli import make_parser
from flyball.load.plan import read_plan
from flyball.round.plan import QUICK, Round, Sizes, shortened
from tests.python.pilot.scripted import live

ROOT = Path(__file__).parents[3]
CONSOLE = ROOT / "load" / "console.toml"


def test_ten_minutes_are_enough_to_decide() -> None:
    sizes = Sizes.of(10)
    assert min(sizes.iterations, sizes.turns) >= 59  # so many without a miss show that 95 % keep a limit
    assert Sizes.of(1).iterations < sizes.iterations < Sizes.of(60).iterations


def test_every_command_is_one_of_flyball(tmp_path: Path) -> None:
    of = Round(tmp_path / "1", QUICK, "model.gguf", "slo.toml")
    live(of.pilot, 1)
    steps = [of.scenarios(), of.live(), of.stub(), of.under_load("http://127.0.0.1:9"), of.scorecard()]
    parser = make_parser()
    for step in steps:
        assert isinstance(parser.parse_args(step.words), argparse.Namespace)
        assert step.command == "flyball " + " ".join(step.words)
    assert sum(step.share for step in steps) == pytest.approx(0.9)


def test_the_stub_needs_a_live_record(tmp_path: Path) -> None:
    with pytest.raises(flyball.Error, match="no record of a live run"):
        Round(tmp_path, QUICK).stub()


def test_the_load_is_that_of_the_console(tmp_path: Path) -> None:
    text = (ROOT / "python" / "flyball" / "data" / "console.toml").read_text()
    assert tomllib.loads(text) == tomllib.loads(CONSOLE.read_text())
    assert shortened(text, 1.0) == text
    path = tmp_path / "plan.toml"
    path.write_text(shortened(text, 0.1))
    short, whole = read_plan(path), read_plan(CONSOLE)
    assert [flow.thresholds for flow in short.flows] == [flow.thresholds for flow in whole.flows]
    chat = tomllib.loads(path.read_text())["flows"]["chat"]
    assert [stage["seconds"] for stage in chat["stages"]] == [1, 1, 1]  # of 10, 10 and 5: at least one second
