"""`flyball load run`: against real servers, with all flows; verdicts, exit codes, files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flyball.cli import main
from flyball.load import alerts, process

ROOT = Path(__file__).parents[3]
K6 = os.environ.get("FLYBALL_K6", "")
FLOWS = """
late_ms = 60000
timeout_s = 300
grace_s = 600
key_env = "LOAD_KEY"
[flows.page]
kind = "page"
load = "iterations"
iterations = 2
[[flows.page.thresholds]]
metric = "http_req_failed"
limit = "rate < 0.2"
[flows.chat]
kind = "chat"
load = "arrivals"
stages = [{ rate = 2, to = 6, seconds = 2 }]
spacing = "even"
login = true
max_tokens = 8
goodput = { first_token_ms = 600000, per_token_ms = 600000 }
[[flows.chat.thresholds]]
metric = "goodput"
limit = "rate > 0.0001"
[[flows.chat.thresholds]]
metric = "checks"
limit = "rate >= 1"
[flows.jobs]
kind = "jobs"
load = "iterations"
iterations = 1
lines = 2
max_tokens = 4
poll_s = 0.1
[[flows.jobs.thresholds]]
metric = "checks"
limit = "rate >= 1"
"""
SMALL = """
{top}
[flows.page]
kind = "page"
load = "arrivals"
stages = [{{ rate = 40, seconds = 0.5 }}]
spacing = "even"
[[flows.page.thresholds]]
metric = "iteration_duration"
limit = "p(50) < {limit}"
severity = "critical"
"""


@pytest.fixture(scope="module")
def server() -> Iterator[process.Server]:
    """A server that asks for a key."""
    with process.Server.started(key=process.new_key()) as server:
        yield server


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(server: process.Server, text: str, *words: str) -> int:
    Path("plan.toml").write_text(text)
    return main(["load", "run", "plan.toml", "--url", server.url, *words])


def written() -> dict[str, Any]:
    (path,) = Path("data/load").glob("*.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_all_flows(server: process.Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("LOAD_KEY", server.key)
    assert load(server, FLOWS, "--json", "--seed", "7") == 0
    said = json.loads(capsys.readouterr().out)
    assert said == written()
    assert (said["verdict"], said["seed"], said["why"]) == ("pass", 7, [])
    flows = said["flows"]
    assert {name: (each["come"], each["good"]) for name, each in flows.items()} == {
        "page": (2, 2),
        "chat": (8, 8),
        "jobs": (1, 1),
    }
    assert not any(each["errors"] for each in flows.values())
    assert flows["chat"]["tokens"] > 8
    assert flows["chat"]["quantiles"]["first_token"]["n"] == 8
    assert flows["page"]["checks"]["page's files load"]["passes"] > 2 * 15
    assert set(flows["jobs"]["checks"]) >= {"batch is complete", "file is deleted"}
    assert said["generator"]["late_ms"]["chat"]["p(95)"] >= 0
    assert said["server"]["rss_bytes_most"] > 10 << 20
    assert said["server"]["snapshots"][0]["n_processes"] >= 1
    assert server.key not in json.dumps(said)
    assert not Path("data/aiops").exists()


def test_a_threshold_that_fails(server: process.Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert load(server, SMALL.format(top="late_ms = 60000", limit=0.001), "--alerts", "a/alerts.jsonl") == 1
    out = capsys.readouterr().out
    assert "fail       page iteration_duration p(50)<0.001" in out
    assert "verdict    fail" in out
    said = written()
    (alert,) = alerts.read("a/alerts.jsonl").entries
    assert (alert["component"], alert["metric"], alert["threshold"]) == ("page", "iteration_duration", "p(50)<0.001")
    assert (alert["severity"], alert["run"]) == ("critical", said["run"])
    assert alert["observed"] == said["thresholds"][0]["observed"]
    assert alert["observed_p95_ms"] == said["metrics"]["iteration_duration{scenario:page}"]["p(95)"]
    assert said["metrics"]["iteration_duration{scenario:page}"]["thresholds"] == {"p(50)<0.001": True}


def test_a_generator_that_is_late_decides_nothing(server: process.Server, capsys: pytest.CaptureFixture[str]) -> None:
    """No program is never late at all: with a limit of 0 no run is fit, not even to fail."""
    assert load(server, SMALL.format(top="late_ms = 0", limit=0.001)) == 2
    out = capsys.readouterr().out
    assert "the generator was late itself: p99 of page's arrivals" in out
    assert "verdict    undecided" in out
    assert written()["verdict"] == "undecided"
    assert not Path("data/aiops").exists()


def test_a_key_that_is_refused_or_missing(
    server: process.Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chat = FLOWS[FLOWS.index("[flows.chat]") : FLOWS.index("[flows.jobs]")]
    monkeypatch.setenv("OTHER_KEY", "not-the-right-one")
    assert load(server, "late_ms = 60000\n" + chat, "--key-env", "OTHER_KEY") == 1
    assert "8 times" in capsys.readouterr().out
    assert written()["flows"]["chat"]["checks"] == {"login is accepted": {"passes": 0, "fails": 8}}
    monkeypatch.delenv("LOAD_KEY", raising=False)
    assert load(server, FLOWS) == 2
    assert "LOAD_KEY: is not set" in capsys.readouterr().err
    Path("key").write_text("\n")
    assert load(server, 'key_file = "key"\n' + chat) == 2
    assert "key: has no key" in capsys.readouterr().err
    Path("key").write_text("a\u00e7b\n")
    assert load(server, 'key_file = "key"\n' + chat) == 2
    assert "not of printable ASCII" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seed", "-1"], "--seed: is -1"),
        (["--url", "nowhere"], "url: is 'nowhere'"),
        ([], "flows: is missing"),
    ],
)
def test_wrong_use(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("plan.toml").write_text("" if not words else FLOWS)
    assert main(["load", "run", "plan.toml", *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_ends_what_it_started(number: signal.Signals, tmp_path: Path) -> None:
    """Its own server too; what was seen so far is written."""
    text = SMALL.format(top="late_ms = 60000", limit=1e6).replace("seconds = 0.5", "seconds = 1000")
    (tmp_path / "plan.toml").write_text(text)
    command = [sys.executable, "-m", "flyball", "load", "run", "plan.toml"]
    ours, theirs = os.openpty()
    running = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=theirs, text=True)
    os.close(theirs)
    seen = b""
    while b"page 1" not in seen:  # the progress, once there is some
        seen += os.read(ours, 4096)
    children = [pid for pid in process.tree(running.pid) if pid != running.pid]
    running.send_signal(number)
    out, _ = running.communicate(timeout=300)
    os.close(ours)
    assert children
    assert running.returncode == 2
    assert "undecided  the run was stopped before its end" in out
    (path,) = (tmp_path / "data/load").glob("*.json")
    assert json.loads(path.read_text())["stopped"] is True
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)


def test_without_the_extra(tmp_path: Path) -> None:
    text = "import sys; sys.modules['sqlalchemy'] = None; from flyball.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", text, "load", "run", "plan.toml"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "pip install 'flyball[serve]'" in ended.stderr


def test_a_server_that_does_not_start(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FLYBALL_SERVE_PARALLEL", "nonsense")
    Path("plan.toml").write_text(SMALL.format(top="serve = true", limit=1))
    assert main(["load", "run", "plan.toml"]) == 2
    error = capsys.readouterr().err
    assert "flyball serve: ended with 2 before it served" in error
    assert "nonsense" in error


def test_the_server_behind_an_address_is_found(server: process.Server) -> None:
    assert process.listener(server.url) == server.process.pid
    assert process.listener("http://127.0.0.1:1") is None
    assert process.listener("http://192.0.2.1:80") is None
    seen = process.usage(server.process.pid, 0.0)
    assert seen is not None
    assert seen.rss_bytes > seen.private_bytes > 1 << 20
    assert seen.cpu_seconds > 0


@pytest.mark.skipif(not K6, reason="FLYBALL_K6 names no k6")
def test_k6_runs_the_same_flows(server: process.Server, tmp_path: Path) -> None:
    """Its thresholds are of time, which no test may judge: the checks are what counts."""
    command = [K6, "run", "-q", "--no-thresholds", "--summary-export", str(tmp_path / "k6.json")]
    command += ["-e", f"URL={server.url}", "-e", f"KEY={server.key}", "-e", "SECONDS=4", str(ROOT / "load/console.js")]
    environment = os.environ | {"K6_NO_USAGE_REPORT": "true"}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert ended.returncode == 0, ended.stderr
    checks = json.loads((tmp_path / "k6.json").read_text())["root_group"]["checks"]
    assert {"page loads", "login is accepted", "answer is whole", "batch is complete"} <= set(checks)
    assert {name: each["fails"] for name, each in checks.items() if each["fails"]} == {}
