"""A replica's stream, cut where it may be cut: server-sent events, or lines of JSON."""

from __future__ import annotations

from dataclasses import dataclass, field

_MOST_BYTES = 64 << 20  # of one event
_ELSEWHERE = b": elsewhere"
_TOKENS = b": tokens "


class Elsewhere(Exception):
    """The replica says that another one would go on."""


@dataclass
class Sent:
    """What a client has got of a stream: all that another replica needs to go on with it.

    last_id  of the last event, where events have ids
    n        events or lines
    tokens   of the answer, from its beginning
    """

    last_id: str = ""
    n: int = 0
    tokens: list[int] = field(default_factory=list)

    def learn(self, line: bytes) -> None:
        """From a comment: FIRST ID,ID,..."""
        first, _, rest = line.partition(b" ")
        place = int(first)
        if place <= len(self.tokens):
            tokens = [int(token) for token in rest.split(b",")]
            self.tokens[place : place + len(tokens)] = tokens


class Pieces:
    """Cuts one replica's stream. `skip`: how many events without ids the client has got already."""

    def __init__(self, sent: Sent, is_events: bool) -> None:
        self._sent = sent
        self._end = b"\n\n" if is_events else b"\n"
        self._is_events = is_events
        # Events with ids are left out by the replica itself; others come again, as many as before.
        self._skip = 0 if sent.last_id else sent.n
        self._rest = b""

    def take(self, chunk: bytes) -> bytes:
        """What of it goes to the client: whole events alone. Raises Elsewhere."""
        *whole, self._rest = (self._rest + chunk).split(self._end)
        if len(self._rest) > _MOST_BYTES:
            raise ValueError("an event has no end")
        return b"".join(filter(None, map(self._event, whole)))

    def _event(self, raw: bytes) -> bytes:
        if not self._is_events:
            return self._counted(raw + self._end)
        lines = raw.split(b"\n")
        if _ELSEWHERE in lines:
            raise Elsewhere
        kept = [line for line in lines if not line.startswith(_TOKENS)]
        for line in lines:
            if line.startswith(_TOKENS):
                self._sent.learn(line.removeprefix(_TOKENS))
            elif line.startswith(b"id: "):
                self._sent.last_id = line[4:].decode("ascii", "replace")
        event = b"\n".join(kept) + self._end
        is_comment = all(line.startswith(b":") for line in kept)
        return event if is_comment else self._counted(event)

    def _counted(self, event: bytes) -> bytes:
        if self._skip:
            self._skip -= 1
            return b""
        self._sent.n += 1
        return event
