"""`flyball train`: from a file or the store to an adapter; Ctrl-C and what goes on after it."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from flyball.cli import main
from flyball.train.trainer import Trainer
from tests.python.conftest import ModelFile

from .test_cli import fails

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def words(model_file: ModelFile, tmp_path: Path) -> list[str]:
    """A short run on a random model; its adapters go to the user's folder."""
    lines = [
        {"id": f"e{i}", "prompt": f"the fox {i}", "answer": f"then {i}", "rejected": "no", "kind": "correction"}
        for i in range(4)
    ]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    model, data = str(model_file("llama", "Q8_0")), str(tmp_path / "data.jsonl")
    return ["train", "--model", model, "--data", data, "--replay", "0", "--steps", "4", "--ctx", "64", "--rank", "2"]


def train(capsys: Capture, *words: str) -> Any:
    assert main([*words, "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def test_an_adapter_is_trained_and_found(capsys: Capture, words: list[str], tmp_path: Path) -> None:
    (tmp_path / "held.jsonl").write_text('{"id": "h", "prompt": "the end", "answer": "then", "kind": "good"}\n')
    made = train(capsys, *words, "--held-out", str(tmp_path / "held.jsonl"))
    folder = Path(made["folder"])
    assert folder.parent == tmp_path / "state" / "flyball" / "adapters"
    assert made["manifest"]["data"]["held_out"] == ["h"]
    assert main([*words, "--held-out", str(tmp_path / "held.jsonl")]) == 0
    shown = capsys.readouterr().out
    assert "4 examples, 0 replayed answers" in shown
    assert f"{folder}, as it was there already" in shown
    assert main(["adapters", "add", str(folder), "--name", "small", *words[1:3]]) == 0
    assert "small" in capsys.readouterr().out
    child = train(capsys, *words, "--parent", str(folder))["manifest"]
    assert child["parent"] == folder.name
    assert child["losses"]["first"] < made["manifest"]["losses"]["first"]
    assert "give its rank" in fails(capsys, *words, "--parent", str(folder), "--rank", "3")
    assert "give its alpha" in fails(capsys, *words, "--parent", str(folder), "--alpha", "3")


def test_ctrl_c_keeps_what_was_trained(
    capsys: Capture, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(capsys, *words, "--out", str(tmp_path / "whole"))
    step = Trainer.step

    def interrupted(self: Trainer) -> float:
        loss = step(self)
        if len(self.losses) == 2:
            signal.raise_signal(signal.SIGINT)
        return loss

    monkeypatch.setattr(Trainer, "step", interrupted)
    usual = signal.getsignal(signal.SIGINT)
    assert main([*words, "--out", str(tmp_path / "stopped")]) == 2
    assert signal.getsignal(signal.SIGINT) is usual
    assert "stopped after 2 of 4 steps; the same command with --resume goes on" in capsys.readouterr().err
    resumed = train(capsys, *words, "--out", str(tmp_path / "stopped"), "--resume")
    assert resumed["manifest"]["digest"] == whole["manifest"]["digest"]
    assert resumed["manifest"]["losses"] == whole["manifest"]["losses"]


def test_approved_examples_of_the_store_are_trained_on(capsys: Capture) -> None:
    stored = ["train", "--store", "--replay", "0", "--steps", "1"]
    assert "no approved examples" in fails(capsys, *stored)
    for n in range(8):
        said = ["--question", f"What is {n} + {n}?", "--answer", "no", "--correction", f"{n} + {n} = {2 * n}."]
        assert main(["feedback", "add", *said]) == 0
    capsys.readouterr()
    assert main(["feedback", "examples", "--json"]) == 0
    ids = [example["id"] for example in json.loads(capsys.readouterr().out)]
    assert main(["feedback", "approve", *ids[1:]]) == 0
    capsys.readouterr()
    data = train(capsys, *stored)["manifest"]["data"]
    assert data["rows"]
    assert {*data["rows"], *data["held_out"]} <= {*ids[1:]}


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--data", "nothing.jsonl"], "nothing.jsonl: does not exist"),
        (["--rank", "0"], "rank: is 0"),
        (["--epochs", "0"], "--epochs: is 0"),
        (["--train-threads", "0"], "--train-threads: is 0"),
        (["--resume"], "checkpoint.pt: does not exist"),
        (["--longest", "3"], "line 1: answer: makes"),
        (["--parent", "nothing"], "manifest.json: does not exist"),
        (["--replay", "2"], "replay: needs a chat template"),
    ],
)
def test_wrong_uses_say_what_is_right(capsys: Capture, words: list[str], more: list[str], told: str) -> None:
    assert told in fails(capsys, *words, *more)


def test_without_torch_the_command_says_what_to_install(
    capsys: Capture, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "flyball.train.run", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "pip install 'flyball[train]'" in fails(capsys, *words)
