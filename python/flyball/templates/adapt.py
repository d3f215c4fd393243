"""Messages as one template wants them.

Templates disagree about messages: arguments of calls as a mapping or as JSON text, the content of a message that only
calls as empty or as none, thoughts under one of three names. What a template wants is found out by rendering small
conversations with it. What it does not want is a matter of form alone; the messages say the same.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, TypeVar

from jinja2 import Environment, meta
from jinja2.exceptions import TemplateError as JinjaError

from ..errors import Error, InvalidArgument, TemplateError
from .template import ChatTemplate

Message = Mapping[str, Any]
T = TypeVar("T")
_NAME, _KEY, _VALUE, _THOUGHT, _RESULT = "probe_name", "probe_key", "probe_value", "probe_thought", "probe_result"
_TOOL = {
    "type": "function",
    "function": {
        "name": _NAME,
        "description": "",
        "parameters": {"type": "object", "properties": {_KEY: {"type": "string", "description": ""}}, "required": []},
    },
}
_USER = {"role": "user", "content": "x"}
_THOUGHT_KEYS = ("reasoning_content", "thinking", "reasoning")
_TAGS = (("<think>", "</think>"), ("[THINK]", "[/THINK]"), ("<seed:think>", "</seed:think>"))
_ID = "abcdefghi"
# Other names of variables, and what they are in terms of ours.
_PRESERVE = {"clear_thinking": False, "keep_past_thinking": True, "preserved_thinking": True,
             "truncate_history_thinking": False}  # fmt: skip


class MessageForm:
    """What one template wants; may be used from many threads."""

    def __init__(self, template: ChatTemplate) -> None:
        self._template = template
        self._no_tools: list[Any] | None = None  # what stands for no tools

    def ids(self, messages: Sequence[Message], **variables: Any) -> list[int]:
        """Token ids of a prompt, as ChatTemplate.ids gives them, of messages in any form."""
        return self._made(self._template.ids, messages, variables)

    def render(self, messages: Sequence[Message], **variables: Any) -> str:
        """The text of a prompt, as ChatTemplate.render gives it."""
        return self._made(self._template.render, messages, variables)

    def _made(self, make: Callable[..., T], messages: Sequence[Message], variables: Mapping[str, Any]) -> T:
        adapted, names = self.messages(messages), self.variables(variables)
        if names.get("tools"):
            return make(adapted, **names)
        try:
            return make(adapted, **names | {"tools": self._no_tools})
        except TemplateError:
            if self._no_tools is not None:
                raise
            made = make(adapted, **names | {"tools": []})  # some loop over tools without a look
            self._no_tools = []
            return made

    def variables(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Variables, and with them what the template calls by another name."""
        names, asked = dict(given), self._asked
        if "functions" in asked and names.get("functions") is None:
            tools = [tool.get("function", tool) for tool in names.get("tools") or ()]
            names["functions"] = _dumps(tools, indent=4)
        if "datetime" in asked and names.get("datetime") is None:
            names["datetime"] = names.get("strftime_now") or datetime.now().isoformat(timespec="seconds")
        if isinstance(thinks := given.get("enable_thinking"), bool) and "enable_thinking" not in asked:
            if "thinking" in asked:
                names.setdefault("thinking", thinks)
            if "thinking_mode" in asked:
                names.setdefault("thinking_mode", "enabled" if thinks else "disabled")
        if isinstance(preserves := given.get("preserve_thinking"), bool):
            for name, sense in _PRESERVE.items():
                if name in asked:
                    names.setdefault(name, preserves is sense)
        return names

    def messages(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        """Messages in the form that the template wants."""
        adapted: list[dict[str, Any]] = []
        names: dict[str, str] = {}  # of the tools called so far, by the ids of the calls
        for given in self._one_by_one(messages):
            message = dict(given)
            message["content"] = _flat(message.get("content"))
            if message.get("role") == "developer" and "developer" not in self._template.source:
                message["role"] = "system"
            if message.get("tool_calls"):
                adapted += self._adapt_calls(message, names)
            elif message["content"] is None:
                message["content"] = ""
            self._adapt_thoughts(message)
            if message.get("role") == "tool":
                self._adapt_result(message, names)
            adapted.append(message)
        return adapted

    @property
    def uses_time(self) -> bool:
        """Whether a prompt may depend on the time."""
        return not self._asked.isdisjoint(("strftime_now", "datetime"))

    @cached_property
    def _asked(self) -> set[str]:
        """The variables that the template reads."""
        environment = Environment(extensions=["jinja2.ext.loopcontrols"])  # parses; never renders
        source = re.sub(r"{%-?\s*(end)?generation\s*-?%}", "", self._template.source)
        try:
            return meta.find_undeclared_variables(environment.parse(source))
        except (JinjaError, RecursionError):
            return set()

    # ---------------------------------------------------------------- calls

    def _adapt_calls(self, message: dict[str, Any], names: dict[str, str]) -> list[dict[str, Any]]:
        """Adapt a message that calls; gives one to put before it."""
        calls = message["tool_calls"]
        if not isinstance(calls, Sequence) or not all(map(_is_call, calls)):
            message["content"] = message["content"] or ""
            return []  # of another form than ours: a matter between its author and the template
        for call in calls:
            if isinstance(id := call.get("id"), str) and isinstance(name := call["function"].get("name"), str):
                names[id] = name
        form = self._call_form
        if form is None:
            spelled = [_dumps(_call(call, "mapping")["function"]) for call in calls]
            message["content"] = "\n".join([*([message["content"]] if message["content"] else []), *spelled])
            del message["tool_calls"]
            return []
        arguments, empty = form
        message["tool_calls"] = [_call(call, arguments, self._id) for call in calls]
        content, message["content"] = message["content"], message["content"] or empty
        if empty is not None or not content:
            return []
        message["content"] = None
        return [{"role": message["role"], "content": content}]

    def _adapt_result(self, message: dict[str, Any], names: dict[str, str]) -> None:
        if isinstance(id := message.get("tool_call_id"), str):
            message["tool_call_id"] = self._id(id)
            if id in names:
                message.setdefault("name", names[id])
        if not self._shows_results:
            message["role"] = "user"

    @cached_property
    def _shows_results(self) -> bool:
        """Whether the template has a place for results of tools."""
        if self._call_form is None:
            asked = [_USER, {"role": "assistant", "content": "y"}]
        else:
            asked = [_USER, self._probe_call(*self._call_form)]
        result = {"role": "tool", "content": _RESULT, "tool_call_id": _ID, "name": _NAME}
        return _RESULT in self._probe(*asked, result)

    @cached_property
    def _call_form(self) -> tuple[str, str | None] | None:
        """How arguments are given, and what stands for no content; None if the template writes no calls."""
        for arguments in ("mapping", "text"):
            for empty in ("", None):
                text = self._probe(_USER, self._probe_call(arguments, empty))
                if _NAME in text and _VALUE in text and not re.search(rf"\\\"{_KEY}|'{_KEY}': '{_VALUE}'", text):
                    return arguments, empty
        return None

    def _probe_call(self, arguments: str, content: str | None, *values: str) -> dict[str, Any]:
        functions = [{"name": _NAME, "arguments": {_KEY: value}} for value in values or (_VALUE,)]
        calls = [_call({"id": _ID, "type": "function", "function": function}, arguments) for function in functions]
        return {"role": "assistant", "content": content, "tool_calls": calls}

    def _one_by_one(self, messages: Sequence[Message]) -> Iterator[Message]:
        """The messages; if the template writes one call of each, calls on their own, each before its results."""
        at = 0
        while at < len(messages):
            message, calls = messages[at], messages[at].get("tool_calls")
            at += 1
            if not isinstance(calls, list) or len(calls) < 2 or self._writes_all:
                yield message
                continue
            results = []
            while at < len(messages) and messages[at].get("role") == "tool":
                results.append(messages[at])
                at += 1
            for call in calls:
                yield {**message, "tool_calls": [call]}
                message = {"role": message["role"], "content": ""}
                id = call.get("id") if isinstance(call, Mapping) else None
                yield from (each for each in results if id is not None and each.get("tool_call_id") == id)
                results = [each for each in results if id is None or each.get("tool_call_id") != id]
            yield from results

    @cached_property
    def _writes_all(self) -> bool:
        """Whether the template writes all calls of a message."""
        if self._call_form is None:
            return True
        text = self._probe(_USER, self._probe_call(*self._call_form, "probe_first", "probe_second"))
        return "probe_first" in text and "probe_second" in text

    def _id(self, id: str) -> str:
        """An id of nine letters and digits, where the template demands one."""
        if "length != 9" not in self._template.source or re.fullmatch("[0-9A-Za-z]{9}", id):
            return id
        return hashlib.sha256(id.encode(errors="replace")).hexdigest()[:9]

    # ---------------------------------------------------------------- thoughts

    def _adapt_thoughts(self, message: dict[str, Any]) -> None:
        thought = message.pop("reasoning_content", None)
        if not isinstance(thought, str) or not thought:
            return
        content, form = message["content"], self._thought_form
        if form in _THOUGHT_KEYS:
            message[form] = thought
            if message.get("tool_calls") and content and "both content and thinking" in self._template.source:
                message[form], message["content"] = f"{thought}\n\n{content}", ""
        elif form == "part":
            message["content"] = _thinking_part(thought, content)
        elif isinstance(form, tuple) and isinstance(content, str):
            message["content"] = f"{form[0]}\n{thought}\n{form[1]}\n\n{content}"

    @cached_property
    def _thought_form(self) -> str | tuple[str, str]:
        """The name under which the template reads thoughts, the tags that it looks for in a content, or `none`."""
        called = self._probe_call(*(self._call_form or ("mapping", "")))
        for message in ({"role": "assistant", "content": "y"}, called):
            for key in _THOUGHT_KEYS:
                if _THOUGHT in self._probe(_USER, message | {key: _THOUGHT}):
                    return key
        text = self._probe(_USER, {"role": "assistant", "content": _thinking_part(_THOUGHT, "y")})
        if _THOUGHT in text and not re.search(r"['\"]type['\"]: ['\"]thinking", text):
            return "part"
        return next((tags for tags in _TAGS if tags[1] in self._template.source), "none")

    def _probe(self, *messages: Message) -> str:
        """A conversation as text; empty if the template refuses it."""
        names = self.variables({"tools": [_TOOL], "enable_thinking": True, "add_generation_prompt": False})
        try:
            return self._template.render(messages, **names)
        except Error:
            return ""


def _is_call(call: object) -> bool:
    return isinstance(call, Mapping) and isinstance(call.get("function"), Mapping)


def _call(call: Mapping[str, Any], arguments: str, id: Any = str) -> dict[str, Any]:
    """A call with its arguments as `mapping` or `text`."""
    function = dict(call["function"])
    function["arguments"] = _arguments(function.get("arguments"), arguments)
    ids = {"id": id(call["id"])} if isinstance(call.get("id"), str) else {}
    return {**call, **ids, "function": function}


def _arguments(given: Any, form: str) -> Any:
    if form == "text":
        return given if isinstance(given, str) else _dumps(given or {})
    if not isinstance(given, str):
        return given or {}
    try:
        value = json.loads(given or "{}")
    except (ValueError, RecursionError):
        raise InvalidArgument("messages", f"have arguments of a call that are not JSON: {given[:60]!r}") from None
    if not isinstance(value, dict):
        raise InvalidArgument("messages", f"have arguments of a call that are no JSON object: {given[:60]!r}")
    return value


def _dumps(value: Any, indent: int | None = None) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, indent=indent)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument("messages", f"have tools or arguments of calls with no form in JSON: {error}") from None


def _flat(content: Any) -> Any:
    """Parts that are all text as one text; other parts are for the template to judge."""
    if not isinstance(content, Sequence) or isinstance(content, str):
        return content
    texts = [part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else None for part in content]
    return "".join(text for text in texts if text) if all(isinstance(text, str) for text in texts) else content


def _thinking_part(thought: str, content: Any) -> list[dict[str, Any]]:
    parts = [{"type": "thinking", "thinking": thought}]
    return parts + ([{"type": "text", "text": content}] if isinstance(content, str) and content else [])
