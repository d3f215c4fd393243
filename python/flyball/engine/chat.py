"""A conversation of several turns in a model's chat template."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .handle import Progress
from .options import DEFAULT_MAX_TOKENS
from .results import Result
from .session import Session, Stream

if TYPE_CHECKING:
    from typing import Unpack

    from ..templates.template import ChatTemplate
    from .options import GenerateKeywords


@dataclass(frozen=True)
class Message:
    """One turn: role is system, user, assistant or tool."""

    role: str
    content: str


class Chat:
    """Messages and the session that caches them. A message's text can never become a control token."""

    def __init__(
        self, session: Session, template: ChatTemplate, system: str | None, variables: Mapping[str, Any] | None = None
    ) -> None:
        self.session = session
        self._template = template
        self._variables = dict(variables or {})
        self._history: list[Message] = [Message("system", system)] if system else []

    @property
    def history(self) -> tuple[Message, ...]:
        """All messages so far, the system message first."""
        return tuple(self._history)

    def prompt(self, text: str) -> list[int]:
        """The token ids of the prompt that send(text) would use."""
        messages = [{"role": m.role, "content": m.content} for m in [*self._history, Message("user", text)]]
        return self._template.ids(messages, **self._variables)

    def send(
        self,
        text: str,
        max_tokens: int = DEFAULT_MAX_TOKENS,
        *,
        progress: Progress | None = None,
        **options: Unpack[GenerateKeywords],
    ) -> Result:
        """Answer the next user message. After an error or Ctrl-C the history is unchanged."""
        result = self.session.generate(self.prompt(text), max_tokens, progress=progress, **options)
        self._keep(text, result)
        return result

    def stream(
        self,
        text: str,
        max_tokens: int = DEFAULT_MAX_TOKENS,
        *,
        progress: Progress | None = None,
        **options: Unpack[GenerateKeywords],
    ) -> Stream:
        """As send(), piece by piece. The exchange joins the history when the stream ends or is closed."""
        stream = self.session.stream(self.prompt(text), max_tokens, progress=progress, **options)
        stream.when_done(lambda result: self._keep(text, result))
        return stream

    async def asend(
        self, text: str, max_tokens: int = DEFAULT_MAX_TOKENS, **options: Unpack[GenerateKeywords]
    ) -> Result:
        """send() for asyncio, batched with all other running answers of the model."""
        result = await self.session.agenerate(self.prompt(text), max_tokens, **options)
        self._keep(text, result)
        return result

    def reset(self) -> None:
        """Remove all messages but the system message."""
        self._history = [message for message in self._history[:1] if message.role == "system"]
        self.session.reset()

    def _keep(self, text: str, result: Result) -> None:
        self._history += [Message("user", text), Message("assistant", result.text)]
