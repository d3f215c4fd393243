"""What the server answers to, as OpenAPI says it. Paths and words are those of the routes; here are the bodies.

Schemas say what is honored. Other members are accepted where they change no answer, and the header `flyball-ignored`
names them; so no schema is closed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.routing import BaseRoute, Route

from .. import __version__
from ..store.quotas import LIMITS
from ..store.roles import ROLES, SCOPES
from .permissions import scope_of

Schema = dict[str, Any]

_MOST = 2**31 - 1
_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}
_ANY_OBJECT: Schema = {"type": "object"}


def _integer(least: int, most: int = _MOST) -> Schema:
    return {"type": "integer", "minimum": least, "maximum": most}


def _number(least: float, most: float) -> Schema:
    return {"type": "number", "minimum": least, "maximum": most}


def _words(*words: str | None) -> Schema:
    return {"enum": list(words)}


def _either(*schemas: Schema) -> Schema:
    return {"anyOf": list(schemas)}


def _list(items: Schema, **bounds: int) -> Schema:
    return {"type": "array", "items": items} | bounds


def _object(*required: str, **members: Schema) -> Schema:
    return {"type": "object", "properties": members} | ({"required": list(required)} if required else {})


_TEXTS = _either(_TEXT, _list(_TEXT, maxItems=16))
_PART = _object("type", "text", type=_words("text", "input_text", "output_text"), text=_TEXT)
_CONTENT = _either(_TEXT, _list(_PART))
_FUNCTION = _object("name", name=_TEXT, description=_TEXT, parameters=_ANY_OBJECT)
_TOOL = _object("type", "function", type=_words("function"), function=_FUNCTION)
_CALL = _object("function", id=_TEXT, type=_words("function"), function=_object("name", name=_TEXT, arguments=_TEXT))
_ROLES = ("system", "developer", "user", "assistant", "tool")
_MESSAGES = _list(
    _object("role", "content", role=_words(*_ROLES), content=_CONTENT, tool_calls=_list(_CALL), tool_call_id=_TEXT),
    minItems=1,
)
_IDS = _list(_integer(0))
_PROMPT = _either(_TEXT, _IDS, _list(_either(_TEXT, _IDS), minItems=1))
_SAMPLING = {
    "temperature": _number(0, 100),
    "top_k": _integer(-1),
    "top_p": _number(0, 1),
    "min_p": _number(0, 1),
    "repeat_penalty": _number(0.01, 100),
    "repeat_last_n": _integer(-1),
    "presence_penalty": _number(-2, 2),
    "frequency_penalty": _number(-2, 2),
    "seed": _integer(-(2**63), 2**64 - 1),
    "stop": _TEXTS,
    "ignore_eos": _FLAG,
}
_BIAS = {"logit_bias": {"type": "object", "additionalProperties": _number(-100, 100)}}
_QUEUE = {"priority": _integer(-100, 100), "deadline": _number(0.001, 1e6)}
_ADAPTER = {
    "adapter": {"type": ["string", "null"]},
    "adapter_scale": _number(-100, 100),
    "lora": _list(_object("id", id=_integer(0), scale=_number(-100, 100))),
}
_ASK = {"model": _TEXT, "stream": _FLAG, **_SAMPLING, **_QUEUE, **_ADAPTER}
_TEMPLATE = {
    "messages": _MESSAGES,
    "tools": _list(_TOOL),
    "chat_template_kwargs": _ANY_OBJECT,
    "reasoning_effort": _TEXT,
    "continue_final_message": _FLAG,
    "add_generation_prompt": _FLAG,
}
_MEMORY = {"memory": _FLAG, "user": _TEXT}
_TOKENS = _integer(-1)
_CHAT = _object(
    "messages",
    **_ASK,
    **_BIAS,
    **_TEMPLATE,
    **_MEMORY,
    tool_choice=_either(_words("auto", "none", "required"), _ANY_OBJECT),
    parallel_tool_calls=_FLAG,
    response_format=_object("type", type=_words("text", "json_object", "json_schema"), json_schema=_ANY_OBJECT),
    max_tokens=_TOKENS,
    max_completion_tokens=_TOKENS,
    n=_integer(1, 128),
    logprobs=_FLAG,
    top_logprobs=_integer(0, 20),
    stream_options=_object(include_usage=_FLAG),
    timings_per_token=_FLAG,
    verbose=_FLAG,
    plugins=_list(_TEXT, maxItems=8),
    plugin_rounds=_integer(2, 16),
)
_COMPLETION = _object(
    "prompt",
    **_ASK,
    **_BIAS,
    prompt=_PROMPT,
    max_tokens=_TOKENS,
    n=_integer(1, 128),
    best_of=_integer(1, 128),
    logprobs=_integer(0, 20),
    echo=_FLAG,
    stream_options=_object(include_usage=_FLAG),
)
_NATIVE = _object(
    "prompt",
    **_ASK,
    prompt=_PROMPT,
    logit_bias=_list({"type": "array"}),
    n_predict=_integer(-2),
    n_probs=_integer(0, 128),
    parse_special=_FLAG,
    return_tokens=_FLAG,
    response_fields=_list(_TEXT),
    timings_per_token=_FLAG,
)
_ITEM = _either(
    _object("role", "content", type=_words("message"), role=_words(*_ROLES[:4]), content=_CONTENT),
    _object(
        "type", "call_id", "name", "arguments", type=_words("function_call"), call_id=_TEXT, name=_TEXT, arguments=_TEXT
    ),
    _object("type", "call_id", "output", type=_words("function_call_output"), call_id=_TEXT, output=_CONTENT),
    _object("type", type=_words("reasoning"), content=_list(_ANY_OBJECT), summary=_list(_ANY_OBJECT)),
)
_RESPONSE = _object(
    "input",
    **_ASK,
    **_MEMORY,
    input=_either(_TEXT, _list(_ITEM, minItems=1)),
    instructions=_TEXT,
    max_output_tokens=_TOKENS,
    tools=_list(_object("type", "name", type=_words("function"), name=_TEXT, parameters=_ANY_OBJECT)),
    tool_choice=_either(_words("auto", "none", "required"), _ANY_OBJECT),
    text=_object(format=_object(type=_words("text", "json_object", "json_schema"), schema=_ANY_OBJECT)),
    reasoning=_object(effort=_TEXT),
    metadata=_ANY_OBJECT,
)
_BLOCK = _either(
    _object("type", "text", type=_words("text"), text=_TEXT),
    _object("type", "thinking", type=_words("thinking"), thinking=_TEXT),
    _object("type", "id", "name", "input", type=_words("tool_use"), id=_TEXT, name=_TEXT, input=_ANY_OBJECT),
    _object("type", "tool_use_id", type=_words("tool_result"), tool_use_id=_TEXT, content=_CONTENT),
)
_CONVERSATION = {
    "system": _CONTENT,
    "messages": _list(
        _object("role", "content", role=_words("user", "assistant"), content=_either(_TEXT, _list(_BLOCK))), minItems=1
    ),
    "tools": _list(_object("name", "input_schema", name=_TEXT, description=_TEXT, input_schema=_ANY_OBJECT)),
    "tool_choice": _object("type", type=_words("auto", "none", "any", "tool"), name=_TEXT),
    "thinking": _object("type", type=_words("enabled", "disabled", "adaptive"), budget_tokens=_integer(0)),
    "output_config": _object(effort=_TEXT, format=_ANY_OBJECT),
}
_MESSAGE = _object(
    "messages", "max_tokens", **_ASK, **_MEMORY, **_CONVERSATION, max_tokens=_TOKENS, stop_sequences=_TEXTS
)
_OLLAMA_OPTIONS = _object(**_SAMPLING, num_ctx=_integer(0), num_predict=_integer(-2))
_OLLAMA = {
    "model": _TEXT,
    **_ADAPTER,
    "stream": _FLAG,
    "options": _OLLAMA_OPTIONS,
    "keep_alive": _either(_TEXT, _number(-1e9, 1e9)),
    "think": _either(_FLAG, _words("low", "medium", "high", "max")),
    "logprobs": _FLAG,
    "top_logprobs": _integer(0, 20),
}
_OLLAMA_MESSAGES = _list(_object("role", role=_words("system", "user", "assistant", "tool"), content=_TEXT))
_EMBEDDING = _object("input", model=_TEXT, input=_PROMPT, encoding_format=_words("float", "base64"))
_ANSWERS = ("chat", "completions", "completion", "messages", "responses", "generate")  # the last word of a path
_STREAM_HEADERS = ("Idempotency-Key", "Last-Event-ID")
_LIST = {"limit": _integer(1, 10_000), "after": _TEXT}
_QUERIES: dict[str, dict[str, Schema]] = {
    "/props": {"model": _TEXT},
    "/lora-adapters": {"model": _TEXT},
    "/tokenizer_info": {"model": _TEXT},
    "/slots": {"fail_on_no_slot": _TEXT},
    "/v1/files": _LIST | {"purpose": _TEXT},
    "/v1/memory": {
        "user": _TEXT,
        "q": _TEXT,
        "kind": _words("fact", "document"),
        "replaced": _words("true", "false"),
        "limit": _integer(1, 1000),
    },
    "/v1/memory/{id}": {"user": _TEXT},
    "/v1/batches": _LIST,
    **{path: {"project": _TEXT} for path in ("/admin/tokens", "/admin/tokens/{id}", "/admin/quota", "/admin/log")},
    "PATCH /admin/config": {"dry_run": _words("0", "1")},
    "/v1/examples": {"limit": _integer(1, 1000), "after": _TEXT, "state": _TEXT},
}

_BODIES: dict[str, Schema] = {
    "/chat/completions": _CHAT,
    "/chat/completions/input_tokens": _object("messages", model=_TEXT, **_TEMPLATE),
    "/v1/completions": _COMPLETION,
    "/completions": _NATIVE,
    "/completion": _NATIVE,
    "/responses": _RESPONSE,
    "/v1/messages": _MESSAGE,
    "/v1/messages/count_tokens": _object("messages", model=_TEXT, **_CONVERSATION),
    "/v1/embeddings": _EMBEDDING,
    "/embeddings": _object(model=_TEXT, content=_PROMPT, input=_PROMPT),
    "/embedding": _object(model=_TEXT, content=_PROMPT, input=_PROMPT),
    "/tokenize": _object(
        model=_TEXT,
        content=_either(_TEXT, _list(_either(_TEXT, _integer(0)))),
        prompt=_TEXT,
        add_special=_FLAG,
        add_special_tokens=_FLAG,
        parse_special=_FLAG,
        with_pieces=_FLAG,
    ),
    "/detokenize": _object("tokens", model=_TEXT, tokens=_IDS),
    "/apply-template": _object("messages", model=_TEXT, **_TEMPLATE),
    "/v1/feedback": _object(
        "id",
        id=_TEXT,
        rating=_words("good", "bad", None),
        score=_integer(1, 5),
        correction={"type": ["string", "null"]},
        reason=_TEXT,
        messages=_MESSAGES,
        answer=_TEXT,
        family=_TEXT,
        source=_words("chat", "repl", "page", "api", "python", "guardian", "task"),
    ),
    "/v1/examples/{id}": _object(
        "version",
        version=_integer(1),
        state=_words("proposed", "approved", "rejected", "held_out"),
        answer=_TEXT,
        rejected=_TEXT,
        family=_TEXT,
    ),
    "/v1/batches": _object(
        "input_file_id",
        "endpoint",
        input_file_id=_TEXT,
        endpoint=_words("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"),
        completion_window=_TEXT,
        metadata=_ANY_OBJECT,
    ),
    "/v1/batches/{id}/cancel": _object(),
    "/v1/memory": _object("text", text=_TEXT, name=_TEXT, user=_TEXT),
    "/admin/projects": _object("name", name=_TEXT),
    "/admin/tokens": _object(
        "name",
        name=_TEXT,
        user=_TEXT,
        role=_words(*ROLES),
        scopes=_list(_words(*SCOPES)),
        days=_integer(1, 36_500),
        project=_TEXT,
    ),
    "/admin/quota": _object(project=_TEXT, **{name: {"type": ["integer", "null"], "minimum": 0} for name in LIMITS}),
    "/admin/config": _object(
        "settings",
        settings={"type": "object", "additionalProperties": {"type": ["string", "number", "null"]}},
        reason=_TEXT,
        watch_seconds=_integer(0, 3600),
    ),
    "/admin/config/rollback": _object("revision", revision=_integer(0), reason=_TEXT),
    "/v1/verify": _object(id=_TEXT, receipt=_ANY_OBJECT),
    "/api/chat": _object(**_OLLAMA, **_MEMORY, messages=_OLLAMA_MESSAGES, tools=_list(_TOOL)),
    "/api/generate": _object(**_OLLAMA, **_MEMORY, prompt=_TEXT, system=_TEXT, raw=_FLAG, context=_IDS),
    "/api/show": _object(model=_TEXT, name=_TEXT, verbose=_FLAG),
    "/api/embed": _object(
        "input", model=_TEXT, input=_either(_TEXT, _list(_TEXT)), truncate=_FLAG, options=_OLLAMA_OPTIONS
    ),
    "/api/embeddings": _object("prompt", model=_TEXT, prompt=_TEXT, options=_OLLAMA_OPTIONS),
}

# Bodies that are forms.
_FORMS: dict[str, Schema] = {
    "/v1/files": _object("file", "purpose", file={"type": "string", "format": "binary"}, purpose=_words("batch")),
}


def document(routes: Iterable[BaseRoute]) -> dict[str, Any]:
    """The OpenAPI document of these routes."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        assert isinstance(route, Route)
        for method in sorted((route.methods or {"GET"}) - ({"HEAD"} if "GET" in (route.methods or ()) else set())):
            paths.setdefault(_plain(route.path), {})[method.lower()] = _operation(route, method)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Flyball", "version": __version__, "summary": "Answers of local models that can be checked."},
        "security": [{"bearer": []}, {"header": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            }
        },
    }


def body_of(path: str) -> Schema | None:
    """The schema of a POST's body; None: nothing is said of it."""
    return _FORMS.get(path) or _BODIES.get(path) or _BODIES.get(path.removeprefix("/v1"))


def _plain(path: str) -> str:
    """A path without Starlette's converters."""
    return re.sub(r"\{(\w+):\w+\}", r"{\1}", path)


def _operation(route: Route, method: str) -> dict[str, Any]:
    path = _plain(route.path)
    words = (route.endpoint.__doc__ or "").strip().splitlines()
    parameters = [_parameter(name, "path", _TEXT, required=True) for name in re.findall(r"\{(\w+)\}", path)]
    parameters += [_parameter(name, "query", schema) for name, schema in _queries(path, method).items()]
    parameters += [_parameter(name, "header", _TEXT) for name in _headers(path, method)]
    operation: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{method.lower()}{path}").strip("_"),
        "summary": words[0].partition(": ")[2] or words[0] if words else path,
        "parameters": parameters,
        "x-flyball-scope": scope_of(method, route.path),
        "responses": {"default": {"description": "the answer, or an error in the API's shape"}},
    }
    if method in ("POST", "PUT", "PATCH"):
        schema = body_of(path)
        operation["requestBody"] = {
            "required": schema is not None,
            "content": {
                "multipart/form-data" if path in _FORMS else "application/json": {"schema": schema or _ANY_OBJECT}
            },
        }
    return operation


def _queries(path: str, method: str) -> Mapping[str, Schema]:
    return _QUERIES.get(path, {}) if method in ("GET", "DELETE") else _QUERIES.get(f"{method} {path}", {})


def _headers(path: str, method: str) -> tuple[str, ...]:
    if method == "POST" and path.rpartition("/")[2] in _ANSWERS:
        return _STREAM_HEADERS
    return ("If-Match",) if path.startswith("/admin/config") and method != "GET" else ()


def _parameter(name: str, place: str, schema: Schema, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": place, "required": required, "schema": schema}
