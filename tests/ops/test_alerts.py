"""Alerts on their way: Prometheus reads servers that are ill, Alertmanager tells each illness once.

Rules and routes are the project's own; only the times that they wait are shorter.
"""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.python.serve.programs import free_port, program

OBSERVE = Path(__file__).parents[2] / "ops" / "observe"
WAIT = 360  # seconds, for neighbors that take the processors
QUIET = 8  # seconds in which nothing may be told again: group_interval is one


class Scene(NamedTuple):
    """A server's metrics, each a number, or a number and what it grows by in a second; and what is told of it."""

    metrics: dict[str, float | tuple[float, float]]
    told: set[str]
    job: str = ""  # its name, unless a rule asks for another


ANSWERS = 'flyball:answers_total{model_name="m", outcome="%s"}'
REFUSALS = 'flyball:refusals_total{reason="%s"}'
FIRST = 'vllm:time_to_first_token_seconds_%s{model_name="m"%s}'
CACHE_IS_FULL = {"flyball:cache_bytes": 99.0, "flyball:cache_limit_bytes": 100.0}
QUEUE = {
    'vllm:num_requests_waiting{model_name="m"}': 1.0,
    "flyball:queue_requests_limit": 100.0,
    "flyball:queue_tokens": 10.0,
    "flyball:queue_tokens_limit": 1000.0,
}
ONE_RUNS = {
    'vllm:num_requests_running{model_name="m"}': 1.0,
    'vllm:num_requests_waiting{model_name="m"}': 0.0,
}


def tokens_of_100(within: float) -> dict[str, float | tuple[float, float]]:
    """First tokens, a hundred a second, of which so many come within 2.5 s."""
    return {
        FIRST % ("bucket", ', le="2.5"'): (0, within),
        FIRST % ("bucket", ', le="5.0"'): (0, 100),
        FIRST % ("bucket", ', le="+Inf"'): (0, 100),
        FIRST % ("count", ""): (0, 100),
    }


SCENES = {
    "down": Scene({}, {"FlyballDown"}, "flyball"),
    "broken": Scene(
        {'flyball:verifications_total{receipt="own", outcome="mismatch"}': (0, 1)}, {"FlyballVerificationMismatch"}
    ),
    "edge": Scene({"flyball_edge_verification_mismatches_total": (0, 1)}, {"FlyballReplicasDiffer"}),
    "lonely": Scene({'flyball_edge_replicas{state="lost"}': 1}, {"FlyballReplicaLost"}),
    # Its full cache is no news while it is stalled.
    "stalled": Scene({'flyball:step_age_seconds{model_name="m"}': 90, **CACHE_IS_FULL}, {"FlyballStalled"}),
    "silent": Scene({'vllm:generation_tokens_total{model_name="m"}': 5, **ONE_RUNS}, {"FlyballNoAnswers"}),
    # Whoever fails uses up a budget, too: 10 %, 30 % and 2 % are three speeds, and only the fastest is told.
    "failing": Scene(
        {ANSWERS % "finished": (0, 90), ANSWERS % "failed": (0, 10)}, {"FlyballFailures", "FlyballBudgetGoesInDays"}
    ),
    "defect": Scene(
        {ANSWERS % "finished": (0, 70), ANSWERS % "failed": 0, REFUSALS % "defect": (0, 30)},
        {"FlyballDefect", "FlyballBudgetGoesInHours"},
    ),
    "busy": Scene(
        {ANSWERS % "finished": (0, 98), ANSWERS % "failed": 0, REFUSALS % "busy": (0, 2)},
        {"FlyballBusy", "FlyballBudgetGoes"},
    ),
    "slow": Scene(tokens_of_100(90), {"FlyballFirstTokenSlow", "FlyballBudgetGoes"}),
    "full queue": Scene({**QUEUE, "flyball:queue_tokens": 950}, {"FlyballQueueFull"}),
    "old queue": Scene({**QUEUE, "flyball:queue_age_seconds": 31}, {"FlyballQueueOld"}),
    "processors": Scene({"process_cpu_seconds_total": (0, 4), "flyball:processors": 2}, {"FlyballProcessorsBusy"}),
    "adapters": Scene(
        {'flyball:adapter_changes_total{project="p", change="rolled_back", by="outcomes"}': (0, 1)},
        {"FlyballAdapterRolledBack"},
    ),
    "full cache": Scene({**CACHE_IS_FULL}, {"FlyballCacheFull"}),
    "well": Scene(
        {
            **QUEUE, **ONE_RUNS, **tokens_of_100(100), ANSWERS % "finished": (0, 100), ANSWERS % "failed": 0,
            ANSWERS % "canceled": (0, 50), REFUSALS % "invalid": (0, 50), "flyball:processors": 200,
            'vllm:generation_tokens_total{model_name="m"}': (0, 100), "process_cpu_seconds_total": (0, 1),
            "flyball:cache_bytes": 50, "flyball:cache_limit_bytes": 100, "flyball:queue_age_seconds": 3,
            'flyball:step_age_seconds{model_name="m"}': 1, "flyball_edge_verification_mismatches_total": 0,
            'flyball_edge_replicas{state="ready"}': 3, 'flyball_edge_replicas{state="lost"}': 0,
        },
        set(),
        "flyball",
    ),
}  # fmt: skip


def page(scene: Scene, seconds: float) -> str:
    """What a server shows after so many seconds."""
    lines = []
    for name, value in scene.metrics.items():
        start, growth = value if isinstance(value, tuple) else (value, 0)
        lines.append(f"{name} {start + growth * seconds}\n")
    return "".join(lines)


class Told(NamedTuple):
    """A notification: whom, of what."""

    receiver: str
    alert: str
    scene: str


class Machine(ThreadingHTTPServer):
    """Plays all servers, and is told of alerts."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.started = time.monotonic()
        self.told: Counter[Told] = Counter()


class Handler(BaseHTTPRequestHandler):
    server: Machine

    def do_GET(self) -> None:
        scene = SCENES[self.path.removeprefix("/").replace("-", " ")]
        self._answer(200 if scene.metrics else 500, page(scene, time.monotonic() - self.server.started))

    def do_POST(self) -> None:
        said = json.loads(self.rfile.read(int(self.headers["content-length"])))
        for alert in said["alerts"]:
            labels = alert["labels"]
            assert alert["status"] == "firing", alert
            scene = labels.get("instance") or labels["job"]  # some are of a job
            self.server.told[Told(said["receiver"], labels["alertname"], scene)] += 1
        self._answer(200, "")

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("content-type", "text/plain; version=0.0.4")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *about: Any) -> None:
        pass


def hastened(rules: dict[str, Any]) -> dict[str, Any]:
    """The rules, whose alerts wait for a second where they wait for minutes. Their windows stay as they are."""
    for group in rules["groups"]:
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = "1s"
    return rules


def alertmanager_settings(url: str) -> dict[str, Any]:
    """The routes, which gather alerts for a second, and tell them here."""
    settings: dict[str, Any] = yaml.safe_load((OBSERVE / "alertmanager.yml").read_text())
    settings["route"] |= {"group_wait": "1s", "group_interval": "1s"}
    for receiver in settings["receivers"]:
        receiver["webhook_configs"] = [{"url": url}]
    return settings


def prometheus_settings(exporter: str, alertmanager: str) -> dict[str, Any]:
    settings: dict[str, Any] = yaml.safe_load((OBSERVE / "prometheus.yml").read_text())
    settings["global"] = {"scrape_interval": "3s", "evaluation_interval": "1s"}
    settings["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [alertmanager]}]}]
    settings["scrape_configs"] = [
        {
            "job_name": name,
            "metrics_path": f"/{name.replace(' ', '-')}",
            "static_configs": [{"targets": [exporter], "labels": {"instance": name, "job": scene.job or name}}],
        }
        for name, scene in SCENES.items()
    ]
    return settings


def write(path: Path, settings: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(settings))
    return path


@contextmanager
def running(folder: Path, *command: str) -> Iterator[None]:
    with (folder / f"{Path(command[0]).name}.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        yield
        assert process.poll() is None, (folder / f"{Path(command[0]).name}.log").read_text()
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Counter[Told]]:
    """What Alertmanager tells, as it comes."""
    prometheus, alertmanager = (program(name, name) for name in ("prometheus", "prometheus-alertmanager"))
    web, manager = free_port(), f"127.0.0.1:{free_port()}"
    write(tmp_path / "rules.yml", hastened(yaml.safe_load((OBSERVE / "rules.yml").read_text())))
    with ExitStack() as stack:
        machine = stack.enter_context(Machine())
        thread = threading.Thread(target=machine.serve_forever)
        thread.start()
        stack.callback(thread.join)
        stack.callback(machine.shutdown)
        here = f"127.0.0.1:{machine.server_port}"
        routes = write(tmp_path / "alertmanager.yml", alertmanager_settings(f"http://{here}"))
        scraping = write(tmp_path / "prometheus.yml", prometheus_settings(here, manager))
        for command in (
            (alertmanager, f"--config.file={routes}", f"--storage.path={tmp_path / 'a'}", "--cluster.listen-address="),
            (prometheus, f"--config.file={scraping}", f"--storage.tsdb.path={tmp_path / 'p'}"),
        ):
            address = manager if command[0] == alertmanager else f"127.0.0.1:{web}"
            stack.enter_context(running(tmp_path, *command, f"--web.listen-address={address}"))
        yield machine.told


def test_each_alert_is_told_once_and_to_whom_it_concerns(told: Counter[Told]) -> None:
    rules = yaml.safe_load((OBSERVE / "rules.yml").read_text())
    severity = {
        rule["alert"]: rule["labels"]["severity"]
        for group in rules["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    expected = {Told(severity[alert], alert, name) for name, scene in SCENES.items() for alert in scene.told}
    assert {each.alert for each in expected} == set(severity), "an alert has no scene"
    end = time.monotonic() + WAIT
    while not expected <= told.keys():
        assert time.monotonic() < end, expected - told.keys()
        time.sleep(0.2)
    time.sleep(QUIET)
    assert told == Counter(expected)


def test_only_waiting_is_shortened() -> None:
    """Expressions, labels and words of the test are the rules' own."""
    text = (OBSERVE / "rules.yml").read_text()
    rules, hasty = yaml.safe_load(text), hastened(yaml.safe_load(text))
    waits = [rule.pop("for", None) for group in rules["groups"] for rule in group["rules"]]
    assert all(re.fullmatch(r"\d+m", wait) for wait in waits if wait)
    assert [rule.pop("for", None) for group in hasty["groups"] for rule in group["rules"]] == [
        wait and "1s" for wait in waits
    ]
    assert hasty == rules
