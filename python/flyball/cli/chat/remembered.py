"""What a conversation in the terminal gets of the user's memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ...config.configuration import Setting
from ...engine.messages import Message
from ...engine.options import GenerateKeywords
from ...store.store import DEFAULT_PROJECT
from ..memory import embedder_of, open_store

if TYPE_CHECKING:
    from ...engine.model import Model
    from .screen import Screen


class Remembered:
    """The memory of this machine's user, open as long as the conversation."""

    def __init__(self, model: Model, settings: Mapping[str, Setting]) -> None:
        from ...memory import Memory, StoredExamples

        self._model = model
        self._store = open_store(settings)
        project = self._store.project(DEFAULT_PROJECT)
        self.memory = Memory(project, embedder=embedder_of(settings))
        self._learns = settings["memory.learn"].value == "on"
        self._most_examples: int = settings["memory.examples"].value
        self._examples = StoredExamples(project) if self._most_examples else None
        self._most_tokens = min(settings["memory.tokens"].value, model.session().context // 4)

    def into(
        self, before: Sequence[Message], messages: list[Message], options: GenerateKeywords, screen: Screen
    ) -> tuple[list[Message], GenerateKeywords]:
        """The messages with what is remembered, and the options of their answer; says what it was."""
        from ...constraints.constraint import Constraint

        if messages[-1].role != "user":
            return messages, options
        if self._learns:
            self.memory.learn(str(messages[-1].content))
        whole = [each.as_dict() for each in (*before, *messages)]
        recalled = self.memory.recall(whole, self._count, self._most_tokens, self._examples, self._most_examples)
        if not recalled.ids:
            return messages, options
        screen.note(f"memory: {', '.join(recalled.ids)}")
        if recalled.answer is not None:
            options = options | {"constraint": Constraint.choice([recalled.answer])}
        return [Message.of(each) for each in recalled.into([each.as_dict() for each in messages])], options

    def _count(self, text: str) -> int:
        return len(self._model.tokenize(text, add_special=False))

    def close(self) -> None:
        """Close the store."""
        self._store.close()
