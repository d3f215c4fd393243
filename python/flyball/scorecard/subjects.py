"""Whom a scorecard asks: one face for a local model, a server (openai_server.py) and a scripted answerer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..engine.model import Model
from ..engine.options import GenerateKeywords
from ..engine.receipt import Receipt
from ..engine.results import Result
from ..errors import ContextFull, FileError, InvalidArgument

TEMPERATURE, TOP_P = 0.7, 0.95  # the same for all, so that a card of a model and one of its server agree


@dataclass(frozen=True)
class Answer:
    """`tokens` as whoever answered counts them, None: unknown. Seconds from the question; `receipt`: if there is one.

    `failure`: why there is no answer, such as a prompt that the context does not hold.
    """

    text: str
    tokens: int | None
    first_s: float
    seconds: float
    receipt: Receipt | None = None
    failure: str = ""


@dataclass(frozen=True)
class About:
    """What a card says of a subject; None and "": unknown."""

    name: str
    quantization: str = ""
    parameters: int | None = None
    fingerprint: str = ""
    place: str = ""  # the address of a server
    note: str = ""


@dataclass(frozen=True)
class Usage:
    """Of the process that computes: its peak memory, and the processor time that it has used so far. None: unknown."""

    peak_bytes: int | None = None
    processor_s: float | None = None


class Subject(Protocol):
    """Answers questions."""

    @property
    def about(self) -> About:
        """What is known of it."""

    def answer(self, prompt: str, seed: int, max_tokens: int) -> Answer:
        """The answer to one question, which depends on no other."""

    def usage(self) -> Usage:
        """What its process has used."""


class LocalModel:
    """A model in this process, asked as `flyball serve` asks it: the same digests."""

    def __init__(self, model: Model, clock: Callable[[], float] = time.perf_counter) -> None:
        info = model.info
        self._model, self._clock = model, clock
        try:
            model.chat()
            self._chats = True
        except InvalidArgument:
            self._chats = False
        note = "" if self._chats else "no chat template: asked with the plain text"
        self.about = About(info.name, info.quantization, info.n_parameters, info.fingerprint, note=note)

    def answer(self, prompt: str, seed: int, max_tokens: int) -> Answer:
        """A chat of one question, without thoughts where the template has a switch for them."""
        options: GenerateKeywords = {"seed": seed, "temperature": TEMPERATURE, "top_p": TOP_P}
        start = self._clock()
        first: float | None = None
        try:
            if self._chats:
                chat = self._model.chat(enable_thinking=False)
                stream = chat.stream(prompt, max_tokens, **options)
            else:
                stream = self._model.stream(prompt, max_tokens, **options)
        except ContextFull as error:
            return Answer("", 0, 0.0, 0.0, failure=str(error))
        with stream:
            for _ in stream:
                first = self._clock() - start if first is None else first
        seconds = self._clock() - start
        result: Result = stream.result
        text = (chat.history[-1].content or "") if self._chats else result.text
        return Answer(text, len(result.tokens), seconds if first is None else first, seconds, result.receipt)

    def usage(self) -> Usage:
        """Of this process, from its beginning."""
        return Usage(_peak_bytes(), time.process_time())


class Scripted:
    """Answers from a table, with the times that it is told, for tests of all that follows from answers."""

    def __init__(
        self, answers: Mapping[str, str], first_s: float = 0.1, tokens_s: float = 50.0, tokens: int = 50
    ) -> None:
        self._answers, self._first_s, self._tokens_s, self._tokens = answers, first_s, tokens_s, tokens
        self.about = About("scripted")

    def answer(self, prompt: str, seed: int, max_tokens: int) -> Answer:
        """The table's answer, or none."""
        return Answer(self._answers.get(prompt, ""), self._tokens, self._first_s, self._tokens / self._tokens_s)

    def usage(self) -> Usage:
        """Nothing computes."""
        return Usage()


def _peak_bytes() -> int:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError as error:
        raise FileError("/proc/self/status", f"cannot be read: {error.strerror or error}") from None
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM:"))
