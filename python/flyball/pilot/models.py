"""Whom the agents ask: a model in this process or a server. stub.py replays what these answered."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ..constraints.constraint import Constraint
from ..engine.model import Model
from ..engine.options import GenerateKeywords
from ..engine.receipt import Receipt
from ..errors import InvalidArgument
from ..scorecard.openai_server import OpenAIServer
from ..scorecard.subjects import TEMPERATURE, TOP_P, About
from .agents import AGENTS, sha256_of
from .split import Split

Clock = Callable[[], float]


@dataclass(frozen=True)
class Question:
    """What an agent asks in a turn."""

    turn: int
    agent: str
    prompt: str
    schema: Mapping[str, Any]
    seed: int
    max_tokens: int

    @property
    def sha256(self) -> str:
        """Of all that an answer depends on."""
        return sha256_of([self.agent, self.prompt, self.schema, self.seed, self.max_tokens])


@dataclass(frozen=True)
class Reply:
    """`split`: of the time that the agent waited for it. `digest`: of its receipt, None if there is none.

    `receipt`: to be kept; a replayed answer has none of its own.
    """

    text: str
    tokens: int | None
    split: Split
    digest: str | None
    receipt: Receipt | None = None


class AgentModel(Protocol):
    """Answers questions with JSON."""

    @property
    def about(self) -> About:
        """What is known of it."""

    def ask(self, question: Question) -> Reply:
        """The answer, which depends on the question alone."""


class InProcess:
    """A model in this process. Its own counts tell what it computed; the rest is templates, grammars and Python."""

    def __init__(self, model: Model, clock: Clock = time.perf_counter) -> None:
        info = model.info
        self._model, self._clock = model, clock
        try:
            model.chat()
            self._chats = True
        except InvalidArgument:
            self._chats = False
        for agent in AGENTS:  # the first use of a grammar prepares the vocabulary, which takes seconds
            model.compile(Constraint.json_schema(agent.schema))
        note = "" if self._chats else "no chat template: asked with the plain text"
        self.about = About(info.name, info.quantization, info.n_parameters, info.fingerprint, note=note)

    def ask(self, question: Question) -> Reply:
        """In a chat of its own, without thoughts where the template has a switch for them."""
        options: GenerateKeywords = {
            "seed": question.seed,
            "temperature": TEMPERATURE,
            "top_p": TOP_P,
            "json_schema": question.schema,
        }
        start = self._clock()
        if self._chats:
            chat = self._model.chat(enable_thinking=False)
            result = chat.send(question.prompt, question.max_tokens, **options)
            text = chat.history[-1].content or ""
        else:
            result = self._model.generate(question.prompt, question.max_tokens, **options)
            text = result.text
        total = 1e3 * (self._clock() - start)
        receipt = result.receipt
        computed, _ = computed_ms(receipt)
        return Reply(text, len(result.tokens), Split.within(total, computed, 0, 0), receipt.digest, receipt)


class Server(OpenAIServer):
    """A server with OpenAI's interface. With Flyball's receipts its time is split; else all of it is the model's."""

    def ask(self, question: Question) -> Reply:
        """A request that asks for the schema."""
        answer = self.answer(question.prompt, question.seed, question.max_tokens, question.schema)
        if answer.failure:
            raise InvalidArgument(question.agent, f"cannot ask {self.about.name}: {answer.failure}")
        total, receipt = 1e3 * answer.seconds, answer.receipt
        if receipt is None:
            return Reply(answer.text, answer.tokens, Split(model=total), None)
        computed, first = computed_ms(receipt)
        queue = 1e3 * answer.first_s - first
        split = Split.within(total, computed, total - computed - max(0.0, queue), queue)
        return Reply(answer.text, answer.tokens, split, receipt.digest, receipt)


def computed_ms(receipt: Receipt) -> tuple[float, float]:
    """What a receipt says was computed, in all and up to the first token; zeros if it does not say it."""
    metrics = receipt.get("metrics")
    found = [metrics.get(name) if isinstance(metrics, dict) else None for name in ("total_ms", "first_token_ms")]
    total, first = (
        float(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e12 else 0.0
        for value in found
    )
    return total, first


def ollama_url(environment: Mapping[str, str]) -> str:
    """The address of Ollama's OpenAI interface, from OLLAMA_HOST (a name, a name with a port, an address) and
    OLLAMA_PORT."""
    host = environment.get("OLLAMA_HOST", "").strip().rstrip("/") or "127.0.0.1"
    scheme, separator, rest = host.partition("://")
    scheme, rest = (scheme, rest) if separator else ("http", host)
    port = environment.get("OLLAMA_PORT", "").strip()
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
        raise InvalidArgument("OLLAMA_PORT", f"is {port[:40]!r}, must be a port")
    has_port = rest.rpartition(":")[2].isdigit() and not rest.endswith("]")
    if has_port and port and rest.rpartition(":")[2] != port:
        raise InvalidArgument("OLLAMA_PORT", f"is {port}, but OLLAMA_HOST is {host[:80]!r}")
    if not has_port and (not separator or port):
        rest = f"{rest}:{port or 11434}"
    if rest.startswith("0.0.0.0:"):  # where a server listens is no address to ask
        rest = "127.0.0.1:" + rest.partition(":")[2]
    return f"{scheme}://{rest}"
