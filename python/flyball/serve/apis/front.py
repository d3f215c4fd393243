"""The page, and at the path / also a word for Ollama's clients, which ask there whether a server runs."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from ..failures import Failure

_PAGE = Path(__file__).parents[1] / "page"
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# Nothing from elsewhere, nothing inline: what a model writes can neither run nor load anything.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "cache-control": "no-cache",
    "content-security-policy": _POLICY,
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


async def front(request: Request) -> Response:
    """GET /"""
    if "text/html" in request.headers.get("accept", ""):
        return _file("index.html", {"vary": "accept"})
    return PlainTextResponse("Ollama is running", headers={"vary": "accept"})


async def page(request: Request) -> Response:
    """GET /page/NAME: one of the page's files."""
    return _file(request.path_params["name"])


async def icon(request: Request) -> Response:
    """GET /favicon.ico"""
    return _file("favicon.svg")


def _file(name: str, headers: dict[str, str] | None = None) -> Response:
    path = _PAGE / name
    if path.parent != _PAGE or path.suffix not in _KINDS or not path.is_file():
        raise Failure(404, f"the page has no {name!r}")
    return FileResponse(path, media_type=_KINDS[path.suffix], headers=_HEADERS | (headers or {}))


routes = [Route("/", front), Route("/page/{name}", page), Route("/favicon.ico", icon)]
