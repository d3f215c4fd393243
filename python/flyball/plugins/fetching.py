"""What the host fetches for a plugin: from origins that were allowed, over connections that it checks itself."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

from ..errors import InvalidArgument
from .hooks import Fetched

MOST_BYTES = 128 << 10  # of a body, both ways
_MOST_URL = 4096
_MOST_REDIRECTS = 3
_PORTS = {"http": 80, "https": 443}
_CHUNK = 16 << 10


class Refused(Exception):
    """Nothing was fetched, and why."""


@dataclass(frozen=True)
class Origin:
    """A scheme, a host and a port."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, text: str) -> Origin:
        """From http(s)://NAME[:PORT]. Raises InvalidArgument."""
        parts = _split(text)
        if parts is None or parts.path not in ("", "/") or parts.query or parts.fragment:
            raise InvalidArgument("host", f"{text!r} must be http://NAME or https://NAME, with :PORT or without")
        return cls._of_parts(parts)

    @classmethod
    def of_url(cls, url: str) -> Origin:
        """The origin of a URL. Raises Refused for one that is none, or has a user in it."""
        parts = _split(url)
        if parts is None or len(url) > _MOST_URL:
            raise Refused(f"{url[:100]!r} is no http or https URL")
        return cls._of_parts(parts)

    @classmethod
    def _of_parts(cls, parts: SplitResult) -> Origin:
        return cls(parts.scheme, str(parts.hostname), parts.port or _PORTS[parts.scheme])

    @property
    def is_named_private(self) -> bool:
        """Whether whoever listed it meant an address of this machine or network: it says so itself."""
        if self.host == "localhost":
            return True
        try:
            return not ipaddress.ip_address(self.host).is_global
        except ValueError:
            return False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def _split(url: str) -> SplitResult | None:
    if not url.isascii() or not url.isprintable() or " " in url:
        return None
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in _PORTS and parts.hostname and "@" not in parts.netloc and parts.port != 0
    except ValueError:
        return None
    return parts if is_good else None


@dataclass(frozen=True)
class Fetcher:
    """Fetches from these origins alone, redirects included."""

    allowed: Sequence[str]

    def fetch(self, url: str, body: bytes | None, kind: str, seconds: float) -> Fetched:
        """GET, or POST a body. Raises Refused; takes no longer than `seconds`, names' resolution aside."""
        ends = time.monotonic() + seconds
        listed = [Origin.of(each) for each in self.allowed]
        for _ in range(_MOST_REDIRECTS + 1):
            origin = Origin.of_url(url)
            if origin not in listed:
                raise Refused(f"{origin} is not among the plugin's hosts")
            found, target = _once(origin, url, body, kind, ends)
            if target is None:
                return found
            url, body = urljoin(url, target), None
        raise Refused(f"more than {_MOST_REDIRECTS} redirects")


def _once(origin: Origin, url: str, body: bytes | None, kind: str, ends: float) -> tuple[Fetched, str | None]:
    """One request; with where it is redirected to."""
    connection = _Pinned(origin, ends)
    # A server that sends a byte now and then would outlast any timeout of a single read.
    timer = threading.Timer(max(0.0, ends - time.monotonic()), connection.cut)
    timer.daemon = True
    timer.start()
    try:
        parts = urlsplit(url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {"accept-encoding": "identity", "user-agent": "flyball"}
        headers |= {} if body is None else {"content-type": kind}
        connection.request("GET" if body is None else "POST", path, body, headers)
        response = connection.getresponse()
        target = response.headers.get("location") if response.status in (301, 302, 303, 307, 308) else None
        content = b"" if target else _read(response)
        if time.monotonic() >= ends:  # it may have been cut
            raise TimeoutError
        if response.length and not target:
            raise Refused(f"{origin} ended in the middle of its answer")
        return Fetched(response.status, response.headers.get("content-type", "")[:200], content), target
    except (OSError, http.client.HTTPException, ValueError) as error:
        if time.monotonic() >= ends:
            raise Refused(f"{origin} took too long") from None
        raise Refused(f"{origin}: {str(error)[:200] or type(error).__name__}") from None
    finally:
        timer.cancel()
        connection.close()


def _read(response: http.client.HTTPResponse) -> bytes:
    content = bytearray()
    while chunk := response.read1(_CHUNK):
        content += chunk
        if len(content) > MOST_BYTES:
            raise Refused(f"the body is larger than {MOST_BYTES >> 10} KiB")
    return bytes(content)


class _Pinned(http.client.HTTPConnection):
    """Connects to the very address that was checked: a name may mean another one a moment later."""

    def __init__(self, origin: Origin, ends: float) -> None:
        super().__init__(origin.host, origin.port, timeout=max(0.001, ends - time.monotonic()))
        self._origin = origin
        self._ends = ends

    def connect(self) -> None:
        origin = self._origin
        found = socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
        address = str(found[0][4][0])
        if not ipaddress.ip_address(address).is_global and not origin.is_named_private:
            raise Refused(f"{origin.host} is {address}, an address of a private network; list that address to allow it")
        self.sock = socket.create_connection((address, origin.port), self.timeout)
        if time.monotonic() >= self._ends:  # cut() has found nothing to cut
            raise TimeoutError
        if origin.scheme == "https":
            self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=origin.host)

    def cut(self) -> None:
        """End whatever it waits for."""
        if (sock := self.sock) is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
