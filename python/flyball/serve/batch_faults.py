"""What is wrong with the answers of a batch's item by what the item itself asked for: feedback of failed tasks.

Only what the model has done is a fault: an answer that was cut before it had its form, calls that do not fit their
tools, repetition that the guard ended, numbers that are none. A full server or a wrong request says nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import FormatError, NonFinite
from ..learn.giving import asked_by
from ..learn.guardians import Schema, calls_fault
from ..store import Feedback, Item
from ..store.feedback import answer_id
from ..store.question import as_json
from . import constraining
from .batch_lines import Outcome
from .bodies import Body, parse
from .failures import Failure

VOTER, SOURCE = "server", "task"
_CUT = "the answer was cut before it had its form"
_REPEATED = "the answer repeated itself, and was ended for that"


def faults(item: Item, outcome: Outcome) -> Iterator[Feedback]:
    """One for each answer that failed."""
    body = outcome.body
    if outcome.status != 200:
        error = body.get("error", {}) if isinstance(body, Mapping) else {}
        if error.get("code") == NonFinite.code:
            identity = answer_id(None, None, f"{item.batch_id}:{item.line}")
            yield _feedback(item, str(error.get("message")), answer_id=identity)
        return
    request, proof = parse(item.request.encode()), body.get("flyball")
    for said, answer, calls, cut in [*_choices(body), *_responses(body)]:
        proved = said.get("flyball") or proof
        if not isinstance(proved, Mapping):
            continue  # vectors
        reason = _REPEATED if proved["stop_reason"] == "loop_guard" else ""
        reason = reason or (_CUT if cut and _has_form(request) else "" if cut else calls_fault(calls, _tools(request)))
        if reason:
            known = {"request_id": proved["receipt"], "adapter": proved["adapter"], "model": body.get("model")}
            yield _feedback(item, reason, answer_id=proved["digest"], answer=answer or None, **known)


def _feedback(item: Item, reason: str, **known: Any) -> Feedback:
    asked = asked_by(item.request)
    question = None if asked["question"] is None else as_json(asked["question"])
    about = {"model": asked["model"], "question": question} | known
    return Feedback(**about, voter=VOTER, source=SOURCE, rating="bad", reason=reason)


_Said = tuple[Mapping[str, Any], str, list[tuple[str, str]], bool]


def _choices(body: Mapping[str, Any]) -> Iterator[_Said]:
    """Of chats and completions: each choice with its text, its calls, and whether it was cut."""
    for choice in body.get("choices", ()):
        message = choice.get("message") or {"content": choice.get("text")}
        called = [each["function"] for each in message.get("tool_calls", ())]
        calls = [(each["name"], each["arguments"]) for each in called]
        yield choice, message["content"] or "", calls, choice.get("finish_reason") == "length"


def _responses(body: Mapping[str, Any]) -> Iterator[_Said]:
    """The same of a response."""
    output = body.get("output", ())
    if output:
        texts = [part["text"] for each in output for part in each.get("content", ()) if part["type"] == "output_text"]
        calls = [(each["name"], each["arguments"]) for each in output if each["type"] == "function_call"]
        yield {}, "".join(texts), calls, body.get("status") == "incomplete"


def _has_form(request: Mapping[str, Any]) -> bool:
    """Whether the answer must be of a form: where it ends early, it is not."""
    if request.get("tool_choice") not in (None, "auto", "none"):
        return True
    text = request.get("text")
    wanted = text.get("format") if isinstance(text, Mapping) else None
    try:
        return constraining.of_openai(Body(request)) is not None or (
            isinstance(wanted, Mapping) and wanted.get("type") != "text"
        )
    except Failure:  # a member of another endpoint, which had no effect
        return False


def _tools(request: Mapping[str, Any]) -> dict[str, Schema | None]:
    """The schemas of the tools' arguments, by name; None where there is none that can be checked."""
    found: dict[str, Schema | None] = {}
    for tool in request.get("tools") or ():
        function = tool.get("function", tool)
        try:
            found[function["name"]] = Schema.of(function["parameters"])
        except (FormatError, KeyError):
            found[function.get("name", "")] = None
    return found
