"""A server with OpenAI's interface as a subject. What it sends is untrusted and bounded."""

from __future__ import annotations

import http.client
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from ..bench.fields import parse
from ..engine.receipt import Receipt
from ..errors import Error, FormatError, InvalidArgument, Unavailable
from .streamed import Streamed, events, pieces
from .subjects import TEMPERATURE, TOP_P, About, Answer, Usage

_MOST_BYTES = 64 << 20
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_TOO_LONG = ("context_length_exceeded", "exceed_context_size_error")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Refused(Error):
    """An answer with an error status; `kinds`: the server's words for it. `retry_after_s`: when it wants to be asked
    again, if it says so."""

    kinds: tuple[object, ...] = ()
    status: int = 0
    retry_after_s: float | None = None


class OpenAIServer:
    """`name`: of the model, needed where the server has several. `answer_s`: the most seconds of one answer."""

    def __init__(
        self,
        url: str,
        name: str = "",
        key: str = "",
        answer_s: float = 600,
        silence_s: float = 120,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._base = _base(url)
        self._headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
        self._answer_s, self._silence_s, self._clock = answer_s, silence_s, clock
        local = urlsplit(self._base).hostname in _LOOPBACK
        self._opener = urllib.request.build_opener(_NoRedirect, *([urllib.request.ProxyHandler({})] if local else []))
        model = self._choose(name)
        self._flyball = model.get("owned_by") == "flyball"
        self._peak: int | None = None
        meta = model.get("meta")
        n = meta.get("n_params") if isinstance(meta, dict) else None
        self.about = About(model["id"], parameters=n if type(n) is int and n > 0 else None, place=self._base)

    def answer(self, prompt: str, seed: int, max_tokens: int, schema: Mapping[str, Any] | None = None) -> Answer:
        """Streamed; tokens are the server's own count. `schema`: of JSON that the answer must be."""
        body: dict[str, object] = {
            "model": self.about.name,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": max_tokens,
            "seed": seed,
            "temperature": TEMPERATURE,
            "top_p": TOP_P,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self._flyball:  # others may refuse it
            body["chat_template_kwargs"] = {"enable_thinking": False}
        if schema is not None:
            form = {"name": "answer", "schema": schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        start, first = self._clock(), None
        found = Streamed(self._base)
        try:
            with self._open("/chat/completions", body) as response:
                for event in events(self._base, response, lambda: self._clock() - start > self._answer_s):
                    found.take(event)
                    first = self._clock() - start if first is None and found.said else first
            if not found.has_ended:
                raise FormatError(self._base, "ended an answer without a finish_reason or [DONE]: it was cut off")
        except Refused as error:
            if not any(kind in _TOO_LONG for kind in error.kinds):
                raise
            return Answer("", 0, 0.0, 0.0, failure="the prompt does not fit the context")
        seconds = self._clock() - start
        receipt = self._receipt(found) if found.receipt_id and self._flyball else None
        return Answer("".join(found.texts), found.tokens, seconds if first is None else first, seconds, receipt)

    def with_key(self, key: str) -> OpenAIServer:
        """The same model, asked with another key; the server is not asked what it has."""
        other = copy(self)
        other._headers = self._headers | {"authorization": f"Bearer {key}"}
        return other

    def usage(self) -> Usage:
        """Of a Flyball server, from its metrics: the most memory that was seen, and its processor time."""
        if not self._flyball:
            return Usage()
        try:
            page = self._get(self._base.removesuffix("/v1") + "/metrics").decode(errors="replace")
        except Error:
            return Usage(self._peak)  # metrics may be for other keys
        resident, used = (_sample(page, f"process_{name}") for name in ("resident_memory_bytes", "cpu_seconds_total"))
        if resident is not None:
            self._peak = max(self._peak or 0, int(resident))
        return Usage(self._peak, used)

    def _choose(self, name: str) -> dict[str, Any]:
        listed = parse(f"{self._base}/models", self._get("/models"))
        models = listed.get("data") if isinstance(listed, dict) else None
        if not isinstance(models, list) or not all(
            isinstance(m, dict) and isinstance(m.get("id"), str) for m in models
        ):
            raise FormatError(f"{self._base}/models", "is no list of models; give the address with its /v1")
        names = ", ".join(model["id"][:80] for model in models[:20]) or "none"
        fitting = [model for model in models if name in ("", model["id"]) or name in _aliases(model)]
        if not fitting:
            raise InvalidArgument("--model", f"is {name!r}; the server has: {names}")
        if not name and len(models) > 1:
            raise InvalidArgument("--model", f"is needed, as the server has several: {names}")
        return dict(fitting[0])

    def _receipt(self, found: Streamed) -> Receipt:
        if not re.fullmatch(r"[0-9a-zA-Z_-]{1,80}", found.receipt_id):
            raise FormatError(self._base, "gave a receipt id that is none")
        url = f"{self._base}/receipts/{found.receipt_id}"
        stored = parse(url, self._get(f"/receipts/{found.receipt_id}"))
        receipt = Receipt(json.dumps(stored.get("receipt") if isinstance(stored, dict) else None))
        if receipt.digest != found.digest:
            raise FormatError(url, "is the receipt of another answer")
        return receipt

    def _get(self, path: str) -> bytes:
        start = self._clock()
        with self._open(path) as response:
            return b"".join(pieces(path, response, _MOST_BYTES, lambda: self._clock() - start > self._answer_s))

    @contextmanager
    def _open(self, path: str, body: object = None) -> Iterator[http.client.HTTPResponse]:
        """The response, if it is one; every way to fail is an Error that names the address."""
        url = path if path.startswith("http") else self._base + path
        data = None if body is None else json.dumps(body).encode()
        try:
            request = urllib.request.Request(url, data, self._headers)
            with self._opener.open(request, timeout=self._silence_s) as response:
                yield response
        except urllib.error.HTTPError as error:
            with error:
                raise _refused(url, error) from None
        except TimeoutError:
            raise Unavailable(url, f"was silent for {self._silence_s:.0f} s; is the server busy?") from None
        except urllib.error.URLError as error:
            why = error.reason
            said = getattr(why, "strerror", None) or why
            raise Unavailable(url, f"does not answer: {said}; is the server running there?") from None
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(url, f"broke off: {error or type(error).__name__}") from None


def _base(url: str) -> str:
    """The address with its /v1 and without a slash at its end; one with a password would be in every card."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidArgument("URL", f"is no address: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or not url.isprintable() or " " in url:
        raise InvalidArgument("URL", f"is {url[:200]!r}, must be as http://127.0.0.1:8080/v1")
    if parts.username is not None or parts.query or parts.fragment:
        raise InvalidArgument("URL", "has a user, a query or a fragment; --key-env names the variable of the key")
    return url.rstrip("/") if parts.path.strip("/") else url.rstrip("/") + "/v1"


def _refused(url: str, error: urllib.error.HTTPError) -> Refused:
    try:
        raw = error.read(1 << 16)
    except (OSError, http.client.HTTPException):
        raw = b""
    try:
        said = parse(url, raw)
    except FormatError:
        said = None
    member = said.get("error") if isinstance(said, dict) else None
    told = member if isinstance(member, dict) else {}
    text = told.get("message") or member or raw.decode(errors="replace")
    hint = {401: "; --key-env names the variable of a key", 403: "; is the key allowed to do this?"}.get(error.code, "")
    refused = Refused(url, f"answered {error.code}: {str(text)[:200] or error.reason}{hint}", code="unavailable")
    refused.kinds, refused.status = (told.get("code"), told.get("type")), error.code
    refused.retry_after_s = _seconds(error.headers.get("retry-after"))
    return refused


def _seconds(retry_after: str | None) -> float | None:
    """Of a header Retry-After: seconds, or a date. None: it is neither."""
    text = (retry_after or "").strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _aliases(model: dict[str, Any]) -> list[Any]:
    aliases = model.get("aliases")
    return aliases if isinstance(aliases, list) else []


def _sample(page: str, name: str) -> float | None:
    found = re.search(rf"^{name} ([0-9][0-9.e+]{{0,30}})$", page, re.MULTILINE)
    try:
        return float(found[1]) if found else None
    except ValueError:
        return None
