"""`flyball chat`: a conversation in the model's own chat template."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..config.configuration import Setting
from ..engine.chat import Chat
from ..engine.options import GenerateKeywords, speculation
from ..engine.results import Result
from ..errors import ContextFull, Error, InvalidArgument
from . import common

if TYPE_CHECKING:
    from ..journal.journal import Journal

HELP = """/help            this list
/clear           forget the conversation (the system message stays)
/system TEXT     start over with this system message
/seed N          draw other tokens
/speculate [HOW] draft tokens and verify several at once: auto, off, always
/explain         what the governor and the policy decided about the last answer, and why
/metrics         counts of the last answer
/receipt FILE    write the last answer's receipt
/quit            end (also Ctrl-D); Ctrl-C stops an answer"""

_QUIET = ("AUTOTUNE_BASELINE_LOWERED", "POLICY_IN_FORCE")  # change nothing by themselves


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser("chat", help="chat with a model", description=__doc__, parents=[common.MODEL])
    parser.add_argument("--system", metavar="TEXT", help="the system message")
    parser.add_argument("--template", metavar="FILE", help="a Jinja chat template instead of the model's own")
    parser.add_argument("-n", dest="max_tokens", metavar="TOKENS", help="maximum tokens per answer (default: 512)")
    common.add_flags(parser, (*common.MODEL_FLAGS, *common.SAMPLING_FLAGS))
    common.add_journal_flags(parser)
    parser.set_defaults(run=run)


class _Conversation:
    """The state of the loop: the chat, the options, and the last answer."""

    def __init__(self, args: argparse.Namespace, settings: Mapping[str, Setting], journal: Journal | None) -> None:
        self.progress = common.Progress()
        self.model = common.open_model(settings, self.progress, journal)
        self.template = common.read_text(args.template) if args.template else None
        self.options: GenerateKeywords = common.generate_keywords(settings, self.progress)
        self.max_tokens: int = settings["max_tokens"].value
        self.policy = common.open_policy(self.model, settings, self.max_tokens)
        self.chat = self.begin(args.system)
        self.last: Result | None = None
        if common.is_demo(settings):
            common.write(common.DEMO_NOTE + "\n")

    def begin(self, system: str | None) -> Chat:
        """A new conversation."""
        session = self.policy.session() if self.policy else None
        return self.model.chat(system and common.argument_text(system), self.template, session)

    def answer(self, text: str) -> None:
        """Stream one answer; Ctrl-C stops it and keeps the text so far."""
        try:
            stream = self.chat.stream(
                common.argument_text(text), self.max_tokens, progress=self.progress, **self.options
            )
        except KeyboardInterrupt:
            self.progress.clear()
            common.write("(stopped before the answer began)\n")
            return
        try:
            for piece in stream:
                common.write(piece.text)
        except KeyboardInterrupt:
            stream.close()
            common.write(" (stopped)")
        self.last = stream.result
        common.write("\n")
        acted = [each.reason_id for each in self.last.decisions if each.reason_id not in _QUIET]
        if acted:
            common.write(f"(governor: {', '.join(acted)}; /explain tells why)\n")
        if self.policy and (acted := [*self.policy.state.changed]):
            common.write(f"(policy: {', '.join(acted)}; /explain tells why)\n")
        if self.last.stop_reason in ("context_full", "max_tokens"):
            common.write(f"({self.last.stop_reason})\n")

    def command(self, line: str) -> bool:
        """Run a line that begins with a slash; False ends the loop."""
        name, _, rest = line.partition(" ")
        rest = rest.strip()
        if name in ("/quit", "/exit"):
            return False
        if name == "/help":
            common.write(HELP + "\n")
        elif name == "/clear":
            self.chat.reset()
        elif name == "/system":
            self.chat = self.begin(rest or None)
        elif name == "/seed":
            if not rest.isdecimal():
                raise InvalidArgument("/seed", "needs a number")
            self.options["seed"] = int(rest)
        elif name == "/speculate":
            how = self.options["speculate"] = speculation(rest or self.options["speculate"])
            common.write(f"speculate {how}{', with a draft model' if self.options['draft'] else ''}\n")
        elif name == "/explain":
            self.explain()
        elif name == "/metrics":
            common.write_json(self._last_answer().metrics.as_dict())
        elif name == "/receipt":
            if not rest:
                raise InvalidArgument("/receipt", "needs a file name")
            common.write(f"{self._last_answer().receipt.save(rest)}\n")
        else:
            raise InvalidArgument(name, "is not a command; /help lists them")
        return True

    def explain(self) -> None:
        """Explain the decisions during and after the last answer, in sentences."""
        lines = common.sentences(self._last_answer())
        if self.policy:
            from ..journal.events import REASONS

            lines += [f"the policy: {REASONS[reason].meaning}" for reason in self.policy.state.last_reasons]
        common.write("\n".join(f"  {each}" for each in lines) + "\n" if lines else "no decisions\n")

    def end(self) -> None:
        """Let the policy ask the model what to change."""
        common.end_policy(self.policy, self.chat.session)
        self.model.close()

    def _last_answer(self) -> Result:
        if self.last is None:
            raise InvalidArgument("/explain, /metrics, /receipt", "need an answer; send a message first")
        return self.last


def run(args: argparse.Namespace) -> int:
    """Run the conversation until the user ends it."""
    settings = common.read_settings(args)
    with common.open_journal(args, settings) as journal:
        conversation = _Conversation(args, settings, journal)
        _talk(conversation)
        conversation.end()
    return common.SUCCESS


def _talk(conversation: _Conversation) -> None:
    """Read lines and answer them."""
    common.write("Type a message; /help lists commands.\n")
    while (line := _read_line()) is not None:
        if not line.strip():
            continue
        try:
            if line.startswith("/"):
                if not conversation.command(line.strip()):
                    break
            else:
                conversation.answer(line)
        except ContextFull as error:
            common.say_error(f"{error} (/clear starts over)")
        except Error as error:
            common.say_error(error)


def _read_line() -> str | None:
    while True:
        try:
            return input("> ")
        except EOFError:
            common.write("\n")
            return None
        except KeyboardInterrupt:
            common.write("\n(/quit or Ctrl-D ends)\n")
        except UnicodeDecodeError:
            common.say_error("the input is not UTF-8")
