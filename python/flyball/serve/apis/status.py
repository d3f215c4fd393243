"""The server's state at a glance, for the page's monitor. Everything is at hand: nothing waits for the engine."""

from __future__ import annotations

import time
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ... import __version__
from .. import limits
from ..models import Entry
from ..observing import Observer, percentile
from ..questions import project_of, server_of
from ..server import Server


async def status(request: Request) -> Response:
    """GET /v1/status"""
    return JSONResponse(status_of(server_of(request), project_of(request)), headers={"cache-control": "no-store"})


def status_of(server: Server, project: str) -> dict[str, Any]:
    """The response's body."""
    observe, queue = server.observe, server.queue
    prefill, decode = observe.last_minute.work()
    return {
        "version": __version__,
        "uptime_seconds": round(time.time() - observe.started, 3),
        "state": server.state,
        "isa": server.isa,
        "threads": max((served.model.info.threads for served in server.models), default=0),
        "models": [_model(entry) for entry in server.models.entries],
        "requests": {
            "running": queue.n_running,
            "waiting": queue.n_waiting,
            "finished": observe.total("finished"),
            "failed": observe.total("failed"),
            "canceled": observe.total("canceled"),
        },
        "tokens": {
            "prompt": sum(counts.prompt_tokens for counts in observe.models.values()),
            "generated": sum(
                counts.generated_tokens + observe.running_tokens(name) for name, counts in observe.models.items()
            ),
        },
        "first_token_ms": {"p50": _first_token_ms(observe, 0.5), "p95": _first_token_ms(observe, 0.95)},
        "tokens_per_second": {
            "decode": _rounded(decode.tokens_per_second),
            "prefill": _rounded(prefill.tokens_per_second),
        },
        "cycles_per_token": {
            "decode": _rounded(decode.cycles_per_token, 0),
            "prefill": _rounded(prefill.cycles_per_token, 0),
        },
        "cache": {"used_bytes": queue.cache_bytes, "limit_bytes": queue.cache_limit},
        "decisions": _decisions(observe, project),
        "limits": limits.judged(server),
        "settings_revision": server.live.revision.number,
    }


def _model(entry: Entry) -> dict[str, Any]:
    served = entry.served
    return {
        "name": entry.name,
        "loaded": served is not None,
        "context": served and served.context,
        "cache_type": served and served.cache_type,
        "fingerprint": served and served.model.info.fingerprint,
    }


def _decisions(observe: Observer, project: str) -> list[dict[str, Any]]:
    if not observe.latest_decisions:
        return []
    from ...journal import explain  # importing it takes longer than all the rest

    return [
        {
            "time": each.time,
            "reason_id": each.reason_id,
            "sentence": explain.sentence_of(each),
            "receipt": each.receipt,
        }
        for each in observe.latest_decisions
        if each.project == project  # an id of another one is nobody else's to know
    ]


def _first_token_ms(observe: Observer, share: float) -> float | None:
    value = percentile(observe.first_token_seconds, share)
    return None if value is None else round(1e3 * value, 2)


def _rounded(value: float | None, digits: int = 2) -> float | None:
    return None if value is None else round(value, digits)


routes = [Route("/v1/status", status)]
