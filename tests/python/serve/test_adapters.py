"""Adapters over HTTP: the one that is named or promoted answers, and each answer says which one that was."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import flyball
from flyball.engine.adapter import describe_adapter
from flyball.learn import folders
from flyball.learn.adapters import Registry
from flyball.learn.canary import is_canary
from flyball.store import Project, Store, StoredAdapter
from tests.reference.demo_adapter import write_random

from .conftest import WAIT, Running, Start

CHAT = "/v1/chat/completions"
QUESTION: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Which is larger, 3 or 9?"}],
    "max_tokens": 12,
    "seed": 1,
}
FINGERPRINT = "1a2883125599f8bce23f6dc33f5c0b456ba22eaeb690f2a3113724ece0ebfa8f"


@dataclass
class Place:
    """A server's home, its store, and the adapters one, two and three in it; `lab`: the key of another project."""

    server: Running
    home: Path
    store: Store
    digests: list[str]
    lab: dict[str, str]

    @property
    def project(self) -> Project:
        return self.store.project()

    @property
    def registry(self) -> Registry:
        return Registry(self.project, "ada")

    def ask(self, **members: Any) -> Any:
        return self.server.post(CHAT, QUESTION | members)

    def until(self, digest: str | None) -> None:
        """Until new answers have this adapter, which is a second later."""
        end = time.monotonic() + WAIT
        while self.ask(max_tokens=1).headers["flyball-adapter"] != (digest or "none"):
            assert time.monotonic() < end
            time.sleep(0.1)


def folder_of(home: Path, file: Path, base: str = FINGERPRINT, parent: str | None = None) -> Path:
    """Put a file into its folder, as training does."""
    found = describe_adapter(file)
    assert found is not None
    about: dict[str, Any] = {
        "schema": folders.SCHEMA,
        "digest": found.fingerprint,
        "base": {"name": "Flyball Demo", "fingerprint": base},
        "method": "random",
        "data": {"digest": None, "rows": [], "held_out": []},
        "parent": parent,
    }
    folder = home / ".local" / "state" / "flyball" / "adapters" / found.fingerprint
    folder.mkdir(parents=True)
    (folder / folders.MANIFEST).write_text(json.dumps(about))
    (folder / folders.FILE).write_bytes(file.read_bytes())
    return folder


@pytest.fixture(scope="module")
def place(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    home = tmp_path_factory.mktemp("adapters")
    with Store.open(home / ".local" / "state" / "flyball" / "serve" / "store.sqlite") as store:
        keys = [project.keys.create("test").secret for project in (store.project(), store.create_project("lab"))]
        server = start("--ctx", "256", home=home)
        server.headers = {"authorization": f"Bearer {keys[0]}"}
        made = Place(server, home, store, [], {"authorization": f"Bearer {keys[1]}"})
        for number, name in enumerate(("one", "two", "three"), 1):
            folder = folder_of(home, write_random(home / f"{name}.gguf", seed=number, gain=0.8))
            made.digests.append(made.registry.add(folder, folders.opened(folder), name).digest)
        yield made


@pytest.fixture(scope="module")
def model() -> Iterator[flyball.Model]:
    with flyball.Model.load(flyball.demo_model_path(), context=256) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def alone(place: Place, model: flyball.Model) -> dict[str | None, str]:
    """The digest of QUESTION's answer with each adapter, of a model that does nothing else."""
    prompt = model.chat_format().ids(QUESTION["messages"])
    found: dict[str | None, str] = {}
    for digest in (None, *place.digests):
        adapter = None if digest is None else folders.load(model, folder_path(place, digest), digest)
        found[digest] = model.generate(prompt, QUESTION["max_tokens"], seed=1, adapter=adapter).digest
    assert len(set(found.values())) == len(found)
    return found


def folder_path(place: Place, digest: str) -> Path:
    return place.home / ".local" / "state" / "flyball" / "adapters" / digest


def test_an_adapter_is_asked_for_by_name_digest_and_id(place: Place, alone: dict[str | None, str]) -> None:
    one, two, three = place.digests
    cases: list[tuple[dict[str, Any], str | None]] = [
        ({}, None),
        ({"adapter": None}, None),
        ({"adapter": "one"}, one),
        ({"adapter": two}, two),
        ({"adapter": three[:8]}, three),
        ({"lora": [{"id": 1, "scale": 1.0}, {"id": 0, "scale": 0}]}, two),
        ({"lora": []}, None),
    ]
    for members, digest in cases:
        said = place.ask(**members)
        assert said.status_code == 200, said.text
        assert said.headers["flyball-adapter"] == (digest or "none")
        assert said.json()["flyball"]["adapter"] == digest
        assert said.json()["flyball"]["digest"] == alone[digest], "the prefix cache keeps adapters apart"
        assert "flyball-ignored" not in said.headers
    fingerprints = {place.ask(adapter=name).json()["system_fingerprint"] for name in ("one", "two", None)}
    assert len(fingerprints) == 3
    row = place.project.requests.get(place.ask(adapter="one").json()["flyball"]["receipt"])
    listed = place.server.get("/lora-adapters").json()
    assert [(each["id"], each["path"], each["scale"]) for each in listed[:2]] == [(0, "one", 0), (1, "two", 0)]
    assert row is None or row.adapter == one  # its row comes soon


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": "Once", "max_tokens": 4}),
        ("/completion", {"prompt": "Once", "n_predict": 4}),
        ("/v1/messages", {"messages": QUESTION["messages"], "max_tokens": 4}),
        ("/v1/responses", {"input": "Hello", "max_output_tokens": 4}),
        ("/api/chat", {"messages": QUESTION["messages"], "stream": False}),
        ("/api/generate", {"prompt": "Once", "stream": False}),
    ],
)
def test_every_interface_has_it(place: Place, path: str, body: dict[str, Any]) -> None:
    said = place.server.post(path, body | {"adapter": "one"})
    assert said.status_code == 200, said.text
    assert said.headers["flyball-adapter"] == place.digests[0] == said.json()["flyball"]["adapter"]
    assert "flyball-ignored" not in said.headers
    refused = place.server.post(path, body | {"adapter": "four"})
    assert refused.status_code == 404
    assert "flyball-digest" not in refused.headers


@pytest.mark.parametrize(
    ("members", "status", "what"),
    [
        ({"adapter": "four"}, 404, "no adapter of project default"),
        ({"adapter": 4}, 400, "must be text"),
        ({"adapter": "\0" * 9}, 404, "no adapter"),
        ({"adapter": "one", "adapter_scale": 1e9}, 400, "must be from -100 to 100"),
        ({"adapter_scale": 1}, 400, "needs adapter"),
        ({"adapter": "one", "lora": [{"id": 0, "scale": 1}]}, 400, "does not go with adapter"),
        ({"lora": [{"id": 9, "scale": 1}]}, 400, "no adapter with the id 9"),
        ({"lora": [{"id": 0}, {"id": 1}]}, 400, "an answer has one"),
        ({"lora": [{"scale": 1}]}, 400, "must be {id, scale}"),
        ({"lora": [{"id": 0, "scale": "x"}]}, 400, "must be a number"),
    ],
)
def test_what_cannot_be_had_is_refused(place: Place, members: dict[str, Any], status: int, what: str) -> None:
    said = place.ask(**members)
    assert said.status_code == status
    assert what in said.json()["error"]["message"]


def test_receipts_verify_with_the_registrys_adapter(place: Place) -> None:
    said = place.ask(adapter="two").json()
    verified = place.server.post("/v1/verify", {"id": said["id"]}).json()
    assert verified["verified"], verified
    receipt = place.server.get(f"/v1/receipts/{said['id']}").json()["receipt"]
    assert receipt["settings"]["adapters"][0]["fingerprint"] == place.digests[1]
    receipt["settings"]["adapters"][0]["fingerprint"] = "0" * 64
    unknown = place.server.post("/v1/verify", {"receipt": receipt})
    assert unknown.status_code == 404
    assert "is not known here" in unknown.json()["error"]["message"]


def test_the_active_adapter_changes_under_twenty_streams(place: Place, alone: dict[str | None, str]) -> None:
    """No stream is dropped, and each has the digest that the adapter in its header gives alone."""
    ends = threading.Event()
    found: list[tuple[str | None, str]] = []

    def stream() -> None:
        with place.server.client() as client:
            while not ends.is_set():
                with client.stream("POST", CHAT, json=QUESTION | {"stream": True}) as said:
                    named = said.headers["flyball-adapter"]
                    last = [line for line in said.iter_lines() if line.startswith("data: {")][-1]
                proof = json.loads(last.removeprefix("data: "))["flyball"]
                assert proof["adapter"] == (None if named == "none" else named)
                found.append((proof["adapter"], proof["digest"]))

    with ThreadPoolExecutor(20) as pool:
        streams = [pool.submit(stream) for _ in range(20)]
        try:
            for number in range(10):
                place.registry.promote(place.digests[number % 3], force=True)
                place.until(place.digests[number % 3])
        finally:
            ends.set()
        for each in streams:
            each.result(WAIT)
    assert {digest for digest, _ in found} >= set(place.digests)
    assert all(alone[digest] == answer for digest, answer in found)
    place.registry.rollback(place.digests[0])
    place.until(place.digests[2])
    place.registry.retire(place.digests[2])
    place.until(None)


def said_of(response: Any) -> list[Any]:
    """What a stream says, without the times of its making."""
    events = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: {")]
    return [(each["id"], each["choices"], each.get("flyball")) for each in events]


def test_a_stream_that_is_asked_for_again_keeps_its_adapter(place: Place) -> None:
    place.registry.promote("one", force=True)
    place.until(place.digests[0])
    with place.server.client() as client:
        client.headers["idempotency-key"] = "story-7"
        first = client.post(CHAT, json=QUESTION | {"stream": True})
        place.registry.promote("two", force=True)
        place.until(place.digests[1])
        for wanted in (first.text.split("id: ")[2].split("\n")[0], None):
            again = client.post(
                CHAT, json=QUESTION | {"stream": True}, headers={"last-event-id": wanted} if wanted else {}
            )
            assert again.headers["flyball-adapter"] == place.digests[0]
            assert first.text.endswith(again.text) if wanted else said_of(again) == said_of(first)
    place.registry.retire("two")
    place.until(None)


def test_two_projects_share_a_model_and_a_batch(place: Place, alone: dict[str | None, str]) -> None:
    lab = Registry(place.store.project("lab"), "ada")
    two = folder_path(place, place.digests[1])
    lab.add(two, folders.opened(two), "ours")
    lab.promote("ours", force=True)
    place.registry.promote("one", force=True)
    place.until(place.digests[0])

    def ask(headers: dict[str, str]) -> tuple[str, str]:
        with place.server.client() as client:
            said = client.post(CHAT, json=QUESTION, headers=headers)
        return said.headers["flyball-adapter"], said.json()["flyball"]["digest"]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, [place.server.headers, place.lab] * 8))
    one, two_digest = place.digests[:2]
    assert found == [(one, alone[one]), (two_digest, alone[two_digest])] * 8
    with place.server.client() as client:
        refused = client.post(CHAT, json=QUESTION | {"adapter": "one"}, headers=place.lab)
        assert refused.status_code == 404, "another project's name"
        assert [each["path"] for each in client.get("/lora-adapters", headers=place.lab).json()] == ["ours"]
    place.registry.retire("one")
    place.until(None)


def test_a_canary_has_its_share_by_the_requests_key(
    place: Place, model: flyball.Model, alone: dict[str | None, str]
) -> None:
    digest = place.digests[2]
    place.registry.promote("three", share=50, force=True)
    end = time.monotonic() + WAIT
    while digest not in {place.ask(max_tokens=1, seed=seed).headers["flyball-adapter"] for seed in range(20, 30)}:
        assert time.monotonic() < end
        time.sleep(0.1)
    prompt = model.chat_format().ids(QUESTION["messages"])
    sampling: dict[str, Any] = {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05}
    for seed in range(12):
        key = model.request_key(prompt, QUESTION["max_tokens"], seed=seed, **sampling)
        said = place.ask(seed=seed)
        wanted = digest if is_canary(key, digest, 50) else None
        assert said.headers["flyball-adapter"] == (wanted or "none")
        assert place.ask(seed=seed).json()["flyball"]["digest"] == said.json()["flyball"]["digest"]
    receipt = said.json()["flyball"]["receipt"]
    while (row := place.project.requests.get(receipt)) is None or row.state != "done":
        assert time.monotonic() < end
        time.sleep(0.05)
    assert (row.adapter, row.arm) == (wanted, "canary" if wanted else "control")
    place.registry.rollback("three")
    place.until(None)


@dataclass
class Broken:
    """What was done to an adapter's folder, and what is said of it."""

    what: str
    said: str


@pytest.mark.parametrize(
    "broken",
    [
        Broken("changed", "was changed"),
        Broken("cut", ""),
        Broken("no file", "does not exist"),
        Broken("no manifest", "was not written whole"),
        Broken("not json", "manifest.json"),
        Broken("wrong base", "not for this model"),
    ],
    ids=lambda broken: broken.what.replace(" ", "-"),
)
def test_a_broken_adapter_is_told_and_never_stands_in(
    place: Place, alone: dict[str | None, str], broken: Broken
) -> None:
    seed = int.from_bytes(hashlib.sha256(broken.what.encode()).digest()[:2])
    base = "0" * 64 if broken.what == "wrong base" else FINGERPRINT
    folder = folder_of(place.home, write_random(place.home / "broken.gguf", seed=seed, gain=0.8), base)
    manifest = folders.opened(folder)
    # As a registry that was filled by hand has it: that the row says the model is right does not make it so.
    row = StoredAdapter(manifest.digest, broken.what, FINGERPRINT, None, "", None, manifest.text, str(folder), 0, 0)
    place.project.adapters.add(row, "ADAPTER_ADDED", {}, "ada")
    file = folder / folders.FILE
    raw = file.read_bytes()
    if broken.what == "changed":
        file.write_bytes(raw[:-4] + b"\0\0\0\1")
    elif broken.what == "cut":
        file.write_bytes(raw[: len(raw) // 2])
    elif broken.what == "no file":
        file.unlink()
    elif broken.what == "no manifest":
        (folder / folders.MANIFEST).unlink()
    elif broken.what == "not json":
        (folder / folders.MANIFEST).write_text("{")
    named = place.ask(adapter=broken.what)
    assert named.status_code == 503
    assert named.json()["error"]["code"] == "adapter_unusable"
    assert broken.said in named.json()["error"]["message"]
    place.registry.promote(broken.what, force=True)
    end = time.monotonic() + WAIT
    while not (said := place.ask().json()["flyball"]).get("adapter_fault"):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert (said["adapter"], said["digest"]) == (None, alone[None])
    place.registry.rollback(broken.what)
    place.until(None)
    (journal,) = (place.home / ".local" / "state" / "flyball" / "serve").glob("journal-*.jsonl")
    end = time.monotonic() + WAIT  # its lines are written after the answer
    while not any("ADAPTER_UNUSABLE" in line and manifest.digest in line for line in journal.read_text().splitlines()):
        assert time.monotonic() < end
        time.sleep(0.1)
