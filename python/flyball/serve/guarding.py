"""Guardians of a server: they look at the answers of routes that name them, after those have been given.

One answer after the other, behind all that clients ask: no answer waits for its guardians. What they reject is
feedback.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import Error, InvalidArgument
from ..learn.guardians import VERDICTS, Guardian
from ..store import Feedback
from ..store.question import as_json, plain
from . import constraining, questions
from .answering import Answering, Ask
from .constraining import Form
from .failures import Failure

if TYPE_CHECKING:
    from .server import Server

ACCEPT, REJECT = VERDICTS
UNDECIDED, SKIPPED = "undecided", "skipped"
ALL = (*VERDICTS, UNDECIDED, SKIPPED)
_MOST_WAITING = 1000  # answers
_JUDGE_SECONDS = 300.0
_JUDGE_TOKENS = 512  # with thoughts, where the judge has some


@dataclass(frozen=True)
class _Answer:
    """`question`: as feedback keeps it; None: what cannot be trained on."""

    project: str
    question: str | None
    text: str
    given: Feedback


class Guarding:
    """For the event loop's thread alone. `verdicts`: by guardian, how often each of ALL was said."""

    def __init__(self, server: Server) -> None:
        self.verdicts: Counter[tuple[str, str]] = Counter()
        self._server = server
        self._due: deque[tuple[Guardian, _Answer]] = deque()
        self._task: asyncio.Task[None] | None = None

    def ended(self, answering: Answering) -> None:
        """A whole answer was given; one that was given before has been looked at."""
        routed, known = answering.ask.routed, answering.known
        if routed is None or known is not None or self._server.records.store is None:
            return
        guardians = routed.guardians
        if not guardians or (found := _answer_of(answering, routed.asked)) is None:
            return
        for guardian in guardians:
            if self._server.draining or len(self._due) >= _MOST_WAITING:
                self.verdicts[guardian.name, SKIPPED] += 1
            else:
                self._due.append((guardian, found))
        if self._due and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._work())

    async def _work(self) -> None:
        while self._due:
            guardian, answer = self._due.popleft()
            try:
                verdict, reason = await self._look(guardian, answer)
            except Exception as error:  # of a judge that is not there or fails, or a defect: no answer is judged by it
                verdict, reason = UNDECIDED, ""
                if not isinstance(error, Failure | Error | TimeoutError):
                    self._server.records.failed(error)
            self.verdicts[guardian.name, verdict] += 1
            if verdict == REJECT:
                given = replace(answer.given, voter=f"guardian:{guardian.name}", reason=reason)
                self._server.records.judged(answer.project, given)
                told = {"guardian": guardian.name, "answer": given.request_id, "why": reason}
                self._server.records.tell("GUARDIAN_REJECTED", told)

    async def _look(self, guardian: Guardian, answer: _Answer) -> tuple[str, str]:
        """The verdict, and why."""
        if not guardian.judge:
            fault = await asyncio.to_thread(guardian.fault, answer.text)
            return (REJECT if fault else ACCEPT), fault
        if self._server.draining:
            return SKIPPED, ""
        async with asyncio.timeout(_JUDGE_SECONDS):
            said, digest = await self._judge(guardian, answer)
        return (said if said in VERDICTS else UNDECIDED), f"{guardian.judge} says so in answer {digest}"

    async def _judge(self, guardian: Guardian, answer: _Answer) -> tuple[str, str]:
        """What the model says, exactly one of the words unless it is cut short; and the digest of that."""
        server = self._server
        served = await server.models.get(guardian.judge)
        question = "" if answer.question is None else plain(answer.question)
        messages = [{"role": "user", "content": guardian.asked(question, answer.text)}]
        prompt, time = await questions.chat_prompt(served, messages, {"enable_thinking": False})
        values = {"temperature": 0, "stop": [], "template_time": time}
        options = await constraining.options(values, Form("guardian", "choice", list(VERDICTS)), served, prompt)
        ask = Ask(
            served, prompt, _JUDGE_TOKENS, options, f"guardians of {answer.project}", "guardian",
            parser=lambda: served.chat.parser(prompt), priority=-questions.MOST_PRIORITY - 1, project=answer.project,
        ).with_seed(0)  # fmt: skip
        async with Answering(server, ask) as judging:
            result = await judging.whole()
            assert judging.parser is not None
            return judging.parser.answer.content.strip(), result.digest


def _answer_of(answering: Answering, asked: object) -> _Answer | None:
    """The text that the user got, with what feedback keeps of it; None: calls alone, which are no text."""
    ask, result = answering.ask, answering.result
    text = result.text
    if answering.parser is not None:
        text = answering.parser.answer.content
        if not text and answering.parser.answer.tool_calls:
            return None
    try:
        question = as_json(asked)  # type: ignore[arg-type]
    except InvalidArgument:
        question = None
    info = ask.served.model.info
    given = Feedback(
        answer_id=result.digest, request_id=ask.id, model=ask.served.name, fingerprint=info.fingerprint,
        adapter=ask.adapter, question=question, answer=text, source="guardian", rating="bad",
    )  # fmt: skip
    return _Answer(ask.project, question, text, given)
