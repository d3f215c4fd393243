"""API keys of the store: whose they are, and until when."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from flyball.cli import main
from flyball.errors import InvalidArgument, Unavailable
from flyball.serve import keyring
from flyball.serve.failures import Failure
from flyball.serve.keyring import Holder, Keyring
from flyball.serve.settings import ServeSettings
from flyball.store import Store
from flyball.store.roles import ROLES

from .conftest import WAIT, Start

QUESTION = {"messages": [{"role": "user", "content": "Tell me of the old mill and the crow. " * 8}], "max_tokens": 3}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store.sqlite") as opened:
        yield opened


def holder(ring: Keyring, key: str) -> Holder | None:
    return asyncio.run(ring.holder(key))


def test_keys_of_the_store_have_their_projects(store: Store) -> None:
    mine, other = store.project().keys.create("mine"), store.create_project("other").keys.create("theirs")
    ring = Keyring(("static-key",), store)
    assert holder(ring, mine.secret) == Holder(mine.key.id, "default", ROLES["owner"], mine.key.id)
    assert holder(ring, other.secret) == Holder(other.key.id, "other", ROLES["owner"], other.key.id)
    static = holder(ring, "static-key")
    assert static is not None
    assert static.project == "default"
    for wrong in ("", "static-ke", mine.secret[:-1], mine.secret + "x", mine.key.id, "\ud800", "x" * 60_000):
        assert holder(ring, wrong) is None


def test_a_revoked_key_is_refused_within_seconds(store: Store) -> None:
    now = 0.0
    new = store.project().keys.create("laptop")
    ring = Keyring((), store, lambda: now)
    assert holder(ring, new.secret) is not None
    store.project().keys.revoke(new.key.id)
    now = keyring.REMEMBERED_SECONDS + 0.01
    assert holder(ring, new.secret) is None


def test_what_is_remembered_is_bounded_and_no_key(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "_MOST_REMEMBERED", 3)
    secrets = [store.project().keys.create(str(number)).secret for number in range(5)]
    ring = Keyring(("static-key",), store)
    for secret in (*secrets, *(f"fb-wrong-{number}" for number in range(20))):
        holder(ring, secret)
    assert len(ring._remembered) == 3
    said = repr(vars(ring))
    assert not any(secret in said for secret in (*secrets, "static-key"))


def test_every_static_key_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ring, compared = Keyring(("first-key", "second-key", "third-key")), 0
    compare = hmac.compare_digest

    def counting(a: bytes, b: bytes) -> bool:
        nonlocal compared
        compared += 1
        return compare(a, b)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    for key in ("first-key", "third-key", "wrong"):
        compared = 0
        holder(ring, key)
        assert compared == 3


def test_a_store_that_does_not_answer_lets_nobody_in(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(secret: str) -> None:
        raise Unavailable("/secret/place/store.sqlite", f"is locked; asked for {secret}")

    monkeypatch.setattr(store, "authenticate", broken)
    with pytest.raises(Failure) as caught:
        holder(Keyring((), store), "fb-some-key")
    assert caught.value.status == 503
    assert "place" not in caught.value.message
    assert "fb-some-key" not in caught.value.message


def test_a_server_for_others_may_have_its_keys_in_the_store(store: Store) -> None:
    assert not store.has_keys()
    new = store.create_project("other").keys.create("laptop")
    assert store.has_keys()
    assert ServeSettings(host="0.0.0.0", has_stored_keys=True).needs_key
    store.project("other").keys.revoke(new.key.id)
    assert not store.has_keys()
    with pytest.raises(InvalidArgument, match="flyball keys create"):
        ServeSettings(host="0.0.0.0")


def keys(capsys: pytest.CaptureFixture[str], url: Path, *words: str) -> Any:
    assert main(["keys", *words, "--json", "--set", f"serve.store={url}"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    url = tmp_path / "keys.sqlite"
    new = keys(capsys, url, "create", "laptop", "--project", "lab", "--days", "2")
    assert new["secret"].startswith("fb-")
    rotated = keys(capsys, url, "rotate", new["id"])
    with Store.open(url) as store:
        assert store.authenticate(new["secret"]) is None
        found = store.authenticate(rotated["secret"])
        assert found is not None
        assert (found.project.name, found.key.name) == ("lab", "laptop")
    keys(capsys, url, "revoke", rotated["id"])
    listed = keys(capsys, url, "list")
    assert [each["id"] for each in listed] == [new["id"], rotated["id"]]
    assert listed[1]["revoked"] is not None
    assert new["secret"] not in json.dumps(listed)
    assert keys(capsys, url, "list", "--project", "default") == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["revoke", "key_0"], "no key has this id"),
        (["rotate", "key_0"], "no key has this id"),
        (["list", "--project", "nobody"], "no project has this name"),
        (["create", ""], "name"),
        (["create", "x", "--days", "0"], "must be from 1"),
        (["create", "x", "--set", "serve.store=none"], "kept in a store"),
    ],
)
def test_what_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str], said: str) -> None:
    assert main(["keys", words[0], "--set", f"serve.store={tmp_path / 'keys.sqlite'}", *words[1:]]) == 2
    assert said in capsys.readouterr().err


def test_projects_see_nothing_of_each_other(start: Start, tmp_path: Path) -> None:
    url = tmp_path / "store.sqlite"
    with Store.open(url) as store:
        mine = store.project().keys.create("mine")
        again = store.project().keys.create("mine too")
        other = store.create_project("other").keys.create("theirs")
        running = start("--ctx", "256", "--set", f"serve.store={url}")

        def client(secret: str) -> httpx.Client:
            headers = {"authorization": f"Bearer {secret}"}
            return httpx.Client(base_url=running.url, timeout=WAIT, headers=headers)

        def cached(said: httpx.Response) -> int:
            n: int = said.json()["usage"]["prompt_tokens_details"]["cached_tokens"]
            return n

        with client(mine.secret) as me, client(again.secret) as me_too, client(other.secret) as them:
            first = me.post("/v1/chat/completions", json=QUESTION | {"seed": 1})
            assert first.status_code == 200, first.text
            identity = first.json()["id"]
            assert me.get(f"/v1/receipts/{identity}").status_code == 200
            assert me_too.get(f"/v1/receipts/{identity}").status_code == 200
            assert them.get(f"/v1/receipts/{identity}").status_code == 404
            assert them.post("/v1/verify", json={"id": identity}).status_code == 404
            assert them.post("/v1/feedback", json={"id": identity, "rating": "bad"}).status_code == 404
            assert cached(me_too.post("/v1/chat/completions", json=QUESTION | {"seed": 2})) > 0
            assert cached(them.post("/v1/chat/completions", json=QUESTION | {"seed": 3})) == 0
            wrong = httpx.get(f"{running.url}/v1/models", headers={"x-api-key": mine.secret[:-1]})
            assert wrong.status_code == 401
            assert mine.secret[3:-1] not in wrong.text
            store.project("other").keys.revoke(other.key.id)
            until = time.monotonic() + WAIT
            while them.get("/v1/models").status_code != 401:
                assert time.monotonic() < until, "a revoked key still works"
                time.sleep(0.1)
            assert me.get("/v1/models").status_code == 200
    running.stop()
    assert running.process.stdout is not None
    said = "".join(running.said) + running.process.stdout.read()
    said += "".join(path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file())
    assert not any(secret in said for secret in (mine.secret, again.secret, other.secret))
