"""Examples as token ids: exactly those that Flyball computes with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..engine.model import Model
from ..errors import Error, InvalidArgument
from .examples import Example, refuse


@dataclass(frozen=True)
class Row:
    """A prompt and answers to it, each with the token that ends it; `rejected` is the wrong one."""

    id: str
    kind: str
    weight: float
    prompt: tuple[int, ...]
    answer: tuple[int, ...] | None
    rejected: tuple[int, ...] | None

    @property
    def n_tokens(self) -> int:
        """Of the prompt with the longer answer."""
        return len(self.prompt) + max(len(self.answer or ()), len(self.rejected or ()))


class Encoder:
    """Makes rows for one model, at most `longest` tokens each."""

    def __init__(self, model: Model, longest: int) -> None:
        self._model = model
        self.longest = longest
        self._format = model.chat_format() if model.info.chat_template else None

    def rows(self, examples: Iterable[Example]) -> list[Row]:
        """Raises FormatError, which names the examples that cannot be trained on."""
        made: list[Row] = []
        wrong: list[str] = []
        for example in examples:
            try:
                made.append(self.row(example))
            except Error as error:
                wrong.append(f"{example.place}: {error}")
        refuse("", wrong)
        return made

    def row(self, example: Example) -> Row:
        """Raises InvalidArgument for texts that have the spelling of control tokens and for what is too long."""
        prompt = self.prompt(example)
        answer = None if example.answer is None else self._answer(example, prompt, "answer", example.answer)
        rejected = None if example.rejected is None else self._answer(example, prompt, "rejected", example.rejected)
        return Row(example.id, example.kind, example.weight, tuple(prompt), answer, rejected)

    def prompt(self, example: Example) -> list[int]:
        """Up to where the answer begins."""
        if isinstance(example.question, str):
            self._check("prompt", example.question)
            return self._model.tokenize(example.question)
        if self._format is None:
            raise InvalidArgument("messages", "need a chat template, which the model has not; give a prompt instead")
        for i, message in enumerate(example.question):
            self._check(f"messages[{i}].content", message["content"])
        return self._format.ids(example.question)

    def _answer(self, example: Example, prompt: list[int], name: str, text: str) -> tuple[int, ...]:
        """As the chat template goes on with the assistant's message; else the text alone, and the end of a turn."""
        self._check(name, text)
        ids = self._as_template(example, prompt, text) or [*self._model.tokenize(text, add_special=False), self._end()]
        if len(prompt) + len(ids) > self.longest:
            raise InvalidArgument(name, f"makes {len(prompt) + len(ids)} tokens of its line, more than {self.longest}")
        return tuple(ids)

    def _as_template(self, example: Example, prompt: list[int], text: str) -> list[int]:
        if self._format is None or isinstance(example.question, str):
            return []
        said = {"role": "assistant", "content": text}
        whole = self._format.ids([*example.question, said], add_generation_prompt=False)
        if whole[: len(prompt)] != prompt:  # the template writes earlier answers in another way
            return []
        ids = whole[len(prompt) :]
        ends = [i for i, token in enumerate(ids) if self._model.is_end(token)]
        return ids[: ends[0] + 1] if ends else [*ids, self._end()]

    def _end(self) -> int:
        """The token by which the model ends an answer."""
        info = self._model.info
        return info.eot if info.eot >= 0 else info.eos

    def _check(self, name: str, text: str) -> None:
        if self._model.tokenize(text, False, True) != self._model.tokenize(text, False, False):
            raise InvalidArgument(name, "has the spelling of a control token, which no text of a user may become")
