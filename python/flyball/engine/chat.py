"""A conversation of several turns in a model's chat template."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..constraints.constraint import one_of
from ..errors import ContextFull, InvalidArgument
from ..paths import AnyPath
from ..pickling import Unpicklable
from .handle import Progress
from .messages import Conversation, Message, now
from .options import DEFAULT_MAX_TOKENS, integer
from .results import Result
from .session import Session, Stream

if TYPE_CHECKING:
    from typing import Unpack

    from ..answers.parser import AnswerParser
    from .chat_format import ChatFormat
    from .options import GenerateKeywords

Said = str | Message | Mapping[str, Any] | Iterable[Message | Mapping[str, Any]]


_SYSTEM = ("system", "developer")  # roles of a first message that stays


class Chat(Unpicklable):
    """Messages and the session that caches them. A message's text can never become a control token.

    An answer depends on the messages of its prompt, the settings and the seed alone: it is the same, with the same
    digest, whether these messages were exchanged here, given, edited or loaded from a file.
    """

    _instead = "it has a session; save() and load() move its messages to another of Model.chat()"

    def __init__(
        self,
        session: Session,
        format: ChatFormat,
        system: str | None,
        variables: Mapping[str, Any] | None = None,
        messages: Iterable[Message | Mapping[str, Any]] = (),
    ) -> None:
        self.session = session
        self.variables = dict(variables or {})  # passed to the template
        self._format = format
        self._history: list[Message] = []
        self._left_out = 0
        self._frozen = False  # whether the time in the variables is from here
        self.history = (*([Message("system", system)] if system else []), *messages)

    @property
    def history(self) -> tuple[Message, ...]:
        """All messages so far, the system message first. Assign others to replace them (Message or mappings)."""
        return tuple(self._history)

    @history.setter
    def history(self, messages: Iterable[Message | Mapping[str, Any]]) -> None:
        self._history = [Message.of(message) for message in messages]
        self._left_out = 0

    @property
    def system(self) -> str | None:
        """The text of the system message, or None. Assign another, and the conversation goes on with it."""
        return self._history[0].content if self._first() else None

    @system.setter
    def system(self, text: str | None) -> None:
        role = self._history[0].role if self._first() else "system"
        self._history[: self._first()] = [Message.of({"role": role, "content": text})] if text else []

    @property
    def left_out(self) -> int:
        """How many messages after the system message prompts leave out (make_room)."""
        return self._left_out

    def edit(self, index: int, content: str) -> None:
        """Replace the content of a message, counted as in `history`; the others stay."""
        try:
            old = self._history[index]
        except IndexError:
            raise InvalidArgument("index", f"is {index}; there are {len(self._history)} messages") from None
        self._history[index] = Message.of(old.as_dict() | {"content": content})

    def undo(self) -> tuple[Message, ...]:
        """Remove the last user message and what follows it; gives them. Raises InvalidArgument if there is none."""
        turns = self._turns()
        if not turns:
            raise InvalidArgument("undo", "there is no user message to remove")
        removed = tuple(self._history[turns[-1] :])
        del self._history[turns[-1] :]
        self._left_out = min(self._left_out, len(self._history) - self._first())
        return removed

    def reset(self) -> None:
        """Remove all messages but the system message."""
        del self._history[self._first() :]
        self._left_out = 0
        self.session.reset()
        if self._frozen:
            self._frozen = not self.variables.pop("strftime_now", "")

    def make_room(self, text: Said, max_tokens: int = DEFAULT_MAX_TOKENS) -> int:
        """If `text` and its answer do not fit the context, leave the oldest turns out of this and later prompts.

        Room for an answer is max_tokens, at most a quarter of the context. Turns are left out until the prompt fills
        half of the context, so that the next turns find a cache that still serves. The system message and `text` stay,
        and so does the last turn where it fits. Gives the number of messages left out by this call; raises ContextFull
        if `text` alone does not fit. The history keeps all messages.
        """
        context, first = self.session.context, self._first()
        room = min(integer("max_tokens", max_tokens, 1), context // 4)
        before = self._left_out
        messages = _messages(text)
        for limit, cut in self._cuts(context, room, messages):
            self._left_out = cut - first
            if (size := len(self.prompt(messages))) <= limit:
                return self._left_out - before
        self._left_out = before
        what = f"has {size} tokens with all around it, the context holds {context}"
        raise ContextFull("message", f"{what}; choose a larger context or a shorter message")

    def _cuts(self, context: int, room: int, messages: list[Message]) -> Iterator[tuple[int, int]]:
        """Limits of a prompt in tokens, with the index of the first message to keep, in the order to try them."""
        now = self._first() + self._left_out
        later = [turn for turn in self._turns() if turn > now]
        yield context - room, now
        yield from ((context // 2, cut) for cut in later)
        yield from ((context - room, cut) for cut in later)
        results = any(message.role == "tool" for message in messages)  # whose calls must stay
        yield context - 1, (later or [now])[-1] if results else len(self._history)

    def prompt(self, text: Said) -> list[int]:
        """The token ids of the prompt that send(text) would use."""
        first = self._first()
        messages = [*self._history[:first], *self._history[first + self._left_out :], *_messages(text)]
        if "strftime_now" not in self.variables and self._format.uses_time:
            self.variables["strftime_now"], self._frozen = now(), True  # once: later prompts begin alike
        return self._format.ids(messages, **self.variables)

    def parser(self, prompt: Sequence[int]) -> AnswerParser:
        """Reads the answer to a prompt as it comes: parser.feed(piece.token, piece.text) gives deltas."""
        return self._format.parser(prompt, self.variables.get("tools"))

    def send(
        self,
        text: Said,
        max_tokens: int = DEFAULT_MAX_TOKENS,
        *,
        progress: Progress | None = None,
        **options: Unpack[GenerateKeywords],
    ) -> Result:
        """Answer the next user message, or other messages, such as results of tools. The answer is the last message of
        the history, with thoughts and calls of tools apart. After an error or Ctrl-C the history is unchanged."""
        messages = _messages(text)
        prompt = self.prompt(messages)
        result = self.session.generate(prompt, max_tokens, progress=progress, **self._completed(options, prompt))
        self._keep(messages, result)
        return result

    def stream(
        self,
        text: Said,
        max_tokens: int = DEFAULT_MAX_TOKENS,
        *,
        progress: Progress | None = None,
        **options: Unpack[GenerateKeywords],
    ) -> Stream:
        """As send(), piece by piece. The exchange joins the history when the stream ends or is closed."""
        messages = _messages(text)
        prompt = self.prompt(messages)
        stream = self.session.stream(prompt, max_tokens, progress=progress, **self._completed(options, prompt))
        stream.when_done(lambda result: self._keep(messages, result))
        return stream

    async def asend(
        self, text: Said, max_tokens: int = DEFAULT_MAX_TOKENS, **options: Unpack[GenerateKeywords]
    ) -> Result:
        """send() for asyncio, batched with all other running answers of the model."""
        messages = _messages(text)
        prompt = self.prompt(messages)
        result = await self.session.agenerate(prompt, max_tokens, **self._completed(options, prompt))
        self._keep(messages, result)
        return result

    def save(self, path: AnyPath) -> Path:
        """Write the messages and the template's variables to a JSON file; load() goes on from there."""
        return Conversation(self.history, self._left_out, self.variables).save(path)

    def load(self, path: AnyPath) -> None:
        """Replace messages and variables by a saved file's (untrusted input). On an error this chat is unchanged."""
        read = Conversation.load(path)
        self.history, self.variables = read.messages, read.variables
        self._left_out = min(read.left_out, len(self._history) - self._first())

    def _first(self) -> int:
        """The index of the first message after the system message."""
        return int(self._history[:1] != [] and self._history[0].role in _SYSTEM)

    def _turns(self) -> list[int]:
        """The indices of the user messages; a turn is one with what follows it."""
        return [index for index, message in enumerate(self._history) if message.role == "user"]

    def _completed(self, options: GenerateKeywords, prompt: list[int]) -> GenerateKeywords:
        """The options, with the time that the prompt shows, and a constraint that leaves the thoughts free."""
        given = [options.get(name) for name in ("constraint", "json_schema", "grammar")]
        if (constraint := one_of(*cast(Any, given))) is not None:
            options = options | {"constraint": self._format.constrained(constraint, prompt)}
            options |= {"json_schema": None, "grammar": None}
        if not self._format.uses_time:
            return options
        time: GenerateKeywords = {"template_time": str(self.variables["strftime_now"])}
        return time | options

    def _keep(self, messages: list[Message], result: Result) -> None:
        parser = self.parser(result.prompt)
        for token in result.tokens:
            parser.feed(token, "")
        parser.feed(None, result.text)
        parser.finish()
        self._history += [*messages, Message.of_answer(parser.answer)]


def _messages(text: Said) -> list[Message]:
    if isinstance(text, str):
        return [Message("user", text)]
    return [Message.of(each) for each in ([text] if isinstance(text, Message | Mapping) else text)]
