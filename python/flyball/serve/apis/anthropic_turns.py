"""Anthropic's conversations as chat templates take them: system texts, turns of content blocks, tools."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .. import questions
from ..bodies import Body, kind

_BETWEEN = "\n"  # separate texts of a user or a system stay apart; the model's own join as they were given
_ROLES = ("user", "assistant", "system")


def messages(body: Body) -> list[dict[str, Any]]:
    """The body's `system` and `messages` as messages of OpenAI's form."""
    plain: list[dict[str, Any]] = []
    if body.has("system"):
        plain.append({"role": "system", "content": _texts(body, "system", body.get("system"))})
    turns = list(_turns(body))
    if not turns:
        body.refuse("messages", "must be a list with at least one message")
    if turns[-1][0] == "assistant":
        body.refuse("messages", "end with the assistant's: a begun answer cannot be continued; end with the user's")
    for role, blocks in turns:
        if role == "assistant":
            plain.append(_assistant(body, blocks))
        elif role == "user":
            plain += _user(body, blocks)
        else:
            plain.append({"role": "system", "content": _BETWEEN.join(_text(body, *block) for block in blocks)})
    return plain


Placed = tuple[str, dict[str, Any]]  # a block and where it is


def _turns(body: Body) -> Iterator[tuple[str, list[Placed]]]:
    """Roles and blocks. Messages of one role in a row are one turn, as Anthropic has it."""
    role, blocks = "", list[Placed]()
    for number, message in enumerate(body.items("messages")):
        place = f"messages[{number}]"
        if not isinstance(message, dict):
            body.refuse(place, f"must be an object, is {kind(message)}")
        if message.get("role") not in _ROLES:
            body.refuse(f"{place}.role", f"is {message.get('role')!r}, must be one of {', '.join(_ROLES)}")
        if role and role != message["role"]:
            yield role, blocks
            blocks = []
        role = message["role"]
        blocks += _blocks(body, f"{place}.content", message.get("content"))
    if role:
        yield role, blocks


def _blocks(body: Body, place: str, content: object) -> list[Placed]:
    """Content, which is text or a list of blocks, as blocks."""
    if isinstance(content, str):
        return [(place, {"type": "text", "text": content})]
    if not isinstance(content, list):
        body.refuse(place, f"must be text or a list of content blocks, is {kind(content)}")
    for number, block in enumerate(content):
        if not isinstance(block, dict):
            body.refuse(f"{place}[{number}]", f"must be an object, is {kind(block)}")
    return [(f"{place}[{number}]", block) for number, block in enumerate(content)]


def _texts(body: Body, place: str, content: object) -> str:
    return _BETWEEN.join(_text(body, *block) for block in _blocks(body, place, content))


def _text(body: Body, place: str, block: dict[str, Any]) -> str:
    if block.get("type") != "text":
        body.refuse(place, f"has the type {block.get('type')!r}: this server reads text alone here")
    return _member(body, place, block, "text")


def _member(body: Body, place: str, block: dict[str, Any], name: str) -> str:
    if not isinstance(block.get(name), str):
        body.refuse(f"{place}.{name}", f"must be text, is {kind(block.get(name))}")
    return str(block[name])


def _user(body: Body, blocks: list[Placed]) -> Iterator[dict[str, Any]]:
    """Results of tools, each a message of its own, and texts."""
    texts: list[str] = []
    for place, block in blocks:
        if block.get("type") != "tool_result":
            texts.append(_text(body, place, block))
            continue
        if texts:
            yield {"role": "user", "content": _BETWEEN.join(texts)}
            texts = []
        content = block.get("content")
        yield {
            "role": "tool",
            "tool_call_id": _member(body, place, block, "tool_use_id"),
            "content": "" if content is None else _texts(body, f"{place}.content", content),
        }
    if texts or not blocks:
        yield {"role": "user", "content": _BETWEEN.join(texts)}


def _assistant(body: Body, blocks: list[Placed]) -> dict[str, Any]:
    """What the model thought, said and called. Thoughts that only their author can read are left out."""
    content, thoughts, calls = "", "", []
    for place, block in blocks:
        match block.get("type"):
            case "text":
                content += _member(body, place, block, "text")
            case "thinking":
                thoughts += _member(body, place, block, "thinking")
            case "redacted_thinking":
                pass
            case "tool_use":
                calls.append(_call(body, place, block))
            case other:
                body.refuse(place, f"has the type {other!r}: this server reads text, thinking and tool_use here")
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if thoughts:
        message["reasoning_content"] = thoughts
    if calls:
        message["tool_calls"] = calls
    return message


def _call(body: Body, place: str, block: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(block.get("input", {}), dict):
        body.refuse(f"{place}.input", f"must be an object, is {kind(block['input'])}")
    function = {"name": _member(body, place, block, "name"), "arguments": block.get("input", {})}
    return {"id": _member(body, place, block, "id"), "type": "function", "function": function}


def tools(body: Body) -> tuple[list[dict[str, Any]], list[str]]:
    """The tools that the model may call, and the names of those that only Anthropic's own server has."""
    found, foreign = [], []
    for number, tool in enumerate(body.items("tools")):
        place = f"tools[{number}]"
        if not isinstance(tool, dict):
            body.refuse(place, f"must be an object, is {kind(tool)}")
        if tool.get("type") not in (None, "custom"):
            foreign.append(f"{place} ({str(tool['type'])[:40]})")
            continue
        schema = tool.get("input_schema")
        if not isinstance(schema, dict):
            body.refuse(f"{place}.input_schema", f"must be an object, is {kind(schema)}")
        description = _member(body, place, tool, "description") if tool.get("description") is not None else None
        found.append(questions.function_tool(_member(body, place, tool, "name"), description, schema))
    return found, foreign
