"""What a format of answers is made of: the tags around thoughts and calls, or the headers of messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .parts import ToolCall
from .readers import MakeReader
from .symbols import Symbols

CONTENT, REASONING = "content", "reasoning_content"  # the parts of an answer that are text
Route = str | tuple[str]  # one of them, or the name of the tool that is called
NamedReader = Callable[[str, bool, str], list[ToolCall] | None]

_INNER = (  # control tokens inside of calls
    '<|"|>', "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "<|tool_call_argument_begin|>", "[ARGS]",
    "[CALL_ID]",
    "<｜tool▁sep｜>", "<|tool_call:name|>", "<|tool_call:args|>", "<|open|>", "<|close|>", "<|sep|>", "]<]minimax[>[",
    "｜DSML｜", "<tool_sep:opensource>", "<arg_key:opensource>", "</arg_key:opensource>", "<arg_value:opensource>",
    "</arg_value:opensource>",
)  # fmt: skip


@dataclass(frozen=True)
class Thinking:
    """The tags around thoughts."""

    open: str
    close: str


@dataclass(frozen=True)
class CallForm:
    """How a family writes calls: after `open`, up to one of `closes` at which `reader` finds them whole; `json`: they
    end where their JSON does. `first`: only where content begins. `keep_open`: `open` and close are a part of the call.
    """

    open: str
    closes: tuple[str, ...]
    reader: MakeReader
    json: bool = False
    first: bool = False
    keep_open: bool = False


@dataclass(frozen=True)
class Writing:
    """How an answer that must call tools is written, so that the format's reader finds the calls.

    call       the texts before a tool's name, between name and arguments, and after them; {{number}}: any number
    between    the text between two calls; None: an answer has one call
    around     the texts around all calls
    argument   the texts before an argument's name, between name and value, and after it; {{string}}: whether the value
               is a text. None: the arguments are JSON
    """

    call: tuple[str, str, str]
    between: str | None = ""
    around: tuple[str, str] = ("", "")
    argument: tuple[str, str, str] | None = None


@dataclass(frozen=True)
class Tagged:
    """A format of tags. `drops`: those around the text for the user; `call_drops`: those around calls; `writing`: how
    calls can be forced."""

    name: str
    calls: tuple[CallForm, ...] = ()
    thinking: tuple[Thinking, ...] = ()
    drops: tuple[str, ...] = ()
    call_drops: tuple[str, ...] = ()
    writing: Writing | None = None

    @property
    def tags(self) -> tuple[str, ...]:
        """All texts in which control tokens can stand."""
        pairs = [text for each in self.thinking for text in (each.open, each.close)]
        return (*pairs, *self.drops, *self.call_drops, *_INNER, *(t for c in self.calls for t in (c.open, *c.closes)))


@dataclass(frozen=True)
class Channels:
    """A format of messages. `delimiters`: what ends a header, what ends a message, what begins one; `marks` may stand
    in headers. `route`: where a header sends its message, None if it is none."""

    name: str
    delimiters: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
    marks: tuple[str, ...]
    route: Callable[[str, set[str]], Route | None]
    reader: Callable[[Symbols, Sequence[Mapping[str, Any]]], NamedReader]
    words: frozenset[str] = frozenset()  # what a header consists of, beside a recipient
    literal: bool = False  # what is no header is text

    @property
    def tags(self) -> tuple[str, ...]:
        """All texts in which control tokens can stand."""
        return (*(tag for each in self.delimiters for tag in each), *self.marks)
