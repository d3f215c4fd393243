"""Ollama's client."""

from __future__ import annotations

from typing import Any

import ollama
import pytest

QUESTION = [{"role": "user", "content": "What is 2 + 3?"}]
TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]


@pytest.fixture(scope="module")
def client(url: str) -> ollama.Client:
    return ollama.Client(url, timeout=120)


def test_chat_and_stream(client: ollama.Client) -> None:
    how: Any = {"model": "flyball-demo", "messages": QUESTION, "options": {"seed": 1, "num_predict": 12}}
    said = client.chat(**how)
    assert said.message.content
    parts = list(client.chat(stream=True, **how))
    assert "".join(part.message.content or "" for part in parts) == said.message.content
    assert (parts[-1].done, parts[-1].eval_count) == (True, said.eval_count)


def test_thoughts_and_tools(client: ollama.Client) -> None:
    said = client.chat(model="scripted", messages=QUESTION, tools=TOOLS, think=True).message
    assert said.thinking == "Hm, so."
    assert said.tool_calls is not None
    assert said.tool_calls[0].function.name == "weather"
    assert dict(said.tool_calls[0].function.arguments) == {"city": "Paris"}


def test_the_rest(client: ollama.Client) -> None:
    assert [model.model for model in client.list().models][:1] == ["flyball-demo"]
    assert client.show("scripted").capabilities
    assert client.generate("flyball-demo", "Once upon a time", options={"num_predict": 4}).eval_count == 4
    assert len(client.embed("flyball-demo", ["a", "b"]).embeddings) == 2
    assert client.ps().models
    with pytest.raises(ollama.ResponseError) as refused:
        client.chat("nobody", QUESTION)
    assert refused.value.status_code == 404
