"""Calls of tools from what stands between their tags.

A reader is made for the control tokens and the tools of one answer. It gets the text up to where a call may end, and
whether the answer has ended, and gives the calls; None if it is no call; or raises Incomplete if more must follow.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from .parts import ToolCall
from .symbols import Symbols
from .values import Types, loads, python_value

Calls = list[ToolCall] | None
Reader = Callable[[str, bool], Calls]
Tools = Sequence[Mapping[str, Any]]
MakeReader = Callable[[Symbols, Tools], Reader]
_FAULTS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
)


class Incomplete(Exception):
    """The text may be the beginning of a call."""


def dumps(value: Any) -> str:
    """JSON text as templates write it, too."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def decode(text: str, at: int = 0) -> tuple[Any, int]:
    """The JSON value at a place of a text, and where it ends. Raises Incomplete if the value goes on, and ValueError if
    it is none."""
    try:
        return loads.raw_decode(text, at)
    except json.JSONDecodeError as error:
        if error.msg.startswith("Unterminated string") or error.pos >= len(text):
            raise Incomplete from None
        raise


def whole(text: str) -> Any:
    """The value of a JSON text; raises as decode() does."""
    text = text.strip()
    value, end = decode(text)
    if end < len(text):
        raise ValueError("more than a value")
    return value


def _guarded(read: Callable[[str, bool], Calls]) -> Reader:
    """A reader to which a fault of the text is no call."""

    def guarded(body: str, final: bool) -> Calls:
        try:
            return read(body, final) or None
        except _FAULTS:
            return None

    return guarded


def call_of(name: Any, arguments: Any, id: Any = "") -> ToolCall:
    """A checked call; raises ValueError."""
    if isinstance(arguments, str):
        arguments = whole(arguments) if arguments.strip() else {}
    if arguments is None:
        arguments = {}
    if not isinstance(name, str) or not name.strip() or not isinstance(arguments, dict):
        raise ValueError("not a call")
    return ToolCall(name.strip(), dumps(arguments), str(id) if isinstance(id, (str, int)) else "")


# ---------------------------------------------------------------- JSON


def json_calls(
    name: str = "name", arguments: tuple[str, ...] = ("arguments", "parameters"), *, known: bool = False
) -> MakeReader:
    """`{"name": ..., "arguments": {...}}`, one, a list, or several. `known`: only of tools that there are."""

    def make(_: Symbols, tools: Tools) -> Reader:
        names = Types(tools).names

        def read_one(value: Any) -> ToolCall:
            value = value.get("function", value) if isinstance(value.get("function"), dict) else value
            given: Any = next((value[key] for key in arguments if key in value), {})
            call = call_of(value[name], given, value.get("id", value.get("tool_call_id", "")))
            if known and call.name not in names:
                raise ValueError("not a tool")
            return call

        def read(body: str, final: bool) -> Calls:
            text, at = _unfenced(body), 0
            calls: list[ToolCall] = []
            while at < len(text):
                value, at = decode(text, at)
                while text[at : at + 1] in (",", ";", " ", "\n"):
                    at += 1
                calls += map(read_one, value if isinstance(value, list) else [value])
            return calls

        return _guarded(read)

    return make


def _unfenced(body: str) -> str:
    """Without the marks of a block of code."""
    text = body.strip()
    if text.startswith("```"):
        text = text.removeprefix("```").removeprefix("json")
    return text.removesuffix("```").strip()


def keyed_calls(_: Symbols, tools: Tools) -> Reader:
    """`[{"get_weather": {"city": "Paris"}}]`"""

    def read(body: str, final: bool) -> Calls:
        return [call_of(name, given) for entry in whole(body) for name, given in entry.items()]

    return _guarded(read)


def named_json(head: str, separator: str, tail: str = "") -> MakeReader:
    """A name, a separator and JSON: `get_weather[ARGS]{"city": "Paris"}`. `head` is a pattern with groups `name` and
    perhaps `id`."""

    def make(symbols: Symbols, tools: Tools) -> Reader:
        form = re.compile(f"\\s*{head_of(symbols, head)}{re.escape(symbols(separator))}", re.S)
        end = symbols(tail)

        def read(body: str, final: bool) -> Calls:
            found = form.match(body)
            if found is None:
                raise Incomplete
            groups = found.groupdict()
            arguments = body[found.end() :].strip().removesuffix(end) if end else body[found.end() :]
            if not arguments.strip() and not final:
                raise Incomplete
            return [call_of(groups["name"], whole(arguments) if arguments.strip() else {}, groups.get("id") or "")]

        return _guarded(read)

    return make


def head_of(symbols: Symbols, pattern: str) -> str:
    """A pattern whose {tags} are those of the vocabulary."""
    return re.sub(r"\{\{(.+?)\}\}", lambda found: re.escape(symbols(found[1])), pattern)


def mistral(symbols: Symbols, tools: Tools) -> Reader:
    """A list of calls, or a name, perhaps an id, and arguments."""
    listed = json_calls()(symbols, tools)
    named = named_json(r"(?P<name>[^\s\[{]+?)(?:{{[CALL_ID]}}(?P<id>\w+))?", "[ARGS]")(symbols, tools)
    bare = named_json(r"(?P<name>[\w.-]+)", "")(symbols, tools)
    args = symbols("[ARGS]")

    def read(body: str, final: bool) -> Calls:
        if body.lstrip().startswith(("[{", "[ {", "[\n")):
            return listed(body, final)
        if "{" not in body and not final:
            raise Incomplete
        return named(body, final) if args in body else bare(body, final)

    return read


# ---------------------------------------------------------------- names and values between tags


def tagged_calls(function: str, parameter: str, ends: str = "") -> MakeReader:
    """XML and its like. `function` is a pattern with groups `name` and `body`, `parameter` one with `key` and `value`,
    and perhaps `type`; {{tags}} in them may be control tokens. `ends`: what the text of a whole call ends with."""

    def make(symbols: Symbols, tools: Tools) -> Reader:
        functions = re.compile(head_of(symbols, function), re.S)
        parameters = re.compile(head_of(symbols, parameter), re.S)
        types, end = Types(tools), symbols(ends)

        def read(body: str, final: bool) -> Calls:
            if end and not body.rstrip().endswith(end) and not final:
                raise Incomplete
            found = sequence(functions, body)
            return [_call(symbols, types, parameters, each["name"].strip(), each["body"]) for each in found]

        return _guarded(read)

    return make


def sequence(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """Matches one after the other with nothing but space between; raises ValueError at other text. Unlike a search, it
    takes time that grows with the text alone."""
    at, space = 0, re.compile(r"\s*")
    while (at := space.match(text, at).end()) < len(text):  # type: ignore[union-attr]
        found = pattern.match(text, at)
        if found is None or found.end() == at:
            raise ValueError("something else between tags")
        yield found
        at = found.end()


def _call(symbols: Symbols, types: Types, parameters: re.Pattern[str], name: str, body: str) -> ToolCall:
    values: dict[str, Any] = {}
    for found in sequence(parameters, body):
        key, text = symbols.text(found["key"].strip()), symbols.text(found["value"])
        kind = found.groupdict().get("type")
        values[key] = text if kind in ("true", "string") else types.value(name, key, text, typed=kind is not None)
    return call_of(name, values)


def minimax_calls(symbols: Symbols, tools: Tools) -> Reader:
    """Parameters are elements of their own names, lists have elements `item`, and each tag has a mark before it."""
    mark = symbols("]<]minimax[>[")
    types = Types(tools)
    invokes = re.compile(r'<invoke name="(?P<name>[^"]+)">(?P<body>.*?)</invoke>', re.S)
    element = re.compile(
        re.escape(mark) + r"<(?P<key>[^<>/\s]+)>(?P<value>.*?)" + re.escape(mark) + r"</(?P=key)>", re.S
    )

    def value_of(text: str, convert: Callable[[str], Any]) -> Any:
        if not element.match(text):
            return convert(symbols.text(text))
        found = list(sequence(element, text))
        inner = [(each["key"], value_of(each["value"], types.guess)) for each in found]
        return [value for _, value in inner] if all(key == "item" for key, _ in inner) else dict(inner)

    def read(body: str, final: bool) -> Calls:
        calls = []
        for found in sequence(
            invokes, body.replace(mark + "<invoke", "<invoke").replace(mark + "</invoke", "</invoke")
        ):
            values = {
                each["key"]: value_of(each["value"], partial(types.value, found["name"], each["key"]))
                for each in sequence(element, found["body"])
            }
            calls.append(call_of(found["name"], values))
        return calls

    return _guarded(read)


# ---------------------------------------------------------------- other notations


def python_calls(symbols: Symbols, tools: Tools) -> Reader:
    """`[get_weather(city="Paris", days=3)]`: read, never run."""
    listed = json_calls()(symbols, tools)

    def read(body: str, final: bool) -> Calls:
        text = body.strip()
        if text.startswith(("{", "[{")):
            return listed(body, final)
        tree = ast.parse(text if text.startswith("[") else f"[{text}]", mode="eval").body
        if not isinstance(tree, ast.List):
            return None
        return [_python_call(node) for node in tree.elts]

    return _guarded(read)


def bare_python_calls(_: Symbols, tools: Tools) -> Reader:
    """The same where no tag tells calls from text: the list begins with the name of a tool, and has others of them."""
    names = Types(tools).names
    begins = re.compile(rf"\[\s*(?:{'|'.join(map(re.escape, sorted(names)))})\s*\(")

    def parse(text: str) -> ast.expr:
        try:
            return ast.parse(text, mode="eval").body
        except SyntaxError:
            raise Incomplete from None

    def read(body: str, final: bool) -> Calls:
        if not names or not begins.match(body):
            return None
        tree = parse(body)
        if not isinstance(tree, ast.List):
            return None
        calls = [_python_call(node) for node in tree.elts]
        return calls if names.issuperset(call.name for call in calls) else None

    return _guarded(read)


def _python_call(node: ast.expr) -> ToolCall:
    if not isinstance(node, ast.Call) or node.args:
        raise ValueError("not a call with named arguments")
    values = {word.arg: python_value(word.value) for word in node.keywords if word.arg}
    if len(values) != len(node.keywords):
        raise ValueError("an argument has no name")
    return call_of(ast.unparse(node.func), values)


def gemma_calls(symbols: Symbols, tools: Tools) -> Reader:
    """`call:get_weather{city:<|"|>Paris<|"|>,days:3}`: JSON with bare keys, and quotes of its own around texts."""
    quote = symbols('<|"|>')
    text_form = re.compile(re.escape(quote) + f"(.*?){re.escape(quote)}" + r"|(\"(?:[^\"\\]|\\.)*\")", re.S)
    scalar = re.compile(r"[^,\]}]+")
    key_form = re.compile(r"\s*([^:{}\[\],]+?)\s*:")

    class Scan:
        def __init__(self, text: str) -> None:
            self.text, self.at = text, 0

        def skip(self) -> str:
            while self.text[self.at : self.at + 1].isspace():
                self.at += 1
            return self.text[self.at : self.at + 1]

        def take(self, expected: str) -> bool:
            if self.skip() != expected:
                return False
            self.at += 1
            return True

        def value(self, depth: int = 0) -> Any:
            if depth > 64:
                raise ValueError("nested too deep")
            if self.take("{"):
                return self.mapping(depth)
            if self.take("["):
                items: list[Any] = []
                while not self.take("]"):
                    items.append(self.value(depth + 1))
                    if not self.take(",") and self.skip() != "]":
                        raise ValueError("no end of a list")
                return items
            self.skip()
            if found := text_form.match(self.text, self.at):
                self.at = found.end()
                return symbols.text(found[1]) if found[1] is not None else json.loads(found[2])
            if not (found := scalar.match(self.text, self.at)):
                raise ValueError("no value")
            self.at = found.end()
            return Types.guess(symbols.text(found[0].strip()))

        def mapping(self, depth: int) -> dict[str, Any]:
            values: dict[str, Any] = {}
            while not self.take("}"):
                self.skip()
                if key := text_form.match(self.text, self.at):
                    self.at = key.end()
                    name = key[1] if key[1] is not None else json.loads(key[2])
                    if not self.take(":"):
                        raise ValueError("no value of a key")
                elif key := key_form.match(self.text, self.at):
                    self.at, name = key.end(), key[1]
                else:
                    raise ValueError("no key")
                values[symbols.text(name)] = self.value(depth + 1)
                if not self.take(",") and self.skip() != "}":
                    raise ValueError("no end of a mapping")
            return values

    def read(body: str, final: bool) -> Calls:
        calls, scan = [], Scan(body)
        while scan.skip():
            head = re.compile(r"(?:call:)?\s*([^\s{]+)\s*\{").match(body, scan.at)
            if not head:
                return None
            scan.at = head.end()
            calls.append(call_of(head[1], scan.mapping(0)))
        return calls

    return _guarded(read)
