"""LiteLLM, which aider and others speak through: by OpenAI's, Ollama's and Anthropic's interface."""

from __future__ import annotations

from typing import Any

import litellm
import pytest

QUESTION = [{"role": "user", "content": "What is 2 + 3?"}]
TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
WAYS = [("openai/", "/v1"), ("ollama_chat/", ""), ("anthropic/", "")]
each_way = pytest.mark.parametrize(("prefix", "path"), WAYS, ids=[prefix for prefix, _ in WAYS])


def how(url: str, prefix: str, path: str, model: str) -> dict[str, Any]:
    return {
        "model": prefix + model, "api_base": url + path, "api_key": "none", "messages": QUESTION, "timeout": 120,
        "num_retries": 0,
    }  # fmt: skip


@each_way
def test_answer_and_stream(url: str, prefix: str, path: str) -> None:
    members = how(url, prefix, path, "flyball-demo") | {"temperature": 0, "max_tokens": 12}
    said = litellm.completion(**members)
    text = said.choices[0].message.content
    assert text
    assert said.usage.completion_tokens > 0
    chunks = litellm.completion(**members, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text


@each_way
def test_thoughts_and_tools(url: str, prefix: str, path: str) -> None:
    message = litellm.completion(**how(url, prefix, path, "scripted"), tools=TOOLS).choices[0].message
    assert message.reasoning_content == "Hm, so."
    assert [call.function.name for call in message.tool_calls] == ["weather"]


def test_a_prompt_that_is_too_long_has_its_own_class(url: str) -> None:
    members = how(url, "openai/", "/v1", "flyball-demo") | {"messages": [{"role": "user", "content": "fox " * 2000}]}
    with pytest.raises(litellm.ContextWindowExceededError):
        litellm.completion(**members)


def test_embedding(url: str) -> None:
    made = litellm.embedding("openai/flyball-demo", ["a fox"], api_base=f"{url}/v1", api_key="none")
    assert len(made.data[0]["embedding"]) > 1
