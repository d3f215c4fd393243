"""What a request's body is about, whichever API it belongs to: for routes, before a model reads it."""

from __future__ import annotations

from collections.abc import Iterator

from starlette.requests import Request

from ..store.store import DEFAULT_PROJECT
from .bodies import Body
from .resuming import Origin
from .routing import Wish

PROPOSED = "flyball.proposed"  # the scope's key of the intent that a plugin proposes
ROUTED = "flyball.routed"  # the scope's key of a request's route
_LISTS = ("messages", "input")  # of what was said, the last last
_TEXTS = ("prompt", "input")


def wish_of(request: Request, body: Body) -> Wish:
    """What a route depends on."""
    members = body.members
    said: list[object] = next((members[name] for name in _LISTS if isinstance(members.get(name), list)), [])
    turns = [each for each in said if isinstance(each, dict)]
    users = [each for each in turns if each.get("role", "user") == "user"]
    plain = next((members[name] for name in _TEXTS if isinstance(members.get(name), str | list)), "")
    text = _text(users[-1].get("content")) if users else _text(plain)
    whole = "\n".join([_text(each.get("content")) for each in turns] or [text])
    whole += "".join(_text(members.get(name)) for name in ("system", "instructions"))
    origin = Origin.of(request)
    return Wish(
        project=str(request.scope.get("flyball.project", DEFAULT_PROJECT)),
        text=text,
        whole=whole,
        n_messages=max(1, len(turns)),
        needs=("tools",) if members.get("tools") and members.get("tool_choice") != "none" else (),
        repeats=origin.id if origin.resumable else "",
        proposed=str(request.scope.get(PROPOSED, "")),
    )


def asked_in(body: Body) -> object:
    """The question of a request's body as its client gave it: messages, or a prompt."""
    given = body.members
    return next((given[name] for name in (*_LISTS, *_TEXTS) if isinstance(given.get(name), str | list)), None)


def _text(content: object) -> str:
    """Of a message's content or a prompt: text, or a list with texts in it; token ids say nothing."""
    return content if isinstance(content, str) else "\n".join(_parts(content))


def _parts(content: object) -> Iterator[str]:
    for part in content if isinstance(content, list) else ():
        if isinstance(part, str):
            yield part
        elif isinstance(part, dict) and isinstance(part.get("text"), str):
            yield part["text"]
