"""A round of learning, step by step, with commands that are scripted: what is done once, and what is done again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from flyball.errors import FormatError, NotFound
from flyball.learn.cycle import Outcome, Plan, Said, run
from flyball.reliability.lock import InUse, locked
from flyball.store import Project, Store
from tests.python.learn.test_dataset import example

EVIDENCE: dict[str, Any] = {
    "changed": {}, "wins": 7, "losses": 0, "ties": 0, "kept": 60, "of": 60, "e_better": 32.0, "e_limit": 20.0,
}  # fmt: skip


class Commands:
    """Answers as the commands do; `verdict` is the gate's exit code, `dies` the action that ends with an error."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.verdict = 0
        self.dies = ""
        self.known = False

    def __call__(self, words: Sequence[str]) -> Said:
        self.asked.append(list(words))
        action = words[0] if words[0] == "train" else words[1]
        if action == self.dies:
            return Said(2, None, f"{action}: no room")
        if action == "show" and not self.known:
            return Said(2, None, "flyball: no adapter has this name")
        if action == "train" and "--resume" in words:
            return Said(2, None, "flyball: checkpoint: does not exist: no run was stopped here")
        code = self.verdict if action == "gate" else 0
        return Said(code, {
            "train": {"folder": "/adapters/" + "a" * 64},
            "gate": {"verdict": {"message": "wins 7", "evidence": EVIDENCE}, "state": "candidate"},
        }.get(action, {"digest": "a" * 64}), "")  # fmt: skip

    @property
    def actions(self) -> list[str]:
        done = [words[0] if words[0] == "train" else words[1] for words in self.asked]
        self.asked.clear()
        return done


@pytest.fixture
def project(tmp_path: Path) -> Any:
    with Store.open(tmp_path / "store.sqlite") as store:
        yield store.project()


def fill(project: Project, n: int) -> None:
    for number in range(n):
        project.examples.propose(example(f"What is {number} - 1?", f"{number - 1}"))
    for number, each in enumerate(project.examples.all()):
        state = "held_out" if number % 5 == 0 else "approved"
        project.examples.change(each.id, each.version, by="ada", state=state)


def round_of(project: Project, home: Path, commands: Commands, **plan: Any) -> Outcome:
    stays = home / "stays.jsonl"
    home.mkdir(exist_ok=True)
    stays.write_text(json.dumps({"id": "s", "prompt": "Hello", "answer": "Hi."}) + "\n")
    return run(project, home / "cycle", Plan(**{"stays": stays} | plan), commands, lambda step: None)


def test_a_round_waits_for_enough_examples(project: Project, tmp_path: Path) -> None:
    fill(project, 8)
    commands = Commands()
    said = round_of(project, tmp_path / "home", commands)
    assert (said.state, commands.actions) == ("waiting", [])
    assert "of 10 that are needed" in said.message


def test_a_data_set_goes_through_once(project: Project, tmp_path: Path) -> None:
    fill(project, 30)
    commands = Commands()
    said = round_of(project, tmp_path / "home", commands, share=25)
    assert said.state == "pass"
    assert commands.asked[-1][:5] == ["adapters", "promote", "a" * 64, "--share", "25"]
    assert commands.actions == ["train", "show", "add", "gate", "promote"]
    assert said.report is not None
    assert "7 wins, 0 losses" in said.report.read_text()
    again = round_of(project, tmp_path / "home", commands)
    assert (again.state, commands.actions) == ("waiting", [])


def test_an_undecided_gate_is_asked_again_and_nothing_else(project: Project, tmp_path: Path) -> None:
    fill(project, 30)
    commands = Commands()
    commands.verdict = 2
    EVIDENCE["changed"] = {"s|1": ["a\nb", "<b>|"]}
    undecided = round_of(project, tmp_path / "home", commands)
    EVIDENCE["changed"] = {}
    assert undecided.state == "undecided"
    assert undecided.report is not None
    assert r"| s\|1 | a b | \<b\>\| |" in undecided.report.read_text()
    assert commands.actions == ["train", "show", "add", "gate"]
    commands.verdict = 1
    assert round_of(project, tmp_path / "home", commands).state == "fail"
    assert commands.actions == ["gate"]


@pytest.mark.parametrize(
    ("dies", "done", "rest"),
    [
        ("train", ["train"], ["train", "train", "show", "add", "gate", "promote"]),
        ("add", ["train", "show", "add"], ["show", "add", "gate", "promote"]),
        ("gate", ["train", "show", "add", "gate"], ["gate", "promote"]),
        ("promote", ["train", "show", "add", "gate", "promote"], ["gate", "promote"]),
    ],
)
def test_a_round_that_broke_goes_on_where_it_was(
    project: Project, tmp_path: Path, dies: str, done: list[str], rest: list[str]
) -> None:
    fill(project, 30)
    commands = Commands()
    commands.dies = dies
    with pytest.raises(FormatError, match="no room"):
        round_of(project, tmp_path / "home", commands)
    assert commands.actions == done
    commands.dies = ""
    assert round_of(project, tmp_path / "home", commands).state == "pass"
    assert commands.actions == rest


def test_what_keeps_a_round_from_beginning_is_told(project: Project, tmp_path: Path) -> None:
    fill(project, 30)
    commands = Commands()
    with pytest.raises(NotFound, match="which answers must stay"):
        round_of(project, tmp_path / "home", commands, stays=None)
    with locked(tmp_path / "home" / "cycle" / "lock", "me"), pytest.raises(InUse, match="another flyball learn cycle"):
        round_of(project, tmp_path / "home", commands)
    (folder,) = (tmp_path / "home" / "cycle").glob("*/")
    (folder / "cycle.json").write_text("{")
    with pytest.raises(FormatError, match="is damaged"):
        round_of(project, tmp_path / "home", commands)
    assert commands.actions == []
