"""The path /: the page for browsers, and a word for Ollama's clients, which ask there whether a server runs."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

PAGE = Path(__file__).parents[1] / "page" / "index.html"


async def front(request: Request) -> Response:
    """GET /"""
    if "text/html" in request.headers.get("accept", "") and PAGE.is_file():
        return FileResponse(PAGE, headers={"cache-control": "no-cache", "vary": "accept"})
    return PlainTextResponse("Ollama is running", headers={"vary": "accept"})


routes = [Route("/", front)]
