"""What a client is told when a request fails: a status, and the error in the shape of its own API.

Clients repeat what comes back as 408, 409, 429 or 5xx: so whatever will fail again is another 4xx, and a defect of ours
says x-should-retry: false.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from ..errors import (
    ContextFull,
    Error,
    FormatError,
    Interrupted,
    InvalidArgument,
    NotFound,
    OutOfMemory,
    TemplateError,
    Unavailable,
)
from ..store import QuotaExceeded

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    429: "rate_limit_error",
    501: "not_supported_error",
    503: "unavailable_error",
}
_ANTHROPIC_TYPES = {413: "request_too_large", 503: "overloaded_error"}


class Failure(Exception):
    """A request that is refused or has failed. `param`: the one at fault; `more`: further members of the error."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        kind: str | None = None,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message.encode(errors="replace").decode()  # lone surrogates have no UTF-8 form
        self.param = param
        self.code = code
        self.kind = kind or _TYPES.get(status, "server_error")
        self.headers = dict(headers or {})
        self.more = more
        if status >= 500:
            self.headers.setdefault("x-should-retry", "true" if status == 503 else "false")

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """What a client is told of an exception."""
        if isinstance(error, Failure):
            return error
        if isinstance(error, ContextFull):
            return cls(400, str(error), param="messages", code="context_length_exceeded")
        if isinstance(error, OutOfMemory):
            return cls(503, str(error), code="out_of_memory", headers={"retry-after": "5"})
        if isinstance(error, QuotaExceeded):
            return cls(413, str(error), code="quota_bytes")
        if isinstance(error, NotFound):
            return cls(404, str(error), code="not_found")
        if isinstance(error, InvalidArgument | TemplateError | FormatError):
            return cls(400, str(error), param=error.where.split(":")[0] or None, code=error.code)
        if isinstance(error, Interrupted | Unavailable):
            return cls(503, str(error), code=error.code, headers={"retry-after": "2"})
        if isinstance(error, Error):
            return cls(500, str(error), code=error.code)
        return cls(500, f"internal error, {type(error).__name__}: {error}", code="internal")

    def openai(self) -> dict[str, Any]:
        """{"error": {...}} as OpenAI has it."""
        body = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code or self.status}
        return {"error": body | self.more}

    def shape(self, path: str) -> dict[str, Any]:
        """The body in the shape of the API that the path belongs to."""
        if path.startswith("/api/"):
            return {"error": self.message}
        if is_anthropic(path):
            return {"type": "error", "error": self._anthropic()}
        return self.openai()

    def _anthropic(self) -> dict[str, Any]:
        kind = "api_error" if self.status >= 500 else _TYPES.get(self.status, "invalid_request_error")
        message = self.message
        if "n_prompt_tokens" in self.more:  # clients that shorten a conversation look for these words
            message = f"prompt is too long: {self.more['n_prompt_tokens']} tokens > {self.more['n_ctx']} maximum"
        return {"type": _ANTHROPIC_TYPES.get(self.status, kind), "message": message}

    def response(self, path: str) -> JSONResponse:
        """The response for a request to `path`."""
        shape, headers = self.shape(path), self.headers
        if is_anthropic(path):
            headers = headers | {"request-id": request_id()}
            shape["request_id"] = headers["request-id"]
        return JSONResponse(shape, self.status, headers=headers)


def is_anthropic(path: str) -> bool:
    """Whether a path belongs to Anthropic's API."""
    return path == "/v1/messages" or path.startswith("/v1/messages/")


def request_id(identity: str | None = None) -> str:
    """What Anthropic's clients show beside an error, of an answer's id or a new one."""
    return f"req_{identity or secrets.token_hex(12)}"


def context_full(n_prompt: int, context: int, param: str = "messages") -> Failure:
    """A prompt that does not fit: with the code and the members that clients look for."""
    return Failure(
        400,
        f"the prompt has {n_prompt} tokens, which exceeds the available context size of {context}: shorten it, or"
        " choose a larger context",
        param=param,
        code="context_length_exceeded",
        kind="exceed_context_size_error",
        n_prompt_tokens=n_prompt,
        n_ctx=context,
    )


async def on_error(request: Request, error: Exception) -> JSONResponse:
    """Starlette's handler for Failures, and for whatever else a handler raises."""
    return Failure.of(error).response(request.url.path)
