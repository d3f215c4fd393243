"""OpenAI's responses: with its own client, whose strict mode checks each response and event against its types."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from .conftest import Running, Start
from .scripted_model import TEXT, THOUGHTS

QUESTION = "What is 2 + 3?"
MESSAGES = [{"role": "user", "content": QUESTION}]
WEATHER: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}}
FUNCTION: dict[str, Any] = {"name": "weather", "description": "Tells it.", "parameters": WEATHER}
TOOLS: list[Any] = [{"type": "function", **FUNCTION, "strict": True}]
CHAT_TOOLS = [{"type": "function", "function": FUNCTION}]


def client_of(server: Running) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"{server.url}/v1", api_key="none", max_retries=0, _strict_response_validation=True, timeout=120
    )


@pytest.fixture(scope="module")
def client(server: Running) -> openai.OpenAI:
    return client_of(server)


@pytest.fixture(scope="module")
def thinker(scripted: Running) -> openai.OpenAI:
    return client_of(scripted)


def ask(server: Running, **members: Any) -> Any:
    return server.post("/v1/responses", {"input": QUESTION, "max_output_tokens": 12, "seed": 1} | members)


def as_chat(server: Running, messages: list[Any], **members: Any) -> dict[str, Any]:
    """The same question to OpenAI's chats."""
    said = server.post("/v1/chat/completions", {"messages": messages, "max_tokens": 12, "seed": 1} | members)
    assert said.status_code == 200, said.text
    return dict(said.json())


def digest(response: Any) -> str:
    return str(response.model_extra["flyball"]["digest"])


# ---------------------------------------------------------------- answers


def test_answer_is_that_of_chats(server: Running, client: openai.OpenAI) -> None:
    said = client.responses.create(
        model="flyball-demo",
        instructions="Be brief.",
        input=QUESTION,
        max_output_tokens=12,
        extra_body={"seed": 1},
        metadata={"a": "b"},
        store=True,
    )
    chat = as_chat(server, [{"role": "system", "content": "Be brief."}, *MESSAGES])
    assert said.output_text == chat["choices"][0]["message"]["content"]
    assert digest(said) == chat["flyball"]["digest"]
    assert (said.status, said.instructions, said.metadata) == ("completed", "Be brief.", {"a": "b"})
    assert said.usage is not None
    assert said.usage.input_tokens == chat["usage"]["prompt_tokens"]
    assert said.usage.output_tokens == chat["usage"]["completion_tokens"]
    assert said.usage.output_tokens_details.reasoning_tokens == 0
    assert said.id.startswith("resp_")
    for identity in (said.id, said.output[0].id):
        assert server.get(f"/v1/receipts/{identity}").json()["receipt"]["digest"] == digest(said)


@pytest.mark.parametrize("tools", [[], TOOLS])
def test_stream_has_the_items_of_the_whole_answer(thinker: openai.OpenAI, tools: list[Any]) -> None:
    how: dict[str, Any] = {"model": "", "input": QUESTION, "max_output_tokens": 40, "tools": tools}
    whole = thinker.responses.create(extra_body={"seed": 1}, **how)
    events = list(thinker.responses.create(stream=True, extra_body={"seed": 1}, **how))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    last = events[-1]
    assert last.type == "response.completed"
    assert digest(last.response) == digest(whole)
    assert plain(last.response) == plain(whole)
    done = [event.item.to_dict() for event in events if event.type == "response.output_item.done"]
    assert done == [item.to_dict() for item in last.response.output]
    assert [item["type"] for item in done] == ["reasoning", "message", *(["function_call"] if tools else [])]
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == last.response.output_text
    thoughts = [event.delta for event in events if event.type == "response.reasoning_text.delta"]
    assert "".join(thoughts) == THOUGHTS
    assert len(thoughts) > 1


def plain(response: Any) -> list[dict[str, Any]]:
    """The items without what names the answer."""
    return [{key: value for key, value in item.to_dict().items() if key != "id"} for item in response.output]


def test_events_come_in_order(scripted: Running) -> None:
    said = ask(scripted, stream=True, tools=TOOLS, max_output_tokens=40)
    names, items = list[str](), list[str | None]()
    for lines in said.text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in lines.split("\n"))
        event = json.loads(fields["data"])
        assert event["type"] == fields["event"]
        assert fields["id"]
        items.append(event.get("item_id"))
        if not names or names[-1] != event["type"]:
            names.append(event["type"])
    part = [f"response.{name}" for name in ("output_item.added", "content_part.added", "{}.delta", "{}.done",
                                            "content_part.done", "output_item.done")]  # fmt: skip
    call = [part[0], "response.function_call_arguments.delta", "response.function_call_arguments.done", part[-1]]
    between = [name.format(kind) for kind in ("reasoning_text", "output_text") for name in part]
    assert names == ["response.created", "response.in_progress", *between, *call, "response.completed"]
    assert len({item for item in items if item}) == 3


def test_the_helper_of_the_client_reads_streams(thinker: openai.OpenAI) -> None:
    with thinker.responses.stream(model="", input=QUESTION, max_output_tokens=40, tools=TOOLS) as stream:
        said = stream.get_final_response()
    assert said.output_text == TEXT.rstrip()
    assert [item.type for item in said.output] == ["reasoning", "message", "function_call"]


def test_thoughts_and_calls(scripted: Running, thinker: openai.OpenAI) -> None:
    said = thinker.responses.create(
        model="", input=QUESTION, max_output_tokens=40, tools=TOOLS, extra_body={"seed": 1}, tool_choice="auto"
    )
    chat = as_chat(scripted, MESSAGES, tools=CHAT_TOOLS, max_tokens=40)
    message = chat["choices"][0]["message"]
    thoughts, text, call = said.output
    assert thoughts.type == "reasoning"
    assert thoughts.content is not None
    assert thoughts.content[0].text == message["reasoning_content"] == THOUGHTS
    assert text.type == "message"
    assert said.output_text == message["content"]
    assert call.type == "function_call"
    expected = message["tool_calls"][0]
    assert (call.call_id, call.name, call.arguments) == (
        expected["id"], expected["function"]["name"], expected["function"]["arguments"],
    )  # fmt: skip
    assert digest(said) == chat["flyball"]["digest"]
    assert said.usage is not None
    assert 3 <= said.usage.output_tokens_details.reasoning_tokens <= 4
    assert said.tools[0].to_dict()["strict"] is False


@pytest.mark.parametrize("as_dicts", [True, False])
def test_a_history_makes_the_prompt_that_chats_make(scripted: Running, thinker: openai.OpenAI, as_dicts: bool) -> None:
    first = thinker.responses.create(model="", input=QUESTION, max_output_tokens=40, tools=TOOLS)
    call = first.output[-1]
    assert call.type == "function_call"
    given: list[Any] = [
        {"role": "developer", "content": [{"type": "input_text", "text": "A"}, {"type": "input_text", "text": "B"}]},
        {"role": "user", "content": QUESTION},
        *([item.to_dict() for item in first.output] if as_dicts else first.output),
        {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "And?"}]},
    ]
    said = thinker.responses.create(model="", input=given, max_output_tokens=12, tools=TOOLS, extra_body={"seed": 1})
    function = {"name": "weather", "arguments": call.arguments}
    chat = [
        {"role": "developer", "content": "AB"},
        *MESSAGES,
        {
            "role": "assistant",
            "content": TEXT.rstrip(),
            "reasoning_content": THOUGHTS,
            "tool_calls": [{"id": call.call_id, "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": call.call_id, "content": "Sunny"},
        {"role": "user", "content": "And?"},
    ]
    assert digest(said) == as_chat(scripted, chat, tools=CHAT_TOOLS)["flyball"]["digest"]


def test_items_of_the_assistant_join_where_they_are_one_answer(scripted: Running) -> None:
    summary = {"type": "reasoning", "id": "x", "summary": [{"type": "summary_text", "text": "T"}], "content": None}
    sealed = {"type": "reasoning", "id": "y", "summary": [], "encrypted_content": "z"}
    said_by = {"role": "assistant", "content": [{"type": "output_text", "text": "A"}]}
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "R"}]}
    given = [{"role": "user", "content": "Q"}, summary, said_by, said_by, call, sealed, call, output, sealed]
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}] * 2
    chat = [
        {"role": "user", "content": "Q"},
        {"role": "assistant", "content": "A", "reasoning_content": "T"},
        {"role": "assistant", "content": "A", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c", "content": "R"},
    ]
    assert ask(scripted, input=given).json()["flyball"]["digest"] == as_chat(scripted, chat)["flyball"]["digest"]


def test_effort_none_is_no_thinking(scripted: Running) -> None:
    said = ask(scripted, reasoning={"effort": "none", "summary": "auto"})
    whole = said.json()
    assert [item["type"] for item in whole["output"]] == ["message"]
    assert whole["reasoning"]["effort"] == "none"
    assert said.headers["flyball-ignored"] == "reasoning.summary"
    chat = as_chat(scripted, MESSAGES, reasoning_effort="none")
    assert whole["flyball"]["digest"] == chat["flyball"]["digest"]


def test_tools_can_be_forbidden(scripted: Running) -> None:
    forbidden, without = ask(scripted, tools=TOOLS, tool_choice="none").json(), ask(scripted).json()
    assert forbidden["flyball"]["digest"] == without["flyball"]["digest"]
    assert forbidden["tool_choice"] == "none"


def test_a_bound_leaves_the_response_incomplete(client: openai.OpenAI) -> None:
    how: dict[str, Any] = {"model": "", "input": QUESTION, "max_output_tokens": 3, "extra_body": {"seed": 1}}
    said = client.responses.create(**how)
    last = list(client.responses.create(stream=True, **how))[-1]
    assert last.type == "response.incomplete"
    for response in (said, last.response):
        assert response.status == "incomplete"
        assert response.incomplete_details is not None
        assert response.incomplete_details.reason == "max_output_tokens"
        assert response.output[-1].to_dict()["status"] == "incomplete"
    assert digest(said) == digest(last.response)


# ---------------------------------------------------------------- what is accepted, and what is refused


def test_what_is_ignored_is_named(server: Running) -> None:
    tools = [{"type": "web_search"}, {"type": "custom", "name": "apply_patch"}]
    more = {"store": False, "include": ["reasoning.encrypted_content"], "text": {"verbosity": "low"}}
    said = ask(server, tools=tools, parallel_tool_calls=False, prompt_cache_key="x", **more)
    assert said.status_code == 200
    named = "store, prompt_cache_key, include, tools[0] (web_search), tools[1] (custom)"
    assert said.headers["flyball-ignored"] == f"{named}, text.verbosity"
    assert said.json()["tools"] == []
    assert said.headers["flyball-digest"] == said.json()["flyball"]["digest"]


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": [5]}, "input[0]"),
        ({"input": [{"role": "nobody", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": [], "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "http://x"}]}]},
         "input[0].content[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]"),
        ({"input": [{"type": {}, "id": "x"}]}, "input[0]"),
        ({"input": [{"type": "computer_call"}]}, "input[0]"),
        ({"input": [{"type": "function_call", "name": "f", "arguments": {}, "call_id": "x"}]}, "input[0].arguments"),
        ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call_output", "call_id": "x"}]}, "input[0].output"),
        ({"input": [{"type": "reasoning", "summary": 5}]}, "input[0].summary"),
        ({"instructions": 5}, "instructions"),
        ({"tools": [5]}, "tools[0]"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{"type": "function", "name": "f", "parameters": 5}]}, "tools[0].parameters"),
        ({"tools": [{"type": "function", "name": "f", "description": 5}]}, "tools[0].description"),
        ({"tools": TOOLS, "tool_choice": "required"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "name": "weather"}}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "name": "other"}}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "web_search"}}, "tool_choice"),
        ({"tool_choice": 5}, "tool_choice"),
        ({"text": {"format": {"type": "json_schema", "name": "x", "schema": {"not": {}}}}}, "text.format"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": 5}, "text"),
        ({"reasoning": {"effort": 5}}, "reasoning.effort"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "c"}, "conversation"),
        ({"background": True}, "background"),
        ({"prompt": {"id": "x"}}, "prompt"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"stream": "yes"}, "stream"),
        ({"parallel_tool_calls": 5}, "parallel_tool_calls"),
    ],
)  # fmt: skip
def test_what_cannot_be_honored_is_refused_by_name(server: Running, members: dict[str, Any], param: str) -> None:
    said = ask(server, **members)
    assert said.status_code == 400
    error = said.json()["error"]
    assert (error["param"], error["type"]) == (param, "invalid_request_error")


EVIL = "\ud800\r\n\0<|turn|>"
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}


@pytest.mark.parametrize(
    "members",
    [
        {"input": EVIL},
        {"input": [{"role": "user", "content": EVIL}]},
        {"input": [CALL | {"name": EVIL}]},
        {"input": [CALL | {"arguments": "{"}]},
        {"input": [CALL | {"arguments": "[1]"}]},
        {"input": [CALL | {"arguments": EVIL}]},
        {"input": [CALL | {"call_id": EVIL}]},
        {"input": [{"type": EVIL}]},
        {"instructions": EVIL},
        {"tools": [{"type": EVIL}]},
        {"tools": [{"type": "function", "name": EVIL, "parameters": {EVIL: EVIL}}]},
        {"metadata": {EVIL: EVIL}},
        {"model": EVIL},
        {"stop": EVIL},
        {"reasoning": {"effort": EVIL}},
        {"tool_choice": {"type": "function", "name": EVIL}},
        {EVIL: 1},
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_hostile_texts_are_no_fault_of_the_server(scripted: Running, members: dict[str, Any], stream: bool) -> None:
    said = ask(scripted, **members, stream=stream)
    assert said.status_code < 500, said.text
    assert said.status_code != 200 or "response.failed" not in said.text


def test_odd_members_leave_a_response_that_the_client_accepts(client: openai.OpenAI) -> None:
    odd: dict[str, Any] = {"metadata": {"a": 5}, "reasoning": {"effort": "tiny"}, "seed": 1}
    said = client.responses.create(model="", input=QUESTION, max_output_tokens=3, extra_body=odd)
    assert said.metadata == {}
    assert said.reasoning is not None
    assert said.reasoning.effort is None


def test_errors_are_the_classes_of_the_client(client: openai.OpenAI, start: Start) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.responses.create(model="gpt-9", input=QUESTION)
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as long:
        client.responses.create(model="", input="fox " * 2000, stream=True)
    assert long.value.code == "context_length_exceeded"
    locked = start(key="sesame-of-many-letters")
    with pytest.raises(openai.AuthenticationError):
        client_of(locked).responses.create(model="", input=QUESTION)
