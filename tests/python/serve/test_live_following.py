"""Who changes settings, how servers on a store follow, and what takes a change back."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flyball.errors import Unavailable
from flyball.serve import live
from flyball.serve.queue import Queue, Ticket
from flyball.store import Store
from flyball.store.live_settings import LiveSettings
from tests.python.store.conftest import Postgres, postgres, url  # noqa: F401 - fixtures

from .conftest import Start
from .live_places import CHAT, CONFIG, QUESTION, run, running, told, until


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store.sqlite", instance="one") as opened:
        yield opened


# --- changing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("serve.parallel", 0),
        ("serve.parallel", "3"),
        ("serve.parallel", 3.5),
        ("serve.parallel", True),
        ("serve.parallel", 10**400),
        ("serve.response_cache_verify", 1e999),
        ("serve.response_cache_verify", -1),
        ("serve.adapters", "perhaps"),
        ("serve.adapters", 1),
        ("serve.adapters", ["off"]),
        ("serve.allowed_origins", {"a": 1}),
        ("serve.allowed_origins", "https://a\0b"),
        ("serve.allowed_origins", "\ud800"),
        ("serve.routes", "/nowhere/routes.toml"),
        ("serve.new", 1),
        ("kv", "f16"),
        ("\ud800\n" * 50, 1),
        ("", ""),
        ("serve.waiting", 1 << 20),  # more than there are file descriptors
    ],
)
def test_one_bad_key_changes_nothing(store: Store, key: str, value: Any) -> None:
    async def work() -> None:
        async with running(store) as place:
            before = place.server.settings
            body = json.dumps({"settings": {"serve.body_kb": 7, key: value, "max_tokens": 7}})
            headers = place.etag | {"content-type": "application/json"}
            said = await place.client.patch(CONFIG, content=body, headers=headers)
            assert said.status_code in (400, 404), said.text
            assert said.json()["error"]["message"]
            assert place.server.settings is before
            assert place.server.live.revision.number == 0
            assert store.project().live_settings.latest(1) == []

    run(work)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "{",
        "{}",
        '{"settings": {}}',
        '{"settings": null}',
        '{"settings": [1]}',
        '{"settings": {"max_tokens": 1}, "reason": 5}',
        '{"settings": {"max_tokens": 1}, "reason": "a\\u0000b"}',
        '{"settings": {"max_tokens": 1}, "watch_seconds": -1}',
        '{"settings": {"max_tokens": 1}, "setings": {}}',
        '{"settings": {"max_tokens": NaN}}',
        '{"settings": ' + '{"a":' * 100 + "1" + "}" * 101,
    ],
)
def test_bodies_that_are_none(store: Store, body: str) -> None:
    async def work() -> None:
        async with running(store) as place:
            headers = place.etag | {"content-type": "application/json"}
            said = await place.client.patch(CONFIG, content=body, headers=headers)
            assert said.status_code == 400, said.text
            assert (await place.client.post(f"{CONFIG}/rollback", content=body, headers=headers)).status_code == 400
            assert place.server.live.revision.number == 0

    run(work)


def test_of_two_writers_one_looks_again(store: Store) -> None:
    async def work() -> None:
        async with running(store) as place:
            seen = await place.client.get(CONFIG)
            assert seen.headers["etag"] == '"0"'
            change = {"settings": {"max_tokens": 5}, "watch_seconds": 0}

            async def patch(**headers: str) -> int:
                named = {name.replace("_", "-"): value for name, value in headers.items()}
                return (await place.client.patch(CONFIG, json=change, headers=named)).status_code

            assert await patch() == 428
            assert [await patch(if_match=each) for each in ('"1"', 'W/"0"', "0", "", '"0', "x" * 500)] == [412] * 6
            assert sorted(await asyncio.gather(*(patch(if_match='"0"') for _ in range(4)))) == [200, 412, 412, 412]
            assert await patch(if_match='"7", "1"') == 200
            assert place.server.live.revision.number == 1, "it had these values already"
            change["settings"] = {"max_tokens": None}
            assert await patch(if_match="*") == 200
            assert place.server.live.revision.settings == {}

    run(work)


def test_the_difference_is_shown_before(store: Store) -> None:
    async def work() -> None:
        async with running(store, serve__parallel="8") as place:
            asked = {"settings": {"serve.parallel": 2, "serve.port": 1, "max_tokens": 512, "sampling.seed": 4}}
            said = (await place.client.patch(f"{CONFIG}?dry_run=1", json=asked)).json()
            assert said["changes"] == {
                "serve.parallel": {"before": 8, "now": 2, "applies": "live"},
                "sampling.seed": {"before": 0, "now": 4, "applies": "next request"},
            }
            assert list(said["kept"]) == ["serve.port"]
            assert (said["revision"], place.server.settings.parallel) == (0, 8)
            assert (await place.client.patch(f"{CONFIG}?dry_run=1", json={"settings": {"x": 1}})).status_code == 400
            await place.set(serve__parallel=2)
            shown = (await place.client.get(CONFIG)).json()
            about = {name: shown["settings"]["serve.parallel"][name] for name in ("value", "origin", "applies")}
            assert about == {"value": 2, "origin": "live settings", "applies": "live"}
            assert shown["settings"]["serve.waiting"]["origin"] == "default"
            assert await place.set(serve__parallel=None)
            shown = (await place.client.get(CONFIG)).json()
            assert shown["settings"]["serve.parallel"]["origin"] == "command line"
            assert [each["revision"] for each in shown["revisions"]] == [2, 1]

    run(work)


@pytest.mark.parametrize(("role", "project"), [("owner", "lab"), ("member", "default"), ("auditor", "default")])
def test_nobody_else_sees_or_changes_them(store: Store, role: str, project: str) -> None:
    store.create_project("lab")

    async def work() -> None:
        async with running(store, role, project) as place:
            for method, path in (("GET", CONFIG), ("PATCH", CONFIG), ("POST", f"{CONFIG}/rollback")):
                body = {"settings": {"max_tokens": 1}, "revision": 0}
                said = await place.client.request(method, path, json=body, headers={"if-match": "*"})
                assert said.status_code == 403, said.text
            assert place.server.live.revision.number == 0

    run(work)


def test_an_earlier_revision_comes_back_as_a_new_one(store: Store) -> None:
    async def work() -> None:
        async with running(store) as place:
            for n in (3, 4):
                await place.set(serve__parallel=n)
            said = await place.client.post(f"{CONFIG}/rollback", json={"revision": 1, "reason": "as it was"})
            assert (said.status_code, said.json()["revision"], place.server.settings.parallel) == (200, 3, 3)
            assert (await place.client.post(f"{CONFIG}/rollback", json={"revision": 9})).status_code == 404
            assert (await place.client.post(f"{CONFIG}/rollback", json={"revision": 0})).status_code == 200
            assert place.server.settings.parallel == 64
            stale = await place.client.post(f"{CONFIG}/rollback", json={"revision": 1}, headers={"if-match": '"1"'})
            assert stale.status_code == 412
            log = (await place.client.get("/admin/log")).json()
            acts = [(each["revision"], each["changes"]) for each in log["data"] if each["act"] == "settings.change"]
            assert acts[2] == (3, {"serve.parallel": [4, 3]})
            assert log["first_broken"] is None

    run(work)


def test_without_a_store_nothing_changes() -> None:
    async def work() -> None:
        async with running(None) as place:
            assert (await place.client.get(CONFIG)).status_code == 501
            body = {"settings": {"max_tokens": 1}}
            assert (await place.client.patch(CONFIG, json=body, headers={"if-match": "*"})).status_code == 501

    run(work)


def test_who_waits_for_a_room_that_is_gone_is_told() -> None:
    async def work() -> None:
        queue = Queue(1, 9, 1000, 100)

        async def take(size: int) -> str:
            try:
                async with queue.turn(Ticket("me", cache_bytes=size)):
                    await asyncio.sleep(0.05)
                    return "ran"
            except Exception as error:
                return str(error)

        asked = [asyncio.create_task(take(size)) for size in (90, 80, 10)]
        await asyncio.sleep(0)
        queue.limit(2, 9, 1000, 50)
        said = [await each for each in asked]
        assert [said[0], said[2]] == ["ran", "ran"]
        assert "serve.cache_mb" in said[1]
        assert queue.n_running == queue.n_waiting == queue.cache_bytes == 0

    run(work)


# --- following -------------------------------------------------------------------------------------------------------


def test_servers_on_a_store_follow_within_two_seconds(url: str) -> None:  # noqa: F811
    async def work() -> None:
        with Store.open(url, instance="one") as one, Store.open(url, instance="two") as two:
            async with running(one) as first, running(two) as second:
                for n in (2, 3):
                    await first.set(serve__parallel=n, max_tokens=n)
                    changed = time.monotonic()
                    await until(lambda: second.server.settings.parallel == first.server.settings.parallel)
                    assert time.monotonic() - changed < 2
                    said = [(await each.client.get("/v1/replica")).json() for each in (first, second)]
                    assert said[0]["revision"] == said[1]["revision"] == n - 1
                    assert said[0]["settings"] == said[1]["settings"]
                await second.set(serve__parallel=None)
                await until(lambda: first.server.settings.parallel == 64)
                assert (await first.client.get("/v1/status")).json()["settings_revision"] == 3

    run(work)


def test_a_server_that_cannot_follow_stays_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two servers, one of which has no routes there; it tries again."""
    monkeypatch.setattr(live, "_RETRY_SECONDS", 0.5)

    async def work() -> None:
        path = tmp_path / "store.sqlite"
        with Store.open(path, instance="one") as one, Store.open(path, instance="two") as two:
            async with running(one) as first, running(two) as second:
                broken = True
                prepare = second.server.live._started.prepare

                async def failing(*args: Any) -> Any:
                    if broken:
                        raise Unavailable("routes.toml", "is not mounted here")
                    return await prepare(*args)

                monkeypatch.setattr(second.server.live._started, "prepare", failing)
                with told("revision 1 .* is not mounted here; the server is as it was"):
                    await first.set(serve__parallel=3)
                    await until(lambda: second.server.live.problem != "")
                assert second.server.settings.parallel == 64
                said = (await second.client.get(CONFIG)).json()
                assert said["revision"] == 0
                assert "is not mounted here" in said["problem"]
                broken = False
                await until(lambda: second.server.settings.parallel == 3)
                assert second.server.live.problem == ""

    run(work)


def test_a_store_that_does_not_answer_changes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        async with running(store) as place:
            await place.set(serve__parallel=3)

            def broken(rows: LiveSettings) -> None:
                raise Unavailable("store", "is locked")

            monkeypatch.setattr(LiveSettings, "current", broken)
            n_before = place.server.records.n_errors
            with told("is locked"):
                for _ in range(3):
                    await place.server.live.follow()
            assert place.server.records.n_errors == n_before + 1, "told once"
            await place.set(503, serve__parallel=4)
            assert (place.server.settings.parallel, (await place.ask()).status_code) == (3, 200)
            monkeypatch.undo()
            await place.set(serve__parallel=4)

    run(work)


def test_a_restart_keeps_them(start: Start, tmp_path: Path) -> None:
    """Also where the server was killed; and what no longer goes with how it is started is told, and left."""
    key = "correct-horse-battery"
    server = start("--ctx", "256", key=key, home=tmp_path)
    with server.client() as client:
        body = {"settings": {"serve.body_kb": 1, "serve.waiting": 5}, "reason": "small"}
        said = client.patch(CONFIG, json=body, headers={"if-match": '"0"'})
        assert said.json()["revision"] == 1, said.text
        long = QUESTION | {"messages": [{"role": "user", "content": "x" * 2000}]}
        assert client.post(CHAT, json=long).status_code == 413
    server.stop(9)
    server = start("--ctx", "256", key=key, home=tmp_path)
    assert server.post(CHAT, long).status_code == 413
    assert server.get("/v1/status").json()["settings_revision"] == 1
    server.stop()
    with Store.open(tmp_path / ".local/state/flyball/serve/store.sqlite") as store:
        store.project().live_settings.add({"serve.parallel": 2, "serve.gone": 1}, 1, "a newer Flyball")
    server = start("--ctx", "256", key=key, home=tmp_path)
    shown = server.get(CONFIG).json()
    assert shown["revision"] == 0
    assert "revision 2 of the settings cannot be used here" in shown["problem"]
    assert "serve.gone" in shown["problem"]
    assert shown["settings"]["serve.parallel"]["value"] == 64
    with server.client() as client:  # and can be put right from here
        said = client.patch(CONFIG, json={"settings": {"serve.gone": None}}, headers={"if-match": '"2"'})
    assert (said.status_code, said.json()["revision"]) == (200, 3), said.text
    shown = server.get(CONFIG).json()
    assert (shown["revision"], shown["problem"], shown["settings"]["serve.parallel"]["value"]) == (3, "", 2)
    server.stop()  # all is written
    journals = (tmp_path / ".local/state/flyball/serve").glob("journal-*.jsonl")
    text = "".join(path.read_text() for path in journals)
    assert text.count('"reason_id":"SETTINGS_CHANGED"') >= 2
    assert '"reason_id":"SETTINGS_REFUSED"' in text
