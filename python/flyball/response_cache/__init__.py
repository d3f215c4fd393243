"""Whole answers that are given again: an exact cache, in the store or in Redis.

An answer is found by the key of its question alone, in the project that asked: same model, settings, adapter, prompt,
sampler, seed and form, hence the same bits. There is no search for similar questions (docs/response-cache.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import InvalidArgument
from .answers import MS_AN_HOUR, Answers, Place
from .entry import CachedAnswer, key_of

if TYPE_CHECKING:
    from ..store import Store

__all__ = ["OFF", "STORE", "Answers", "CachedAnswer", "Place", "key_of", "open_answers"]

OFF, STORE = "off", "store"


def open_answers(where: str, store: Store | None, hours: int, most_bytes: int) -> Answers | None:
    """The answers kept at `where`: "off" (None), "store", or a URL of Redis or Valkey, which is not asked yet.

    `most_bytes`: of a project in the store; Redis has a bound of its own (maxmemory). Raises InvalidArgument.
    """
    if where == OFF:
        return None
    if where == STORE:
        from .in_store import StoredAnswers

        if store is None:
            raise InvalidArgument("serve.response_cache", "is store, but there is none: set serve.store")
        return StoredAnswers(store, hours * MS_AN_HOUR, most_bytes)
    from .in_redis import SCHEMES, RedisAnswers

    if not where.startswith(SCHEMES):
        raise InvalidArgument("serve.response_cache", f"is {where[:40]!r}, must be off, store or redis://HOST")
    return RedisAnswers(where, hours * MS_AN_HOUR)
