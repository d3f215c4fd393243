"""Answers in Redis or Valkey, which several servers can share. Their names begin with flyball:v1: and the project.

What is there is bounded by its time to live, and by the server's own maxmemory, whose policy must be one that evicts.
A server that is dead or slow costs one short wait, then it is left alone for a while.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlsplit

from ..errors import InvalidArgument, Unavailable
from ..store.cached_answers import MOST_BYTES, CachedGroup
from .answers import MS_AN_HOUR, Place

SCHEMES = ("redis://", "rediss://", "unix://")
_PREFIX = "flyball:v1:"
_PATIENCE_SECONDS = 0.5
_PAUSE_SECONDS = 5.0  # in which a server that did not answer is not asked
_AT_ONCE = 500


class RedisAnswers:
    """As answers.Answers says; nothing is asked before the first answer is looked for."""

    in_store = False
    n_evicted = 0  # Redis evicts, and tells nobody
    n_bytes = None

    def __init__(self, url: str, kept_ms: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`url`: redis://[USER:PASSWORD@]HOST[:PORT][/NUMBER], rediss:// for TLS, unix://PATH."""
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError:
            raise InvalidArgument(
                "serve.response_cache", "Redis needs the package redis: pip install 'flyball[redis]'"
            ) from None
        try:
            patience: dict[str, Any] = {
                "socket_timeout": _PATIENCE_SECONDS,
                "socket_connect_timeout": _PATIENCE_SECONDS,
                "retry": Retry(NoBackoff(), 0),
            }
            self._client: Any = redis.Redis.from_url(url, **patience)
            self.where = _without_password(url)
        except ValueError as error:
            raise InvalidArgument("serve.response_cache", f"is no URL of Redis: {error}") from None
        self._error: type[Exception] = redis.RedisError
        self._refusal: type[Exception] = redis.ResponseError
        self._kept_ms = kept_ms
        self._clock = clock
        self._paused_until = -1.0

    def limit(self, hours: int, most_bytes: int) -> None:
        """For how long answers are kept from now on; Redis bounds their bytes itself."""
        self._kept_ms = hours * MS_AN_HOUR

    def get(self, place: Place) -> bytes | None:
        """The answer at a place."""
        with self._asking() as client:
            found: bytes = client.getrange(_name(place), 0, MOST_BYTES)  # whatever others have put there
        return found or None

    def put(self, place: Place, content: bytes) -> None:
        """Keep an answer."""
        with self._asking() as client:
            client.set(_name(place), content, px=self._kept_ms)

    def touch(self, place: Place) -> None:
        """Redis has seen that it was used."""

    def remove(self, place: Place) -> None:
        """Drop one."""
        with self._asking() as client:
            client.unlink(_name(place))

    def purge(self, project: str, fingerprint: str = "", adapter: str = "") -> int:
        """Drop a project's, of the models and adapters whose fingerprints begin so; how many they were."""
        n_purged = 0
        with self._asking() as client:
            for names in self._names(client, project, fingerprint, adapter):
                n_purged += client.unlink(*names)
        return n_purged

    def groups(self, project: str) -> Sequence[CachedGroup]:
        """What a project has, by model and adapter."""
        sums: dict[tuple[str, str], list[int]] = {}
        with self._asking() as client:
            for names in self._names(client, project, "", ""):
                asked = client.pipeline(transaction=False)
                for name in names:
                    asked.strlen(name)
                    asked.object("IDLETIME", name)
                said = asked.execute(raise_on_error=False)
                for name, size, idle in zip(names, said[::2], said[1::2], strict=True):
                    model, adapter, _ = name.decode().rsplit(":", 2)
                    group = sums.setdefault((model.rpartition(":")[2], adapter), [0, 0, 0])
                    group[0] += 1
                    group[1] += size if isinstance(size, int) else 0
                    if isinstance(idle, int):  # not where its policy counts uses instead
                        group[2] = max(group[2], int(1000 * (time.time() - idle)))
        return [CachedGroup(*of, *group) for of, group in sorted(sums.items())]

    def tidy(self) -> None:
        """Redis drops what has expired."""

    def close(self) -> None:
        """Let connections go."""
        self._client.close()

    @staticmethod
    def _names(client: Any, project: str, fingerprint: str, adapter: str) -> Iterator[list[bytes]]:
        pattern = f"{_PREFIX}{quote(project, safe='')}:{fingerprint}*:{adapter}*:*"
        names = []
        for name in client.scan_iter(match=pattern, count=_AT_ONCE):
            names.append(name)
            if len(names) == _AT_ONCE:
                yield names
                names = []
        if names:
            yield names

    @contextmanager
    def _asking(self) -> Iterator[Any]:
        """The client; its errors in Flyball's terms. Raises Unavailable at once while it is left alone."""
        if self._clock() < self._paused_until:
            raise Unavailable(self.where, "did not answer a moment ago")
        try:
            yield self._client
        except self._error as error:
            if not isinstance(error, self._refusal):  # a server that is full still finds answers
                self._paused_until = self._clock() + _PAUSE_SECONDS
            first = str(error).split("\n", 1)[0][:200]
            raise Unavailable(self.where, f"does not answer as it should ({first})") from None


def _name(place: Place) -> str:
    """Neither a colon of a project's name nor a wildcard in it reaches others' names."""
    return f"{_PREFIX}{quote(place.project, safe='')}:{place.fingerprint}:{place.adapter}:{place.key}"


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"
