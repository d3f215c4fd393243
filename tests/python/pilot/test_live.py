"""The bundled model against its own stub, in this process and behind servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import flyball
from flyball.engine.model import demo_model_path
from flyball.pilot import live as live_models
from flyball.pilot import run
from flyball.pilot.agents import AGENTS, NAMES
from flyball.pilot.difference import difference
from flyball.pilot.models import InProcess
from flyball.pilot.record import Record, receipt_file
from flyball.pilot.report import write
from flyball.pilot.stub import Times
from tests.python.scorecard.conftest import Serve, send, serve, stream_of
from tests.python.serve.conftest import Running, server, start

from .scripted import ANSWERS, PROFILE, replayed

__all__ = ["serve", "server", "start"]


@pytest.fixture(scope="module")
def demo() -> Iterator[flyball.Model]:
    with flyball.Model.load(demo_model_path(), threads=1) as model:
        yield model


@pytest.fixture
def played(demo: flyball.Model, tmp_path: Path) -> tuple[Record, Path]:
    """Two turns of the bundled model."""
    plan = run.Plan(tmp_path, "demo", 2, seed=5, random_choice=True)
    record = run.live(plan, dict.fromkeys(NAMES, InProcess(demo)), PROFILE, True)
    return record, write(tmp_path, record)[0]


def test_its_stub_takes_the_same_path(played: tuple[Record, Path], demo: flyball.Model) -> None:
    record, path = played
    again = run.replay(run.Plan(path.parent, "demo", 2, 5, True), path, Times())
    found = difference(again, record)
    assert (found.n_equal_answers, found.n_digests, found.n_equal_digests) == (8, 8, 8)
    assert found.n_equal_conflicts == 2
    assert found.notes == ()
    assert [(t.choice, t.safe.input, t.safe.output, t.share_card) for t in again.turns] == [
        (t.choice, t.safe.input, t.safe.output, t.share_card) for t in record.turns
    ]
    states = [json.loads((path.parent / "state" / f"demo.{mode}.json").read_text()) for mode in ("live", "stub")]
    assert states[0] == states[1]


def test_its_receipts_verify(played: tuple[Record, Path], demo: flyball.Model) -> None:
    record, path = played
    for call in record.calls.values():
        assert call.digest is not None
        receipt = flyball.Receipt.load(path.parent / receipt_file(call.digest))
        assert receipt.digest == call.digest
        assert flyball.verify(receipt, demo)


def test_the_parts_of_its_calls_are_all_of_their_time(played: tuple[Record, Path]) -> None:
    for turn in played[0].turns:
        assert turn.split.total == pytest.approx(turn.turn_duration_ms)
        for call in turn.calls:
            assert call.split.total == pytest.approx(call.latency_ms)
            assert call.split.model > 0


def test_a_receipt_that_is_not_the_answers_is_an_error(played: tuple[Record, Path]) -> None:
    record, path = played
    one, other = (path.parent / receipt_file(call.digest or "") for call in list(record.calls.values())[:2])
    plan = run.Plan(path.parent, "demo", 2, 5, True)
    whole = one.read_bytes()
    for raw, said in ((other.read_bytes(), "receipt of another answer"), (whole[:50], "JSON|invalid|receipt")):
        one.write_bytes(raw)
        with pytest.raises(flyball.Error, match=said):
            run.replay(plan, path, Times())
    one.unlink()
    with pytest.raises(flyball.Error, match="does not exist"):
        run.replay(plan, path, Times())
    one.write_bytes(whole)
    stored = json.loads(path.read_text())
    stored["turns"][0]["calls"][0]["text"] = "another"
    path.write_text(json.dumps(stored))
    with pytest.raises(flyball.Error, match="another text than its receipt"):
        run.replay(plan, path, Times())
    changed = {name: replace(about, fingerprint="0" * 64) for name, about in record.models.items()}
    replace(record, models=changed).save(path)
    with pytest.raises(flyball.Error, match="receipt of another model"):
        run.replay(plan, path, Times())


def test_a_server_of_flyball_gives_the_digests_of_the_library(
    played: tuple[Record, Path], server: Running, tmp_path: Path
) -> None:
    record, _ = played
    models = live_models.on_server(PROFILE.variants, "", server.url, "")
    served = run.live(run.Plan(tmp_path / "served", "demo", 2, 5, True), models, PROFILE, True)
    found = difference(record, served)
    assert (found.n_equal_answers, found.n_equal_digests) == (8, 8)
    for call in served.calls.values():
        assert call.split.total == pytest.approx(call.latency_ms)
        assert call.split.model > 0
    assert (tmp_path / "served" / receipt_file(next(iter(served.calls.values())).digest or "")).exists()


def test_other_servers_are_asked_for_the_schema(serve: Serve, tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = []

    def respond(handler: Any, body: dict[str, Any]) -> None:
        asked.append(body)
        send(handler, stream_of(json.dumps(ANSWERS[NAMES[len(asked) - 1]]), tokens=9))

    url = serve(respond, {"data": [{"id": "small"}, {"id": "big"}]})
    variants = dict(PROFILE.variants) | {"judge": "big"}
    models = live_models.on_server(variants, "small", url, "")
    profile = replace(PROFILE, variants=variants)
    record = run.live(run.Plan(tmp_path, "other", 1), models, profile, True)
    forms = [body["response_format"]["json_schema"]["schema"] for body in asked]
    assert forms == [agent.schema for agent in AGENTS]
    assert [body["model"] for body in asked] == ["small", "small", "small", "big"]
    assert all(call.usable and call.digest is None and call.tokens == 9 for call in record.calls.values())
    path, _ = write(tmp_path, record)
    assert difference(replayed(path, 1, Times()), record).n_equal_answers == 4


def test_a_question_that_does_not_fit_the_context_is_an_error(serve: Serve, tmp_path: Path) -> None:
    def respond(handler: Any, body: dict[str, Any]) -> None:
        send(handler, json.dumps({"error": {"code": "context_length_exceeded", "message": "long"}}), 400)

    models = live_models.on_server(PROFILE.variants, "", serve(respond), "")
    with pytest.raises(flyball.Error, match="does not fit the context"):
        run.live(run.Plan(tmp_path, "other", 1), models, PROFILE, True)
