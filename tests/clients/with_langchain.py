"""LangChain's classes for OpenAI's interface."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, Field


@tool
def weather(city: str) -> str:
    """What the weather is in a city."""
    return f"Sun in {city}."


def chat(url: str, model: str, **how: Any) -> Any:
    return ChatOpenAI(base_url=f"{url}/v1", api_key="none", model=model, max_retries=0, timeout=120, **how)


def test_invoke_and_stream(url: str) -> None:
    model = chat(url, "flyball-demo", seed=1, max_tokens=12)
    said = model.invoke([SystemMessage("Answer."), HumanMessage("What is 2 + 3?")])
    assert said.content
    assert said.usage_metadata["output_tokens"] > 0
    streamed = list(model.stream([SystemMessage("Answer."), HumanMessage("What is 2 + 3?")], stream_usage=True))
    assert "".join(chunk.content for chunk in streamed) == said.content
    assert (
        sum(chunk.usage_metadata["output_tokens"] for chunk in streamed if chunk.usage_metadata)
        == (said.usage_metadata["output_tokens"])
    )


def test_tools(url: str) -> None:
    bound = chat(url, "scripted").bind_tools([weather])
    question = HumanMessage("The weather in Paris?")
    said = bound.invoke([question])
    (call,) = said.tool_calls
    assert (call["name"], call["args"]) == ("weather", {"city": "Paris"})
    whole = None
    for chunk in bound.stream([question]):
        whole = chunk if whole is None else whole + chunk
    assert whole is not None
    assert [one["args"] for one in whole.tool_calls] == [{"city": "Paris"}]
    result = weather.invoke(call)
    assert isinstance(result, ToolMessage)
    assert bound.invoke([question, said, result]).response_metadata["finish_reason"] in ("stop", "tool_calls")


def test_embeddings(url: str) -> None:
    made = OpenAIEmbeddings(
        base_url=f"{url}/v1", api_key="none", model="flyball-demo", check_embedding_ctx_length=False
    )
    vectors = made.embed_documents(["a fox", "a hen"])
    assert len(vectors) == 2
    assert made.embed_query("a fox") == pytest.approx(vectors[0], rel=1e-5)


class Person(BaseModel):
    """Somebody."""

    name: str = Field(max_length=8)
    age: int = Field(ge=0, le=99)


@pytest.mark.parametrize(("method", "name"), [("json_schema", "flyball-demo"), ("function_calling", "scripted")])
def test_structured_output(url: str, method: str, name: str) -> None:
    """Whatever the model would rather say; a call takes a chat format that has calls."""
    model = chat(url, name, seed=1, max_tokens=200).with_structured_output(Person, method=method)
    said = model.invoke([HumanMessage("Who is Ann?")])
    assert isinstance(said, Person)
    assert 0 <= said.age <= 99
