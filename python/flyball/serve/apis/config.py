"""Settings of a running server, for owners of the default project: seen, changed, taken back (docs/live-settings.md).

The revision is the ETag. A change names the one that it was made from, so that of two writers one has to look again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ...store import Revision
from ...store.examples import Conflict
from ...store.live_settings import LiveSettings
from ...store.store import DEFAULT_PROJECT
from ..bodies import Body
from ..failures import Failure
from ..live import Live
from ..live_keys import described, rule_of, shown
from ..live_ready import refuse_kept
from ..questions import project_of, server_of

_MOST_LISTED = 20
_WATCH_SECONDS, _MOST_WATCH_SECONDS = 30, 3600
_MOST_REVISION = 2**31 - 1


async def settings(request: Request) -> Response:
    """GET /admin/config: every key with its value, origin and what a change of it needs; the latest revisions"""
    live, rows = await _live(request)
    latest = await asyncio.to_thread(rows.latest, _MOST_LISTED)
    body = {
        "object": "config",
        "revision": live.revision.number,
        "watched": live.is_watched,
        "problem": live.problem,
        "settings": {key: described(setting) for key, setting in live.configuration.items()},
        "revisions": [_revision(each) for each in latest],
    }
    return _told(live, body)


async def change(request: Request) -> Response:
    """PATCH /admin/config: other values at once, or with `dry_run=1` what would change; null: as it was started"""
    live, _ = await _live(request)
    body = await Body.of(request)
    given = body.get("settings")
    if not isinstance(given, dict) or not given:
        body.refuse("settings", "must be an object of keys and values; null is what the server was started with")
    seconds = body.integer("watch_seconds", 0, _MOST_WATCH_SECONDS, _WATCH_SECONDS)
    dry_run = request.query_params.get("dry_run", "0") not in ("", "0", "false")
    expected = _expected(request, live, needed=not dry_run)
    gone = {key for key, value in given.items() if value is None and key in live.newest.settings}
    for key in given.keys() - gone:  # what another version has set can be taken out
        live.known(key)
    kept = {key: rule_of(key).why for key in given.keys() - gone if not rule_of(key).is_changeable}
    if not dry_run:
        refuse_kept(sorted(kept))
    wanted = live.newest.settings | {key: value for key, value in given.items() if key not in kept}
    return await _changed(request, live, body, wanted, expected, seconds or 0, dry_run, kept)


async def roll_back(request: Request) -> Response:
    """POST /admin/config/rollback: what an earlier revision had, as a new one; 0: what the server was started with"""
    live, rows = await _live(request)
    body = await Body.of(request)
    number = body.integer("revision", 0, _MOST_REVISION)
    if number is None:
        body.refuse("revision", "is missing; GET /admin/config lists them")
    earlier = await asyncio.to_thread(rows.get, number)
    expected = _expected(request, live, needed=False)
    return await _changed(request, live, body, earlier.settings, expected, 0, False, {})


async def _changed(
    request: Request,
    live: Live,
    body: Body,
    wanted: Mapping[str, Any],
    expected: int,
    seconds: int,
    dry_run: bool,
    kept: Mapping[str, str],
) -> Response:
    """Make the change, and tell it. `kept`: keys of a dry run that would not be changed, and why."""
    why = body.text("reason") or ""
    if unknown := body.unread():
        body.refuse(unknown[0], "is no member of this request")
    before = live.configuration
    who = str(request.scope["flyball.name"])[:255]
    values = {key: value for key, value in wanted.items() if value is not None}
    try:
        now = await live.change(values, expected, who, why, seconds, dry_run)
    except Conflict as error:
        raise _precondition(412, str(error), "conflict") from None
    changed = {key: each for key, each in now.items() if each.value != before[key].value}
    about = {
        key: {"before": shown(before[key].value), "now": shown(each.value), "applies": rule_of(key).applies}
        for key, each in changed.items()
    }
    told = {"object": "config.change", "revision": live.newest.number, "dry_run": dry_run, "changes": about}
    return _told(live, told | {"kept": kept, "watch_seconds": seconds})


async def _live(request: Request) -> tuple[Live, LiveSettings]:
    """The settings, as new as the store has them. Failure 403 for owners of other projects, 501 without a store."""
    if project_of(request) != DEFAULT_PROJECT:
        raise Failure(403, "only owners of the default project see and change settings", code="other_project")
    server = server_of(request)
    if server.records.store is None:
        raise Failure(501, "this server's settings do not change: it was started without a store")
    await server.live.follow()
    return server.live, server.live.rows


def _expected(request: Request, live: Live, needed: bool) -> int:
    """The newest revision, if If-Match names it. Failure 412 for another one, 428 where none is named."""
    given = request.headers.get("if-match")
    if given is None and needed:
        what = "If-Match is missing: send the ETag of GET /admin/config, so that nobody's change is overwritten unseen"
        raise _precondition(428, what, "precondition_required")
    if given is not None and given.strip() != "*" and _etag(live) not in [each.strip() for each in given.split(",")]:
        what = f"If-Match is {given[:80]!r}, but the settings are at {_etag(live)}: look at them again"
        raise _precondition(412, what, "conflict")
    return live.newest.number


def _precondition(status: int, what: str, code: str) -> Failure:
    return Failure(status, what, code=code, kind="invalid_request_error")


def _etag(live: Live) -> str:
    return f'"{live.newest.number}"'


def _told(live: Live, body: Mapping[str, Any]) -> Response:
    return JSONResponse(body, headers={"etag": _etag(live), "cache-control": "no-store"})


def _revision(revision: Revision) -> dict[str, Any]:
    about = {name: value for name, value in vars(revision).items() if name not in ("number", "document")}
    values = {key: shown(value) for key, value in revision.settings.items()}
    return {"revision": revision.number, **about, "settings": values}


routes = [
    Route("/admin/config", settings),
    Route("/admin/config", change, methods=["PATCH"]),
    Route("/admin/config/rollback", roll_back, methods=["POST"]),
]
