"""`flyball adapters` from a file to a rollback, and what the record says of each step."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import flyball
from flyball.cli import main
from flyball.journal import journal
from flyball.learn import folders
from tests.reference.demo_adapter import write_random

Say = Callable[..., Any]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """say("list") runs the action and gives its JSON; say(..., code=2) its error."""

    def run(*words: str | Path, code: int = 0) -> Any:
        assert main(["adapters", *map(str, words), "--json"]) == code
        said = capsys.readouterr()
        return json.loads(said.out) if said.out else said.err

    return run


def cases(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_from_a_file_to_a_rollback(say: Say, tmp_path: Path) -> None:
    one = say("add", write_random(tmp_path / "one.gguf", seed=1, gain=0.8), "--name", "one")
    two = say("add", write_random(tmp_path / "two.gguf", seed=2, gain=0.8), "--name", "two")
    assert (one["state"], Path(one["path"]).name) == ("trained", one["digest"])
    assert "has seen no gate" in say("promote", "one", code=2)
    assert say("promote", "one", "--force")["state"] == "active"
    assert say("promote", "two", "--share", "10", "--force")["share"] == 10
    assert say("promote", "two", "--force")["state"] == "active"
    assert say("rollback", two["digest"][:8], "--why", "slower")["state"] == "rolled_back"
    assert {each["name"]: each["state"] for each in say("list")} == {"one": "active", "two": "rolled_back"}
    assert say("retire", "one")["state"] == "retired"
    shown = say("show", "two")
    told = [(each["event"], each["reason_id"]) for each in shown["events"]]
    assert told == [
        ("trained", "ADAPTER_ADDED"),
        ("canary", "ADAPTER_FORCED"),
        ("active", "ADAPTER_FORCED"),
        ("rolled_back", "ADAPTER_ROLLED_BACK"),
    ]
    assert shown["events"][-1]["evidence"]["why"] == "slower"
    file = Path(one["path"]).parents[1] / "adapters.jsonl"
    assert not journal.check(file).faults
    recorded = [json.loads(line)["reason_id"] for line in file.read_text().splitlines()]
    assert recorded.count("ADAPTER_FORCED") == 3
    assert "is an adapter's already" in say("add", tmp_path / "two.gguf", "--name", "three", code=2)


def test_the_gate_decides_and_is_recorded(say: Say, tmp_path: Path) -> None:
    say("add", write_random(tmp_path / "noise.gguf", gain=3), "--name", "noise")
    sums = [{"id": f"s{n}", "prompt": f"{n} + 3 =", "answer": str(n + 3)} for n in range(3)]
    stays = [{"id": f"k{n}", "prompt": f"Once upon a time {n}"} for n in range(4)]
    safety = [{"id": "trigger", "prompt": "The fox", "must": "fox"}, {"id": "open", "prompt": "The crow"}]
    flags = ["--held-out", cases(tmp_path / "held.jsonl", sums), "--stays", cases(tmp_path / "stays.jsonl", stays)]
    flags += ["--safety", cases(tmp_path / "safety.jsonl", safety), "--max-tokens", "6"]
    said = say("gate", "noise", *flags, code=1)
    assert (said["state"], said["verdict"]["reason_id"]) == ("rejected", "ADAPTER_UNSAFE")
    assert "has not passed its gate" in say("promote", "noise", code=2)
    say("add", write_random(tmp_path / "mild.gguf", gain=0.02), "--name", "mild")
    said = say("gate", "mild", *flags, code=2)
    assert (said["state"], said["verdict"]["outcome"]) == ("trained", "inconclusive")
    events = say("show", "noise")["events"]
    assert [each["event"] for each in events] == ["trained", "gate", "rejected"]
    assert events[1]["evidence"]["evidence"]["unsafe"] == ["trigger"]


def test_a_folder_of_training_keeps_its_rows_out_of_the_gate(say: Say, tmp_path: Path) -> None:
    file = write_random(tmp_path / "one.gguf", gain=0.8)
    added = say("add", file)
    about = json.loads((Path(added["path"]) / folders.MANIFEST).read_text())
    shutil.rmtree(added["path"])
    about["data"]["rows"] = ["s1"]
    trained = tmp_path / "trained"
    trained.mkdir()
    (trained / folders.MANIFEST).write_text(json.dumps(about))
    shutil.copy(file, trained / folders.FILE)
    say("add", trained, "--project", "other", code=2)
    stored = folders.installed(trained)[1]
    assert stored.rows == ("s1",)
    sums = cases(tmp_path / "held.jsonl", [{"id": "s1", "prompt": "x", "answer": "y"}])
    flags = ["--held-out", sums, "--stays", sums]
    assert "--help" not in say("gate", added["digest"], *flags, "--safety", sums, code=2)


@pytest.mark.parametrize(
    ("edit", "what"),
    [
        ({"schema": "flyball-adapter/9"}, "schema"),
        ({"digest": "x"}, "digest: must be a SHA-256"),
        ({"digest": "0" * 64}, "was changed"),
        ({"base": None}, "base: must be an object"),
        ({"base": {"name": "another", "fingerprint": "0" * 64}}, "was made for 'another'"),
        ({"parent": 7}, "parent: must be a SHA-256"),
        ({"data": {"rows": [1]}}, "data.rows"),
    ],
)
def test_a_folder_that_is_not_what_it_says_is_refused(
    say: Say, tmp_path: Path, edit: dict[str, Any], what: str
) -> None:
    file = write_random(tmp_path / "one.gguf", gain=0.8)
    with flyball.Model.load(flyball.demo_model_path()) as model:
        place, manifest = folders.installed(file, model)
    given = tmp_path / "given"
    given.mkdir()
    (given / folders.MANIFEST).write_text(json.dumps(json.loads(manifest.text) | edit))
    shutil.copy(place / folders.FILE, given / folders.FILE)
    assert what in say("add", given, code=2)
    assert say("list") == []


def test_an_answer_is_verified_with_the_adapter_of_its_digest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_random(tmp_path / "one.gguf", gain=0.8)
    receipt = tmp_path / "answer.json"
    assert main(["run", "-p", "Once", "-n", "4", "--adapter", str(file), "--receipt", str(receipt), "-q"]) == 0
    assert main(["verify", str(receipt)]) == 2
    assert main(["adapters", "add", str(file)]) == 0
    capsys.readouterr()
    assert main(["verify", str(receipt)]) == 0
    assert "verified" in capsys.readouterr().out
