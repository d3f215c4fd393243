"""Bodies of all kinds: what is wrong with them is the client's fault, and never the server's."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from .conftest import Running

JUNK = ["\ud800\x00", "x" * 5000, -1, 2**70, True, [[]], [None, {}], {"a": {"b": []}}, [-5, "x", 2**40]]
COMMON = ["model", "stream", "temperature", "top_k", "top_p", "min_p", "seed", "stop", "logit_bias", "repeat_penalty"]
CHAT = ["messages", "tools", "tool_choice", "think", "format", "logprobs", "top_logprobs", "keep_alive", "options"]
GENERATE = ["prompt", "system", "context", "raw", "suffix", "template", "images", "options", "keep_alive"]
NATIVE = [
    "prompt", "n_predict", "n_probs", "response_fields", "return_tokens", "ignore_eos", "priority", "deadline",
    "grammar", "json_schema", "mirostat", "n_keep", "repeat_last_n", "presence_penalty", "parse_special",
]  # fmt: skip
MESSAGE = [{"role": "user", "content": "x"}]
PATHS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "/completion": ({"prompt": "x", "n_predict": 1}, [*COMMON, *NATIVE]),
    "/tokenize": ({"content": "x"}, ["content", "add_special", "parse_special", "with_pieces", "model"]),
    "/detokenize": ({"tokens": [1]}, ["tokens", "model"]),
    "/apply-template": (
        {"messages": MESSAGE},
        ["messages", "tools", "tool_choice", "chat_template_kwargs", "reasoning_effort", "add_generation_prompt"],
    ),
    "/embedding": ({"content": "x"}, ["content", "input"]),
    "/api/chat": ({"messages": MESSAGE, "stream": False, "options": {"num_predict": 1}}, [*CHAT, "stream"]),
    "/api/generate": ({"prompt": "x", "stream": False, "options": {"num_predict": 1}}, GENERATE),
    "/api/embed": ({"input": "x"}, ["input", "truncate", "dimensions", "options", "keep_alive"]),
    "/api/embeddings": ({"prompt": "x"}, ["prompt"]),
    "/api/show": ({}, ["model", "name", "verbose"]),
}
OPTIONS = [*COMMON[2:], "num_ctx", "num_predict", "repeat_last_n", "mirostat", "typical_p", "frequency_penalty"]


def check(client: httpx.Client, path: str, body: object) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    said = client.post(path, content=content, headers={"content-type": "application/json"})
    assert said.status_code < 500, (path, body, said.text)
    if said.status_code >= 400:
        error = said.json()["error"]
        assert error if path.startswith("/api/") else error["message"]


@pytest.mark.parametrize("path", PATHS)
def test_any_member_of_any_kind(server: Running, path: str) -> None:
    good, members = PATHS[path]
    with server.client() as client:
        check(client, path, good)
        for member in members:
            for junk in JUNK:
                check(client, path, good | {member: junk})


def test_any_option_of_any_kind(server: Running) -> None:
    good: dict[str, Any] = {"messages": MESSAGE, "stream": False}
    with server.client() as client:
        for member in OPTIONS:
            for junk in JUNK:
                check(client, "/api/chat", good | {"options": {"num_predict": 1, member: junk}})


@pytest.mark.parametrize("path", PATHS)
def test_bodies_that_are_no_object(server: Running, path: str) -> None:
    with server.client() as client:
        for body in (b"", b"{", b"[]", b"null", b"\xff", b'{"a":' * 500, b'{"prompt": NaN}'):
            check(client, path, body)
