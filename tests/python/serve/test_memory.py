"""Memory over HTTP: whose it is, what chats get of it, and what is told."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flyball.memory.prompts import HEAD
from flyball.store import Store
from flyball.store.examples import Example
from flyball.store.question import as_json

from .conftest import WAIT, Running, Start

WRONG = "What is 75 - 16?"  # which the bundled model answers with 69


@pytest.fixture(scope="module")
def store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with an approved correction, and keys of two projects."""
    return tmp_path_factory.mktemp("store") / "store.sqlite"


@pytest.fixture(scope="module")
def keys(store_path: Path) -> dict[str, dict[str, str]]:
    with Store.open(store_path) as store:
        project = store.project()
        project.examples.propose(Example(id="", kind="correction", question=as_json(WRONG), answer="75 - 16 = 59."))
        (row,) = project.examples.all()
        project.examples.change(row.id, row.version, by="reviewer", state="approved")
        made = {"ada": project.keys.create("ada"), "bob": project.keys.create("bob")}
        made["eve"] = store.create_project("other").keys.create("eve")
    return {name: {"authorization": f"Bearer {key.secret}"} for name, key in made.items()}


@pytest.fixture(scope="module")
def served(start: Start, store_path: Path, keys: dict[str, dict[str, str]]) -> Running:
    settings = ("memory.learn=on", "memory.examples=2", f"serve.store={store_path}")
    running = start(*(word for each in settings for word in ("--set", each)), home=store_path.parent)
    running.headers = keys["ada"]
    return running


def chat(served: Running, question: str, headers: dict[str, str] | None = None, **members: Any) -> Any:
    body = {"messages": [{"role": "user", "content": question}], "max_tokens": 12, "temperature": 0, "verbose": True}
    asking = replace(served, headers=served.headers | (headers or {}))
    return asking.post("/v1/chat/completions", body | {"memory": True} | members)


def prompt(said: Any) -> str:
    return str(said.json()["__verbose"]["prompt"])


def test_a_fact_is_kept_used_shown_and_forgotten(served: Running) -> None:
    said = chat(served, "Benim adım Kaan")
    (id,) = said.json()["flyball"]["memory"]
    assert said.headers["flyball-memory"] == id
    listed = served.get("/v1/memory").json()["data"]
    assert [(each["id"], each["text"], each["source"]) for each in listed] == [(id, "Benim adım Kaan", "rule")]
    later = chat(served, "Who are you?")
    assert later.json()["flyball"]["memory"] == [id]
    assert HEAD in prompt(later)
    assert "Benim adım Kaan" in prompt(later)
    verdict = served.post("/v1/verify", {"id": later.json()["flyball"]["receipt"]}).json()
    assert verdict["verified"] is True
    with served.client() as client:
        record = client.delete(f"/v1/memory/{id}").json()
    assert list(record["items"]) == [id]
    assert record["wiped"] is True
    after = chat(served, "Who are you?")
    assert after.json()["flyball"]["memory"] == []
    assert "flyball-memory" in after.headers
    assert "Kaan" not in prompt(after)


def test_without_memory_nothing_is_told_or_changed(served: Running) -> None:
    served.post("/v1/memory", {"text": "I like tea"})
    said = chat(served, "What is 2 + 3?", memory=False)
    assert "memory" not in said.json()["flyball"]
    assert "flyball-memory" not in said.headers
    assert HEAD not in prompt(said)
    with served.client() as client:
        assert client.delete("/v1/memory").status_code == 200
        assert client.delete("/v1/memory").status_code == 404


def test_documents_are_searched_and_shown(served: Running, keys: dict[str, dict[str, str]]) -> None:
    made = served.post("/v1/memory", {"name": "notes", "text": "Kitaplarımızdan biri IŞIK üzerine."}).json()
    found = served.get("/v1/memory?q=isik+kitap").json()["data"]
    assert [each["id"] for each in found] == [f"{made['id']}#0"]
    assert served.get(f"/v1/memory/{made['id']}").json()["text"] == "Kitaplarımızdan biri IŞIK üzerine."
    assert chat(served, "Işık nedir?").json()["flyball"]["memory"] == [f"{made['id']}#0"]
    assert chat(served, "Zürafa nedir?").json()["flyball"]["memory"] == []
    for name in ("bob", "eve"):
        with served.client() as client:
            assert client.get("/v1/memory", headers=keys[name]).json()["data"] == []
            assert client.get(f"/v1/memory/{made['id']}", headers=keys[name]).status_code == 404
            assert client.delete(f"/v1/memory/{made['id']}", headers=keys[name]).status_code == 404
        assert chat(served, "Işık nedir?", keys[name]).json()["flyball"]["memory"] == []
    with served.client() as client:
        client.delete("/v1/memory")


def test_users_of_a_key_are_apart_and_stay_within_it(served: Running, keys: dict[str, dict[str, str]]) -> None:
    chat(served, "My name is Ada", user="ada@work")
    assert served.get("/v1/memory").json()["data"] == []
    assert len(served.get("/v1/memory?user=ada@work").json()["data"]) == 1
    said = chat(served, "Who are you?", user="ada@work")
    assert len(said.json()["flyball"]["memory"]) == 1
    assert "user" not in said.headers.get("flyball-ignored", "")
    with served.client() as client:
        assert client.get("/v1/memory?user=ada@work", headers=keys["bob"]).json()["data"] == []
        assert client.delete("/v1/memory?user=ada@work").status_code == 200


def test_a_corrected_question_is_right_at_once(served: Running, keys: dict[str, dict[str, str]]) -> None:
    assert chat(served, WRONG, memory=False).json()["choices"][0]["message"]["content"] == "75 - 16 = 69."
    said = chat(served, WRONG)
    assert said.json()["choices"][0]["message"]["content"] == "75 - 16 = 59."
    (id,) = said.json()["flyball"]["memory"]
    assert id.startswith("ex-")
    assert served.post("/v1/verify", {"id": said.json()["flyball"]["receipt"]}).json()["verified"] is True
    assert chat(served, WRONG, keys["eve"]).json()["choices"][0]["message"]["content"] == "75 - 16 = 69."
    schema = {"type": "json_schema", "json_schema": {"schema": {"type": "integer"}}}
    given = chat(served, WRONG, response_format=schema).json()["choices"][0]["message"]["content"]
    assert isinstance(json.loads(given), int)  # the request's own form goes first
    figures = served.get("/metrics").text
    assert "flyball:memory_repeated_questions_total 2.0" in figures


def test_streams_and_other_interfaces_have_it_too(served: Running) -> None:
    body = {"messages": [{"role": "user", "content": WRONG}], "memory": True, "stream": True, "temperature": 0}
    streamed = served.post("/v1/chat/completions", body)
    assert '"memory": ["ex-' in streamed.text or '"memory":["ex-' in streamed.text
    assert streamed.headers["flyball-memory"].startswith("ex-")
    message = served.post("/v1/messages", {**body, "stream": False, "max_tokens": 12})
    assert message.json()["content"][0]["text"] == "75 - 16 = 59."
    answer = served.post("/v1/responses", {"input": WRONG, "memory": True, "temperature": 0})
    assert answer.headers["flyball-memory"].startswith("ex-")


def test_ollamas_chats_have_it(served: Running) -> None:
    asked = {"messages": [{"role": "user", "content": WRONG}]}
    open_body: dict[str, Any] = {"stream": False, "options": {"temperature": 0, "num_predict": 12}}
    for path, body, said in (("/api/chat", asked, "message"), ("/api/generate", {"prompt": WRONG}, "response")):
        without = served.post(path, body | open_body)
        assert "flyball-memory" not in without.headers
        assert "memory" not in without.json()["flyball"]
        given = served.post(path, body | open_body | {"memory": True})
        assert given.status_code == 200, given.text
        text = given.json()[said]["content"] if said == "message" else given.json()[said]
        assert text == "75 - 16 = 59."
        (id,) = given.json()["flyball"]["memory"]
        assert given.headers["flyball-memory"] == id
        assert "flyball-ignored" not in given.headers
        assert served.post("/v1/verify", {"id": given.json()["flyball"]["receipt"]}).json()["verified"] is True
        streamed = served.post(path, body | open_body | {"memory": True, "stream": True})
        assert json.loads(streamed.text.splitlines()[-1])["flyball"]["memory"] == [id]
    before = served.post("/api/generate", {"prompt": "What is 2 + 3?", **open_body}).json()["context"]
    later = served.post("/api/generate", {"prompt": WRONG, "context": before, "memory": True, **open_body}).json()
    assert later["context"][: len(before)] == before
    receipt = served.get(f"/v1/receipts/{later['flyball']['receipt']}").json()["receipt"]
    assert "constraint" not in receipt or receipt["constraint"] is None, "something was asked before it"


def test_ollamas_facts_are_the_users_own(served: Running) -> None:
    def chat(text: str, user: str) -> Any:
        body = {"messages": [{"role": "user", "content": text}], "stream": False, "memory": True, "user": user}
        return served.post("/api/chat", body | {"options": {"num_predict": 4}})

    (id,) = chat("Benim adım Kaan", "kaan").json()["flyball"]["memory"]
    assert chat("Who are you?", "kaan").headers["flyball-memory"] == id
    assert chat("Who are you?", "ada").json()["flyball"]["memory"] == []
    assert served.post("/api/generate", {"prompt": "Who?", "memory": "yes"}).status_code == 400
    raw = served.post("/api/generate", {"prompt": "Who?", "raw": True, "memory": True})
    assert raw.status_code == 400
    assert "does not go with raw" in raw.json()["error"]
    with served.client() as client:
        assert client.delete("/v1/memory?user=kaan").status_code == 200


def test_the_journal_has_the_ids(served: Running, store_path: Path) -> None:
    about = chat(served, WRONG).json()["flyball"]
    (journal,) = (store_path.parent / ".local/state/flyball/serve").glob("journal-*.jsonl")
    deadline = time.monotonic() + WAIT
    while about["receipt"] not in (text := journal.read_text()) and time.monotonic() < deadline:
        time.sleep(0.1)
    told = [json.loads(line) for line in text.splitlines() if "MEMORY_RECALLED" in line and about["receipt"] in line]
    assert told[0]["data"] == {"answer": about["receipt"], "ids": about["memory"]}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400), ({"text": ""}, 400), ({"text": 7}, 400), ({"text": "x", "user": "\0"}, 400),
        ({"text": "x", "user": "x" * 200}, 400), ({"text": "x" * 3_000_000, "name": "large"}, 400),
    ],
)  # fmt: skip
def test_what_is_refused(served: Running, body: dict[str, Any], status: int) -> None:
    assert served.post("/v1/memory", body).status_code == status


def test_what_cannot_go_with_memory_is_refused(served: Running) -> None:
    assert chat(served, "x", memory="yes").status_code == 400
    resumed = {"last-event-id": "9b3a3c96d829441b6394f886.1796017789.3604411735823611.1"}
    said = chat(served, "x", resumed)
    assert (said.status_code, said.json()["error"]["code"]) == (400, "not_resumable")
    for path in ("/v1/memory?kind=x", "/v1/memory?limit=0", "/v1/memory?q=x&limit=101"):
        assert served.get(path).status_code == 400
    assert served.get("/v1/memory/mem_0").status_code == 404


def test_a_server_without_a_store_says_so(start: Start) -> None:
    bare = start("--set", "serve.store=none", "--set", "serve.memory=on")
    assert chat(bare, "What is 2 + 3?").status_code == 501
    assert bare.get("/v1/memory").status_code == 501
    body = {"messages": [{"role": "user", "content": "What is 2 + 3?"}]}
    assert "memory" not in bare.post("/v1/chat/completions", body).json()["flyball"]
    ollama = {**body, "stream": False, "options": {"num_predict": 2}}
    assert "memory" not in bare.post("/api/chat", ollama).json()["flyball"]
    assert bare.post("/api/chat", ollama | {"memory": True}).status_code == 501
