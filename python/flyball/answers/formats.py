"""The formats of answers, by family, and how a chat template tells which one its model has.

A template says what its model writes: the marks of the format stand in its text. A family without an entry has the tags
of thinking that its template mentions, and no calls.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from . import readers, writings
from .forms import CONTENT, REASONING, CallForm, Channels, NamedReader, Route, Tagged, Thinking
from .parser import AnswerParser, ChannelParser, TaggedParser
from .parts import ToolCall
from .readers import MakeReader, json_calls, named_json, tagged_calls
from .symbols import Symbols, Vocabulary

_THINK = Thinking("<think>", "</think>")
_THINKING = (
    _THINK,
    Thinking("[THINK]", "[/THINK]"),
    Thinking("<seed:think>", "</seed:think>"),
    Thinking("<mm:think>", "</mm:think>"),
    Thinking("<|START_THINKING|>", "<|END_THINKING|>"),
    Thinking("<|inner_prefix|>", "<|inner_suffix|>"),
    Thinking("<|channel>thought\n", "<channel|>"),
)

_NAME = r"[^\s<\ud800-\udfff]+"  # up to a tag, which may be a control token
_FUNCTION = r"<function=(?P<name>[^>\n]+)>(?P<body>.*?)</function>"
_PARAMETER = r"<parameter=(?P<key>[^>\n]+)>\n?(?P<value>.*?)\n?</parameter>(?=\s*(?:<parameter=|$))"
_XML = tagged_calls(_FUNCTION, _PARAMETER, "</function>")
_XML_CALLS = (
    CallForm("<tool_call>", ("</tool_call>",), _XML),
    CallForm("<function=", ("</function>",), _XML, keep_open=True),  # models forget the outer tag
)
_PREFIX = "(?:{{｜DSML｜}}|atem:)?"
_INVOKE = tagged_calls(
    rf'<{_PREFIX}invoke name="(?P<name>[^"]+)">(?P<body>.*?)</{_PREFIX}invoke>',
    rf'<{_PREFIX}parameter name="(?P<key>[^"]+)"(?: string="(?P<type>\w+)")?>'
    rf"(?P<value>.*?)</{_PREFIX}parameter>(?=\s*(?:<|$))",
)


def _pairs(suffix: str = "") -> MakeReader:
    separator = f"(?:{{{{<tool_sep{suffix}>}}}})?" if suffix else ""
    return tagged_calls(
        rf"\s*(?P<name>{_NAME})\s*{separator}\s*"
        rf"(?P<body>(?:{{{{<arg_key{suffix}>}}}}.*)?)\s*\Z",
        rf"{{{{<arg_key{suffix}>}}}}(?P<key>[^<\ud800-\udfff]*){{{{</arg_key{suffix}>}}}}\s*"
        rf"{{{{<arg_value{suffix}>}}}}(?P<value>.*?){{{{</arg_value{suffix}>}}}}(?=\s*(?:{{{{<arg_key{suffix}>}}}}|$))",
    )


_HARMONY_WORDS = frozenset({"assistant", "analysis", "commentary", "final", "json", "code"})


def _harmony_route(header: str, names: set[str]) -> Route | None:
    words = re.sub(r"to=\s+", "to=", header).split()
    recipient = next((word.removeprefix("to=") for word in words if word.startswith("to=")), "")
    if recipient not in ("", "user", "assistant", "final", "commentary", "analysis", "all"):
        return (recipient.removeprefix("functions."),)
    if not set(words) <= _HARMONY_WORDS | {f"to={recipient}"}:
        return None
    return REASONING if "analysis" in words else CONTENT


def _named(symbols: Symbols, tools: Sequence[Mapping[str, Any]]) -> NamedReader:
    """The body has the arguments, the header the name."""
    read = json_calls()(symbols, tools)

    def named(body: str, final: bool, name: str) -> list[ToolCall] | None:
        return read(f'{{"name": {readers.dumps(name)}, "arguments": {body.strip() or "{}"}}}', final)

    return named


def _muse_route(header: str, names: set[str]) -> Route | None:
    words = header.split()
    recipient = next((word.removeprefix("to=") for word in words if word.startswith("to=")), "user")
    if not set(words) <= {"assistant", f"to={recipient}"}:
        return None
    return REASONING if recipient == "self" else CONTENT if recipient == "user" else (recipient,)


def _muse_calls(symbols: Symbols, tools: Sequence[Mapping[str, Any]]) -> NamedReader:
    read = _INVOKE(symbols, tools)
    return lambda body, final, _: read(re.sub(r"</?atem:function_calls>", "", body), final)


def _functionary_route(header: str, names: set[str]) -> Route | None:
    name = header.strip()
    return CONTENT if name == "all" else (name,) if name in names else None


_JSON = json_calls()
_LFM = Tagged("lfm", (CallForm("<|tool_call_start|>", ("<|tool_call_end|>",), readers.python_calls),))
_HERMES = (CallForm("<tool_call>", ("</tool_call>",), _JSON),)

# What must stand in a template, and the format; the first that fits counts.
_FORMATS: tuple[tuple[tuple[str, ...], Tagged | Channels], ...] = (
    (
        ("<|channel|>", "<|message|>"),
        Channels(
            "harmony",
            (("<|message|>",), ("<|end|>", "<|call|>", "<|return|>"), ("<|start|>", "<|channel|>")),
            ("<|constrain|>",),
            _harmony_route,
            _named,
            _HARMONY_WORDS,
        ),
    ),
    (
        ("<atem:function_calls>", "<|message|>"),
        Channels(
            "muse",
            (("<|message|>",), ("<|eom|>",), ("<|start|>",)),
            (),
            _muse_route,
            _muse_calls,
            frozenset({"assistant"}),
        ),
    ),
    (
        (">>>all",),
        Channels("functionary 3.2", (("\n",), (), (">>>",)), (), _functionary_route, _named, literal=True),
    ),
    (
        ("<|tool_call>call:",),
        Tagged("gemma 4", (CallForm("<|tool_call>", ("<tool_call|>",), readers.gemma_calls),)),
    ),
    (
        ("<|open|>", "<|end_of_msg|>"),
        Tagged(
            "kimi k3",
            (
                CallForm(
                    "<|open|>call ",
                    ("<|close|>call<|sep|>",),
                    tagged_calls(
                        r'\s*tool="(?P<name>[^"]+)".*?{{<|sep|>}}(?P<body>.*)\Z',
                        r'{{<|open|>}}(?:argument key="(?P<key>[^"]*)" )?type="(?P<type>\w+)"{{<|sep|>}}(?P<value>.*?)'
                        r"{{<|close|>}}argument{{<|sep|>}}",
                    ),
                ),
            ),
            (Thinking("<|open|>think<|sep|>", "<|close|>think<|sep|>"),),
            drops=("<|open|>response<|sep|>", "<|close|>response<|sep|>", "<|close|>message<|sep|>"),
            call_drops=("<|open|>tools<|sep|>", "<|close|>tools<|sep|>"),
        ),
    ),
    (
        ("<|tool_call_argument_begin|>",),
        Tagged(
            "kimi k2",
            (
                CallForm(
                    "<|tool_call_begin|>",
                    ("<|tool_call_end|>",),
                    named_json(
                        r"(?P<id>(?:functions\.)?(?P<name>[^\s:]+)(?::\d+)?)\s*", "<|tool_call_argument_begin|>"
                    ),
                ),
            ),
            call_drops=("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
        ),
    ),
    (
        ("｜DSML｜",),
        Tagged(
            "deepseek 3.2",
            (
                CallForm("<｜DSML｜function_calls>", ("</｜DSML｜function_calls>",), _INVOKE),
                CallForm("<｜DSML｜tool_calls>", ("</｜DSML｜tool_calls>",), _INVOKE),
            ),
        ),
    ),
    (
        ("<｜tool▁call▁begin｜>",),
        Tagged(
            "deepseek",
            (
                CallForm(
                    "<｜tool▁call▁begin｜>",
                    ("<｜tool▁call▁end｜>",),
                    named_json(
                        rf"(?:function{{{{<｜tool▁sep｜>}}}})?(?P<name>{_NAME})(?:\n```json\n|{{{{<｜tool▁sep｜>}}}})",
                        "",
                        "```",
                    ),
                ),
            ),
            call_drops=("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"),
        ),
    ),
    (
        ("]<]minimax[>[",),
        Tagged(
            "minimax m3",
            (CallForm("]<]minimax[>[<tool_call>", ("]<]minimax[>[</tool_call>",), readers.minimax_calls),),
        ),
    ),
    (
        ("<minimax:tool_call>",),
        Tagged("minimax m2", (CallForm("<minimax:tool_call>", ("</minimax:tool_call>",), _INVOKE),)),
    ),
    (("<seed:tool_call>",), Tagged("seed", (CallForm("<seed:tool_call>", ("</seed:tool_call>",), _XML),))),
    (
        ("arg_key", ":opensource"),
        Tagged(
            "hunyuan 3",
            (CallForm("<tool_call:opensource>", ("</tool_call:opensource>",), _pairs(":opensource")),),
            (Thinking("<think:opensource>", "</think:opensource>"),),
            call_drops=("<tool_calls:opensource>", "</tool_calls:opensource>"),
        ),
    ),
    (("<arg_key>",), Tagged("glm", (CallForm("<tool_call>", ("</tool_call>",), _pairs()),))),
    (("<function=", "<parameter="), Tagged("qwen xml", _XML_CALLS, call_drops=("</tool_call>",))),
    (
        ('<function name="', '<param name="'),
        Tagged(
            "minicpm 5",
            (
                CallForm(
                    '<function name="',
                    ("</function>",),
                    tagged_calls(
                        r'<function name="(?P<name>[^"]+)">(?P<body>.*?)</function>',
                        r'<param name="(?P<key>[^"]+)">(?:<!\[CDATA\[)?(?P<value>.*?)(?:\]\]>)?</param>',
                        "</function>",
                    ),
                    keep_open=True,
                ),
            ),
        ),
    ),
    (
        ("<|tool_call:begin|>",),
        Tagged(
            "solar",
            (
                CallForm(
                    "<|tool_call:begin|>",
                    ("<|tool_call:end|>",),
                    named_json(rf"(?P<id>\w*)\s*{{{{<|tool_call:name|>}}}}(?P<name>{_NAME})\s*", "<|tool_call:args|>"),
                ),
            ),
            (Thinking("<|think|>", "<|end|>"),),
            drops=("<|begin|>assistant", "<|content|>", "<|end|>"),
            call_drops=("<|tool_calls|>", "<|calls|>"),
        ),
    ),
    (
        ("<function=", "</function>"),
        Tagged(
            "functionary 3.1",
            (CallForm("<function=", ("</function>",), named_json(r"(?P<name>[^\s>]+)", ">")),),
        ),
    ),
    (("<|tool_call_start|>",), _LFM),
    (("<|tool_list_start|>",), _LFM),
    (("List of tools: [",), _LFM),
    (("[TOOL_CALLS]",), Tagged("mistral", (CallForm("[TOOL_CALLS]", (), readers.mistral, json=True),))),
    (
        ("<|START_ACTION|>",),
        Tagged(
            "command",
            (CallForm("<|START_ACTION|>", ("<|END_ACTION|>",), json_calls("tool_name", ("parameters",))),),
            drops=("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>"),
        ),
    ),
    (
        ("directly-answer", "Action:"),
        Tagged(
            "command r",
            (CallForm("Action:", (), json_calls("tool_name", ("parameters",), known=True), json=True),),
            drops=("```\n",),
        ),
    ),
    (("<TOOLCALL>",), Tagged("nemotron 2", (CallForm("<TOOLCALL>", ("</TOOLCALL>",), _JSON),))),
    (
        ("<|tools_prefix|>",),
        Tagged("apertus", (CallForm("<|tools_prefix|>", ("<|tools_suffix|>",), readers.keyed_calls),)),
    ),
    (
        ("<tool_calls>",),
        Tagged(
            "tool_calls",
            (CallForm("<tool_calls>", ("</tool_calls>",), _JSON),),
            (Thinking("Here are my reasoning steps:\n", "[BEGIN FINAL RESPONSE]"),),
            drops=("[BEGIN FINAL RESPONSE]", "[END FINAL RESPONSE]"),
        ),
    ),
    (
        ("<|function_call|>",),
        Tagged("gigachat", (CallForm("<|function_call|>", (), _JSON, json=True),)),
    ),
    (
        ("function call", "<|role_sep|>"),
        Tagged(
            "gigachat", (CallForm("function call<|role_sep|>\n", (), _JSON, json=True),), drops=("<|message_sep|>",)
        ),
    ),
    (("functools[",), Tagged("firefunction", (CallForm("functools", (), _JSON, json=True),))),
    (
        ("<|tool_call|>",),
        Tagged(
            "granite 3",
            (CallForm("<|tool_call|>", (), _JSON, json=True),),
            drops=("<response>", "</response>"),
            call_drops=("<|/tool_call|>",),
        ),
    ),
    (("<tool_call>",), Tagged("hermes", _HERMES)),
    (
        ("<|python_start|>",),
        Tagged(
            "llama 4",
            (
                CallForm("{", (), json_calls(known=True), json=True, first=True, keep_open=True),
                CallForm("[", ("]",), readers.bare_python_calls, first=True, keep_open=True),
            ),
            drops=("<|python_start|>", "<|python_end|>"),
        ),
    ),
    (
        ('Respond in the format {"name": function name, "parameters"',),
        Tagged(
            "llama 3",
            (CallForm("{", (), json_calls(known=True), json=True, first=True, keep_open=True),),
            call_drops=("<|python_tag|>",),
        ),
    ),
)


@lru_cache(maxsize=64)
def format_of(template: str) -> Tagged | Channels:
    """The format of the answers of a chat template's model."""
    found = next((form for marks, form in _FORMATS if all(mark in template for mark in marks)), Tagged("plain"))
    if isinstance(found, Channels):
        return found
    thinking = tuple(each for each in _THINKING if _mentions(template, each))
    return replace(found, thinking=found.thinking + thinking, writing=writings.of(found.name, template))


def _mentions(template: str, thinking: Thinking) -> bool:
    return thinking.close in template or thinking.open.strip() in template


def make_parser(
    form: Tagged | Channels,
    prompt: Sequence[int] = (),
    tools: Iterable[Mapping[str, Any]] | None = None,
    vocabulary: Vocabulary | None = None,
    tail: str = "",
) -> AnswerParser:
    """A parser for one answer. `tail`: the end of its prompt's text."""
    if isinstance(form, Channels):
        return ChannelParser(form, prompt, tools, vocabulary, tail)
    return TaggedParser(form, prompt, tools, vocabulary, tail)
