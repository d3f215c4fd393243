"""`flyball scorecard` on the command line: what it prints, writes and gives as its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import flyball
from flyball.cli import main
from flyball.evidence import stats
from flyball.scorecard import checks as all_of_them
from flyball.scorecard import openai_server
from flyball.scorecard.card import Card
from flyball.scorecard.checks import all_checks
from flyball.scorecard.subjects import Scripted

Capture = pytest.CaptureFixture[str]
CHECKS = all_checks()
PERFECT = {check.prompt: check.example for check in CHECKS}
URL = "http://127.0.0.1:9/v1"


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only some of the checks."""
    monkeypatch.setattr(all_of_them, "all_checks", lambda: CHECKS[::12])


def scripted(monkeypatch: pytest.MonkeyPatch, subject: Scripted) -> None:
    monkeypatch.setattr(openai_server, "OpenAIServer", lambda *_: subject)


@pytest.mark.parametrize(
    ("subject", "code", "said"),
    [
        (Scripted(PERFECT), 0, "keep small"),
        (Scripted(PERFECT, first_s=3), 1, "try 3-8B"),
        (Scripted({}), 1, "need bigger"),
        (Scripted(PERFECT, tokens=2), 2, "undecided"),
    ],
)
def test_the_exit_code_is_the_verdict(
    subject: Scripted, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    scripted(monkeypatch, subject)
    assert main(["scorecard", URL, "--seeds", "1"]) == code
    assert f"\nVerdict: {said}\n" in capsys.readouterr().out


@pytest.mark.usefixtures("few")
def test_a_card_with_its_receipts(tmp_path: Path, capsys: Capture) -> None:
    card, receipts = tmp_path / "cards" / "a.json", tmp_path / "receipts"
    words = ["scorecard", "--seeds", "2", "--set", "tune=off", "--out", str(card), "--receipts", str(receipts)]
    assert main(words) in (1, 2)  # a few checks alone may not decide
    assert "Model: Flyball Demo  Quant: Q8_0" in capsys.readouterr().out
    read = Card.load(card)
    found = {path.stem: path for path in receipts.iterdir()}
    assert len(found) == len(read.answers) + len(read.timed)
    for answer in read.answers[::5]:
        path = found[f"{answer.check}-{answer.seed}"]
        assert flyball.Receipt.load(path).digest == answer.digest
        assert main(["verify", str(path)]) == 0
    capsys.readouterr()
    assert main(["scorecard", "--diff", str(card), str(card)]) == 0
    shown = capsys.readouterr().out
    assert f"{len(read.answers)} of {len(read.answers)} answers have the same digest" in shown
    assert "BEYOND CHANCE" in shown


def test_json_and_markdown(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    scripted(monkeypatch, Scripted(PERFECT))
    assert main(["scorecard", URL, "--seeds", "1", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["kind"], printed["verdict"]["size"]) == ("scorecard", "keep small")
    assert main(["scorecard", URL, "--seeds", "1", "--markdown"]) == 0
    assert capsys.readouterr().out.startswith("## Scorecard: keep small\n")


def test_the_difference_of_two_cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    paths = [str(tmp_path / name) for name in ("good.json", "bad.json")]
    for path, subject in zip(paths, (Scripted(PERFECT), Scripted({})), strict=True):
        scripted(monkeypatch, subject)
        main(["scorecard", URL, "--seeds", "1", "--out", path])
    capsys.readouterr()
    assert main(["scorecard", "--diff", *paths]) == 1
    shown = capsys.readouterr().out
    assert "keep small  need bigger" in " ".join(shown.split("\n")[1].split(maxsplit=1))
    assert shown.count("worse") == 4
    assert "lost: coherent-" in shown
    assert main(["scorecard", "--diff", *reversed(paths), "--json"]) == 0
    assert not json.loads(capsys.readouterr().out)["worse"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["no-such-file.gguf"], "no-such-file.gguf"),
        (["--seeds", "0"], "--seeds: is 0, must be from 1 to 100"),
        (["--json", "--markdown"], "cannot be given together"),
        (["--model", "m"], "--model: is for a server"),
        (["--key-env", "HOME"], "--key-env: is for a server"),
        ([URL, "--threads", "2"], "threads: is set for a model that this command loads"),
        ([URL, "--set", "tune=off"], "set: is set for a model that this command loads"),
        ([URL, "--key-env", "NO_SUCH_VARIABLE"], "which is not set to a key"),
        ([URL], "is the server running there?"),
        (["--diff", "a.json", "b.json"], "a.json: does not exist"),
        (["model.gguf", "--diff", "a.json", "b.json"], "--diff: compares two files"),
    ],
)
def test_an_error_is_one_line_with_code_2(words: list[str], said: str, capsys: Capture) -> None:
    assert main(["scorecard", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_without_scipy_nothing_is_computed(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def missing(_: str) -> object:
        raise flyball.NotFound("scipy", "is not installed")

    monkeypatch.setattr(stats, "scipy", missing)
    monkeypatch.setattr(openai_server, "OpenAIServer", lambda *_: pytest.fail("the server was asked"))
    assert main(["scorecard", URL]) == 2
    assert "scipy: is not installed" in capsys.readouterr().err
