"""How a model converses: its chat template makes prompts of messages, and a parser makes messages of answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..errors import InvalidArgument, Unsupported, VerificationError
from ..pickling import Unpicklable

if TYPE_CHECKING:
    from ..answers.forms import Tagged
    from ..answers.parser import AnswerParser
    from ..answers.symbols import Vocabulary
    from ..constraints.constraint import Constraint
    from ..templates.adapt import MessageForm
    from ..templates.template import ChatTemplate
    from .messages import Message

_TAIL = 16  # tokens at the end of a prompt that may open the model's thoughts


class ChatFormat(Unpicklable):
    """A chat template, and the format of the answers that it is for. Made by Model.chat_format(); may be used from many
    threads."""

    _instead = "it has compiled code; Model.chat_format() makes another"

    def __init__(self, template: ChatTemplate, vocabulary: Vocabulary) -> None:
        self.template = template
        self._vocabulary = vocabulary

    @cached_property
    def _adapter(self) -> MessageForm:
        from ..templates.adapt import MessageForm

        return MessageForm(self.template)

    @property
    def uses_time(self) -> bool:
        """Whether prompts depend on the time, which the variable `strftime_now` freezes."""
        return self._adapter.uses_time

    def ids(self, messages: Iterable[Message | Mapping[str, Any]], **variables: Any) -> list[int]:
        """Token ids of a prompt. The messages get the form that the template wants: arguments of calls as mapping or as
        JSON text, thoughts under its name for them. `tools`, `enable_thinking` and the like are variables."""
        from .messages import Message

        _check(variables.get("tools"))
        return self._adapter.ids([Message.of(message).as_dict() for message in messages], **variables)

    def verify_prompt(
        self, receipt: Mapping[str, Any], messages: Iterable[Message | Mapping[str, Any]], **variables: Any
    ) -> bool:
        """Whether these messages gave a receipt's prompt, at the time that it has: True, or a VerificationError with
        the position of the first token that differs. The variables are those of the prompt, such as `tools`."""
        if time := receipt.get("template_time"):
            variables = {"strftime_now": time} | variables
        given, expected = self.ids(messages, **variables), list(receipt["prompt_tokens"])
        if given == expected:
            return True
        pairs = enumerate(zip(given, expected, strict=False))
        position = next((i for i, (a, b) in pairs if a != b), min(len(given), len(expected)))
        error = VerificationError("receipt, prompt", f"is not that of the messages, from token {position} on")
        error.position = position
        raise error

    def parser(self, prompt: Sequence[int], tools: Sequence[Mapping[str, Any]] | None = None) -> AnswerParser:
        """A parser for the answer to a prompt; `tools` as the prompt has them."""
        from ..answers.formats import format_of, make_parser

        _check(tools)
        return make_parser(format_of(self.template.source), prompt, tools, self._vocabulary, self._tail(prompt))

    def constrained(self, constraint: Constraint, prompt: Sequence[int]) -> Constraint:
        """The constraint for the answer to a prompt: it begins after the thoughts, where the model has any.

        Raises Unsupported for formats whose answers are messages with headers.
        """
        form = self._form()
        if not form.thinking or constraint.parts()[0] is not None:
            return constraint
        tail = self._tail(prompt).rstrip()
        opened = [each for each in form.thinking if tail.endswith(each.open.rstrip())]
        tags = (opened or form.thinking[:1])[-1]
        return constraint.after_thinking(tags.open, tags.close, bool(opened))

    def calls(
        self, tools: Sequence[Mapping[str, Any]], *, one: bool = False, otherwise: str | None = None
    ) -> Constraint:
        """The constraint of an answer that calls one of these tools, in the format's own writing.

        one        at most one call
        otherwise  the text of a JSON Schema: the answer may be this instead

        Raises Unsupported for formats whose calls cannot be forced, and for parameters that cannot be guaranteed.
        """
        from ..constraints.constraint import Constraint
        from .call_grammar import call_grammar

        _check(tools)
        form = self._form()
        if form.writing is None:
            raise Unsupported("tools", f"cannot be forced in the answers of this model, whose format is {form.name!r}")
        return Constraint.lark(call_grammar(form.writing, tools, self._vocabulary.controls, one, otherwise))

    def call_ends(self) -> tuple[list[int], list[str]]:
        """The tokens and the texts that end a call: with them among what ends an answer, it has one call at most. Both
        are empty where the format has none."""
        from ..answers.formats import format_of
        from ..answers.forms import Tagged

        form = format_of(self.template.source)
        if not isinstance(form, Tagged) or form.writing is None:
            return [], []
        tokens = {text: token for token, text in self._vocabulary.controls.items()}
        ending = form.writing.call[2]  # of one call; some formats have a list between their tags
        closes = dict.fromkeys(close for call in form.calls for close in call.closes if close in ending)
        if any(text in close and text != close for close in closes for text in tokens if text):
            return [], []  # partly a control token
        return [tokens[each] for each in closes if each in tokens], [each for each in closes if each not in tokens]

    def _form(self) -> Tagged:
        """The format of answers; raises Unsupported for messages with headers."""
        from ..answers.formats import format_of
        from ..answers.forms import Channels

        form = format_of(self.template.source)
        if isinstance(form, Channels):
            what = f"cannot be put into an answer in the format {form.name!r}, whose messages have headers"
            raise Unsupported("constraint", what)
        return form

    def _tail(self, prompt: Sequence[int]) -> str:
        """The end of a prompt's text, which may open the model's thoughts."""
        known = self._vocabulary
        return "".join(
            known.controls[token] if token in known.controls else known.detokenize([token]).decode("utf-8", "replace")
            for token in prompt[-_TAIL:]
        )


def _check(tools: object) -> None:
    """Raise InvalidArgument unless tools are a list of mappings, or None."""
    if tools is None or (isinstance(tools, list | tuple) and all(isinstance(tool, Mapping) for tool in tools)):
        return
    raise InvalidArgument("tools", "must be a list of mappings, each a tool as OpenAI's messages have it")
