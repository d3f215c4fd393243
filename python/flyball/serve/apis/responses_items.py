"""The input items of OpenAI's responses as chat templates take them, and their tools."""

from __future__ import annotations

from typing import Any, NoReturn

from .. import questions
from ..bodies import Body, kind

_ROLES = ("user", "system", "developer", "assistant")


def messages(body: Body) -> list[dict[str, Any]]:
    """The body's `instructions` and `input` as messages of a chat."""
    instructions, given = body.text("instructions"), body.get("input")
    plain = [] if instructions is None else [{"role": "system", "content": instructions}]
    if isinstance(given, str):
        return [*plain, {"role": "user", "content": given}]
    items = body.items("input")
    if not items:
        body.refuse("input", "must be text, or a list with at least one item")
    reader = _Reader(body)
    for number, item in enumerate(items):
        reader.take(f"input[{number}]", item)
    return plain + reader.messages


class _Reader:
    """Makes messages of items. What a model thought, said and called in a row is one message."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self.messages: list[dict[str, Any]] = []
        self._answer: dict[str, Any] | None = None  # the assistant's, as long as items add to it
        self._last = ""

    def take(self, place: str, item: object) -> None:
        """The next item."""
        if not isinstance(item, dict):
            self._body.refuse(place, f"must be an object, is {kind(item)}")
        type_of = "message" if item.get("type") is None else item["type"]
        match type_of:
            case "message":
                self._message(place, item)
            case "reasoning":
                self._reasoning(place, item)
            case "function_call":
                self._call(place, item)
            case "function_call_output":
                self._output(place, item)
            case "item_reference":
                self._body.refuse(
                    place, "refers to an item of an earlier answer: this server keeps none; send it whole"
                )
            case _:
                known = "message, function_call, function_call_output, reasoning"
                self._body.refuse(place, f"has the type {type_of!r}; this server reads {known}")
        self._last = str(type_of)

    def _of_assistant(self) -> dict[str, Any]:
        if self._answer is None:
            self._answer = {"role": "assistant", "content": ""}
            self.messages.append(self._answer)
        return self._answer

    def _message(self, place: str, item: dict[str, Any]) -> None:
        role = item.get("role")
        if role not in _ROLES:
            self._body.refuse(f"{place}.role", f"is {role!r}, must be one of {', '.join(_ROLES)}")
        text = self._texts(f"{place}.content", item.get("content"), ("input_text", "output_text", "text", "refusal"))
        if role != "assistant":
            self._answer = None
            self.messages.append({"role": role, "content": text})
            return
        if self._last == "message":  # two in a row are two
            self._answer = None
        self._of_assistant()["content"] += text

    def _reasoning(self, place: str, item: dict[str, Any]) -> None:
        """Thoughts in clear, or what is left of them; what only their author can read is left out."""
        text = ""
        for name, type_of in (("content", "reasoning_text"), ("summary", "summary_text")):
            text = text or self._texts(f"{place}.{name}", item.get(name) or [], (type_of,))
        if text:
            answer = self._of_assistant()
            answer["reasoning_content"] = answer.get("reasoning_content", "") + text

    def _call(self, place: str, item: dict[str, Any]) -> None:
        function = {"name": self._text(place, item, "name"), "arguments": self._text(place, item, "arguments")}
        call = {"id": self._text(place, item, "call_id"), "type": "function", "function": function}
        self._of_assistant().setdefault("tool_calls", []).append(call)

    def _output(self, place: str, item: dict[str, Any]) -> None:
        self._answer = None
        content = self._texts(f"{place}.output", item.get("output"), ("input_text", "output_text", "text"))
        self.messages.append({"role": "tool", "tool_call_id": self._text(place, item, "call_id"), "content": content})

    def _texts(self, place: str, content: object, types: tuple[str, ...]) -> str:
        if isinstance(content, str):
            return content
        if not isinstance(content, list):
            self._body.refuse(place, f"must be text or a list of parts, is {kind(content)}")
        return "".join(self._part(f"{place}[{number}]", part, types) for number, part in enumerate(content))

    def _part(self, place: str, part: object, types: tuple[str, ...]) -> str:
        if not isinstance(part, dict):
            self._body.refuse(place, f"must be an object, is {kind(part)}")
        if part.get("type") not in types:
            self._body.refuse(place, f"has the type {part.get('type')!r}: this server reads text alone here")
        return self._text(place, part, "refusal" if part["type"] == "refusal" else "text")

    def _text(self, place: str, item: dict[str, Any], name: str) -> str:
        if not isinstance(item.get(name), str):
            self._body.refuse(f"{place}.{name}", f"must be text, is {kind(item.get(name))}")
        return str(item[name])


def tools(body: Body) -> tuple[list[dict[str, Any]], list[str]]:
    """The functions that the model may call, and the names of tools that only OpenAI's own server has."""
    found, foreign = [], []
    for number, tool in enumerate(body.items("tools")):
        place = f"tools[{number}]"
        if not isinstance(tool, dict) or not isinstance(tool.get("type"), str):
            body.refuse(place, "must be an object with a type")
        if tool["type"] != "function":
            foreign.append(f"{place} ({tool['type'][:40]})")
            continue
        name, description, schema = (tool.get(each) for each in ("name", "description", "parameters"))
        if not isinstance(name, str):
            _refuse_tool(body, f"{place}.name", "text", name)
        if not isinstance(description, str | None):
            _refuse_tool(body, f"{place}.description", "text", description)
        if not isinstance(schema, dict | None):
            _refuse_tool(body, f"{place}.parameters", "an object", schema)
        found.append(questions.function_tool(name, description, schema))
    return found, foreign


def _refuse_tool(body: Body, place: str, wanted: str, given: object) -> NoReturn:
    body.refuse(place, f"must be {wanted}, is {kind(given)}")
