"""Answers that must have a form: in every API, streamed or not, with its own client; and calls that are forced."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import ollama
import openai
import pytest

import flyball

from .conftest import Running, Start
from .scripted_model import TEMPLATE, write_scripted_model

jsonschema = pytest.importorskip("jsonschema")

QUESTION: list[Any] = [{"role": "user", "content": "Who are you?"}]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "legs": {"type": "integer", "minimum": 0, "maximum": 9},
    },
    "required": ["name", "legs"],
    "additionalProperties": False,
}
ARGUMENTS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 8},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "required": ["city", "days"],
}
FUNCTION = {"name": "forecast", "parameters": ARGUMENTS}
CLOCK = {"name": "clock", "parameters": {"type": "object", "properties": {}}}
TOOLS: list[Any] = [{"type": "function", "function": each} for each in (FUNCTION, CLOCK)]
BLOCK_TOOLS: list[Any] = [
    {"name": each["name"], "input_schema": each["parameters"]} for each in (FUNCTION, CLOCK)
]  # fmt: skip
FLAT_TOOLS: list[Any] = [{"type": "function", **each} for each in (FUNCTION, CLOCK)]
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


@pytest.fixture(scope="module")
def both(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Running:
    """The bundled model, whose format has no calls, and scripted ones: `thinks` thinks and calls tools as Hermes does,
    `xml` as Qwen's coders do, `harmony` has messages with headers."""
    folder = tmp_path_factory.mktemp("models")
    xml = TEMPLATE.replace("<tool_call>", "<function=x><parameter=y>")
    harmony = "<|channel|>final<|message|>{{ messages[0].content }}"
    words = [f"thinks={write_scripted_model(folder / 'thinks.gguf')}"]
    words += [f"xml={write_scripted_model(folder / 'xml.gguf', xml)}"]
    words += [f"harmony={write_scripted_model(folder / 'harmony.gguf', harmony)}"]
    return start(f"demo={flyball.demo_model_path()}", *words)


@pytest.fixture(scope="module")
def client(both: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{both.url}/v1", api_key="none", max_retries=0, _strict_response_validation=True, timeout=120
    ) as client:
        yield client


@pytest.fixture(scope="module")
def claude(both: Running) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        base_url=both.url, api_key="none", max_retries=0, _strict_response_validation=True, timeout=120
    ) as client:
        yield client


def events(said: httpx.Response) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in said.text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def chat(server: Running, model: str = "demo", stream: bool = False, **members: Any) -> httpx.Response:
    body = {"model": model, "messages": QUESTION, "max_tokens": 300, "seed": 1, "stream": stream}
    return server.post(CHAT, body | members)


def content(server: Running, model: str = "demo", **members: Any) -> str:
    """The content of an answer, which is the same streamed and not."""
    said = chat(server, model, **members)
    assert said.status_code == 200, said.text
    whole = said.json()
    chunks = events(chat(server, model, stream=True, **members))
    text = "".join(c["delta"].get("content") or "" for chunk in chunks for c in chunk["choices"])
    assert text == (whole["choices"][0]["message"]["content"] or "")
    assert chunks[-1]["flyball"]["digest"] == whole["flyball"]["digest"]
    return text


def is_valid(text: str, schema: Any = SCHEMA) -> None:
    jsonschema.validate(json.loads(text), schema)


# ---------------------------------------------------------------- the members of each API

JSON_SCHEMA = {"type": "json_schema", "json_schema": {"name": "animal", "schema": SCHEMA, "strict": True}}


@pytest.mark.parametrize(
    "members",
    [
        {"response_format": JSON_SCHEMA},
        {"response_format": {"type": "json_object", "schema": SCHEMA}},
        {"response_format": {"type": "json_schema", "schema": SCHEMA}},
        {"json_schema": SCHEMA},
        {"guided_json": SCHEMA},
        {"guided_json": json.dumps(SCHEMA)},
        {"structured_outputs": {"json": SCHEMA}},
    ],
)
def test_schemas_of_chats_and_completions(both: Running, members: dict[str, Any]) -> None:
    is_valid(content(both, **members))
    said = both.post(TEXT, {"model": "demo", "prompt": "A fox:", "max_tokens": 300, "seed": 1} | members).json()
    is_valid(said["choices"][0]["text"])


@pytest.mark.parametrize(
    ("members", "texts"),
    [
        ({"grammar": 'root ::= "yes" | "no"'}, {"yes", "no"}),
        ({"guided_grammar": 'root ::= "yes" | "no"'}, {"yes", "no"}),
        ({"guided_choice": ["hen", "fox"]}, {"hen", "fox"}),
        ({"guided_regex": "[ab]"}, {"a", "b"}),
        ({"structured_outputs": {"choice": ["hen", "fox"]}}, {"hen", "fox"}),
        ({"structured_outputs": {"regex": "a|b"}}, {"a", "b"}),
        ({"structured_outputs": {"grammar": 'root ::= "c"'}}, {"c"}),
    ],
)
def test_other_forms(both: Running, members: dict[str, Any], texts: set[str]) -> None:
    assert content(both, **members) in texts
    said = both.post(TEXT, {"model": "demo", "prompt": "A fox", "stream": True, "seed": 1} | members)
    assert "".join(chunk["choices"][0]["text"] for chunk in events(said)) in texts


def test_any_object(both: Running) -> None:
    text = content(both, response_format={"type": "json_object"})
    assert text.startswith("{")
    assert isinstance(json.JSONDecoder().raw_decode(text)[0], dict)


def test_text_is_free(both: Running) -> None:
    for free in ({"type": "text"}, None):
        assert content(both, response_format=free) == content(both)


def test_the_native_completion(both: Running) -> None:
    body = {"model": "demo", "prompt": ["A fox", "A hen"], "seed": 1, "n_predict": 200}
    for one in both.post("/completion", body | {"json_schema": SCHEMA}).json():
        is_valid(one["content"])
    grammar = 'root ::= "yes" | "no"'
    said = both.post("/completion", body | {"grammar": grammar, "prompt": "x"}).json()
    assert said["content"] in ("yes", "no")
    assert said["generation_settings"]["grammar"] == grammar


def test_openais_client_parses(client: openai.OpenAI) -> None:
    how: dict[str, Any] = {"model": "demo", "messages": QUESTION, "seed": 1, "max_tokens": 300}
    said = client.chat.completions.parse(response_format=JSON_SCHEMA, **how)  # type: ignore[arg-type]
    assert said.choices[0].message.content is not None
    is_valid(said.choices[0].message.content)
    strict: list[Any] = [{"type": "function", "function": FUNCTION | {"strict": True}}]
    how["model"] = "thinks"
    called = client.chat.completions.parse(tools=strict, tool_choice="required", **how).choices[0].message.tool_calls
    assert called
    assert called[0].function.parsed_arguments == json.loads(called[0].function.arguments)


def test_responses(client: openai.OpenAI, both: Running) -> None:
    form: Any = {"format": {"type": "json_schema", "name": "animal", "schema": SCHEMA, "strict": True}}
    how: dict[str, Any] = {"model": "demo", "input": "Who?", "text": form, "extra_body": {"seed": 1}}
    said = client.responses.create(**how)
    is_valid(said.output_text)
    assert said.text is not None
    assert said.text.to_dict()["format"]["schema"] == SCHEMA
    with client.responses.stream(**how) as stream:
        assert stream.get_final_response().output_text == said.output_text
    loose = {"model": "demo", "input": "Who?", "text": {"format": {"type": "json_object"}}, "seed": 1}
    assert both.post("/v1/responses", loose).json()["output"][0]["content"][0]["text"].startswith("{")


def test_anthropics_messages(claude: anthropic.Anthropic) -> None:
    how: dict[str, Any] = {"model": "demo", "messages": QUESTION, "max_tokens": 300, "extra_body": {"seed": 1}}
    how["output_config"] = {"format": {"type": "json_schema", "schema": SCHEMA}}
    said = claude.messages.create(**how)
    assert said.content[0].type == "text"
    is_valid(said.content[0].text)
    with claude.messages.stream(**how) as stream:
        assert stream.get_final_text() == said.content[0].text


@pytest.mark.parametrize("form", [SCHEMA, "json"])
def test_ollamas_format(both: Running, form: Any) -> None:
    client = ollama.Client(host=both.url, timeout=120)
    options = {"seed": 1, "num_predict": 60}
    said = client.chat("demo", QUESTION, format=form, options=options)
    made = client.generate("demo", "A fox:", format=form, options=options)
    raw = client.generate("demo", "A fox:", format=form, options=options, raw=True)
    lines = client.chat("demo", QUESTION, format=form, options=options, stream=True)
    assert "".join(line.message.content or "" for line in lines) == said.message.content
    for text in (said.message.content, made.response, raw.response):
        assert text is not None
        if form == "json":
            assert text.startswith("{")
        else:
            is_valid(text)
    client.close()  # type: ignore[no-untyped-call]


# ---------------------------------------------------------------- thoughts, receipts, repetitions


def test_the_form_begins_after_the_thoughts(both: Running) -> None:
    said = chat(both, "thinks", response_format=JSON_SCHEMA).json()["choices"][0]["message"]
    assert said["reasoning_content"] == "Hm, so."
    is_valid(said["content"])
    without = chat(both, "thinks", response_format=JSON_SCHEMA, chat_template_kwargs={"enable_thinking": False})
    message = without.json()["choices"][0]["message"]
    assert "reasoning_content" not in message
    is_valid(message["content"])
    is_valid(content(both, "thinks", response_format=JSON_SCHEMA))


@pytest.mark.parametrize(
    ("model", "members"),
    [("demo", {"json_schema": SCHEMA}), ("thinks", {"tools": TOOLS, "tool_choice": "required"})],
)
def test_receipts_verify(both: Running, model: str, members: dict[str, Any]) -> None:
    said = chat(both, model, **members).json()
    assert both.post("/v1/verify", {"id": said["id"]}).json()["verified"] is True
    receipt = both.get(f"/v1/receipts/{said['id']}").json()["receipt"]
    assert receipt["constraint"]["kind"] in ("json_schema", "lark")
    if model == "demo":
        assert flyball.verify(receipt, isa="scalar", threads=1)
    receipt["constraint"]["text"] = receipt["constraint"]["text"].replace("8", "7")
    said = both.post("/v1/verify", {"receipt": receipt})
    assert said.status_code == 400 or said.json()["verified"] is False


def test_flyball_verify_has_the_constraint(both: Running, tmp_path: Path) -> None:
    answer = chat(both, json_schema=SCHEMA).json()
    file = tmp_path / "receipt.json"
    file.write_text(json.dumps(both.get(f"/v1/receipts/{answer['id']}").json()["receipt"]))
    said = subprocess.run(
        [sys.executable, "-m", "flyball", "verify", file], capture_output=True, text=True, check=False
    )
    assert (said.returncode, said.stderr) == (0, "")


@pytest.mark.parametrize("cut", [2, 9])
def test_a_stream_that_broke_goes_on(both: Running, cut: int) -> None:
    """The tokens that are known go through the constraint again."""
    body = {"model": "demo", "messages": QUESTION, "json_schema": SCHEMA, "max_tokens": 300, "stream": True}

    def take(key: str, most: int | None = None, last: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
        headers = {"idempotency-key": key} | ({"last-event-id": last} if last else {})
        with both.client() as client, client.stream("POST", CHAT, json=body, headers=headers) as response:
            identity, n = "", 0
            for line in response.iter_lines():
                identity = line.removeprefix("id: ") if line.startswith("id: ") else identity
                if line.startswith("data: {"):
                    n += 1
                    yield identity, json.loads(line.removeprefix("data: "))
                if n == most:
                    return

    begun = list(take(f"cut-{cut}", cut))
    rest = list(take(f"cut-{cut}", last=begun[-1][0]))
    whole = list(take(f"cut-{cut}"))
    assert rest[-1][1]["flyball"]["digest"] == whole[-1][1]["flyball"]["digest"]
    texts = [
        "".join(c["delta"].get("content") or "" for _, chunk in each for c in chunk["choices"])
        for each in (begun + rest, whole)
    ]
    assert texts[0] == texts[1]
    is_valid(texts[0])
    fixed = chat(both, json_schema=SCHEMA, seed=whole[-1][1]["flyball"]["seed"]).json()
    assert fixed["flyball"]["digest"] == whole[-1][1]["flyball"]["digest"]


# ---------------------------------------------------------------- calls of tools


def is_call(name: str, arguments: Any) -> None:
    jsonschema.validate(arguments, {"forecast": ARGUMENTS, "clock": CLOCK["parameters"]}[name])


@pytest.mark.parametrize("model", ["thinks", "xml"])
@pytest.mark.parametrize("name", [None, "forecast", "clock"])
def test_calls_that_are_forced(both: Running, model: str, name: str | None) -> None:
    """The models would call another tool, and with other arguments."""
    choice = "required" if name is None else {"type": "function", "function": {"name": name}}
    members: dict[str, Any] = {"tools": TOOLS, "tool_choice": choice, "parallel_tool_calls": False}
    said = chat(both, model, **members)
    assert said.status_code == 200, said.text
    answer = said.json()["choices"][0]
    assert answer["finish_reason"] == "tool_calls"
    assert answer["message"]["content"] is None
    (call,) = answer["message"]["tool_calls"]
    is_call(call["function"]["name"], json.loads(call["function"]["arguments"]))
    assert name in (None, call["function"]["name"])
    assert answer["message"]["reasoning_content"] == "Hm, so."
    deltas = [c["delta"] for e in events(chat(both, model, stream=True, **members)) for c in e["choices"]]
    pieces = [delta["tool_calls"][0] for delta in deltas if delta.get("tool_calls")]
    assert pieces[0]["function"]["name"] == call["function"]["name"]
    assert "".join(piece["function"]["arguments"] for piece in pieces) == call["function"]["arguments"]


def test_forced_calls_of_the_other_apis(both: Running, client: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    how: dict[str, Any] = {"model": "thinks", "input": "Hi", "tools": FLAT_TOOLS, "extra_body": {"seed": 1}}
    choices: tuple[Any, ...] = ("required", {"type": "function", "name": "forecast"})
    for choice in choices:
        said = client.responses.create(tool_choice=choice, max_output_tokens=300, parallel_tool_calls=False, **how)
        (call,) = [item for item in said.output if item.type == "function_call"]
        is_call(call.name, json.loads(call.arguments))
        assert said.tools[0].to_dict()["strict"] is True
    tool_choices: list[Any] = [{"type": "any"}, {"type": "tool", "name": "forecast"}]
    for tool_choice in tool_choices:
        message = claude.messages.create(
            model="thinks", messages=QUESTION, max_tokens=300, tools=BLOCK_TOOLS, extra_body={"seed": 1},
            tool_choice=tool_choice | {"disable_parallel_tool_use": True},
        )  # fmt: skip
        (used,) = [block for block in message.content if block.type == "tool_use"]
        is_call(used.name, used.input)
        assert message.stop_reason == "tool_use"
    body = {"model": "thinks", "messages": QUESTION, "tools": TOOLS, "tool_choice": "required", "stream": False}
    (made,) = both.post("/api/chat", body | {"parallel_tool_calls": False}).json()["message"]["tool_calls"]
    is_call(made["function"]["name"], made["function"]["arguments"])


def test_a_call_or_an_answer_of_the_form(both: Running) -> None:
    kinds = set()
    for seed in range(6):
        said = chat(both, "thinks", tools=TOOLS, response_format=JSON_SCHEMA, seed=seed, temperature=3).json()
        message = said["choices"][0]["message"]
        kinds.add(said["choices"][0]["finish_reason"])
        for call in message.get("tool_calls", ()):
            is_call(call["function"]["name"], json.loads(call["function"]["arguments"]))
        if message["content"] and said["choices"][0]["finish_reason"] == "stop":
            is_valid(message["content"])
    assert kinds <= {"stop", "tool_calls", "length"}
    assert kinds & {"stop", "tool_calls"}


def test_an_answer_that_ends_with_its_first_call(start: Start, tmp_path: Path) -> None:
    """The model says what it likes, and the end of a call is the answer's."""
    call = '<tool_call>\n{"name": "clock", "arguments": {"a": '
    again = ["\n<tool_call>\n", '{"name": "clock", "arguments": {"b": 2}}', "\n</tool_call> "]
    script = {"\n": ["</think>", "Hm. ", call, "1}}\n</tool_call>", *again]}
    server = start(f"two={write_scripted_model(tmp_path / 'two.gguf', scripts=script)}")
    many, one = (chat(server, "two", tools=TOOLS, parallel_tool_calls=each).json() for each in (True, False))
    assert [len(each["choices"][0]["message"]["tool_calls"]) for each in (many, one)] == [2, 1]
    assert {each["choices"][0]["finish_reason"] for each in (many, one)} == {"tool_calls"}
    assert one["choices"][0]["message"]["content"] == "Hm."
    assert one["flyball"]["stop_reason"] == "stop_string"
    assert server.post("/v1/verify", {"id": one["id"]}).json()["verified"] is True
    body = {"model": "two", "messages": QUESTION, "max_tokens": 99, "tools": BLOCK_TOOLS, "seed": 1}
    said = server.post("/v1/messages", body | {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}})
    assert [block["type"] for block in said.json()["content"]] == ["text", "tool_use"]
    assert (said.json()["stop_reason"], said.json()["stop_sequence"]) == ("tool_use", None)


def test_what_is_not_held_to_anything_is_told(both: Running) -> None:
    strict = [{"type": "function", "function": FUNCTION | {"strict": True}}]
    said = chat(both, "thinks", tools=strict)
    assert said.headers["flyball-ignored"] == "tools[0].function.strict"
    said = chat(both, tools=TOOLS, parallel_tool_calls=False)
    assert said.headers["flyball-ignored"] == "parallel_tool_calls"


# ---------------------------------------------------------------- what cannot be honored


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({"properties": {"a": {"not": {}}}}, "$.properties.a.not: keyword is not supported"),
        ({"if": {}, "then": {}}, "$.if"),
        ({"properties": {"a": {"maxlength": 3}}}, "$.properties.a.maxlength: is no keyword"),
        ({"type": "strange"}, "$"),
        ({"properties": {"a": {"$ref": "http://127.0.0.1:1/x"}}}, "$.properties.a: Resource"),
        ({"$ref": "file:///etc/passwd"}, "$: Resource"),
        ({"$ref": "#"}, ""),
        ({"properties": {"a": {"pattern": "(", "type": "string"}}}, "$.properties.a: regex"),
        ({"type": "string", "pattern": "(?=a)b"}, "$: regex"),
        ({"type": "string", "maxLength": -1}, "$"),
        ({"type": "integer", "minimum": 5, "maximum": 4}, "$: Unsatisfiable"),
        ({"enum": []}, "$: Unsatisfiable"),
        ({"const": "\ud800"}, "lone surrogate"),
        ({"x-guidance": {"lenient": True}}, "$.x-guidance"),
        ("not a schema", ""),
        (5, ""),
        (nested(100), "nested deeper"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_schemas_that_are_refused(both: Running, schema: Any, place: str, stream: bool) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    said = chat(both, response_format=wanted, stream=stream)
    assert said.status_code == 400, said.text
    error = said.json()["error"]
    assert place in error["message"]
    assert error["param"] == ("response_format.json_schema.schema" if "nested" not in place else None)


@pytest.mark.parametrize(
    "schema",
    [
        nested(15),
        {"enum": [f"value {number}" for number in range(2000)]},
        {"type": "string", "pattern": "((a{1,100}){1,100}){1,100}"},
        {"type": "string", "pattern": "(.*a){30}b"},
        {"type": "string", "pattern": "(a|aa)+(b?){200}$"},
        {"type": "string", "minLength": 10**9},
        {"type": "array", "items": {"type": "integer"}, "minItems": 10**6},
        {"type": "object", "properties": {f"p{n}": {"type": "integer"} for n in range(600)}},
        {"$defs": {"n": {"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}}}}, "$ref": "#/$defs/n"},
        {"allOf": [{"anyOf": [{"properties": {f"a{i}": {"const": j}}} for j in range(8)]} for i in range(10)]},
    ],
)
def test_hostile_schemas_are_refused_or_kept(both: Running, schema: Any) -> None:
    """An answer that ends is valid; one that is cut is a beginning; else it is a refusal, streamed an error."""
    how: dict[str, Any] = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}
    said = chat(both, max_tokens=8, **how)
    assert said.status_code in (200, 400), said.text
    chunks = events(chat(both, stream=True, max_tokens=8, **how)) if said.status_code == 200 else []
    assert not any("error" in chunk for chunk in chunks)
    if said.status_code == 200 and said.json()["choices"][0]["finish_reason"] == "stop":
        is_valid(said.json()["choices"][0]["message"]["content"], schema)


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": 5}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format.json_schema.schema"),
        ({"response_format": JSON_SCHEMA, "grammar": 'root ::= "a"'}, "grammar"),
        ({"json_schema": SCHEMA, "guided_regex": "a"}, "guided_regex"),
        ({"grammar": "root ::= other"}, "grammar"),
        ({"grammar": "("}, "grammar"),
        ({"grammar": 5}, "grammar"),
        ({"guided_regex": "("}, "guided_regex"),
        ({"guided_choice": []}, "guided_choice"),
        ({"guided_choice": "ab"}, "guided_choice"),
        ({"structured_outputs": {"structural_tag": "x"}}, "structured_outputs.structural_tag"),
        ({"structured_outputs": {"json": SCHEMA, "regex": "a"}}, "structured_outputs.regex"),
        ({"json_schema": SCHEMA, "ignore_eos": True}, "ignore_eos"),
        ({"tools": TOOLS, "tool_choice": "always"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function"}}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "none"}}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": TOOLS, "guided_regex": "a"}, "guided_regex"),
        ({"json_schema": SCHEMA, "continue_final_message": True,
          "messages": [*QUESTION, {"role": "assistant", "content": "{"}]}, "continue_final_message"),
    ],
)  # fmt: skip
def test_members_that_are_refused(both: Running, members: dict[str, Any], param: str) -> None:
    said = chat(both, "thinks", **members)
    assert said.status_code == 400, said.text
    assert said.json()["error"]["param"] == param
    assert said.json()["error"]["message"].startswith(param)


def test_tools_that_cannot_be_forced(both: Running) -> None:
    bad: list[Any] = [*TOOLS, {"type": "function", "function": {"name": "f", "parameters": {"not": {}}}}]
    said = chat(both, "thinks", tools=bad, tool_choice="required")
    assert said.status_code == 400
    assert "'f', whose parameters cannot be guaranteed: $.not" in said.json()["error"]["message"]
    assert chat(both, "thinks", tools=bad).status_code == 200
    pattern = {"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}
    wrong = [{"type": "function", "function": {"name": "f", "parameters": pattern}}]
    for model in ("thinks", "xml"):
        said = chat(both, model, tools=wrong, tool_choice="required")
        assert said.status_code == 400
        assert "$.properties.a" in said.json()["error"]["message"]


def test_formats_that_cannot_be_constrained(both: Running) -> None:
    for members in ({"response_format": JSON_SCHEMA}, {"tools": TOOLS, "tool_choice": "required"}):
        said = chat(both, "harmony", **members)
        assert said.status_code == 400
        assert "harmony" in said.json()["error"]["message"]
    said = chat(both, "demo", tools=TOOLS, tool_choice="required")
    assert (said.status_code, said.json()["error"]["param"]) == (400, "tool_choice")
    assert "'plain'" in said.json()["error"]["message"]
