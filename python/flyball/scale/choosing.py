"""Which replica gets a request: one rule for the edge and for the simulation that judges it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence, Sized
from typing import Protocol, TypeVar

_OVER = 1.25  # how much more than the mean a replica may have before others get what is its own


class Loaded(Protocol):
    """A replica, or what stands for one."""

    @property
    def url(self) -> str:
        """Its name, from which follows which requests are its own."""

    @property
    def doing(self) -> Sized:
        """Its requests."""


R = TypeVar("R", bound=Loaded)


def chosen(key: bytes, ready: Sequence[R]) -> R | None:
    """The one of the ready replicas that gets a request; None: there is none.

    Requests with one key go to one replica, which has their prompts in its cache, unless it has much more to do than
    others (rendezvous hashing with bounded loads: Mirrokni, Thorup and Zadimoghaddam, arXiv 1608.01350).
    """
    if not ready:
        return None
    most = math.ceil(_OVER * (sum(len(replica.doing) for replica in ready) + 1) / len(ready))
    free = [replica for replica in ready if len(replica.doing) < most]
    return max(free or ready, key=lambda replica: _weight(key, replica.url))


def _weight(key: bytes, url: str) -> bytes:
    return hashlib.blake2b(key + b"\0" + url.encode(), digest_size=8).digest()
