"""Items of batches that fail for what the model did are feedback; what the server or the request did is none."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from flyball.errors import NonFinite, OutOfMemory
from flyball.serve.batch_faults import faults
from flyball.serve.batch_lines import Outcome
from flyball.serve.failures import Failure
from flyball.store import Feedback, Item, Store
from flyball.store.question import plain

from .conftest import WAIT, Running, Start
from .scripted_model import write_scripted_model
from .test_batches import CHAT, begin, client_of, ended, line, results

FORM = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object", "required": ["a"]}}}
SHORT = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"enum": [1]}}}
WEATHER = {"city": {"type": "string"}}


def tool(**parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"} | parameters}}


def told(home: Path, n: int) -> list[Feedback]:
    """All feedback, once that is so much."""
    end = time.monotonic() + WAIT
    with Store.open(home / ".local/state/flyball/serve/store.sqlite") as store:
        while len(found := list(store.project().feedback.between(0, 1 << 60))) < n:
            assert time.monotonic() < end, found
            time.sleep(0.05)
        time.sleep(0.2)
        return list(store.project().feedback.between(0, 1 << 60))


def run(server: Running, lines: list[dict[str, Any]], url: str = CHAT) -> dict[str, dict[str, Any]]:
    """The bodies of what was answered, by custom id."""
    with client_of(server) as client:
        done = ended(client, begin(client, lines, url))
        assert done.status == "completed"
        return {each["custom_id"]: each["response"]["body"] for each in results(client, done.output_file_id)}


def test_cut_answers_are_feedback_where_they_have_no_form(start: Start, tmp_path: Path) -> None:
    server = start(home=tmp_path)
    said = run(server, [
        line("cut", response_format=FORM, max_tokens=2),
        line("two", response_format=FORM, max_tokens=2, n=2),
        line("fits", response_format=SHORT),
        line("free", max_tokens=2),
        line("text", response_format={"type": "text"}, max_tokens=2),
        line("wrong", temperature="hot"),
        line("nobody", model="none"),
        line("long", messages=[{"role": "user", "content": "x " * 20_000}]),
    ])  # fmt: skip
    assert set(said) == {"cut", "two", "fits", "free", "text"}
    digests = {said["cut"]["flyball"]["digest"], said["two"]["flyball"]["digest"]}
    digests.add(said["two"]["choices"][1]["flyball"]["digest"])
    found = told(tmp_path, 3)
    assert {each.answer_id for each in found} == digests
    assert len(digests) == 3
    for each in found:
        assert (each.source, each.voter, each.rating, each.model) == ("task", "server", "bad", "flyball-demo")
        assert "cut before it had its form" in str(each.reason)
        assert plain(str(each.question)) == "What is 2 + 3?"
        receipt = server.get(f"/v1/receipts/{each.request_id}").json()["receipt"]
        assert receipt["digest"] in digests
    run(server, [line("again", response_format=FORM, max_tokens=2, seed=said["cut"]["flyball"]["seed"])])
    assert len(told(tmp_path, 3)) == 3, "the same answer has one vote"


def test_responses_are_looked_at_too(start: Start, tmp_path: Path) -> None:
    server = start(home=tmp_path)
    form = {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object", "required": ["a"]}}}

    def asked(name: str, **body: Any) -> dict[str, Any]:
        return line(name, "/v1/responses", input="What is 2 + 3?", max_output_tokens=2, **body)

    said = run(server, [asked("cut", text=form), asked("free")], "/v1/responses")
    (found,) = told(tmp_path, 1)
    assert found.answer_id == said["cut"]["flyball"]["digest"]
    assert plain(str(found.question)) == "What is 2 + 3?"


def test_calls_that_do_not_fit_their_tools_are_feedback(start: Start, tmp_path: Path) -> None:
    server = start(write_scripted_model(tmp_path / "scripted.gguf"), home=tmp_path)
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": "Weather?"}], "max_tokens": 64}
    said = run(server, [
        line("fits", **asked, tools=[tool(properties=WEATHER, required=["city"])]),
        line("missing", **asked, tools=[tool(required=["day"])], temperature=0.1),
        line("type", **asked, tools=[tool(properties={"city": {"type": "integer"}})], temperature=0.2),
        line("other", **asked, tools=[{"type": "function", "function": {"name": "clock"}}], temperature=0.3),
        line("evil", **asked, tools=[tool(properties={"city": {"pattern": "^(a+)+$"}})], temperature=0.4),
        line("away", **asked, tools=[{"type": "function", "function": {"name": "weather", "parameters":
             {"$ref": "http://127.0.0.1:9/x"}}}], temperature=0.5),
    ])  # fmt: skip
    assert said["fits"]["choices"][0]["message"]["tool_calls"]
    reasons = {each.answer_id: str(each.reason) for each in told(tmp_path, 4)}
    expected = {
        "missing": """arguments of 'weather': "day" is a required property""",
        "type": """arguments of 'weather': city: "Paris" is not of type "integer\"""",
        "other": "calls 'weather', which is no tool of the request",
        "evil": """arguments of 'weather': city: "Paris" does not match "^(a+)+$\"""",
    }
    assert reasons == {said[name]["flyball"]["digest"]: reason for name, reason in expected.items()}


def item(**body: Any) -> Item:
    request = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hi"}]} | body)
    return Item("batch_1", 3, "a", request, "claimed", 1, None, None, None, "c")


@pytest.mark.parametrize(
    ("error", "is_fault"),
    [
        (NonFinite("logits", "have a NaN"), True),
        (OutOfMemory("batch", "no memory"), False),
        (Failure(503, "the server is ending", code="draining"), False),
        (Failure(429, "the queue is full", code="busy"), False),
        (Failure(400, "the prompt is too long", code="context_length_exceeded"), False),
        (ValueError("a defect"), False),
    ],
)
def test_only_errors_of_the_model_are_feedback(error: Exception, is_fault: bool) -> None:
    failure = Failure.of(error)
    found = list(faults(item(), Outcome(failure.status, failure.openai())))
    assert len(found) == is_fault
    if found:
        assert (found[0].answer_id, found[0].source, found[0].model) == ("request:batch_1:3", "task", "m")
        assert "have a NaN" in str(found[0].reason)


def answered(reason: str = "stop", stop: str = "eos", **message: Any) -> Outcome:
    choice = {"message": {"content": "x"} | message, "finish_reason": reason}
    proof = {"digest": "d", "receipt": "r", "stop_reason": stop, "adapter": None}
    return Outcome(200, {"choices": [choice], "flyball": proof, "model": "m"})


def test_repetition_is_a_fault_and_what_time_or_memory_ended_is_none() -> None:
    (found,) = faults(item(), answered("length", "loop_guard"))
    assert "repeated itself" in str(found.reason)
    for stop in ("budget_guard", "memory_guard", "deadline", "max_tokens", "context_full"):
        assert list(faults(item(), answered("length", stop))) == [], stop
    assert list(faults(item(), Outcome(200, {"data": [{"embedding": [1.0]}]}))) == []


@pytest.mark.parametrize("parameters", [5, "x", [], {"pattern": "("}, {"$ref": "file:///etc/passwd"}])
def test_tools_that_cannot_be_checked_accuse_nobody(parameters: object) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": parameters}}]
    call = {"function": {"name": "f", "arguments": "{"}}
    assert list(faults(item(tools=tools), answered("tool_calls", tool_calls=[call]))) == []
