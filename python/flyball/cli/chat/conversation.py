"""The state of a conversation in the terminal: the chat, its options, and the last answer."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ...answers.parser import AnswerParser
from ...answers.parts import ToolCall
from ...config.configuration import Setting
from ...engine.messages import Message
from ...engine.options import GenerateKeywords
from ...engine.results import Result
from ...engine.session import Stream
from ...errors import Error, InvalidArgument
from .. import common
from .remembered import Remembered
from .screen import AnswerView, Screen

if TYPE_CHECKING:
    from ...journal.journal import Journal
    from ...memory import Memory

_QUIET = ("AUTOTUNE_BASELINE_LOWERED", "POLICY_IN_FORCE")  # change nothing by themselves
_RULE = "context full: oldest turns left out until half is free; system message stays"
_SEEDS = 2**64


class Conversation:
    """What the commands read and change."""

    def __init__(self, args: argparse.Namespace, settings: Mapping[str, Setting], journal: Journal | None) -> None:
        self.settings = settings
        self.screen = Screen()
        self.progress = common.Progress()
        self.model = common.open_model(settings, self.progress, journal)
        self.options: GenerateKeywords = common.generate_keywords(settings, self.progress)
        self.max_tokens: int = settings["max_tokens"].value
        self.policy = common.open_policy(self.model, settings, self.max_tokens)
        given = common.read_text(args.template) if args.template else None
        self.template = given or self.model.info.chat_template
        system = args.system and common.argument_text(args.system)
        session = self.policy.session() if self.policy else None
        self.chat = self.model.chat(system, given, session)
        self.chat.session.set_adapter(*common.open_adapter(self.model, settings))
        self.chat.variables |= common.template_variables(args)
        if args.tools:
            self.chat.variables["tools"] = common.read_tools(args.tools)
        self.hides_thinking: bool = args.hide_thinking
        self._remembered = Remembered(self.model, settings) if args.memory else None
        self._results: list[Message] = []  # of some of the last answer's calls
        self.last: Result | None = None
        self.answered = ""  # the last answer without its thoughts
        self.verbose = False
        self.keeps_history = True
        self._rule_told = False
        if common.is_demo(settings):
            common.write(common.DEMO_NOTE + "\n")

    def memory(self) -> Memory:
        """The memory of this user; raises InvalidArgument where the conversation has none."""
        if self._remembered is None:
            raise InvalidArgument("/remember", "needs a memory: flyball chat --memory")
        return self._remembered.memory

    def answer(self, text: str) -> None:
        """Stream one answer; Ctrl-C stops it and keeps the text so far."""
        self._answer([Message("user", common.argument_text(text))])

    def give_result(self, text: str) -> None:
        """The result of the next call that has none; after the last one the model goes on."""
        calls = self._open_calls()
        self._results.append(Message("tool", common.argument_text(text), tool_call_id=calls[0].id))
        if len(calls) > 1:
            self.screen.note(f"now the result of {common.printable(calls[1].name)}")
        else:
            self._answer(self._results)

    def _open_calls(self) -> tuple[ToolCall, ...]:
        """The last answer's calls that have no result yet."""
        calls = self.chat.history[-1].tool_calls if self.chat.history else ()
        if not calls:
            raise InvalidArgument("/result", "needs an answer that calls a tool; --tools FILE tells the model of some")
        return calls[len(self._results) :]

    def _answer(self, messages: list[Message]) -> None:
        self._results = []
        sent, options, before = messages, self.options, self.chat.history
        if self._remembered is not None:
            sent, options = self._remembered.into(before, messages, options, self.screen)
        self._make_room(sent)
        try:
            stream = self.chat.stream(sent, self.max_tokens, progress=self.progress, **options)
        except KeyboardInterrupt:
            self.progress.clear()
            self.screen.note("stopped before the answer began")
            return
        parser = self.chat.parser(stream.prompt)
        self.last = self._show(stream, parser)
        self.answered = parser.answer.content or ""
        if sent is not messages:  # the history has what was said; later prompts are given what is remembered then
            self.chat.history = (*before, *messages, self.chat.history[-1])
        for call in parser.answer.tool_calls:
            self.screen.note(f"calls {common.printable(call.name)} {common.printable(call.json)}; /result TEXT answers")
        self._remarks(self.last)

    def retry(self) -> None:
        """Answer the last message again, with the next seed; the history is as before if that fails."""
        before = self.chat.history
        text = self.chat.undo()[0].content
        try:
            if not isinstance(text, str):
                raise InvalidArgument("/retry", "needs a last message of text")
            self.screen.note(self._next_seed())
            self.answer(text)
        finally:
            if len(self.chat.history) < len(before):
                self.chat.history = before

    def _next_seed(self) -> str:
        seed = self.options["seed"]
        if self.options["temperature"] == 0:
            return "temperature 0: the same answer again"
        if not isinstance(seed, int):  # None: a random one for each answer
            return "another random seed"
        self.options["seed"] = (seed + 1) % _SEEDS
        return f"seed {self.options['seed']}"

    def last_answer(self) -> Result:
        """The last answer; raises InvalidArgument if there is none."""
        if self.last is None:
            raise InvalidArgument(
                "/explain, /metrics, /receipt, /good, /bad, /correct", "need an answer; send a message first"
            )
        return self.last

    def end(self) -> None:
        """Let the policy ask the model what to change."""
        if self._remembered is not None:
            self._remembered.close()
        common.end_policy(self.policy, self.chat.session)
        self.model.close()

    def _make_room(self, messages: list[Message]) -> None:
        left_out = self.chat.make_room(messages, self.max_tokens)
        if left_out and not self._rule_told:
            self.screen.note(_RULE)
            self._rule_told = True
        elif left_out:
            self.screen.note(f"{left_out} more messages are left out")

    def _show(self, stream: Stream, parser: AnswerParser) -> Result:
        view = AnswerView(self.screen, self.hides_thinking)
        shown, stopped = 0, False
        try:
            for piece in stream:
                view.show(parser.feed(piece.token, piece.text))
                shown += len(piece.text)
        except KeyboardInterrupt:
            stopped = True
            view.show(parser.feed(None, stream.close().text[shown:]))  # a last token that came with Ctrl-C
        except Error:
            view.show(parser.finish())
            self.screen.write("\n")  # the error gets a line of its own
            raise
        view.show(parser.finish())
        self.screen.write(" (stopped)\n" if stopped else "\n", dim=True)
        return stream.result

    def _remarks(self, result: Result) -> None:
        note = self.screen.note
        if acted := [each.reason_id for each in result.decisions if each.reason_id not in _QUIET]:
            note(f"governor: {', '.join(acted)}; /explain tells why")
        if self.policy and (acted := [*self.policy.state.changed]):
            note(f"policy: {', '.join(acted)}; /explain tells why")
        if result.stop_reason in ("context_full", "max_tokens"):
            note(result.stop_reason)
        if self.verbose:
            decode, cached = result.metrics.decode, result.metrics.cached_tokens
            speed = common.rate(decode.tokens_per_second, 1)
            note(f"{len(result.prompt)} tokens of prompt, {cached} of them cached; {len(result.tokens)} of answer,"
                 f" {speed} a second; {result.stop_reason}")  # fmt: skip
