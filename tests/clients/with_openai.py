"""OpenAI's client: run with its old generations and its newest one. Strict validation checks responses by its types."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

DEMO, SCRIPTED = "flyball-demo", "scripted"
QUESTION: Any = [{"role": "user", "content": "What is 2 + 3?"}]
TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
HOW: Any = {"model": DEMO, "messages": QUESTION, "max_tokens": 12, "seed": 1}


@pytest.fixture(scope="module")
def client(url: str) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=120, _strict_response_validation=True
    )


@pytest.fixture(scope="module")
def loose(url: str) -> openai.OpenAI:
    """For what OpenAI's own server sends and its types forbid: null as finish_reason, null for a first token."""
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=120)


def test_chat_and_stream(client: openai.OpenAI) -> None:
    said = client.chat.completions.create(**HOW)
    assert said.choices[0].message.content
    assert said.usage is not None
    chunks = list(client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **HOW))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == said.choices[0].message.content
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == said.usage.total_tokens


def test_logprobs(client: openai.OpenAI) -> None:
    said = client.chat.completions.create(logprobs=True, top_logprobs=3, **HOW).choices[0]
    assert said.logprobs is not None
    assert said.logprobs.content is not None
    assert "".join(entry.token for entry in said.logprobs.content) == said.message.content
    assert {len(entry.top_logprobs) for entry in said.logprobs.content} == {3}


def test_thoughts_and_tools(client: openai.OpenAI) -> None:
    how: Any = {"model": SCRIPTED, "messages": QUESTION, "tools": TOOLS}
    said = client.chat.completions.create(**how)
    message = said.choices[0].message
    assert said.choices[0].finish_reason == "tool_calls"
    assert message.tool_calls is not None
    function: Any = message.tool_calls[0]
    assert (function.function.name, json.loads(function.function.arguments)) == ("weather", {"city": "Paris"})
    assert message.model_extra is not None
    assert message.model_extra["reasoning_content"] == "Hm, so."
    name, arguments, reason = "", "", None
    for chunk in client.chat.completions.create(stream=True, **how):
        reason = chunk.choices[0].finish_reason or reason
        for call in chunk.choices[0].delta.tool_calls or ():
            assert call.index == 0
            assert call.function is not None
            name += call.function.name or ""
            arguments += call.function.arguments or ""
    assert (name, json.loads(arguments), reason) == ("weather", {"city": "Paris"}, "tool_calls")
    told = [*QUESTION, message, {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "Sun."}]
    again = client.chat.completions.create(model=SCRIPTED, messages=told)
    assert again.choices[0].finish_reason in ("stop", "tool_calls")


def test_completions(loose: openai.OpenAI) -> None:
    how: Any = {"model": DEMO, "prompt": "Once upon a time", "seed": 3, "max_tokens": 8}
    said = loose.completions.create(logprobs=2, **how)
    assert said.choices[0].text
    assert said.choices[0].logprobs is not None
    assert said.choices[0].logprobs.tokens is not None
    assert "".join(said.choices[0].logprobs.tokens) == said.choices[0].text
    streamed = loose.completions.create(stream=True, **how)
    assert "".join(chunk.choices[0].text for chunk in streamed) == said.choices[0].text


def test_embeddings(client: openai.OpenAI, loose: openai.OpenAI) -> None:
    encoded = loose.embeddings.create(model=DEMO, input=["a fox", "a hen"])  # base64, which the client asks for
    plain = client.embeddings.create(model=DEMO, input=["a fox", "a hen"], encoding_format="float")
    for one, other in zip(encoded.data, plain.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, rel=1e-6)


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [DEMO, SCRIPTED]
    assert client.models.retrieve(DEMO).id == DEMO


def test_responses(client: openai.OpenAI) -> None:
    if not hasattr(client, "responses"):
        pytest.skip("of before the responses")
    how: Any = {"model": DEMO, "input": "What is 2 + 3?", "max_output_tokens": 12, "extra_body": {"seed": 1}}
    said = client.responses.create(**how)
    assert said.output_text == client.chat.completions.create(**HOW).choices[0].message.content
    events = list(client.responses.create(stream=True, **how))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == said.output_text
    assert events[-1].type == "response.completed"


def test_errors_have_their_classes(client: openai.OpenAI, url: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(**{**HOW, "temperature": -1})
    assert refused.value.param == "temperature"
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(**{**HOW, "model": "gpt-9"})
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(**{**HOW, "messages": [{"role": "user", "content": "fox " * 2000}]})
    assert refused.value.code == "context_length_exceeded"


def test_refusals_of_a_full_queue_are_repeated(url: str) -> None:
    """The server has one place and one that waits: without retries some are refused, with them all are answered."""

    def ask(retries: int) -> object:
        with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=retries, timeout=120) as client:
            how: Any = {"model": DEMO, "prompt": "Once", "max_tokens": 64, "extra_body": {"ignore_eos": True}}
            try:
                return client.completions.create(**how).choices[0].finish_reason
            except openai.RateLimitError as error:
                return error

    with ThreadPoolExecutor(16) as pool:
        refused = [one for one in pool.map(ask, [0] * 32) if one != "length"]
        assert refused, "nobody was refused: the check shows nothing"
        assert all(isinstance(one, openai.RateLimitError) for one in refused)
        assert set(pool.map(ask, [20] * 8)) == {"length"}
