"""What Ollama's requests have in common: the body, the model, `options`, `keep_alive`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from .. import questions
from ..bodies import Body
from ..questions import server_of

if TYPE_CHECKING:
    from ..models import Served
    from ..server import Server

# Samplers that this server lacks: what each is where it does nothing.
_NEUTRAL = {"mirostat": 0, "typical_p": 1, "tfs_z": 1}
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)")
_MOST = 2**31 - 1


@dataclass(frozen=True)
class Options:
    """generate()'s options; the answer's tokens (None: all that have room); what was accepted without effect."""

    values: dict[str, Any]
    n_predict: int | None
    ignored: list[str]


async def begin(request: Request) -> tuple[Body, Served]:
    """A request's body and model; Failure where nothing more is taken."""
    server = server_of(request)
    server.refuse_if_draining()
    server.queue.refuse_if_full(int(request.headers.get("content-length", 0)) // 4)
    body = await Body.of(request)
    served = await questions.model_of(request, body, body.text("model", body.text("name")))
    server.models.keep(served.name, keep_alive(body))
    return body, served


def read_options(body: Body, served: Served, server: Server) -> Options:
    """The member `options`; Failure for what cannot be honored and would change the answer."""
    inner = body.inside("options") or Body({}, "options.")
    check_context(inner, served)
    for name, neutral in _NEUTRAL.items():
        if (value := inner.number(name, -1e9, 1e9, neutral)) != neutral:
            inner.refuse(name, f"is {value:g}: this server has no such sampler; {neutral} is none")
    values = questions.sampling(inner, server)
    n_predict = inner.integer("num_predict", -2, _MOST, -1)
    ignored = inner.unread()
    ignored += [name for name in ("truncate", "shift") if body.has(name)]
    return Options(values, n_predict if n_predict and n_predict > 0 else None, ignored)


def check_context(options: Body, served: Served) -> None:
    """Raise the Failure of a context that this server does not give: less of it would cut the prompt unseen."""
    n_ctx = options.integer("num_ctx", 0, _MOST)
    if n_ctx is not None and n_ctx > served.context:
        what = f"is {n_ctx}, the context of {served.name!r} is {served.context} here; flyball serve --ctx sets it"
        options.refuse("num_ctx", what)


def keep_alive(body: Body) -> float | None:
    """keep_alive in seconds, from a number or from text such as 5m; below 0: forever; None: not given."""
    given = body.get("keep_alive")
    if given is None or (isinstance(given, int | float) and not isinstance(given, bool)):
        return given
    text = given.strip() if isinstance(given, str) and len(given) < 64 else ""
    sign, text = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if re.fullmatch(r"[0-9]+", text):
        return sign * float(text)
    if not text or _PART.sub("", text):
        body.refuse("keep_alive", f"is {given!r}, must be seconds, or text such as 5m, 1h30m or -1")
    return sign * sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
