"""Anthropic's client."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest

HOW: Any = {"messages": [{"role": "user", "content": "What is 2 + 3?"}], "max_tokens": 30}
TOOLS: Any = [{"name": "weather", "input_schema": {"type": "object"}}]


@pytest.fixture(scope="module")
def client(url: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(
        base_url=url, api_key="none", max_retries=0, timeout=120, _strict_response_validation=True
    )


def test_message_and_stream(client: anthropic.Anthropic) -> None:
    said = client.messages.create(model="flyball-demo", extra_body={"seed": 1}, **HOW)
    with client.messages.stream(model="flyball-demo", extra_body={"seed": 1}, **HOW) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert said.content[0].type == "text"
    assert said.content[0].text == text
    assert (final.stop_reason, final.usage.output_tokens) == (said.stop_reason, said.usage.output_tokens)
    assert client.messages.count_tokens(model="flyball-demo", messages=HOW["messages"]).input_tokens == (
        said.usage.input_tokens + (said.usage.cache_read_input_tokens or 0)
    )


def test_thoughts_and_tools(client: anthropic.Anthropic) -> None:
    said = client.messages.create(model="scripted", tools=TOOLS, **HOW)
    assert said.stop_reason == "tool_use"
    thoughts, text, call = said.content
    assert thoughts.type == "thinking"
    assert text.type == "text"
    assert call.type == "tool_use"
    assert (call.name, call.input) == ("weather", {"city": "Paris"})
    with client.messages.stream(model="scripted", tools=TOOLS, **HOW) as stream:
        kinds = [block.type for block in stream.get_final_message().content]
    assert kinds == ["thinking", "text", "tool_use"]


def test_errors_have_their_classes(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError):
        client.messages.create(model="claude-9", **HOW)
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(model="scripted", extra_body={"temperature": -1}, **HOW)
