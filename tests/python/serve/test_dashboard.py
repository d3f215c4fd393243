"""The dashboard and the alerts against a real Prometheus that reads a real server."""

from __future__ import annotations

import json
import math
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from flyball.learn import folders
from flyball.learn.adapters import Registry
from flyball.store import Store
from tests.reference.demo_adapter import write_random

from .conftest import WAIT, Running, Start
from .programs import free_port, program
from .scraping import scrape
from .test_adapters import folder_of
from .test_metrics import STORY, complete

OBSERVE = Path(__file__).parents[3] / "ops" / "observe"
BOARD: dict[str, Any] = json.loads((OBSERVE / "grafana" / "flyball.json").read_text())
_METRIC = re.compile(r"\b(?:flyball|vllm|llamacpp):[\w:]+|\bprocess_\w+")


def expressions() -> list[tuple[str, str]]:
    """Each panel's queries, with Grafana's variables filled in."""
    variables = {"$instance": ".*", "$model": ".*", "$__rate_interval": "1m"}
    found = []
    for panel in BOARD["panels"]:
        for target in panel.get("targets", ()):
            text = target["expr"]
            for name, word in variables.items():
                text = text.replace(name, word)
            found.append((panel["title"], text))
    return found


@pytest.fixture(scope="module")
def server(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Running:
    """With a canary."""
    home = tmp_path_factory.mktemp("home")
    folder = folder_of(home, write_random(home / "one.gguf", seed=1, gain=0.8))
    with Store.open(home / ".local/state/flyball/serve/store.sqlite") as store:
        registry = Registry(store.project(), "ada")
        registry.add(folder, folders.opened(folder), "one")
        registry.promote("one", share=50, force=True)
    return start(home=home)


@pytest.fixture(scope="module")
def prometheus(server: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A Prometheus with the project's rules, which reads the server twice a second."""
    path = program("prometheus", "prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    text = (OBSERVE / "prometheus.yml").read_text()
    changes = {
        "15s": "500ms",
        "- rules.yml": f"- {OBSERVE / 'rules.yml'}",
        "127.0.0.1:8080": server.url.removeprefix("http://"),
    }
    for before, after in changes.items():
        assert before in text
        text = text.replace(before, after)
    text = re.sub(r"alerting:\n(?:  .*\n)+", "", text)  # nobody is told
    (folder / "prometheus.yml").write_text(text)
    port = free_port()
    options = (f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}")
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([path, *options, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=WAIT) as client:
            until_ready(client, process, folder / "log")
            yield client
    finally:
        process.kill()
        process.wait()


def until_ready(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + WAIT
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        try:
            if client.get("/-/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)


def values(client: httpx.Client, expression: str) -> list[float]:
    """What a query gives now, without what is no number."""
    said = client.get("/api/v1/query", params={"query": expression}).json()
    assert said["status"] == "success", (expression, said)
    numbers = [float(each["value"][1]) for each in said["data"]["result"]]
    return [number for number in numbers if not math.isnan(number)]


def test_every_panel_has_data(server: Running, prometheus: httpx.Client) -> None:
    missing = expressions()
    assert len(missing) > 30
    end = time.monotonic() + WAIT
    while missing:
        assert time.monotonic() < end, f"no data: {missing}"
        complete(server)
        answer = server.post("/v1/completions", STORY | {"model": "of-nobody"})
        assert answer.status_code == 404
        missing = [(title, text) for title, text in missing if not values(prometheus, text)]
    (rate,) = values(prometheus, 'rate(flyball:refusals_total{reason="model"}[1m])')
    assert rate > 0
    assert all(each > 1000 for each in values(prometheus, "flyball:decode_cycles_per_token:5m"))


def test_no_alert_comes_while_all_is_well(server: Running, prometheus: httpx.Client) -> None:
    assert values(prometheus, 'ALERTS{alertstate="firing"}') == []


def test_rules_and_panels_name_what_there_is(server: Running) -> None:
    """An alert on a metric of no server would never come."""
    complete(server)
    known = {name for name, _ in scrape(server)}
    rules = (OBSERVE / "rules.yml").read_text()
    known |= set(re.findall(r"record: (\S+)", rules))
    used = set(_METRIC.findall(" ".join([*re.findall(r"expr: [^|]\S.*|expr: \|\n(?:        .*\n)+", rules)])))
    used |= {name for _, text in expressions() for name in _METRIC.findall(text)}
    assert len(used) > 25
    assert used <= known
