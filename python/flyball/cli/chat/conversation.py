"""The state of a conversation in the terminal: the chat, its options, and the last answer."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ...config.configuration import Setting
from ...engine.options import GenerateKeywords
from ...engine.results import Result
from ...engine.session import Stream
from ...errors import Error, InvalidArgument
from .. import common
from .screen import Screen, Thinking

if TYPE_CHECKING:
    from ...journal.journal import Journal

_QUIET = ("AUTOTUNE_BASELINE_LOWERED", "POLICY_IN_FORCE")  # change nothing by themselves
_RULE = "context full: oldest turns left out until half is free; system message stays"
_TAIL = 16  # tokens at the end of a prompt that may open the model's thinking
_SEEDS = 2**64


class Conversation:
    """What the commands read and change."""

    def __init__(self, args: argparse.Namespace, settings: Mapping[str, Setting], journal: Journal | None) -> None:
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
        self.last: Result | None = None
        self.verbose = False
        self.keeps_history = True
        self._rule_told = False
        if common.is_demo(settings):
            common.write(common.DEMO_NOTE + "\n")

    def answer(self, text: str) -> None:
        """Stream one answer; Ctrl-C stops it and keeps the text so far."""
        text = common.argument_text(text)
        self._make_room(text)
        try:
            stream = self.chat.stream(text, self.max_tokens, progress=self.progress, **self.options)
        except KeyboardInterrupt:
            self.progress.clear()
            self.screen.note("stopped before the answer began")
            return
        thinking = Thinking(self.model.detokenize(stream.prompt[-_TAIL:], special=True))
        self.last = self._show(stream, thinking)
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
            raise InvalidArgument("/explain, /metrics, /receipt", "need an answer; send a message first")
        return self.last

    def end(self) -> None:
        """Let the policy ask the model what to change."""
        common.end_policy(self.policy, self.chat.session)
        self.model.close()

    def _make_room(self, text: str) -> None:
        left_out = self.chat.make_room(text, self.max_tokens)
        if left_out and not self._rule_told:
            self.screen.note(_RULE)
            self._rule_told = True
        elif left_out:
            self.screen.note(f"{left_out} more messages are left out")

    def _show(self, stream: Stream, thinking: Thinking) -> Result:
        shown, stopped = 0, False
        try:
            for piece in stream:
                self._write(thinking.parts(piece.text))
                shown += len(piece.text)
        except KeyboardInterrupt:
            stopped = True
            self._write(thinking.parts(stream.close().text[shown:]))  # a last token that came with Ctrl-C
        except Error:
            self.screen.write(thinking.rest() + "\n")  # the error gets a line of its own
            raise
        self.screen.write(thinking.rest())
        self.screen.write(" (stopped)\n" if stopped else "\n", dim=True)
        return stream.result

    def _write(self, parts: Iterable[tuple[str, bool]]) -> None:
        for text, dim in parts:
            self.screen.write(text, dim)

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
