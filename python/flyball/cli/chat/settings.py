"""`/set` and `/show`: the settings of a conversation."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from ...engine.options import GenerateOptions, make_options
from ...errors import InvalidArgument
from .. import common
from .conversation import Conversation
from .quotes import unquoted

# Options that a line cannot give.
_NOT_WORDS = (
    *("adapter", "adapter_scale", "draft", "logit_bias", "logits_processor"),
    *("known", "prefix_root", "template_time"),
)
_TEXTS = ("stop", "speculate")
PARAMETERS = tuple(each.name for each in fields(GenerateOptions) if each.name not in _NOT_WORDS)
_FORMER = {"num_predict": "max_tokens", "repeat_last_n": "repeat_window"}  # as people of ollama know them


def set_(conversation: Conversation, rest: str) -> None:
    """/set WHAT [VALUE]"""
    what, _, value = rest.partition(" ")
    if what not in SET:
        raise InvalidArgument("/set", f"needs one of {', '.join(SET)}")
    SET[what](conversation, value.strip())


def set_parameter(conversation: Conversation, rest: str) -> None:
    """An option of answers: NAME VALUE."""
    name, _, word = (part.strip() for part in rest.partition(" "))
    name = _FORMER.get(name, name)
    if name == "num_ctx":
        raise InvalidArgument("num_ctx", "is fixed when the model is opened: flyball chat --ctx N")
    if name not in PARAMETERS:
        raise InvalidArgument("/set parameter", f"has no {name!r}; there are {', '.join(PARAMETERS)}")
    if not word:
        raise InvalidArgument(f"/set parameter {name}", "needs a value")
    value: Any = common.argument_text(word) if name in _TEXTS else _number(word)
    if name == "max_tokens":
        make_options(value, {}).for_core()
        conversation.max_tokens = value
    else:
        changed: Any = {name: value}
        make_options(1, changed).for_core()
        conversation.options.update(changed)


def set_system(conversation: Conversation, text: str) -> None:
    """Another system message, or none."""
    conversation.chat.system = common.argument_text(unquoted(text)) or None


def show(conversation: Conversation, what: str) -> None:
    """/show [WHAT]"""
    if what and what not in SHOW:
        raise InvalidArgument("/show", f"needs one of {', '.join(SHOW)}")
    SHOW[what or "info"](conversation)


def _number(word: str) -> Any:
    try:
        return json.loads(word)
    except ValueError:
        return word  # which the option refuses


def _set_variable(conversation: Conversation, rest: str) -> None:
    name, _, value = rest.partition(" ")
    _set_variables(conversation, common.template_variable(f"{name}={value.strip()}"))


def _set_variables(conversation: Conversation, values: dict[str, Any]) -> None:
    conversation.chat.variables |= values
    for name in values:
        if name not in conversation.template:
            conversation.screen.note(f"the chat template does not use {name}")


def _show_info(conversation: Conversation) -> None:
    info, chat = conversation.model.info, conversation.chat
    rows = [
        ("model", info.name or info.path),
        ("architecture", f"{info.architecture}, {common.count(info.n_parameters)} parameters, {info.quantization}"),
        ("context", f"{chat.session.context} tokens, {len(chat.session.tokens)} of them in use"),
        ("messages", f"{len(chat.history)}, {chat.left_out} of them left out of prompts"),
        ("computed", f"on {info.isa}, {info.threads} threads"),
    ]
    common.write_table(rows)


def _show_parameters(conversation: Conversation) -> None:
    options: Any = {"max_tokens": conversation.max_tokens, **conversation.options}
    common.write_table([(name, options[name]) for name in PARAMETERS if name in options])


def _show_messages(conversation: Conversation) -> None:
    for message in conversation.chat.history:
        conversation.screen.write(f"{message.role}: ", dim=True)
        if message.reasoning_content:
            conversation.screen.write(f"{message.reasoning_content}\n", dim=True)
        common.write(f"{message.content}\n")
        for call in message.tool_calls:
            conversation.screen.note(f"calls {common.printable(call.name)} {common.printable(call.json)}")


SET: dict[str, Callable[[Conversation, str], None]] = {
    "parameter": set_parameter,
    "system": set_system,
    "think": lambda conversation, _: _set_variables(conversation, {"enable_thinking": True}),
    "nothink": lambda conversation, _: _set_variables(conversation, {"enable_thinking": False}),
    "hide": lambda conversation, _: setattr(conversation, "hides_thinking", True),
    "unhide": lambda conversation, _: setattr(conversation, "hides_thinking", False),
    "variable": _set_variable,
    "verbose": lambda conversation, _: setattr(conversation, "verbose", True),
    "quiet": lambda conversation, _: setattr(conversation, "verbose", False),
    "history": lambda conversation, _: setattr(conversation, "keeps_history", True),
    "nohistory": lambda conversation, _: setattr(conversation, "keeps_history", False),
}
SHOW: dict[str, Callable[[Conversation], None]] = {
    "info": _show_info,
    "parameters": _show_parameters,
    "system": lambda conversation: common.write(f"{conversation.chat.system or '(none)'}\n"),
    "messages": _show_messages,
    "template": lambda conversation: common.write(f"{conversation.template}\n"),
    "variables": lambda conversation: common.write_json(conversation.chat.variables),
}
