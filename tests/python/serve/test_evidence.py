"""Answers that can be checked later and elsewhere: signed receipts, the journal's head, bundles, feedback."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

import flyball
from flyball import audit
from flyball.cli import main
from flyball.journal.journal import check
from flyball.store import Store

from .conftest import WAIT, Running, Start

QUESTION = {"messages": [{"role": "user", "content": "What is 2 + 3?"}], "max_tokens": 12, "seed": 1}
FOREVER = 1 << 53


def folder(home: Path) -> Path:
    return home / ".local" / "state" / "flyball" / "serve"


def answer(server: Running, **members: Any) -> dict[str, Any]:
    said = server.post("/v1/chat/completions", QUESTION | members)
    assert said.status_code == 200
    found: dict[str, Any] = said.json()
    return found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evidence")


@pytest.fixture(scope="module")
def signing(start: Start, home: Path) -> Running:
    return start(home=home)


def test_receipts_are_signed_by_the_published_key(signing: Running) -> None:
    said = answer(signing)
    kept = signing.get(f"/v1/receipts/{said['id']}").json()
    keys = audit.PublicKeys.parse(signing.get("/.well-known/flyball-keys.json").text)
    signed = audit.Signed.from_dict(kept["signature"])
    audit.verify(signed, keys, kept["receipt_text"])
    assert signed.statement["id"] == said["flyball"]["receipt"]
    forged = kept["receipt_text"].replace('"seed":1', '"seed":2')
    assert forged != kept["receipt_text"]
    with pytest.raises(flyball.VerificationError):
        audit.verify(signed, keys, forged)


def test_a_statement_is_in_the_journal_without_a_further_answer(signing: Running, home: Path) -> None:
    said = answer(signing, seed=77)
    (journal,) = folder(home).glob("journal-*.jsonl")
    end = time.monotonic() + WAIT
    while not any(
        "AUDIT_SIGNED" in line and said["flyball"]["receipt"] in line for line in journal.read_text().splitlines()
    ):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_the_head_of_the_journal_is_a_signed_note(signing: Running) -> None:
    answer(signing)
    keys = audit.PublicKeys.parse(signing.get("/.well-known/flyball-keys.json").text)
    note = audit.Note.parse(signing.get("/v1/journal/head").text)
    assert audit.verify_note(note, keys).checkpoint.n_lines > 0


def test_feedback_is_kept(signing: Running, home: Path) -> None:
    said = answer(signing, seed=2)
    given = {"id": said["id"], "rating": "good", "correction": "It is five."}
    assert signing.post("/v1/feedback", given).status_code == 200
    for wrong in ({"rating": "good"}, {"id": said["id"], "rating": "x"}, {"id": "nothing", "rating": "bad"}):
        assert signing.post("/v1/feedback", wrong).status_code in (400, 404)
    with Store.open(folder(home) / "store.sqlite") as store:
        (kept,) = store.project().feedback.of_request(said["flyball"]["receipt"])
    assert (kept.rating, kept.correction, kept.answer_id) == ("good", "It is five.", said["flyball"]["digest"])


def test_a_bundle_of_all_that_was_answered(start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After the server has ended: receipts, signatures and journal agree, and the model computes the answers again."""
    server = start(home=tmp_path)
    said = [answer(server, seed=seed) for seed in range(5)]
    keys = tmp_path / "keys.json"
    keys.write_text(server.get("/.well-known/flyball-keys.json").text)
    assert server.stop(signal.SIGTERM) == 0
    (journal,) = folder(tmp_path).glob("journal-*.jsonl")
    assert not check(journal).faults
    bundle = tmp_path / "bundle.zip"
    private = tmp_path / ".local" / "state" / "flyball" / "keys"
    exported = ["audit", "export", str(bundle), "--from", "2020-01-01", "--to", "2100-01-01", "--prompts"]
    exported += ["--journal", str(journal), "--store", str(folder(tmp_path) / "store.sqlite")]
    exported += ["--key-folder", str(private), "--json"]
    assert main(exported) == 0
    about = json.loads(capsys.readouterr().out)
    assert (about["receipts"], about["missing"], about["unrecorded"]) == (len(said), [], [])
    verified = [
        "audit",
        "verify",
        str(bundle),
        "--keys",
        str(keys),
        "--model",
        str(flyball.demo_model_path()),
        "--json",
    ]
    assert main(verified) == 0


def test_receipts_outlive_the_server_and_prompts_are_not_stored(start: Start, tmp_path: Path) -> None:
    first = start(home=tmp_path)
    said = answer(first)
    assert first.stop(signal.SIGTERM) == 0
    with Store.open(folder(tmp_path) / "store.sqlite") as store:
        (request,) = store.project().requests.between(0, FOREVER)
        assert (request.state, request.digest) == ("done", said["flyball"]["digest"])
        assert (request.prompt, request.answer) == (None, None)
        (day,) = store.project().performance.between(*_days())
        assert (day.n_answers, day.n_generated_tokens) == (1, said["usage"]["completion_tokens"])
    second = start(home=tmp_path)
    assert second.get(f"/v1/receipts/{said['id']}").json()["receipt"]["digest"] == said["flyball"]["digest"]
    assert second.post("/v1/verify", {"id": said["id"]}).json()["verified"] is True


def test_texts_are_stored_where_that_is_asked_for(start: Start, tmp_path: Path) -> None:
    server = start("--set", "serve.keep_text=on", home=tmp_path)
    said = answer(server)
    assert server.stop(signal.SIGTERM) == 0
    with Store.open(folder(tmp_path) / "store.sqlite", keep_text=True) as store:
        (request,) = store.project().requests.between(0, FOREVER)
    assert "What is 2 + 3?" in str(request.prompt)
    assert request.answer == said["choices"][0]["message"]["content"]


def test_what_a_killed_server_was_doing_is_known(start: Start, tmp_path: Path) -> None:
    server = start(home=tmp_path)
    with server.client() as client:
        body = QUESTION | {"stream": True, "ignore_eos": True, "max_tokens": 400}
        with client.stream("POST", "/v1/chat/completions", json=body) as response:
            lines = response.iter_lines()
            next(lines)
            answer(server)  # when this one is stored, the other's beginning is
            for _ in range(100):
                with Store.open(folder(tmp_path) / "store.sqlite") as store:
                    if store.project().requests.counts()["done"]:
                        break
            server.stop(signal.SIGKILL)
    with Store.open(folder(tmp_path) / "store.sqlite", instance=_instance(server)) as store:
        counts = store.project().requests.counts()
    assert counts["running"] == 0
    assert counts["done"] + counts["interrupted"] == 2


def test_a_server_without_a_store(start: Start) -> None:
    server = start("--set", "serve.store=none")
    said = answer(server)
    assert server.get(f"/v1/receipts/{said['id']}").status_code == 200
    refused = server.post("/v1/feedback", {"id": said["id"], "rating": "good"})
    assert refused.status_code == 501


def _days() -> Any:
    import datetime

    today = datetime.datetime.now(datetime.UTC).date()
    return today - datetime.timedelta(days=1), today + datetime.timedelta(days=2)


def _instance(server: Running) -> str:
    import re
    import socket

    return re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname())[:50] + "_" + server.url.rpartition(":")[2]
