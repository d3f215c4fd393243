"""Metrics of adapters: what answers, what each has answered, how canaries do, and how that changes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flyball.errors import Unavailable
from flyball.learn import folders
from flyball.learn.adapters import Registry
from flyball.learn.canary import compare
from flyball.serve.adapter_counts import MOST_DIGESTS, NONE, OTHERS, AdapterCounts, results, standings
from flyball.serve.canaries import Canaries
from flyball.serve.records import Records
from flyball.store import Project, Request, Store, StoredAdapter
from tests.reference.demo_adapter import write_random

from .conftest import WAIT, Running, Start
from .scraping import Key, scrape, value
from .test_adapters import QUESTION, folder_of

MODEL = {"model_name": "flyball-demo"}


def add(project: Project, letter: str, model: str = "f") -> None:
    row = StoredAdapter(letter * 64, letter, model * 64, None, "", None, "{}", "/", 0, 0)
    project.adapters.add(row, "ADAPTER_ADDED", {}, "ada")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store.sqlite") as store:
        yield store


def test_digests_are_a_bounded_set_of_labels() -> None:
    counts = AdapterCounts()
    for number in range(3 * MOST_DIGESTS):
        for digest in (f"{number:064x}", f"{0:064x}", None):
            counts.ended("m", digest, "finished", 2)
    told = {digest for _, digest in counts.tokens}
    assert len(told) == MOST_DIGESTS + 2
    assert counts.answers["m", f"{0:064x}", "finished"] == 3 * MOST_DIGESTS + 1
    assert counts.answers["m", OTHERS, "finished"] == 2 * MOST_DIGESTS
    assert counts.tokens["m", NONE] == 6 * MOST_DIGESTS
    assert sum(counts.answers.values()) == 9 * MOST_DIGESTS


def test_changes_are_counted_by_who_made_them(store: Store) -> None:
    project = store.project()
    for letter in "abc":
        add(project, letter)
    people, server = Registry(project, "ada"), Registry(project, "server")
    people.promote("a", force=True)
    people.promote("b", share=10, force=True)
    worse = compare([], 10)
    assert server.compared("b" * 64, worse) is None, "undecided is no change"
    for letter, reason, state in (("b", "ADAPTER_CANARY_WORSE", "rolled_back"), ("c", "ADAPTER_FORCED", "canary")):
        project.adapters.move(letter * 64, state, reason, {}, "server", 10 if state == "canary" else None)
    project.adapters.move("c" * 64, "active", "ADAPTER_CANARY_PASSED", {}, "server")
    people.rollback("c", "too slow")  # a is restored, which is no promotion
    add(other := store.create_project("other"), "a")
    (found, theirs) = standings(store)
    assert [row.name for row in found.in_use] == ["a"]
    assert dict(found.changes) == {
        ("canary", "command"): 2, ("canary", "outcomes"): 0, ("promoted", "command"): 1, ("promoted", "outcomes"): 1,
        ("rolled_back", "command"): 1, ("rolled_back", "outcomes"): 1,
    }  # fmt: skip
    assert (theirs.project, sum(theirs.changes.values()), theirs.in_use) == (other.name, 0, ())


def test_a_comparison_is_won_and_lost(store: Store) -> None:
    project = store.project()
    add(project, "c")
    Registry(project, "ada").promote("c", share=10, force=True)
    ended = (
        ("control", "done", 700), ("canary", "done", 7000), ("control", "failed", None), ("control", "done", 700),
        ("canary", "done", 700), ("canary", "failed", None), ("control", "failed", None),
    )  # fmt: skip
    for number, (arm, state, cycles) in enumerate(ended):
        row = Request(id=str(number), api="x", model="m", state="running", adapter="c" * 64, arm=arm)
        project.requests.begin(row)
        project.requests.finish(str(number), state, request_key=str(number), n_generated_tokens=8, decode_cycles=cycles)
    records = Records(store)
    try:
        canaries = Canaries("rollback", records)
        assert canaries.evidence("default", "c" * 64) == {}
        assert list(results({})) == [("failures", 0, 0), ("ratings", 0, 0), ("speed", 0, 0)]
        asyncio.run(canaries.judge([("default", row) for row in project.adapters.in_use()]))
        evidence = canaries.evidence("default", "c" * 64)
    finally:
        records.close()
    assert evidence["answers"] == {"canary": 3, "control": 4}
    assert list(results(evidence)) == [("failures", 2, 1), ("ratings", 0, 0), ("speed", 1, 1)]


@dataclass
class Place:
    """A server, its store, and two adapters: one is active, one a canary of half the requests."""

    server: Running
    store: Store
    digests: list[str]

    def until(self, holds: Callable[[dict[Key, float]], bool]) -> dict[Key, float]:
        """The first metrics for which this holds."""
        end = time.monotonic() + WAIT
        while not holds(samples := scrape(self.server)):
            assert time.monotonic() < end
            self.ask()
            time.sleep(0.2)
        return samples

    def ask(self, **members: Any) -> Any:
        said = self.server.post("/v1/chat/completions", QUESTION | {"seed": time.monotonic_ns()} | members)
        assert said.status_code == 200, said.text
        return said


@pytest.fixture(scope="module")
def place(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    home = tmp_path_factory.mktemp("metrics")
    with Store.open(home / ".local" / "state" / "flyball" / "serve" / "store.sqlite") as store:
        registry, digests = Registry(store.project(), "ada"), []
        for number, name in enumerate(("one", "two"), 1):
            folder = folder_of(home, write_random(home / f"{name}.gguf", seed=number, gain=0.8))
            digests.append(registry.add(folder, folders.opened(folder), name).digest)
        registry.promote("one", force=True)
        registry.promote("two", share=50, force=True)
        yield Place(start("--ctx", "256", home=home), store, digests)


def test_a_server_tells_what_its_adapters_do(place: Place) -> None:
    one, two = place.digests
    place.ask(adapter="two")
    samples = place.until(lambda now: any(name == "flyball:canary_answers" and n > 0 for (name, _), n in now.items()))
    common = MODEL | {"project": "default"}
    for digest, state in ((one, "active"), (two, "canary")):
        assert value(samples, "flyball:adapter_info", digest=digest, state=state, **common) == 1
    assert value(samples, "flyball:canary_share", digest=two, **common) == 50
    assert value(samples, "flyball:canary_evidence_limit", digest=two, **common) == 60
    for test in ("failures", "ratings", "speed"):
        assert value(samples, "flyball:canary_evidence", digest=two, test=test, **common) < 60
        for result in ("won", "lost"):
            assert value(samples, "flyball:canary_results", digest=two, test=test, result=result, **common) >= 0
    assert value(samples, "flyball:adapter_changes_total", change="canary", by="command") == 1
    before = scrape(place.server)
    n = [place.ask(adapter=name).json()["usage"]["completion_tokens"] for name in ("one", "one", None)]
    ended = value(before, "flyball:adapter_answers_total", digest=one, outcome="finished") + 2
    after = place.until(
        lambda now: value(now, "flyball:adapter_answers_total", digest=one, outcome="finished") >= ended
    )
    grown = value(after, "flyball:adapter_tokens_total", digest=one) - value(
        before, "flyball:adapter_tokens_total", digest=one
    )
    assert grown >= n[0] + n[1]
    assert value(after, "flyball:adapter_answers_total", digest=NONE, outcome="finished") >= 1
    labels = {dict(labels).get("digest") for (name, labels) in after if name == "flyball:adapter_tokens_total"}
    assert labels == {one, two, NONE}


def test_a_rollback_is_counted_and_the_canary_gone(place: Place) -> None:
    one, two = place.digests
    place.ask(adapter="two")
    Registry(place.store.project(), "ada").rollback("two")
    samples = place.until(lambda now: any(dict(labels).get("digest") == two for _, labels in now))
    assert value(samples, "flyball:adapter_changes_total", change="rolled_back", by="command") == 1
    assert value(samples, "flyball:adapter_changes_total", change="rolled_back", by="outcomes") == 0
    assert not [name for name, _ in samples if name == "flyball:canary_share"]
    assert {dict(labels)["digest"] for (name, labels) in samples if name == "flyball:adapter_info"} == {one}
    assert value(samples, "flyball:adapter_tokens_total", digest=two) > 0, "counters stay"


def test_a_store_that_does_not_answer_leaves_what_was_seen(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from flyball.serve.adapter_exposition import AdapterExposition

    add(store.project(), "a")
    Registry(store.project(), "ada").promote("a", force=True)
    failed: list[BaseException] = []
    server: Any = SimpleNamespace(
        records=SimpleNamespace(store=store, failed=failed.append), settings=SimpleNamespace(adapters="active"),
        observe=SimpleNamespace(adapters=AdapterCounts()), models=[],
    )  # fmt: skip
    exposition = AdapterExposition(server)
    exposition.read()

    def away() -> list[str]:
        raise Unavailable("store", "is locked")

    monkeypatch.setattr(store, "projects", away)
    exposition.read()
    assert [str(error) for error in failed] == ["store: is locked"]
    families = {family.name: family for family in exposition.collect()}
    (sample,) = families["flyball:adapter_info"].samples
    assert sample.labels == {"project": "default", "model_name": "", "digest": "a" * 64, "state": "active"}
    server.settings.adapters = "off"
    off = AdapterExposition(server)
    off.read()
    assert not [sample for family in off.collect() for sample in family.samples]
