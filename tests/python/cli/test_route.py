"""`flyball route`: what it prints is what is so, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import flyball
from flyball.cli import main
from flyball.store import Store
from tests.python.route.registries import registry, short_registry

DEMO = flyball.demo_model_path()
TEXT = "Roma İmparatorluğu neden yıkıldı?"


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """Flags for a registry of two models, and a store."""
    (tmp_path / "routes.toml").write_text(short_registry(0.5))
    Store.open(tmp_path / "store.sqlite").close()
    models = ["--serve", f"small={DEMO}", "--serve", f"big={DEMO}"]
    return ["--routes", str(tmp_path / "routes.toml"), *models, "--set", f"serve.store={tmp_path / 'store.sqlite'}"]


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(["route", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_explain(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = said(capsys, "explain", TEXT, *words)
    choice = found["choice"]
    assert (choice["intent"], choice["model"], choice["reason"]) == ("history", "small", "ROUTE_INTENT")
    with Store.open(tmp_path / "store.sqlite") as store:
        for _ in range(3):
            store.project().tasks.add("history", "small", "f", ok=False)
    assert said(capsys, "explain", TEXT, *words)["choice"]["model"] == "big"
    assert main(["route", "explain", TEXT, *words]) == 0
    printed = capsys.readouterr().out
    assert "floor            0.500, not certified" in printed
    assert printed.endswith("goes to          big, ROUTE_INTENT\n")


def test_check_and_evidence(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    found = said(capsys, "check", *words)
    assert set(found["floors"]) == {"general_chat", "math", "history", "science"}
    assert found["suggested"] is None
    proved = said(capsys, "evidence", *words)
    assert proved["accuracy"]["n"] == 48
    assert proved["curve"] == {}
    assert sum(each["right"]["n"] for each in proved["calibration"]) == 48
    assert sum(proved["languages"][name]["n"] for name in ("tr", "en")) == 48
    assert set(said(capsys, "evidence", "--curve", *words)["curve"]) == set()  # fewer than the smallest of its sizes
    assert proved["recorded"] is None
    assert proved["simulated"]["good"]["routed"] > proved["simulated"]["good"]["random"]
    assert main(["route", "evidence", *words]) == 0
    printed = capsys.readouterr().out
    assert "nobody has rated" in printed
    assert "no floor for all intents can be certified" in printed


def test_evidence_of_the_bundled_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What docs/routing.md shows: floors that are certified, and what fewer examples would give."""
    (tmp_path / "routes.toml").write_text(registry(0.91))
    words = ["--routes", str(tmp_path / "routes.toml"), "--set", "serve.store=none"]
    models = ["--serve", f"small={DEMO}", "--serve", f"big={DEMO}"]
    found = said(capsys, "check", *words, *models)
    assert found["together"]["certified"]
    assert found["together"]["upper"] <= 0.05
    assert found["suggested"] <= 0.95
    assert main(["route", "evidence", "--curve", *words, *models]) == 0
    printed = capsys.readouterr().out
    for said_so in ("Turkish  420", "EXAMPLES", f"floor {found['suggested']:g} for all intents would be certified"):
        assert said_so in printed


def test_correct(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    text = "Zonguldak maden ocakları"
    said(capsys, "correct", text, "science", *words)
    assert said(capsys, "explain", text, *words)["choice"]["intent"] == "science"
    said(capsys, "correct", text, "science", "--remove", *words)
    assert said(capsys, "explain", text, *words)["choice"]["intent"] != "science"
    assert main(["route", "correct", text, "no_intent", *words]) == 2
    assert "no_intent: is no intent; there are: general_chat, math" in capsys.readouterr().err


def test_what_is_wrong_is_told(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["route", "check", "--routes", str(tmp_path / "other.toml")]) == 2
    assert "does not exist; --routes names a registry" in capsys.readouterr().err
    assert main(["route", "check", *words[:4]]) == 2
    assert "routes.toml:5: model 'big' is not served; there are: small" in capsys.readouterr().err
    assert main(["route", "check", "--journal", str(tmp_path / "none.jsonl")]) == 2
