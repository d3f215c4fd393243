"""Conversations of every form that templates of real models look into."""

from __future__ import annotations

from typing import Any, NamedTuple

Messages = list[dict[str, Any]]


class Conversation(NamedTuple):
    """Messages, and variables of the template."""

    name: str
    messages: Messages
    variables: dict[str, Any] = {}  # noqa: RUF012


def _message(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def user(content: Any, **more: Any) -> dict[str, Any]:
    return _message("user", content, **more)


def assistant(content: Any, **more: Any) -> dict[str, Any]:
    return _message("assistant", content, **more)


def system(content: Any) -> dict[str, Any]:
    return _message("system", content)


def call(name: str, arguments: Any, id: str = "call00001") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(content: Any, id: str = "call00001", name: str = "get_weather") -> dict[str, Any]:
    return _message("tool", content, tool_call_id=id, name=name)


def tool(name: str, description: str, properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": required or []}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


WEATHER = tool(
    "get_weather",
    "The weather at a place",
    {
        "city": {"type": "string", "description": "Name of the city"},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius", "description": "Degrees"},
    },
    ["city"],
)
BOOK = tool(
    "book",
    "Books a journey",
    {
        "stops": {"type": "array", "items": {"type": "string"}, "description": "Where to"},
        "people": {"type": "integer", "minimum": 1},
        "class": {"type": ["string", "null"], "description": "Of the ticket"},
        "payment": {
            "type": "object",
            "properties": {"card": {"type": "string"}, "amount": {"type": "number"}, "now": {"type": "boolean"}},
            "required": ["card"],
        },
    },
    ["stops", "payment"],
)
CLOCK = {"type": "function", "function": {"name": "clock", "description": "The time", "parameters": {}}}
CLOCK_OBJECT = tool("clock", "The time", {})
HELLO = user("What is the weather in Paris?")
CITY = {"city": "Paris", "unit": "celsius"}
CITY_TEXT = '{"city": "Paris", "unit": "celsius"}'
NESTED = {"stops": ["Ulm", "Köln"], "people": 2, "class": None, "payment": {"card": "x", "amount": 1.5, "now": True}}
PARTS = [{"type": "text", "text": "Hello"}, {"type": "text", "text": " there"}]
IMAGE = [{"type": "image"}, {"type": "text", "text": "What is this?"}]
IMAGE_URL = [
    {"type": "text", "text": "And this?"},
    {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}},
]
THOUGHT = "<think>\nLet me see.\n</think>\n\nFour."
ODD = "tab\tnul-free \x01\x7f é ü 世界 한국어 עברית 🦊👩‍👩‍👧 \u200b\u2028 ﬁ ẞ İ \ufeff end"
JINJA = "{{ 7 * 7 }} {% for x in y %} {# c #} {%- endraw -%} %} }}"
LONG = "The fox went to the mill and back again.\n" * 500
HTML = '<ul class="x"><li>a &amp; b</li></ul> <b>1 < 2</b> | \'q\' "p" \\ `c`'
CODE = "def f(x):\n    return {'a': [x, 1 << 2]}  # | || <| |> <<\n\n\nclass A: ...\n"


def _tools(*tools: dict[str, Any], **variables: Any) -> dict[str, Any]:
    return {"tools": list(tools), **variables}


def _dialog(n: int) -> Messages:
    turns = [(user(f"Question {i}?"), assistant(f"Answer {i}.")) for i in range(n)]
    return [message for turn in turns for message in turn]


def conversations() -> list[Conversation]:
    """All of them, once as they are and once with what some templates ask for; names are unique."""
    needed = {"tools": [WEATHER], "functions": "[]", "datetime": "2024-07-26"}
    plain = _conversations()
    return plain + [Conversation(f"{c.name} +", c.messages, needed | c.variables) for c in plain]


def _conversations() -> list[Conversation]:
    called = [HELLO, assistant("", tool_calls=[call("get_weather", CITY)]), result("Sunny, 21 °C")]
    called_text = [HELLO, assistant("", tool_calls=[call("get_weather", CITY_TEXT)]), result("Sunny, 21 °C")]
    two = [call("get_weather", CITY, "call00001"), call("get_weather", {"city": "Rome"}, "call00002")]
    answers = [result("Sunny", "call00001"), result("Rain", "call00002")]
    more = [assistant("It is sunny."), user("Thank you. And tomorrow?")]
    thinking = [user("2+2?"), assistant("Four.", reasoning_content="Let me see."), user("And 3+3?")]
    C = Conversation
    return [
        C("user", [user("Hello")]),
        C("system", [system("Answer briefly."), user("Hello")]),
        C("empty system", [system(""), user("Hello")]),
        C("developer", [_message("developer", "Answer briefly."), user("Hello")]),
        C("turns", [*_dialog(2), user("And?")]),
        C("turns with system", [system("Answer briefly."), *_dialog(3), user("And?")]),
        C("forty turns", [*_dialog(20), user("And?")]),
        C("no generation prompt", [user("Hello"), assistant("Hi.")], {"add_generation_prompt": False}),
        C("answer last", [user("Hello"), assistant("Hi.")]),
        C("two users", [user("One"), user("Two")]),
        C("two systems", [system("One"), system("Two"), user("Hello")]),
        C("system in the middle", [*_dialog(1), system("Be kind."), user("Hello")]),
        C("assistant first", [assistant("Welcome."), user("Hello")]),
        C("empty", [user("")]),
        C("blank", [user(" \n\t ")]),
        C("spaces around", [system("\n a \n"), user("  b\n\n"), assistant("\n c "), user("\td ")]),
        C("odd characters", [system(ODD), user(ODD), assistant(ODD), user(ODD)]),
        C("template syntax", [system(JINJA), user(JINJA), assistant(JINJA), user("x")]),
        C("html", [user(HTML), assistant(HTML), user("x")]),
        C("code", [user(CODE), assistant(CODE), user("x")]),
        C("long", [system(LONG), user(LONG * 4)]),
        C("one long word", [user("a" * 20_000)]),
        C("json in text", [user('{"name": "f", "arguments": {"a": [1, null]}}'), assistant("[]"), user("{}")]),
        C("names", [user("Hello", name="ann"), assistant("Hi.", name="bob"), user("x", name="cy")]),
        C("content none", [user("Hello"), assistant(None), user("x")]),
        C("content missing", [user("Hello"), {"role": "assistant"}, user("x")]),
        C("parts", [user(PARTS)]),
        C("parts everywhere", [system(PARTS), user(PARTS), assistant(PARTS), user(PARTS)]),
        C("one part", [user([{"type": "text", "text": "Hello"}])]),
        C("no parts", [user([])]),
        C("image", [user(IMAGE)]),
        C("image url", [user(IMAGE_URL), assistant("A fox."), user(IMAGE)]),
        C("tool", [HELLO], _tools(WEATHER)),
        C("tools", [system("Help."), HELLO], _tools(WEATHER, BOOK, CLOCK_OBJECT)),
        C("tool without parameters", [HELLO], _tools(CLOCK)),
        C("tool of deep types", [HELLO], _tools(BOOK)),
        C("no tools", [HELLO], {"tools": []}),
        C("tool of odd characters", [HELLO], _tools(tool("f", ODD, {"ä<b>": {"type": "string", "description": HTML}}))),
        C("call", called, _tools(WEATHER)),
        C("call of json text", called_text, _tools(WEATHER)),
        C("call without tools", called),
        C("call, then more", [*called, *more], _tools(WEATHER)),
        C("call of json text, then more", [*called_text, *more], _tools(WEATHER)),
        C("two calls", [HELLO, assistant("", tool_calls=two), *answers], _tools(WEATHER)),
        C("two calls, then more", [HELLO, assistant("", tool_calls=two), *answers, *more], _tools(WEATHER)),
        C("calls one by one", [*called, assistant("", tool_calls=[two[1]]), answers[1], *more], _tools(WEATHER)),
        C("call with content", [HELLO, assistant("Let me see.", tool_calls=two[:1]), answers[0]], _tools(WEATHER)),
        C("call with content none", [HELLO, assistant(None, tool_calls=two[:1]), answers[0]], _tools(WEATHER)),
        C("call without content", [HELLO, {"role": "assistant", "tool_calls": two[:1]}, answers[0]], _tools(WEATHER)),
        C(
            "call without arguments",
            [HELLO, assistant("", tool_calls=[call("clock", {})]), result("12")],
            _tools(CLOCK),
        ),
        C("nested arguments", [HELLO, assistant("", tool_calls=[call("book", NESTED)]), result("ok")], _tools(BOOK)),
        C("odd arguments", [HELLO, assistant("", tool_calls=[call("f", {"q": ODD, "r": HTML})]), result(ODD)]),
        C("long id", [HELLO, assistant("", tool_calls=[call("clock", {}, "call_" + "a" * 24)]), result("12")]),
        C("id of functions", [HELLO, assistant("", tool_calls=[call("clock", {}, "functions.clock:0")]), result("12")]),
        C("bare call", [HELLO, assistant("", tool_calls=[{"name": "clock", "arguments": {"a": 1}}]), result("12")]),
        C("result in parts", [*called[:2], result([{"type": "text", "text": "Sunny"}]), *more], _tools(WEATHER)),
        C("result as mapping", [*called[:2], result({"sky": "blue", "t": 21.5}), *more], _tools(WEATHER)),
        C("result of json text", [*called[:2], result('{"sky": "blue"}'), *more], _tools(WEATHER)),
        C("tool results", [HELLO, _message("tool_results", [{"call": CITY, "outputs": [{"t": 21}]}]), *more]),
        C("root", [_message("root", "Rules."), user("Hello")]),
        C("thought", [user("2+2?"), assistant(THOUGHT), user("And 3+3?")]),
        C("thought last", [user("2+2?"), assistant(THOUGHT)]),
        C("thought, then a call", [HELLO, assistant(THOUGHT, tool_calls=two[:1]), answers[0]], _tools(WEATHER)),
        C("reasoning", thinking),
        C("reasoning, then a call", [HELLO, assistant("", reasoning_content="Hm.", tool_calls=two[:1]), answers[0]]),
        C("reasoning kept", thinking, {"preserve_thinking": True, "clear_thinking": False, "keep_past_thinking": True}),
        C("thinking field", [user("2+2?"), assistant("Four.", thinking="Let me see."), user("And 3+3?")]),
        C("thinking part", [user("2+2?"), assistant([{"type": "thinking", "thinking": "Hm."}, PARTS[0]]), user("x")]),
        C("thinking on", [user("Hello")], {"enable_thinking": True, "thinking": True}),
        C("thinking off", [user("Hello")], {"enable_thinking": False, "thinking": False}),
        C("no_think", [user("Hello /no_think")]),
        C("think", [system("Brief. /think"), user("Hello /think")]),
        C("low effort", [user("Hello")], {"reasoning_effort": "low"}),
        C("medium effort", [user("Hello")], {"reasoning_effort": "medium"}),
        C("high effort", [system("Brief."), user("Hello")], {"reasoning_effort": "high", "enable_thinking": True}),
        C("max effort", [user("Hello")], {"reasoning_effort": "max"}),
        C("effort none", [user("Hello")], {"reasoning_effort": None}),
        C("documents", [user("Hello")], {"documents": [{"title": "A", "text": "b", "content": "b", "doc_id": 1}]}),
        C("identity and date", [user("Hello")], {"model_identity": "You are Fly.", "date_string": "26 Jul 2024"}),
        C("builtin tools", [HELLO], _tools(CLOCK_OBJECT, builtin_tools=["browser", "python"])),
        C("tools in the user's message", [system("Help."), HELLO], _tools(WEATHER, tools_in_user_message=True)),
        C("xml tools", [HELLO], _tools(WEATHER, xml_tools=[WEATHER], python_tools=[CLOCK_OBJECT])),
        C("numbers", [user("Hello", priority=3, score=1.5, ok=True, none=None)], {"top": 2, "ratio": 0.5}),
    ]
