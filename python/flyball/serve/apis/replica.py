"""What a server says of itself to the edge that hands requests on to it (docs/scale.md)."""

from __future__ import annotations

import hashlib
import json
import secrets
import socket
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ... import __version__
from ..models import Entry
from ..questions import server_of
from ..server import Server

INSTANCE = secrets.token_hex(8)  # another one in each process


async def replica(request: Request) -> Response:
    """GET /v1/replica"""
    return JSONResponse(announced(server_of(request)), headers={"cache-control": "no-store"})


def announced(server: Server) -> dict[str, Any]:
    """`models` and `settings` decide what an answer is: replicas that are equal in both give the same bits."""
    share = server.queue.cache_bytes / server.queue.cache_limit if server.queue.cache_limit else 0.0
    return {
        "instance": INSTANCE,
        "machine": socket.gethostname(),
        "version": __version__,
        "models": {entry.name: _model(entry) for entry in server.models.entries},
        "settings": settings_digest(server),
        "revision": server.live.revision.number,
        "state": server.state if server.stalled() is None else "stalled",
        "running": server.queue.n_running,
        "waiting": server.queue.n_waiting,
        "cache_share": round(share, 4),
        "needs_key": server.settings.needs_key,
    }


def settings_digest(server: Server) -> str:
    """Of what the configuration gives to answers that leave it open."""
    settings = server.settings
    chosen = [settings.max_tokens, sorted(settings.sampling.items()), settings.adapters, settings.memory]
    chosen += [settings.memory_tokens, settings.memory_examples, bool(settings.routes)]
    return hashlib.sha256(json.dumps(chosen, default=str).encode()).hexdigest()


def _model(entry: Entry) -> dict[str, Any] | None:
    """None: not loaded, so its settings are not known yet."""
    served = entry.served
    if served is None:
        return None
    return {
        "fingerprint": served.model.info.fingerprint,
        "context": served.context,
        "cache_type": served.cache_type,
    }


routes = [Route("/v1/replica", replica)]
