"""`flyball config --server`: the settings of a running server, seen and changed (docs/live-settings.md)."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from .. import _core
from ..errors import FormatError, InvalidArgument, Unavailable
from . import common

_KEY_VARIABLE = "FLYBALL_API_KEY"
_PATH = "/admin/config"
_SECONDS = 60.0  # that a server has, which may load a model for it
_MOST_BYTES = 4 << 20


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that a running server is asked by."""
    parser.add_argument("--server", metavar="URL", help=f"of a running server instead; its key is in ${_KEY_VARIABLE}")
    parser.add_argument(
        "--unset", action="append", default=[], metavar="KEY", help="with --server: what it was started with"
    )
    parser.add_argument("--rollback", type=int, metavar="REVISION", help="with --server: all that this revision had")
    parser.add_argument("--reason", default="", metavar="TEXT", help="with --server: why, for its log")
    parser.add_argument("--dry-run", action="store_true", help="with --server: only show what --set would change")


def run(args: argparse.Namespace) -> int:
    """Show the settings of the server, or change them."""
    server = _Server(args.server)
    shown, etag = server.ask("GET", _PATH)
    wanted = dict(_core.config_word(*_assignment(word))[:2] for word in args.set) | dict.fromkeys(args.unset)
    if args.rollback is not None:
        if wanted or args.dry_run:
            raise InvalidArgument("--rollback", "goes without --set, --unset and --dry-run: it is a whole revision")
        body = {"revision": args.rollback, "reason": args.reason}
        shown, _ = server.ask("POST", f"{_PATH}/rollback", body, etag)
    elif wanted:
        path = f"{_PATH}?dry_run=1" if args.dry_run else _PATH
        shown, _ = server.ask("PATCH", path, {"settings": wanted, "reason": args.reason}, etag)
    elif args.dry_run:
        raise InvalidArgument("--dry-run", "shows what --set or --unset would change; give one of them")
    if args.json:
        common.write_json(shown)
    elif "changes" in shown:
        _show_change(shown)
    else:
        _show(shown)
    return common.SUCCESS


def refuse_alone(args: argparse.Namespace) -> None:
    """Raise InvalidArgument for flags that say nothing without a server."""
    if args.unset or args.rollback is not None or args.reason or args.dry_run:
        raise InvalidArgument("--server", "is missing: --unset, --rollback, --reason and --dry-run are for a server")


def _assignment(word: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not equals:
        raise InvalidArgument("--set", f"is {word!r}, must be KEY=VALUE; flyball config lists the keys")
    return key.strip(), value.strip()


def _show(shown: Mapping[str, Any]) -> None:
    rows = [
        [f"{key} = {json.dumps(each['value'], ensure_ascii=False)}", f"# {each['origin']}", _needs(each)]
        for key, each in shown["settings"].items()
    ]
    common.write_table(rows)
    common.write(f"# revision {shown['revision']}\n")
    if shown["problem"]:
        common.say_error(f"warning: {shown['problem']}")


def _needs(setting: Mapping[str, Any]) -> str:
    return f"{setting['applies']}: {setting['why']}" if setting["why"] else str(setting["applies"])


def _show_change(shown: Mapping[str, Any]) -> None:
    for key, each in shown["changes"].items():
        before, now = (json.dumps(each[name], ensure_ascii=False) for name in ("before", "now"))
        common.write(f"{common.printable(f'{key}: {before} -> {now}')}  # {each['applies']}\n")
    for key, why in shown["kept"].items():
        common.write(f"{common.printable(f'{key}: stays, {why}')}\n")
    verb = "nothing is changed; it is" if shown["dry_run"] or not shown["changes"] else "the server is"
    watched = f", and watched for {shown['watch_seconds']} s" if shown["watch_seconds"] and shown["changes"] else ""
    common.write(f"{verb} at revision {shown['revision']}{'' if shown['dry_run'] else watched}\n")
    sys.stdout.flush()


class _Server:
    """Asks a server as its owner. Redirects are not followed: the key is for nobody else."""

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            self._place = parts.hostname or "", parts.port
        except ValueError as error:
            raise InvalidArgument("--server", f"is no address: {error}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise InvalidArgument("--server", f"is {url[:200]!r}, must be as http://127.0.0.1:8080")
        self._url = url.rstrip("/").removesuffix("/v1")
        self._folder = parts.path.rstrip("/").removesuffix("/v1")
        self._kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        key = os.environ.get(_KEY_VARIABLE, "").strip()
        if not key.isascii() or (key and not key.isprintable()):
            raise InvalidArgument(_KEY_VARIABLE, "is no key: it has characters that no header takes")
        self._headers = {"authorization": f"Bearer {key}"} if key else {}

    def ask(self, method: str, path: str, body: object = None, etag: str = "") -> tuple[dict[str, Any], str]:
        """The response's object and its ETag. Raises Unavailable, FormatError, or InvalidArgument where refused."""
        headers = self._headers | {"content-type": "application/json"} | ({"if-match": etag} if etag else {})
        content = None if body is None else json.dumps(body)
        connection = self._kind(*self._place, timeout=_SECONDS)
        try:
            connection.request(method, self._folder + path, content, headers)
            response = connection.getresponse()
            raw = response.read(_MOST_BYTES)
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "strerror", None) or error or type(error).__name__
            raise Unavailable(self._url, f"does not answer: {why}; is a server running there?") from None
        finally:
            connection.close()
        return _object(self._url + path, response.status, raw), response.getheader("etag", "")


def _object(url: str, status: int, raw: bytes) -> dict[str, Any]:
    try:
        said = json.loads(raw)
    except (ValueError, RecursionError):
        said = None
    if isinstance(said, dict) and status == 200 and said.get("object") in ("config", "config.change"):
        return said
    error = said.get("error") if isinstance(said, dict) else None
    if status == 200 or not isinstance(error, dict):
        raise FormatError(url, f"gave {status} and no settings; is it a server of Flyball?")
    raise InvalidArgument(url, f"refused ({status}): {error.get('message')}")
