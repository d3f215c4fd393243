"""How an edge is set up: from the configuration's keys `edge.*` and `serve.*`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ..config.configuration import Setting
from ..errors import InvalidArgument
from ..serve.settings import ServeSettings

_DNS = re.compile(r"[A-Za-z0-9.-]{1,253}:[0-9]{1,5}")


@dataclass(frozen=True)
class EdgeSettings:
    """Settings of an edge. Times in seconds.

    replicas   their addresses
    dns        HOST:PORT whose addresses are replicas, looked up again and again; empty: none
    key        the API key with which the edge itself asks replicas; empty: they need none
    verify     share of the answers that another replica computes once more
    alerts     path of the file of alerts
    look       between two looks at each replica
    canary     between two questions to each replica whose answer is known
    patience   how long a request waits for a replica
    """

    host: str = "127.0.0.1"
    port: int = 8090
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    replicas: tuple[str, ...] = ()
    dns: str = ""
    key: str = ""
    verify: float = 0.01
    alerts: str = "data/aiops/alerts.jsonl"
    body_bytes: int = 32 << 20
    drain: float = 30.0
    look: float = 0.5
    canary: float = 30.0
    patience: float = 30.0

    def __post_init__(self) -> None:
        for url in self.replicas:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
                raise InvalidArgument("--replica", f"{url!r} is no address; write http://HOST:PORT")
        if self.dns and not _DNS.fullmatch(self.dns):
            raise InvalidArgument("--replicas-dns", f"is {self.dns!r}, must be HOST:PORT")
        if not self.replicas and not self.dns:
            raise InvalidArgument("--replica", "is missing: name the servers that compute, http://HOST:PORT")

    @property
    def is_local(self) -> bool:
        """Whether only programs of this machine can reach the edge."""
        return self.guarded.is_local

    @property
    def guarded(self) -> ServeSettings:
        """What the guard of a server needs to know. Keys are checked by the replicas."""
        return ServeSettings(
            host=self.host,
            has_stored_keys=True,
            allowed_hosts=self.allowed_hosts,
            allowed_origins=self.allowed_origins,
            body_bytes=self.body_bytes,
        )

    @classmethod
    def of(cls, settings: Mapping[str, Setting], replicas: tuple[str, ...], dns: str, key: str) -> EdgeSettings:
        """From the resolved configuration; `replicas` and `dns` of the command line."""

        def value(name: str) -> Any:
            return settings[name].value

        named = replicas or (() if dns else tuple(value("edge.replicas").split()))
        return cls(
            host=value("edge.host"),
            port=value("edge.port"),
            allowed_hosts=tuple(value("serve.allowed_hosts").split()),
            allowed_origins=tuple(value("serve.allowed_origins").split()),
            replicas=tuple(dict.fromkeys(url.rstrip("/") for url in named)),
            dns=dns,
            key=key,
            verify=value("edge.verify"),
            alerts=value("edge.alerts"),
            body_bytes=value("serve.body_kb") << 10,
            drain=value("serve.drain_seconds"),
        )
