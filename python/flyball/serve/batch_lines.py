"""The lines of batches: requests in, results out, in OpenAI's forms."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

from ..errors import InvalidArgument
from ..store import Item, NewItem, checks
from ..store.batches import MOST_ITEM_BYTES, MOST_ITEMS
from .bodies import kind, parse
from .failures import Failure, request_id

ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")
_MOST_ERRORS = 100  # told of one file
_NEVER_RUN = {
    "expired": "the batch's completion window ended before this request was answered",
    "cancelled": "the batch was canceled before this request was answered",
}


class LineError(NamedTuple):
    """What is wrong with a line of an input file, or with the file."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class _Wrong(Exception):
    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        self.code, self.message, self.param = code, message, param


@dataclass(frozen=True)
class Outcome:
    """What became of a request: its response, and the digest of its answer."""

    status: int
    body: Any
    digest: str | None = None
    retry_after: float | None = None  # seconds; None: another try would change nothing

    @property
    def code(self) -> str:
        """Of an error; else empty."""
        error = self.body.get("error") if isinstance(self.body, dict) else None
        return str(error.get("code", "")) if isinstance(error, dict) else ""

    @property
    def json(self) -> str:
        """As the store keeps it: the member `response` of the line."""
        proof = self.body.get("flyball") if isinstance(self.body, dict) else None
        receipt = proof.get("receipt") if isinstance(proof, dict) else None
        return json.dumps({"status_code": self.status, "request_id": request_id(receipt), "body": self.body})


def items_of(content: Iterable[bytes], endpoint: str, errors: list[LineError]) -> Iterator[NewItem]:
    """The requests of an input file. What is wrong is added to `errors`, of many only the first."""
    lines: dict[str, int] = {}
    for number, raw in _lines(content):
        try:
            item = _item(number, raw, endpoint, lines)
        except _Wrong as wrong:
            errors.append(LineError(wrong.code, wrong.message, number, wrong.param))
        else:
            if item is not None and not errors:  # a file with errors is not run at all
                yield item
        if len(lines) > MOST_ITEMS:
            errors.append(LineError("too_many_tasks", f"a batch has at most {MOST_ITEMS} requests", number))
            return
        if len(errors) == _MOST_ERRORS:
            return
    if not lines and not errors:
        errors.append(LineError("empty_file", "the file has no requests: give one JSON object a line"))


def result_line(item: Item) -> bytes:
    """The line of an item that has ended."""
    identity = hashlib.sha256(f"{item.batch_id}:{item.line}".encode()).hexdigest()[:24]
    line: dict[str, Any] = {
        "id": f"batch_req_{identity}",
        "custom_id": item.custom_id,
        "response": None,
        "error": None,
    }
    stored = json.loads(item.response or item.error or "{}")
    if item.state in _NEVER_RUN:
        line["error"] = {"code": f"batch_{item.state}", "message": _NEVER_RUN[item.state]}
    elif "status_code" in stored:
        line["response"] = stored
    else:
        line["error"] = {"code": "server_error", "message": str(stored.get("message", "the request failed"))}
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


def derived_seed(batch_id: str, custom_id: str) -> int:
    """The seed of a request that names none: the same in each try, on each server."""
    digest = hashlib.sha256(f"{batch_id}:{custom_id}".encode(errors="replace")).digest()
    return int.from_bytes(digest[:8]) >> 11  # every JSON reader has integers of 53 bits


def _lines(content: Iterable[bytes]) -> Iterator[tuple[int, bytes | None]]:
    """Lines with their numbers from 1; None: one too long to be kept in memory."""
    number, held, is_long = 1, bytearray(), False
    for piece in content:
        *ends, rest = piece.split(b"\n")
        for end in ends:
            is_long = is_long or len(held) + len(end) > MOST_ITEM_BYTES
            yield number, None if is_long else bytes(held + end)
            number, is_long = number + 1, False
            held.clear()
        is_long = is_long or len(held) + len(rest) > MOST_ITEM_BYTES
        if is_long:
            held.clear()
        else:
            held += rest
    if held or is_long:
        yield number, None if is_long else bytes(held)


def _item(number: int, raw: bytes | None, endpoint: str, lines: dict[str, int]) -> NewItem | None:
    """A line's request; None for an empty line."""
    if raw is None:
        _too_long()
    if not raw.strip():
        return None
    try:
        request = parse(raw)
    except Failure as failure:
        raise _Wrong("invalid_json_line", failure.message.replace("the body", "the line")) from None
    custom_id = _custom_id(number, request, lines)
    if request.get("method") != "POST":
        raise _Wrong("invalid_method", f"is {request.get('method')!r}, must be POST", "method")
    if request.get("url") != endpoint:
        raise _Wrong("invalid_url", f"is {request.get('url')!r}, must be the batch's endpoint, {endpoint}", "url")
    body = request.get("body")
    if not isinstance(body, dict):
        raise _Wrong("missing_required_parameter", f"must be an object, is {kind(body)}", "body")
    if body.get("stream"):
        raise _Wrong("invalid_value", "must not be true: results of batches are whole", "body.stream")
    try:
        text = json.dumps(body, allow_nan=False)
    except ValueError:
        raise _Wrong("invalid_json_line", "has a number that is too large", "body") from None
    if len(text) > MOST_ITEM_BYTES:
        _too_long()
    return NewItem(number, custom_id, text)


def _custom_id(number: int, request: dict[str, Any], lines: dict[str, int]) -> str:
    given = request.get("custom_id")
    if given is None:
        raise _Wrong("missing_required_parameter", "is missing; it names the request in the results", "custom_id")
    try:
        custom_id = checks.text("custom_id", given)
    except InvalidArgument as error:
        raise _Wrong("invalid_value", error.what, "custom_id") from None
    if (earlier := lines.setdefault(custom_id, number)) != number:
        what = f"{custom_id!r} is that of line {earlier}; each request needs its own"
        raise _Wrong("duplicate_custom_id", what, "custom_id")
    return custom_id


def _too_long() -> NoReturn:
    raise _Wrong("line_too_long", f"is longer than {MOST_ITEM_BYTES >> 20} MiB")
