"""Plans for tests."""

from __future__ import annotations

from dataclasses import replace

from flyball.load.plan import Arrivals, ChatOptions, Flow, Limits, PageOptions, Plan, Stage, Users
from flyball.load.thresholds import Threshold

PAGE = PageOptions("/")
CHAT = ChatOptions(("Hello",), 4, "", False)


def even(rate: float, seconds: float, most_running: int = 1000) -> Arrivals:
    return Arrivals((Stage(rate, rate, seconds),), "even", most_running)


def users(n: int, seconds: float | None = None, iterations: int | None = None, pause_s: float = 0.0) -> Users:
    return Users(n, seconds, iterations, pause_s)


def flow(load: Arrivals | Users, *thresholds: Threshold, name: str = "it", chat: bool = False) -> Flow:
    return Flow(name, CHAT if chat else PAGE, load, Limits(), thresholds)


def plan(*flows: Flow, **changes: float) -> Plan:
    made = Plan("test", "", 1, "", "", 50, 30, 60, flows)
    return replace(made, **changes)  # type: ignore[arg-type]
