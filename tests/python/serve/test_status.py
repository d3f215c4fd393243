"""/v1/status: what the page's monitor shows, and how limits are judged."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

import flyball
from flyball.pilot import verdict
from flyball.serve.limits import FEWEST, GO, NO_GO, WATCH, Limit, judged, limits_of
from flyball.serve.observing import Observer
from flyball.serve.queue import Queue
from flyball.serve.settings import ServeSettings
from flyball.slo.targets import Levels

from .conftest import WAIT, Running, Start
from .scraping import scrape, value
from .test_metrics import complete

GUARD = ("--set", "guard.mode=on", "--set", "guard.budget_cycles=1", "--speculate", "off")
MEMBERS = {
    "version", "uptime_seconds", "state", "isa", "threads", "models", "requests", "tokens", "first_token_ms",
    "tokens_per_second", "cycles_per_token", "cache", "decisions", "limits", "settings_revision",
}  # fmt: skip


@pytest.fixture(scope="module")
def fresh(start: Start) -> Running:
    """A server that nobody else asks."""
    return start("--set", "serve.cache_mb=100")


def status(server: Running) -> dict[str, Any]:
    body: dict[str, Any] = server.get("/v1/status").json()
    assert set(body) == MEMBERS
    return body


def test_a_new_server_has_nothing_to_be_proud_of(fresh: Running) -> None:
    body = status(fresh)
    assert body["state"] == "ready"
    assert body["version"] == flyball.__version__
    assert body["requests"] == {"running": 0, "waiting": 0, "finished": 0, "failed": 0, "canceled": 0}
    assert body["tokens"] == {"prompt": 0, "generated": 0}
    for name in ("tokens_per_second", "cycles_per_token"):
        assert body[name] == {"decode": None, "prefill": None}
    assert body["first_token_ms"] == {"p50": None, "p95": None}
    assert body["decisions"] == []
    states = {limit["name"]: limit["state"] for limit in body["limits"]}
    assert states == {
        "first_token_p95_ms": "WATCH", "queue_share": "GO", "cache_share": "GO", "failures_share": "WATCH",
        "stall_seconds": "GO",
    }  # fmt: skip


def test_figures_of_answers(fresh: Running) -> None:
    answers = [complete(fresh) for _ in range(3)]
    end = time.monotonic() + WAIT
    while (body := status(fresh))["requests"]["finished"] < 3:
        assert time.monotonic() < end
    assert body["tokens"]["generated"] == sum(each["usage"]["completion_tokens"] for each in answers)
    assert body["tokens"]["prompt"] == sum(each["usage"]["prompt_tokens"] for each in answers)
    assert 0 < body["first_token_ms"]["p50"] <= body["first_token_ms"]["p95"]
    assert body["cycles_per_token"]["decode"] > 0
    assert body["tokens_per_second"]["decode"] > 0
    assert body["cache"] == {"used_bytes": 0, "limit_bytes": 100 << 20}
    model = flyball.Model.load(flyball.demo_model_path())
    assert body["models"] == [
        {
            "name": "flyball-demo",
            "loaded": True,
            "context": model.session().context,
            "cache_type": "f16",
            "fingerprint": model.info.fingerprint,
        }
    ]
    assert body["threads"] >= 1


def test_decisions_are_counted_and_told_latest_first(start: Start) -> None:
    server = start(*GUARD)
    ids = [complete(server, max_tokens=64)["flyball"]["receipt"] for _ in range(2)]
    end = time.monotonic() + WAIT
    while (body := status(server))["requests"]["finished"] < 2:
        assert time.monotonic() < end
    stops = [each for each in body["decisions"] if each["reason_id"] == "GUARD_BUDGET_STOP"]
    assert [each["receipt"] for each in stops] == ids[::-1]
    assert all("steps took longer than their budget" in each["sentence"] for each in stops)
    assert all(abs(each["time"] - time.time()) < 2 * WAIT for each in stops)
    assert len(body["decisions"]) <= 20
    samples = scrape(server)
    assert value(samples, "flyball:guard_trips_total") == 2
    assert value(samples, "flyball:governor_decisions_total", reason_id="GUARD_BUDGET_STOP") == 2
    assert value(samples, "flyball:stop_reasons_total", stop_reason="budget_guard") == 2
    assert value(samples, "vllm:request_success_total", finished_reason="length") == 2


@pytest.mark.parametrize(
    ("value", "n", "state"),
    [
        (None, 0, WATCH),
        (None, FEWEST, WATCH),
        (0.0, FEWEST - 1, WATCH),
        (0.0, FEWEST, GO),
        (1.0, FEWEST, GO),
        (1.5, FEWEST, WATCH),
        (2.0, FEWEST, WATCH),
        (2.1, FEWEST, NO_GO),
        (2.1, 1, NO_GO),
    ],
)
def test_what_was_not_seen_is_not_good(value: float | None, n: int, state: str) -> None:
    limit = Limit("each", 1.0, 2.0, lambda server: (value, n), "")
    said = limit.judged(None)  # type: ignore[arg-type]
    assert said == {"name": "each", "value": value, "watch": 1.0, "limit": 2.0, "of": "server", "state": state}


def a_server(age: float = 0.0, waiting: int = 0, cache: int = 0) -> Any:
    """What limits read of a server."""
    queue = Queue(1, 10, 1000, 100)
    queue.n_waiting, queue.cache_bytes = waiting, cache
    settings = ServeSettings(stall_seconds=8)
    return SimpleNamespace(
        observe=Observer(), queue=queue, settings=settings, step_ages=lambda: iter([("a", 0.0), ("b", age)])
    )


def states(server: Any) -> dict[str, str]:
    return {each["name"]: each["state"] for each in judged(server)}


def test_every_limit_can_be_passed() -> None:
    assert states(a_server(age=2.0))["stall_seconds"] == GO
    assert states(a_server(age=2.5))["stall_seconds"] == WATCH
    assert states(a_server(age=8.5))["stall_seconds"] == NO_GO
    assert states(a_server(waiting=5))["queue_share"] == GO
    assert states(a_server(waiting=6))["queue_share"] == WATCH
    assert states(a_server(waiting=10))["queue_share"] == NO_GO
    assert states(a_server(cache=90))["cache_share"] == WATCH
    assert states(a_server(cache=96))["cache_share"] == NO_GO
    server = a_server()
    server.observe.first_token_seconds.extend([0.1] * 38 + [9.0] * 2)
    assert states(server)["first_token_p95_ms"] == GO
    server.observe.first_token_seconds.append(9.0)
    assert states(server)["first_token_p95_ms"] == NO_GO


def test_the_pilot_service_levels_and_the_server_have_the_same_numbers() -> None:
    limits = {limit.name: limit for limit in limits_of(ServeSettings())}
    assert limits["first_token_p95_ms"].limit == verdict.HARD[1]
    assert limits["failures_share"].limit == verdict.ALLOWED == pytest.approx(1 - Levels().objective)


def test_limits_say_why_and_are_in_order() -> None:
    for limit in limits_of(ServeSettings()):
        assert limit.watch < limit.limit, limit.name
        assert len(limit.why) > 20, limit.name
