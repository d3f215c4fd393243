"""What the user says of the last answer: kept in the store, as the server's page keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import InvalidArgument, NotFound
from .. import common
from ..serve import store_url

if TYPE_CHECKING:
    from .conversation import Conversation


def rate(conversation: Conversation, rating: str, reason: str) -> None:
    """The last answer is good or bad; the reason may be empty."""
    _keep(conversation, rating=rating, reason=common.argument_text(reason) or None)


def correct(conversation: Conversation, text: str) -> None:
    """The last answer should have been this; the conversation goes on from it."""
    if not text:
        raise InvalidArgument("/correct", "needs the right answer")
    _keep(conversation, correction=common.argument_text(text))
    conversation.chat.edit(-1, text)


def _keep(conversation: Conversation, **said: Any) -> None:
    result = conversation.last_answer()
    try:
        from ...learn.giving import feedback
    except (ModuleNotFoundError, InvalidArgument):
        raise NotFound("feedback", "needs packages that are missing: pip install 'flyball[serve]'") from None
    url = store_url(conversation.settings)
    if url is None:
        raise InvalidArgument("serve.store", "is none, or there is no home folder: feedback is kept in a store")
    asked = conversation.chat.history[:-1]
    question = [{"role": each.role, "content": each.content} for each in asked if each.content]
    feedback(result, question=question, answer=conversation.answered, source="chat", url=url, **said)
    conversation.screen.note("kept; flyball feedback lists it")
