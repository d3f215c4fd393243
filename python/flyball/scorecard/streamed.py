"""Reading a streamed chat answer of an untrusted server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from ..bench.fields import parse
from ..errors import FormatError

_MOST_BYTES, _MOST_LINE, _MOST_TOKENS = 16 << 20, 1 << 18, 1 << 31
_DONE = object()  # the event that ends a stream


class Response(Protocol):
    """What http.client gives."""

    def read1(self, n: int = -1, /) -> bytes:
        """What is there, at most n bytes; empty at the end."""


def pieces(where: str, response: Response, most: int, out_of_time: Callable[[], bool]) -> Iterator[bytes]:
    """The bytes of a response as they come, bounded in number and time, however slowly they drip."""
    n_bytes = 0
    while piece := response.read1(1 << 16):
        n_bytes += len(piece)
        if n_bytes > most:
            raise FormatError(where, f"sends without end: more than {most >> 20} MiB")
        if out_of_time():
            raise FormatError(where, "did not end its answer in time; does it keep to max_tokens?")
        yield piece


@dataclass
class Streamed:
    """What has come so far. `said`: whether anything was generated, thoughts included; `has_ended`: whether the answer
    is whole."""

    where: str
    texts: list[str] = field(default_factory=list)
    tokens: int | None = None
    receipt_id: str = ""
    digest: str = ""
    said: bool = False
    has_ended: bool = False

    def take(self, event: object) -> None:
        """Add an event; what is unknown in it is passed over, what is wrong raises FormatError."""
        if event is _DONE:
            self.has_ended = True
            return
        if not isinstance(event, dict):
            raise FormatError(self.where, "sent an event that is no JSON object; is this an OpenAI interface?")
        if event.get("error"):
            raise FormatError(self.where, f"broke the answer off: {str(event['error'])[:200]}")
        usage, ours = event.get("usage"), event.get("flyball")
        if isinstance(usage, dict) and type(n := usage.get("completion_tokens")) is int and 0 <= n < _MOST_TOKENS:
            self.tokens = n
        if isinstance(ours, dict) and isinstance(ours.get("receipt"), str) and isinstance(ours.get("digest"), str):
            self.receipt_id, self.digest = ours["receipt"], ours["digest"]
        choices = event.get("choices")
        if not isinstance(choices, list):
            raise FormatError(self.where, "sent an event without choices; is this an OpenAI interface?")
        for choice in choices[:1]:
            delta = choice.get("delta") if isinstance(choice, dict) else None
            if not isinstance(delta, dict):
                raise FormatError(self.where, "sent a choice without delta; does it stream?")
            self.has_ended = self.has_ended or bool(choice.get("finish_reason"))
            text = delta.get("content")
            if isinstance(text, str):
                self.texts.append(text)
            self.said = self.said or any(delta.get(name) for name in ("content", "reasoning_content", "reasoning"))


def events(where: str, response: Response, out_of_time: Callable[[], bool]) -> Iterator[object]:
    """The events up to [DONE], which is one, or the end."""
    rest, n_events = b"", 0
    for piece in pieces(where, response, _MOST_BYTES, out_of_time):
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > _MOST_LINE:
            raise FormatError(where, f"sends a line of more than {_MOST_LINE >> 10} KiB")
        for line in lines:
            data = line[5:].strip() if line.startswith(b"data:") else b""
            if data == b"[DONE]":
                yield _DONE
                return
            if data:
                n_events += 1
                yield parse(f"{where}: event", data)
    if not n_events:
        raise FormatError(where, "sent no event of a stream; is this an OpenAI interface?")
