"""What every request passes first: host, origin, key, size and type of the body. Plain ASGI: no stream is buffered."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..store.roles import ROLES
from .failures import Failure
from .keyring import Holder, Keyring
from .settings import ServeSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_MOST_HEADERS = 100
_OF_BROWSERS = ("origin", "sec-fetch-site")  # which no page can leave out
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
# Without a key: what says that the server is there, what verifies signatures, and the page, which asks for the key.
_OPEN = ("/", "/health", "/ready", "/favicon.ico")
_OPEN_BELOW = ("/page/", "/.well-known/")


class Guard:
    """Refuses what may not reach the application, before its body is read."""

    def __init__(
        self,
        app: ASGIApp,
        settings: ServeSettings,
        refused: Callable[[Failure], None],
        keyring: Keyring | None = None,
        current: Callable[[], ServeSettings] | None = None,
    ) -> None:
        """`current`: the settings in force, where they change; names of the server are those of its start."""
        self._app = app
        self._refused = refused
        self._current = current or (lambda: settings)
        self._keyring = keyring or Keyring(settings.api_keys)
        self._names = {name.lower() for name in (settings.host, *_LOCAL_NAMES)}

    @property
    def _settings(self) -> ServeSettings:
        return self._current()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            self._check_headers(headers)
            if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
                await Response(status_code=204, headers=_preflight(headers))(scope, receive, send)
                return
            holder = await self._check(scope, headers)
        except Failure as failure:
            self._refused(failure)
            await failure.response(scope["path"])(scope, receive, send)
            return
        scope["flyball.client"] = holder.client
        scope["flyball.project"] = holder.project
        scope["flyball.scopes"] = holder.scopes
        scope["flyball.name"] = holder.name
        if (origin := headers.get("origin")) in self._settings.allowed_origins:
            send = _for_origin(send, str(origin))
        await self._app(scope, _Bounded(receive, self._settings.body_bytes), send)

    def _check_headers(self, headers: Headers) -> None:
        if len(headers) > _MOST_HEADERS:
            raise Failure(431, f"the request has {len(headers)} headers, at most {_MOST_HEADERS} are read")
        self._check_host(headers)
        self._check_origin(headers)

    async def _check(self, scope: Scope, headers: Headers) -> Holder:
        address = str((scope.get("client") or ("",))[0])  # for fairness: without keys an address is a client
        holder = Holder(address) if self._settings.needs_key else Holder(address, scopes=ROLES["owner"])
        if self._settings.needs_key and not _is_open(scope["path"]):
            holder = await self._holder(headers)
        if scope["method"] in ("POST", "PUT", "PATCH"):
            self._check_body(scope, headers)
        return holder

    def _check_host(self, headers: Headers) -> None:
        """A page of another site may have its own name point here (DNS rebinding): only known names are answered."""
        host = host_of(headers.get("host", ""))
        settings = self._settings
        if host in self._names or (not settings.is_local and _is_address(host)):
            return
        if host in (name.lower() for name in settings.allowed_hosts):
            return
        raise Failure(403, f"host {host!r} is not allowed here; serve.allowed_hosts names others", code="host_refused")

    def _check_origin(self, headers: Headers) -> None:
        origin = headers.get("origin")
        if origin is None or origin in self._settings.allowed_origins:
            return
        if origin.partition("://")[2].lower() != headers.get("host", "").lower():
            what = f"pages of {origin!r} may not ask; serve.allowed_origins names those that may"
            raise Failure(403, what, code="origin_refused")

    async def _holder(self, headers: Headers) -> Holder:
        holder = await self._keyring.holder(given_key(headers))
        if holder is None:
            what = "the API key is missing or wrong; send Authorization: Bearer KEY"
            raise Failure(401, what, code="invalid_api_key", headers={"www-authenticate": "Bearer"})
        return holder

    def _check_body(self, scope: Scope, headers: Headers) -> None:
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        wanted = "multipart/form-data" if scope["path"] == "/v1/files" else "application/json"
        # Pages of other sites may send text, forms and bodies without a type unasked, JSON only after they were allowed
        # to. Programs may leave the type out, as LiteLLM does towards Ollama: browsers are known by their headers.
        untyped = not kind and wanted == "application/json" and not any(name in headers for name in _OF_BROWSERS)
        has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        if kind != wanted and not untyped and (kind or has_body):
            raise Failure(
                415, f"the body's type is {kind or 'missing'!r}, must be {wanted}", code="unsupported_media_type"
            )
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > self._settings.body_bytes:
            raise _too_large(self._settings.body_bytes)


class _Bounded:
    """Receives a body of at most so many bytes."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive = receive
        self._most = most
        self._n_bytes = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._n_bytes += len(message.get("body", b""))
        if self._n_bytes > self._most:
            raise _too_large(self._most)
        return message


def _preflight(headers: Headers) -> dict[str, str]:
    """What a browser wants to know before it lets a page of an allowed origin ask."""
    return {
        "access-control-allow-origin": headers.get("origin", ""),
        "access-control-allow-methods": "GET, POST, PATCH, DELETE",
        "access-control-allow-headers": headers.get("access-control-request-headers", ""),
        "access-control-max-age": "600",
        "vary": "origin",
    }


def _for_origin(send: Send, origin: str) -> Send:
    """Sends responses that pages of this origin may read."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            allowed = MutableHeaders(scope=message)
            allowed["access-control-allow-origin"] = origin
            names = ("digest", "ignored", "cache", "adapter", "memory", "route")
            allowed["access-control-expose-headers"] = ", ".join(f"flyball-{name}" for name in names)
            allowed.add_vary_header("origin")
        await send(message)

    return sending


def _too_large(most: int) -> Failure:
    return Failure(413, f"the body is larger than {most >> 10} KiB (serve.body_kb)", code="body_too_large")


def given_key(headers: Mapping[str, str]) -> str:
    """The key of a request: a bearer token, or Anthropic's header."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")


def host_of(header: str) -> str:
    """The name in a Host header, without port and brackets."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower().rstrip(".")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_open(path: str, below: Iterable[str] = _OPEN_BELOW) -> bool:
    return path in _OPEN or path.startswith(tuple(below))
