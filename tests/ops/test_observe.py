"""ops/observe: configuration and alerts, by the programs that read them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from flyball.serve.limits import limits_of
from flyball.serve.settings import ServeSettings
from tests.python.serve.programs import program

OBSERVE = Path(__file__).parents[2] / "ops" / "observe"
_ALERT = re.compile(r"- alert: (\w+)")


def tool(*command: str | Path, package: str = "prometheus", folder: Path = OBSERVE) -> subprocess.CompletedProcess[str]:
    path = program(str(command[0]), package)
    return subprocess.run([path, *command[1:]], cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    "command", ["check config prometheus.yml", "check rules rules.yml", "test rules rules_test.yml"]
)
def test_prometheus_takes_the_files(command: str) -> None:
    said = tool("promtool", *command.split())
    assert said.returncode == 0, said.stdout + said.stderr


def test_a_rule_that_is_changed_fails_its_test(tmp_path: Path) -> None:
    for name in ("rules.yml", "rules_test.yml"):
        shutil.copy(OBSERVE / name, tmp_path)
    rules = (tmp_path / "rules.yml").read_text()
    assert 'receipt="own", ' in rules
    (tmp_path / "rules.yml").write_text(rules.replace('receipt="own", ', ""))
    said = tool("promtool", "test", "rules", "rules_test.yml", folder=tmp_path)
    assert said.returncode != 0
    assert "FlyballVerificationMismatch" in said.stdout + said.stderr


def test_alertmanager_takes_its_file() -> None:
    said = tool("amtool", "check-config", "alertmanager.yml", package="prometheus-alertmanager")
    assert said.returncode == 0, said.stdout + said.stderr


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (["alertname=FlyballVerificationMismatch", "severity=page"], "page"),
        (["alertname=FlyballDown", "severity=page"], "page"),
        (["alertname=FlyballCacheFull", "severity=ticket"], "ticket"),
    ],
)
def test_alerts_reach_their_receiver(labels: list[str], receiver: str) -> None:
    routes = ("config", "routes", "test", "--config.file=alertmanager.yml")
    said = tool("amtool", *routes, f"--verify.receivers={receiver}", *labels, package="prometheus-alertmanager")
    assert said.returncode == 0, said.stdout + said.stderr


def test_every_alert_has_a_test() -> None:
    alerts = set(_ALERT.findall((OBSERVE / "rules.yml").read_text()))
    assert len(alerts) >= 8
    assert set(re.findall(r"alertname: (\w+)", (OBSERVE / "rules_test.yml").read_text())) == alerts


def test_alerts_have_the_bounds_of_the_limits() -> None:
    rules = (OBSERVE / "rules.yml").read_text()
    limits = {limit.name: limit.limit for limit in limits_of(ServeSettings())}
    for name, expression, scale in (
        ("first_token_p95_ms", "flyball:first_token_seconds:p95_5m", 1000),
        ("queue_share", "flyball:queue:share", 1),
        ("cache_share", "flyball:cache_bytes / flyball:cache_limit_bytes", 1),
        ("failures_share", "flyball:answers:failed_share_10m", 1),
        ("stall_seconds", "flyball:step_age_seconds", 1),
    ):
        found = re.search(rf"expr: {re.escape(expression)} > ([\d.]+)\n", rules)
        assert found is not None, name
        assert float(found[1]) * scale == limits[name], name


def test_services_are_pinned_and_reached_from_this_machine_alone() -> None:
    compose = (OBSERVE / "compose.yaml").read_text()
    images = re.findall(r"image: (\S+)", compose)
    assert len(images) == 3
    assert all(re.fullmatch(r"[\w/-]+:v?\d+\.\d+\.\d+", image) for image in images)
    assert compose.count("network_mode: host") == 3
    addresses = re.findall(r"(?:listen-address=|HTTP_ADDR: )(\S*)", compose)
    assert sorted(address.partition(":")[0] for address in addresses) == ["", "127.0.0.1", "127.0.0.1", "127.0.0.1"]
    for mounted in re.findall(r"- \./(\S+?):", compose):
        assert (OBSERVE / mounted).is_file(), mounted


def test_the_dashboard_is_whole() -> None:
    board: dict[str, Any] = json.loads((OBSERVE / "grafana" / "flyball.json").read_text())
    sources = (OBSERVE / "grafana" / "datasources.yaml").read_text()
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert f"uid: {panel['datasource']['uid']}\n" in sources
            assert panel["targets"], panel["title"]
