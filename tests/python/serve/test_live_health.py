"""What takes a change of settings back by itself, and what does not."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flyball.errors import Unavailable
from flyball.serve.live_health import FEWEST, Seen, Window
from flyball.store import Store
from flyball.store.chain import first_broken
from flyball.store.live_settings import LiveSettings

from .live_places import CHAT, CONFIG, QUESTION, Place, run, running, told, until


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store.sqlite", instance="one") as opened:
        yield opened


def seen(**how: Any) -> Seen:
    """A server that was answering and is idle."""
    quiet: dict[str, Any] = {"n_answered": 100, "n_failed": 1, "marks": (0,), "n_waiting": 0, "step_seconds": 0.0}
    return Seen(**{**quiet, "most_step_seconds": 60.0} | how)


@pytest.mark.parametrize(
    ("now", "wrong"),
    [
        ({}, ""),
        ({"n_waiting": 3}, "3 requests wait, and for 12.0 s nothing was computed"),
        ({"n_waiting": 3, "marks": (1,)}, ""),
        ({"step_seconds": 9.9}, ""),
        ({"step_seconds": 10.1}, "a step takes 10.1 s, more than 10.0"),
        ({"step_seconds": 3.0, "most_step_seconds": 2.0}, "a step takes 3.0 s, more than 2.0"),
        ({"n_answered": 100, "n_failed": FEWEST}, ""),
        ({"n_answered": 100, "n_failed": 1 + FEWEST}, "10 of 10 requests failed, surely more than 5% of them"),
        ({"n_answered": 200, "n_failed": 6}, ""),
        ({"n_answered": 200, "n_failed": 31}, "30 of 130 requests failed, surely more than 5% of them"),
    ],
)
def test_what_shows_that_a_change_harms(now: dict[str, Any], wrong: str) -> None:
    window = Window(30, seen(), 1000.0)
    assert window.fault(seen(n_waiting=now.get("n_waiting", 0)), 1000.0) == ""
    assert window.fault(seen(**now), 1012.0) == wrong
    assert [window.is_over(each) for each in (1029.9, 1030.0)] == [False, True]


def test_a_server_that_failed_before_is_not_worse() -> None:
    window = Window(30, seen(n_answered=10, n_failed=90), 0.0)
    assert window.fault(seen(n_answered=12, n_failed=108), 5.0) == ""


def test_a_change_that_makes_the_server_stall_is_taken_back(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """By all servers on the store, whoever of them has found it out; and it is told where acts are."""

    async def work() -> None:
        with Store.open(store.where, instance="two") as two:
            async with running(store) as first, running(two) as second:
                await first.set(serve__parallel=5)
                await until(lambda: second.server.settings.parallel == 5)
                body = {"settings": {"serve.parallel": 1, "serve.waiting": 9}, "watch_seconds": 6}
                assert (await first.client.patch(CONFIG, json=body, headers=first.etag)).status_code == 200
                await until(lambda: second.server.live.is_watched)
                stalling = ("demo", time.monotonic())
                ages = lambda: iter([(stalling[0], time.monotonic() - stalling[1])])  # noqa: E731
                monkeypatch.setattr(second.server, "step_ages", ages)
                with told("revision 2 of the settings is rolled back to 1: a step takes"):
                    await until(lambda: second.server.settings.parallel == 5)
                await until(lambda: first.server.settings.parallel == 5)
                assert first.server.live.revision.number == second.server.live.revision.number == 1
                assert not second.server.live.is_watched, "what was before is not on trial"
                acts = store.project().log.all()
                act = json.loads(acts[-1].json)
                assert (act["act"], act["revision"], act["to"], act["by"]) == ("settings.roll_back", 2, 1, "server")
                assert first_broken(acts) is None
                shown = (await first.client.get(CONFIG)).json()["revisions"][0]
                assert (shown["state"], shown["revision"]) == ("rolled_back", 2)
                assert "a step takes" in shown["fault"]

    run(work)


def test_a_change_with_which_answers_fail_is_taken_back(store: Store) -> None:
    """A model that no longer has its memory, while others ask for it; idle servers find nothing wrong."""

    async def work() -> None:
        async with running(store) as place:
            await place.ask(model="spare")
            body = {"settings": {"serve.memory_mb": 1}, "watch_seconds": 20, "reason": "a typing error"}
            assert (await place.client.patch(CONFIG, json=body, headers=place.etag)).status_code == 200
            await until(lambda: len(list(place.server.models)) == 1)
            with told("10 of 10 requests failed"):
                for _ in range(FEWEST):
                    assert (await place.ask(model="spare")).status_code == 400
                await until(lambda: not place.server.live.is_watched)
            assert place.server.live.revision.number == 0
            assert (await place.ask(model="spare")).status_code == 200

    run(work)


def test_a_harmless_change_stays(store: Store) -> None:
    """What limits refuse does not count: whoever may ask could undo a change by it."""

    async def work() -> None:
        async with running(store) as place:
            body = {"settings": {"serve.body_kb": 1, "serve.waiting": 0}, "watch_seconds": 2}
            assert (await place.client.patch(CONFIG, json=body, headers=place.etag)).status_code == 200
            long = QUESTION | {"messages": [{"role": "user", "content": "x" * 2000}]}
            for _ in range(2 * FEWEST):
                assert (await place.client.post(CHAT, json=long)).status_code == 413
                assert (await place.ask(temperature="hot")).status_code == 400
            await until(lambda: not place.server.live.is_watched)
            assert place.server.live.revision.number == 1

    run(work)


def test_a_store_that_is_gone_when_a_change_is_taken_back(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is as before at once, and does not take the change on again."""

    async def work() -> None:
        async with running(store) as place:
            body = {"settings": {"serve.parallel": 1}, "watch_seconds": 3}
            assert (await place.client.patch(CONFIG, json=body, headers=place.etag)).status_code == 200

            def broken(*args: Any) -> bool:
                raise Unavailable("store", "is locked")

            with monkeypatch.context() as patched, told("is rolled back|is locked"):
                patched.setattr(LiveSettings, "roll_back", broken)
                patched.setattr(place.server, "step_ages", lambda: iter([("demo", 99.0)]))
                await until(lambda: place.server.settings.parallel == 64)
                await place.server.live.follow()
            assert store.project().live_settings.current().number == 1
            await until(lambda: store.project().live_settings.current().number == 0)
            assert place.server.settings.parallel == 64

    run(work)


def test_answers_go_on_while_settings_change(store: Store) -> None:
    """Under load, with a change every few steps: no request fails, and none sees a part of a change."""

    async def work() -> None:
        async with running(store) as place:
            stop = asyncio.Event()

            async def change(place: Place) -> int:
                n = 0
                while not stop.is_set():
                    n += 1
                    await place.set(
                        serve__parallel=1 + n % 4, serve__waiting=100 + n % 4, guard__mode=("on", "off")[n % 2]
                    )
                    settings = place.server.settings
                    assert (settings.parallel - 1, settings.waiting - 100) == (n % 4, n % 4)
                return n

            changing = asyncio.create_task(change(place))
            asked = [place.ask(seed=n, max_tokens=12) for n in range(40)]
            said = await asyncio.gather(*asked)
            stop.set()
            assert await changing > 5
            assert {each.status_code for each in said} == {200}

    run(work)
