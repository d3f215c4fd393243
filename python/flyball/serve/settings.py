"""How a server is set up: from the configuration's keys `serve.*` and `sampling.*`."""

from __future__ import annotations

import ipaddress
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..config.configuration import Setting
from ..errors import InvalidArgument

_SAMPLING = "sampling."


def _machine_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class ServeSettings:
    """Settings of one server. Times in seconds.

    has_stored_keys  whether the store had keys at the start
    sampling   options of an answer that a request leaves open; `seed` only where one was set, else each is random
    parallel   answers that are computed at once; others wait
    waiting    requests that may wait, and `waiting_tokens` of their prompts and answers
    cache_bytes  keys and values of running answers, at most
    memory_bytes  weights of loaded models, at most
    adapters   active: each project's active adapter answers; off: none does
    canary     what the outcomes of a canary may do by themselves: off, rollback, promote
    memory     whether chats get what is remembered of their user where they do not say; the other memory_* are the
               keys memory.*
    response_cache  where answers are kept to be given again: off, store or a URL of Redis; for so many hours, in the
                    store so many bytes of a project; and the share that is computed once more when it is given again
    """

    host: str = "127.0.0.1"
    port: int = 8080
    api_keys: tuple[str, ...] = ()
    has_stored_keys: bool = False
    jwt_keys: str = ""  # path of the public keys of an issuer of tokens; empty: there is none
    jwt_issuer: str = ""
    jwt_audience: str = ""
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    parallel: int = 64
    waiting: int = 256
    waiting_tokens: int = 1 << 20
    cache_bytes: int = 4 << 30
    body_bytes: int = 32 << 20
    drain_seconds: float = 30
    stall_seconds: float = 60
    memory_bytes: float = math.inf
    response_cache: str = "off"
    response_cache_hours: int = 24
    response_cache_bytes: int = 256 << 20
    response_cache_verify: float = 0.01
    keep_alive_seconds: int = 120  # of a connection
    routes: str = ""  # path of the registry of routes; empty: there is none
    max_tokens: int = 512
    adapters: str = "active"
    canary: str = "rollback"
    memory: bool = False
    memory_learn: bool = False
    memory_tokens: int = 512
    memory_examples: int = 0
    memory_embedding: str = ""
    dev_plugins: str = ""  # folder of plugins in development; empty: installed ones alone
    sampling: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.dev_plugins and not self.is_local:
            what = f"is for development alone, and {self.host!r} can be reached by others; install the plugins"
            raise InvalidArgument("--dev-plugins", what)
        if self.jwt_keys and not self.jwt_issuer:  # whose tokens they verify may be meant for any service
            raise InvalidArgument("serve.jwt_issuer", "is empty, but serve.jwt_keys is not; name the issuer")
        if not self.is_local and not self.needs_key:
            what = (
                f"is {self.host!r}, which others can reach: that needs an API key (flyball keys create, --api-key-file,"
                " FLYBALL_API_KEY, or serve.jwt_keys)"
            )
            raise InvalidArgument("serve.host", what)

    @property
    def needs_key(self) -> bool:
        """Whether requests need a key. It is so from start to end: the last key's revocation opens nothing."""
        return bool(self.api_keys) or self.has_stored_keys or bool(self.jwt_keys)

    @property
    def is_local(self) -> bool:
        """Whether only programs of this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @classmethod
    def of(
        cls, settings: Mapping[str, Setting], api_keys: tuple[str, ...], has_stored_keys: bool = False
    ) -> ServeSettings:
        """From the resolved configuration."""

        def value(name: str) -> Any:
            return settings[f"serve.{name}"].value

        return cls(
            host=value("host"),
            port=value("port"),
            api_keys=api_keys,
            has_stored_keys=has_stored_keys,
            jwt_keys=value("jwt_keys"),
            jwt_issuer=value("jwt_issuer"),
            jwt_audience=value("jwt_audience"),
            allowed_hosts=tuple(value("allowed_hosts").split()),
            allowed_origins=tuple(value("allowed_origins").split()),
            parallel=value("parallel"),
            waiting=value("waiting"),
            waiting_tokens=value("waiting_tokens"),
            cache_bytes=value("cache_mb") << 20,
            body_bytes=value("body_kb") << 10,
            memory_bytes=value("memory_mb") << 20 or 0.75 * _machine_bytes(),
            response_cache=value("response_cache"),
            response_cache_hours=value("response_cache_hours"),
            response_cache_bytes=value("response_cache_mb") << 20,
            response_cache_verify=value("response_cache_verify"),
            drain_seconds=value("drain_seconds"),
            stall_seconds=value("stall_seconds"),
            routes=value("routes"),
            max_tokens=settings["max_tokens"].value,
            adapters=value("adapters"),
            canary=value("canary"),
            memory=value("memory") == "on",
            memory_learn=settings["memory.learn"].value == "on",
            memory_tokens=settings["memory.tokens"].value,
            memory_examples=settings["memory.examples"].value,
            memory_embedding=settings["memory.embedding"].value,
            sampling={
                key.removeprefix(_SAMPLING): setting.value
                for key, setting in settings.items()
                if key.startswith(_SAMPLING) and (key != "sampling.seed" or setting.origin != "default")
            },
        )
