"""Records, profiles and settings that are wrong: each an error that says where."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import flyball
from flyball.pilot import profiles, run, stub
from flyball.pilot.models import ollama_url
from flyball.pilot.record import Record
from flyball.pilot.stub import Times

from .scripted import live, replayed

Change = Callable[[dict[str, Any]], object]
HOSTILE: dict[str, Change] = {
    "schema": lambda d: d.update(schema=2),
    "kind": lambda d: d.update(kind="scorecard"),
    "mode": lambda d: d.update(mode="dream"),
    "scene": lambda d: d.update(scene="../x"),
    "time": lambda d: d.update(time=-1),
    "flag": lambda d: d.update(random_choice=1),
    "no turns": lambda d: d.update(turns=[]),
    "a turn twice": lambda d: d["turns"].append(d["turns"][0]),
    "a turn left out": lambda d: d["turns"].pop(0),
    "a negative time": lambda d: d["turns"][0].update(turn_duration_ms=-1),
    "a time that is text": lambda d: d["turns"][0].update(map_fn_latency_ms="1"),
    "an endless time": lambda d: d["turns"][0].update(turn_duration_ms=1e300),
    "another verdict": lambda d: d["summary"].update(verdict="GO"),
    "no summary": lambda d: d.pop("summary"),
    "a call left out": lambda d: d["turns"][0]["calls"].pop(),
    "an agent twice": lambda d: d["turns"][0]["calls"][0].update(agent="judge"),
    "a digest that is a path": lambda d: d["turns"][0]["calls"][0].update(digest="../../etc/passwd"),
    "a part more": lambda d: d["turns"][0]["calls"][0]["split"].update(more=1),
    "an agent more": lambda d: d["llm_variants"].update(spy="x"),
    "a model left out": lambda d: d["models"].pop("judge"),
    "a start that is none": lambda d: d["start"].update(turn=-1),
    "a place that is none": lambda d: d["start"]["at"].update(ada="moon"),
    "a surrogate": lambda d: d.update(tag="\ud800"),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_record_is_an_error(tmp_path: Path, change: Change) -> None:
    _, path = live(tmp_path, 3)
    stored = json.loads(path.read_text())
    change(stored)
    path.write_text(json.dumps(stored))
    with pytest.raises(flyball.Error, match=r"perf_report_\d+-\d+\.json"):
        Record.load(path)


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_record_is_an_error(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "perf_report_1.json"
    path.write_bytes(raw)
    with pytest.raises(flyball.Error):
        Record.load(path)


def test_a_record_that_does_not_fit_is_a_clear_error(tmp_path: Path) -> None:
    record, path = live(tmp_path, 3)
    assert Record.load(path) == record
    with pytest.raises(flyball.Error, match="has only 3 turns"):
        replayed(path, 4, Times())
    for plan in (run.Plan(tmp_path, "t", 3, seed=1), run.Plan(tmp_path, "t", 3, random_choice=True)):
        with pytest.raises(flyball.Error, match="was recorded with --seed 0 alone"):
            run.replay(plan, path, Times())
    stored = json.loads(path.read_text())
    stored["turns"][1]["calls"][2]["question"] = "0" * 64
    path.write_text(json.dumps(stored))
    with pytest.raises(flyball.Error, match="turn 2, world: asks what the record was not asked"):
        replayed(path, 3, Times())
    path.write_text(json.dumps(stored | {"scene": "0" * 64}))
    with pytest.raises(flyball.Error, match="another scene"):
        replayed(path, 3, Times())
    path.write_text(json.dumps(stored | {"mode": "stub"}))
    with pytest.raises(flyball.Error, match="is a stub's record"):
        replayed(path, 3, Times())
    with pytest.raises(flyball.Error, match="no record of a live run"):
        stub.newest(tmp_path)


def test_the_newest_live_record_is_replayed(tmp_path: Path) -> None:
    paths = [live(tmp_path, 1, at=1.8e9 + seconds)[1] for seconds in (0.1, 0.9, 0.5)]
    assert stub.newest(tmp_path) == paths[1]
    assert paths[1].name.endswith("-2.json")


def test_an_answer_that_leads_elsewhere_is_a_clear_error(tmp_path: Path) -> None:
    _, path = live(tmp_path, 2)
    stored = json.loads(path.read_text())
    stored["turns"][0]["calls"][0]["text"] = '{"event": "quiet", "place": "ford", "line": ""}'
    path.write_text(json.dumps(stored))
    with pytest.raises(flyball.Error, match="turn 1, map: asks what the record was not asked"):
        replayed(path, 2, Times())


def test_profiles_and_variants() -> None:
    default = dict.fromkeys(("event", "map", "world", "judge"), "default")
    assert profiles.variants_of("default", "") == default
    latency = profiles.variants_of("latency", "event=qwen2.5:0.5b, judge=default")
    assert latency == default | {"event": "qwen2.5:0.5b", "world": "phi3_adapter_v1"}


@pytest.mark.parametrize(
    ("profile", "overrides"),
    [("fast", ""), ("", ""), ("default", "event"), ("default", "spy=x"), ("default", "event=a,event=b"),
     ("default", "event="), ("default", "event=../x y"), ("default", "event=" + "a" * 200), ("default", "=x")],
)  # fmt: skip
def test_a_hostile_profile_is_an_error(profile: str, overrides: str) -> None:
    with pytest.raises(flyball.Error):
        profiles.variants_of(profile, overrides)


def test_prefetch_reads_the_beginning(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(bytes(3_000_000))
    assert [profiles.prefetch(path, n) for n in (0, 65536, 2_500_000, 9_000_000)] == [0, 65536, 2_500_000, 3_000_000]
    with pytest.raises(flyball.Error, match="cannot be read"):
        profiles.prefetch(tmp_path / "none", 1)


def test_prefetch_settings() -> None:
    skip, n_bytes = "FLYBALL_SKIP_MODEL_PREFETCH", "FLYBALL_MODEL_PREFETCH_BYTES"
    assert profiles.prefetch_bytes(None, False, {}) == 65536
    assert profiles.prefetch_bytes(None, False, {n_bytes: "4096"}) == 4096
    assert profiles.prefetch_bytes(1, False, {n_bytes: "4096", skip: "1"}) == 1
    assert profiles.prefetch_bytes(None, False, {n_bytes: "4096", skip: "1"}) == 0
    assert profiles.prefetch_bytes(9, True, {}) == 0
    for flag, environment in ((None, {skip: "yes"}), (None, {n_bytes: "-1"}), (None, {n_bytes: "9" * 30}), (-1, {})):
        with pytest.raises(flyball.Error):
            profiles.prefetch_bytes(flag, False, environment)


@pytest.mark.parametrize(
    "text", ["x", "event=x", "spy=1", "event=-1", "event=nan", "event=inf", "event=1,event=2", "9e9"]
)
def test_a_hostile_delay_is_an_error(text: str) -> None:
    with pytest.raises(flyball.Error):
        Times.of(False, text)


def test_delays() -> None:
    assert Times.of(True, "event=250,judge=3000") == Times(True, {"event": 250, "judge": 3000})
    assert Times.of(False, "5").added_ms == dict.fromkeys(("event", "map", "world", "judge"), 5)


@pytest.mark.parametrize(
    ("host", "port", "url"),
    [
        ("", "", "http://127.0.0.1:11434"),
        ("box", "", "http://box:11434"),
        ("box", "9", "http://box:9"),
        ("box:9", "", "http://box:9"),
        ("box:9", "9", "http://box:9"),
        ("0.0.0.0", "", "http://127.0.0.1:11434"),
        ("http://box:9/", "", "http://box:9"),
        ("https://box", "", "https://box"),
        ("[::1]", "", "http://[::1]:11434"),
    ],
)
def test_the_address_of_ollama(host: str, port: str, url: str) -> None:
    assert ollama_url({"OLLAMA_HOST": host, "OLLAMA_PORT": port}) == url


@pytest.mark.parametrize(("host", "port"), [("box:9", "8"), ("box", "x"), ("box", "0"), ("box", "70000")])
def test_a_hostile_address_of_ollama_is_an_error(host: str, port: str) -> None:
    with pytest.raises(flyball.Error, match="OLLAMA_PORT"):
        ollama_url({"OLLAMA_HOST": host, "OLLAMA_PORT": port})
