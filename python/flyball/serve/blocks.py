"""An answer as a row of blocks: thoughts, texts and calls of tools, each begun, added to and ended in turn."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ..answers.parts import Delta, ToolCall
    from .answering import Answering

Kind = Literal["thinking", "text", "call"]
What = Literal["begin", "add", "end"]


@dataclass
class Block:
    """Consecutive parts of one kind. `call`: of a call, whose arguments are its text."""

    kind: Kind
    index: int
    call: ToolCall | None = None
    parts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All of it so far."""
        return "".join(self.parts)


@dataclass(frozen=True)
class Step:
    """A block begins, is added `text` to, or ends."""

    what: What
    block: Block
    text: str = ""


class Blocks:
    """The blocks of one answer: `async for step in Blocks(answer)`. A stream and a whole answer have the same."""

    def __init__(self, answer: Answering) -> None:
        self._answer = answer
        self.all: list[Block] = []
        self.n_thinking_tokens = 0
        self._open: Block | None = None

    async def __aiter__(self) -> AsyncIterator[Step]:
        async for part in self._answer:
            for delta in part.deltas:
                for step in self._take(delta):
                    yield step
            if part.piece is not None and part.piece.token is not None and self._open is not None:
                self.n_thinking_tokens += self._open.kind == "thinking"
        for step in self._end():
            yield step

    async def whole(self) -> list[Block]:
        """Take all steps; the blocks."""
        async for _ in self:
            pass
        return self.all

    def _take(self, delta: Delta) -> Iterator[Step]:
        call = delta.tool_call
        kind: Kind = "call" if call else "thinking" if delta.reasoning_content else "text"
        text = call.json if call else delta.reasoning_content or delta.content
        if self._open is None or self._open.kind != kind or call:
            yield from self._end()
            self._open = Block(kind, len(self.all), call)
            self.all.append(self._open)
            yield Step("begin", self._open)
        self._open.parts.append(text)
        yield Step("add", self._open, text)
        if call:
            yield from self._end()

    def _end(self) -> Iterator[Step]:
        if self._open is not None:
            yield Step("end", self._open)
            self._open = None
