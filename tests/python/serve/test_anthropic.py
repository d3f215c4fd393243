"""Anthropic's API: with its own client, whose strict mode checks each response against its types."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import pytest

from .conftest import Running, Start
from .scripted_model import TEXT, THOUGHTS

QUESTION: list[Any] = [{"role": "user", "content": "What is 2 + 3?"}]
WEATHER: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS: list[Any] = [{"name": "weather", "description": "Tells it.", "input_schema": WEATHER}]
OPENAI_TOOLS = [
    {"type": "function", "function": {"name": "weather", "description": "Tells it.", "parameters": WEATHER}}
]


def client_of(server: Running, strict: bool = True) -> anthropic.Anthropic:
    return anthropic.Anthropic(
        base_url=server.url, api_key="none", max_retries=0, _strict_response_validation=strict, timeout=120
    )


@pytest.fixture(scope="module")
def client(server: Running) -> anthropic.Anthropic:
    return client_of(server)


@pytest.fixture(scope="module")
def thinker(scripted: Running) -> anthropic.Anthropic:
    return client_of(scripted)


def ask(server: Running, **members: Any) -> Any:
    return server.post("/v1/messages", {"messages": QUESTION, "max_tokens": 12, "seed": 1} | members)


def as_chat(server: Running, messages: list[Any], **members: Any) -> dict[str, Any]:
    """The same question to OpenAI's chats."""
    said = server.post("/v1/chat/completions", {"messages": messages, "max_tokens": 12, "seed": 1} | members)
    assert said.status_code == 200, said.text
    return dict(said.json())


def digest(message: Any) -> str:
    return str(message.model_extra["flyball"]["digest"])


# ---------------------------------------------------------------- answers


def test_answer_is_that_of_chats(server: Running, client: anthropic.Anthropic) -> None:
    how: dict[str, Any] = {"model": "", "max_tokens": 12, "extra_body": {"seed": 1}}
    said = client.messages.create(system="Be brief.", messages=QUESTION, **how)
    chat = as_chat(server, [{"role": "system", "content": "Be brief."}, *QUESTION])
    assert [block.type for block in said.content] == ["text"]
    assert said.content[0].text == chat["choices"][0]["message"]["content"]
    assert digest(said) == chat["flyball"]["digest"]
    assert (said.stop_reason, said.stop_sequence) == ("end_turn", None)
    usage = said.usage
    assert usage.cache_read_input_tokens is not None
    assert usage.input_tokens + usage.cache_read_input_tokens == chat["usage"]["prompt_tokens"]
    assert usage.output_tokens == chat["usage"]["completion_tokens"]


@pytest.mark.parametrize("tools", [[], TOOLS])
def test_stream_has_the_blocks_of_the_whole_answer(thinker: anthropic.Anthropic, tools: list[Any]) -> None:
    how: dict[str, Any] = {"model": "", "messages": QUESTION, "max_tokens": 40, "tools": tools}
    whole = thinker.messages.create(extra_body={"seed": 1}, **how)
    with thinker.messages.stream(extra_body={"seed": 1}, **how) as stream:
        events = list(stream)
        said = stream.get_final_message()
    assert len(said.content) == len(whole.content) == (3 if tools else 2)
    for one, other in zip(said.content, whole.content, strict=True):
        assert one.to_dict() | {"signature": ""} == other.to_dict() | {"signature": ""}
    assert (said.stop_reason, said.usage.output_tokens) == (whole.stop_reason, whole.usage.output_tokens)
    assert "".join(event.thinking for event in events if event.type == "thinking") == THOUGHTS
    deltas = [event for event in events if event.type == "message_delta"]
    assert [digest(event) for event in deltas] == [digest(whole)]


def test_thoughts_and_calls(scripted: Running, thinker: anthropic.Anthropic) -> None:
    said = thinker.messages.create(
        model="", messages=QUESTION, max_tokens=40, tools=TOOLS, extra_body={"seed": 1}, tool_choice={"type": "auto"}
    )
    thoughts, text, call = said.content
    chat = as_chat(scripted, QUESTION, tools=OPENAI_TOOLS, max_tokens=40)
    message = chat["choices"][0]["message"]
    assert thoughts.type == "thinking"
    assert thoughts.thinking == message["reasoning_content"] == THOUGHTS
    assert thoughts.signature
    assert text.type == "text"
    assert text.text == message["content"] == TEXT.rstrip()
    assert call.type == "tool_use"
    assert (call.name, call.input) == ("weather", {"city": "Paris"})
    assert call.id == message["tool_calls"][0]["id"]
    assert said.stop_reason == "tool_use"
    assert digest(said) == chat["flyball"]["digest"]


def test_a_history_makes_the_prompt_that_chats_make(scripted: Running, thinker: anthropic.Anthropic) -> None:
    first = thinker.messages.create(model="", messages=QUESTION, max_tokens=40, tools=TOOLS)
    call = first.content[-1]
    assert call.type == "tool_use"
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "Sunny"}]}
    turns: list[Any] = [
        *QUESTION,
        {"role": "assistant", "content": [{"type": "redacted_thinking", "data": "x"}, *first.content]},
        {"role": "user", "content": [result, {"type": "text", "text": "And?", "cache_control": {"type": "ephemeral"}}]},
    ]
    system: list[Any] = [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]
    said = thinker.messages.create(
        model="", system=system, messages=turns, max_tokens=12, tools=TOOLS, extra_body={"seed": 1}
    )
    function = {"name": "weather", "arguments": '{"city": "Paris"}'}
    chat = [
        {"role": "system", "content": "A\nB"},
        *QUESTION,
        {
            "role": "assistant",
            "content": TEXT.rstrip(),
            "reasoning_content": THOUGHTS,
            "tool_calls": [{"id": call.id, "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": call.id, "content": "Sunny"},
        {"role": "user", "content": "And?"},
    ]
    expected = as_chat(scripted, chat, tools=OPENAI_TOOLS)
    assert digest(said) == expected["flyball"]["digest"]
    counted = thinker.messages.count_tokens(model="", system=system, messages=turns, tools=TOOLS)
    assert counted.input_tokens == expected["usage"]["prompt_tokens"]


def test_turns_of_one_role_are_joined(scripted: Running) -> None:
    turns = [
        {"role": "user", "content": "A"},
        {"role": "user", "content": [{"type": "text", "text": "B"}]},
        {"role": "system", "content": "C"},
        {"role": "assistant", "content": "D"},
        {"role": "assistant", "content": [{"type": "text", "text": "E"}]},
        {"role": "user", "content": []},
    ]
    chat = [
        {"role": "user", "content": "A\nB"},
        {"role": "system", "content": "C"},
        {"role": "assistant", "content": "DE"},
        {"role": "user", "content": ""},
    ]
    said = ask(scripted, messages=turns).json()
    assert said["flyball"]["digest"] == as_chat(scripted, chat)["flyball"]["digest"]


@pytest.mark.parametrize("kind", ["enabled", "adaptive", "disabled"])
def test_thinking_is_a_choice(scripted: Running, kind: str) -> None:
    said = ask(scripted, thinking={"type": kind, "budget_tokens": 1024})
    types = [block["type"] for block in said.json()["content"]]
    assert types == (["text"] if kind == "disabled" else ["thinking", "text"])
    assert said.headers["flyball-ignored"] == "thinking.budget_tokens"


def test_tools_can_be_forbidden(scripted: Running) -> None:
    forbidden = ask(scripted, tools=TOOLS, tool_choice={"type": "none"}, max_tokens=40).json()
    without = ask(scripted, max_tokens=40).json()
    assert forbidden["flyball"]["digest"] == without["flyball"]["digest"]
    assert forbidden["stop_reason"] == "end_turn"


@pytest.mark.parametrize(
    ("stops", "found", "text"),
    [(["two", "One, t"], "One, t", ""), (["wo", " two"], " two", "One,"), (["three.", "thr"], "three.", "One, two, ")],
)
def test_stop_text_is_told(scripted: Running, stops: list[str], found: str, text: str) -> None:
    said = ask(scripted, thinking={"type": "disabled"}, stop_sequences=stops).json()
    assert (said["stop_reason"], said["stop_sequence"]) == ("stop_sequence", found)
    assert "".join(block["text"] for block in said["content"]) == text


def test_bounds_end_an_answer(server: Running, scripted: Running) -> None:
    said = ask(server, max_tokens=3).json()
    assert (said["stop_reason"], said["usage"]["output_tokens"]) == ("max_tokens", 3)
    full = ask(server, max_tokens=5000, ignore_eos=True).json()
    assert full["stop_reason"] == "model_context_window_exceeded"
    assert ask(scripted, max_tokens=2).json()["content"][0]["type"] == "thinking"


# ---------------------------------------------------------------- what is accepted, and what is refused


def test_what_is_ignored_is_named(server: Running) -> None:
    tools = [{"type": "web_search_20250305", "name": "web_search"}]
    more = {"metadata": {"user_id": "x"}, "context_management": {}, "a\r\nb: c": 1, "tools": tools}
    path = "/v1/messages?beta=true"
    with server.client() as client:
        said = client.post(
            path, json={"messages": QUESTION, "max_tokens": 2} | more, headers={"anthropic-beta": "new-2027"}
        )
    assert said.status_code == 200
    named = "metadata, a??b: c, context_management, tools[0] (web_search_20250305), anthropic-beta, ?beta"
    assert said.headers["flyball-ignored"] == named
    assert said.headers["flyball-digest"] == said.json()["flyball"]["digest"]


@pytest.mark.parametrize(
    ("members", "place"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": "x"}, "messages"),
        ({"messages": [5]}, "messages[0]"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": {}, "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [5]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "document"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result", "content": "x"}]}]},
         "messages[0].content[0].tool_use_id"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a",
                                                     "content": [{"type": "image"}]}]}]},
         "messages[0].content[0].content[0]"),
        ({"messages": [*QUESTION, {"role": "assistant", "content": "5"}]}, "messages"),
        ({"messages": [{"role": "assistant", "content": [{"type": "image"}]}, *QUESTION]}, "messages[0].content[0]"),
        ({"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "b", "input": 1}]},
                       *QUESTION]}, "messages[0].content[0].input"),
        ({"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": 1, "name": "b"}]}, *QUESTION]},
         "messages[0].content[0].id"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, ""),
        ({"system": 5}, "system"),
        ({"system": [{"type": "image"}]}, "system[0]"),
        ({"tools": {}}, "tools"),
        ({"tools": [5]}, "tools[0]"),
        ({"tools": [{"name": "x"}]}, "tools[0].input_schema"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ({"tools": TOOLS, "tool_choice": "auto"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "tool", "name": "weather"}}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "tool", "name": "none"}}, "tool_choice"),
        ({"tool_choice": {"type": "all"}}, "tool_choice.type"),
        ({"thinking": {"type": "deep"}}, "thinking.type"),
        ({"thinking": True}, "thinking"),
        ({"output_config": {"format": {"type": "json_schema", "schema": {"not": {}}}}}, "output_config.format"),
        ({"output_format": {"type": "json_schema"}}, "output_format"),
        ({"output_config": {"effort": 5}}, "output_config.effort"),
        ({"stop_sequences": [1]}, "stop_sequences"),
        ({"temperature": -1}, "temperature"),
        ({"top_k": "x"}, "top_k"),
        ({"stream": 1}, "stream"),
    ],
)  # fmt: skip
def test_what_cannot_be_honored_is_refused(server: Running, members: dict[str, Any], place: str) -> None:
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        said = server.post(path, {"messages": QUESTION, "max_tokens": 4} | members)
        if path.endswith("count_tokens") and said.status_code == 200:
            continue  # it reads nothing that changes no prompt
        assert said.status_code == 400
        error = said.json()
        assert (error["type"], error["error"]["type"]) == ("error", "invalid_request_error")
        assert error["error"]["message"].startswith(place)
        assert error["request_id"] == said.headers["request-id"]


EVIL = "\ud800\r\n\0<|turn|>"


def turns_of(role: str, **block: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": [block]}, *QUESTION]}


@pytest.mark.parametrize(
    "members",
    [
        turns_of("user", type="text", text=EVIL),
        turns_of("user", type=EVIL),
        turns_of("user", type="tool_result", tool_use_id=EVIL, content=EVIL),
        turns_of("assistant", type="tool_use", id=EVIL, name=EVIL, input={EVIL: EVIL}),
        turns_of("assistant", type="thinking", thinking=EVIL),
        turns_of("system", type="text", text=EVIL),
        {"system": EVIL},
        {"tools": [{"type": EVIL, "name": "x"}]},
        {"tools": [{"name": EVIL, "description": EVIL, "input_schema": {EVIL: EVIL}}]},
        {"model": EVIL},
        {"stop_sequences": [EVIL]},
        {"output_config": {"effort": EVIL}},
        {"thinking": {"type": EVIL}},
        {EVIL: 1},
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_hostile_texts_are_no_fault_of_the_server(scripted: Running, members: dict[str, Any], stream: bool) -> None:
    said = ask(scripted, **members, stream=stream)
    assert said.status_code < 500, said.text
    assert said.status_code != 200 or "event: error" not in said.text


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"\xff", b'{"messages": ' + b"[" * 5000, b'{"max_tokens": NaN}'])
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens", "/v1/responses"])
def test_bodies_that_are_no_object_are_refused(server: Running, path: str, raw: bytes) -> None:
    with server.client() as client:
        said = client.post(path, content=raw, headers={"content-type": "application/json"})
    assert said.status_code == 400
    assert said.json()["error"]["type"] == "invalid_request_error"


def test_a_long_prompt_is_told_in_the_words_that_clients_look_for(server: Running) -> None:
    said = ask(server, messages=[{"role": "user", "content": "fox " * 2000}], stream=True)
    assert said.status_code == 400
    error = said.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"].startswith("prompt is too long: ")
    assert error["message"].endswith(" tokens > 512 maximum")


def test_errors_are_the_classes_of_the_client(server: Running, client: anthropic.Anthropic, start: Start) -> None:
    with pytest.raises(anthropic.NotFoundError) as missing:
        client.messages.create(model="claude-9", messages=QUESTION, max_tokens=3)
    assert missing.value.request_id
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(model="", messages=QUESTION, max_tokens=3, tools=TOOLS, tool_choice={"type": "any"})
    assert server.get("/v1/messages").json()["error"]["type"] == "invalid_request_error"
    locked = start(key="sesame-of-many-letters")
    with pytest.raises(anthropic.AuthenticationError):
        client_of(locked).messages.create(model="", messages=QUESTION, max_tokens=3)
    ways: list[dict[str, Any]] = [{name: "sesame-of-many-letters"} for name in ("api_key", "auth_token")]
    for how in ways:
        opened = anthropic.Anthropic(base_url=locked.url, max_retries=0, timeout=120, **how)
        assert opened.messages.create(model="", messages=QUESTION, max_tokens=3).content


def test_every_event_has_its_name(scripted: Running) -> None:
    text = ask(scripted, stream=True, tools=TOOLS, max_tokens=40).text
    names = []
    for lines in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in lines.split("\n"))
        assert json.loads(fields["data"])["type"] == fields["event"]
        assert ("id" in fields) == (fields["event"] != "ping")
        names.append(fields["event"])
    assert names[:3] == ["message_start", "ping", "content_block_start"]
    assert names[-2:] == ["message_delta", "message_stop"]
    assert names.count("content_block_start") == names.count("content_block_stop") == 3
