"""A chat whose model calls plugins: answer, calls, results, and the next answer, until one calls none.

To whoever reads it, it is one answer: the deltas of all rounds joined, without the calls that the server made itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..answers.parts import Answer as Said
from ..answers.parts import Delta, ToolCall
from ..engine.results import Result
from . import answers
from .answering import Answering, Ask, Part
from .plugin_feeds import about
from .plugins import Plan

if TYPE_CHECKING:
    from ..response_cache import CachedAnswer
    from .server import Server

_MOST_CALLS = 8  # of plugins in one answer
_MOST_TEXT = 20_000  # characters of question and answer that a guardian reads

Turns = list[dict[str, Any]]


@dataclass(frozen=True)
class Asking:
    """How the rounds of a chat are asked: `again` makes the question with these turns, of the round of this number, and
    whether it is the last one, which can call no plugin."""

    plan: Plan
    question: str
    again: Callable[[Turns, int, bool], Awaitable[Ask]]


@dataclass(frozen=True)
class _Whole:
    """What a parser gives, of all rounds."""

    answer: Said


class Rounds:
    """Reads an answer as Answering does."""

    def __init__(self, server: Server, ask: Ask, asking: Asking) -> None:
        self._server = server
        self._asking = asking
        self._current = Answering(server, ask)
        self._is_open = False
        self._said: list[Said] = []
        self._calls: list[Mapping[str, Any]] = []
        self._turns: Turns = []
        self._verdicts: list[dict[str, Any]] = []
        self._steps: list[dict[str, Any]] = []
        self._results: list[Result] = []

    @property
    def ask(self) -> Ask:
        """The last round's question."""
        return self._current.ask

    @property
    def result(self) -> Result:
        """The last round's answer."""
        return self._current.result

    @property
    def known(self) -> CachedAnswer | None:
        """What the last round's answer was before."""
        return self._current.known

    @property
    def receipt_id(self) -> str:
        """The last round's."""
        return self._current.receipt_id

    @property
    def parser(self) -> _Whole:
        """The joined answer; its calls are the client's."""
        content, thoughts = (_BETWEEN.join(filter(None, self._texts(name))) for name in _TEXTS)
        return _Whole(Said(content, thoughts, tuple(self._of_client(self._said[-1].tool_calls))))

    @property
    def usage(self) -> dict[str, Any]:
        """Tokens of all rounds."""
        each = [answers.usage([result]) for result in self._results]
        cached = sum(usage["prompt_tokens_details"]["cached_tokens"] for usage in each)
        counts = {name: sum(usage[name] for usage in each) for name in _COUNTS}
        return counts | {"prompt_tokens_details": {"cached_tokens": cached}}

    @property
    def told(self) -> dict[str, Any]:
        """Members of a response's `flyball`: each step's receipt, the calls, the turns that they made, the verdicts."""
        plugins: dict[str, Any] = {"calls": self._calls, "messages": self._turns}
        more = {"verdicts": self._verdicts, "route": self._asking.plan.route}
        return {"steps": self._steps, "plugins": plugins | {name: value for name, value in more.items() if value}}

    async def __aenter__(self) -> Rounds:
        await self._current.__aenter__()
        self._is_open = True
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._is_open:
            self._is_open = False
            await self._current.__aexit__(kind, error, trace)

    async def __aiter__(self) -> AsyncIterator[Part]:
        plan = self._asking.plan
        for number in range(1, plan.rounds + 1):
            apart = {name for name in _TEXTS if any(self._texts(name))}
            async for part in self._current:
                yield Part(part.piece, tuple(_set_apart(self._own(part.deltas), apart)))
            said = self._step()
            theirs = [call for call in said.tool_calls if call.name in plan.tools]
            if not theirs:
                break
            await self._make(said, theirs, is_last=number == plan.rounds)
            if number == plan.rounds or self._of_client(said.tool_calls):
                break
            await self._next(number, is_last=number + 1 == plan.rounds)
        if plan.guardians:
            text = self.parser.answer.content[:_MOST_TEXT]
            question = self._asking.question[-_MOST_TEXT:]
            answer = replace(about(self._current, self.result), question=question, text=text)
            self._verdicts += await self._server.plugins.judge(plan, answer)

    def _step(self) -> Said:
        """A round has ended: keep what is told of it."""
        assert self._current.parser is not None
        said = self._current.parser.answer
        self._said.append(said)
        self._results.append(self._current.result)
        self._steps.append(answers.proof(self._current))
        return said

    async def _make(self, said: Said, calls: Sequence[ToolCall], is_last: bool) -> None:
        """Make the calls, one after the other, and put them and their results among the chat's turns."""
        content = "" if self._of_client(said.tool_calls) else said.content  # else it comes with the client's own calls
        thoughts = {"reasoning_content": said.reasoning_content} if said.reasoning_content else {}
        made = [{"id": call.id, "type": "function", "function": _function(call)} for call in calls]
        self._turns.append({"role": "assistant", "content": content, **thoughts, "tool_calls": made})
        for number, call in enumerate(calls):
            bound = "rounds" if is_last else "calls of one answer" if number >= _MOST_CALLS else ""
            step = {"step": len(self._steps) - 1}
            if bound:
                most = self._asking.plan.rounds if is_last else _MOST_CALLS
                result, told = f"error: not called: {most} {bound} are the most", {"tool": call.name, "id": call.id}
                self._calls.append(told | step | {"error": result.removeprefix("error: ")})
            else:
                called = await self._server.plugins.call(self._asking.plan, call, self.ask.id)
                result = called.content
                self._calls.append({**called.told, **step})
            self._turns.append({"role": "tool", "tool_call_id": call.id, "name": call.name, "content": result})

    async def _next(self, number: int, is_last: bool) -> None:
        await self.__aexit__(None, None, None)
        self._current = Answering(self._server, await self._asking.again(list(self._turns), number, is_last))
        await self.__aenter__()

    def _own(self, deltas: Sequence[Delta]) -> list[Delta]:
        """The deltas that are the client's, whose calls count from 0."""
        found = []
        for delta in deltas:
            if delta.tool_call is None:
                found.append(delta)
            elif delta.tool_call.name not in self._asking.plan.tools:
                found.append(replace(delta, index=self._n_before(delta)))
        return found

    def _texts(self, name: str) -> list[str]:
        return [getattr(said, name) for said in self._said]

    def _n_before(self, delta: Delta) -> int:
        assert self._current.parser is not None
        before = self._current.parser.answer.tool_calls[: delta.index or 0]
        return len(self._of_client(before))

    def _of_client(self, calls: Sequence[ToolCall]) -> list[ToolCall]:
        return [call for call in calls if call.name not in self._asking.plan.tools]


_TEXTS = ("content", "reasoning_content")
_BETWEEN = "\n\n"  # what two rounds have said
_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")


def _function(call: ToolCall) -> dict[str, Any]:
    return {"name": call.name, "arguments": call.json}


def _set_apart(deltas: Sequence[Delta], names: set[str]) -> Iterator[Delta]:
    """The deltas of a round; before the first text of each kind in `names` what sets it apart from earlier rounds'."""
    for delta in deltas:
        for name in [name for name in names if getattr(delta, name)]:
            names.remove(name)
            yield Delta(_BETWEEN) if name == "content" else Delta(reasoning_content=_BETWEEN)
        yield delta
