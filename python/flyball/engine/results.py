"""Results of a generation: frozen data in the core's units."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import _core
from .._cached import cached
from .._counts import GenerationCounts, SessionCounts
from ..errors import Error, InvalidArgument
from .model_file import ModelFile
from .receipt import Receipt

if TYPE_CHECKING:
    from .._core import GenerationCore


@dataclass(frozen=True)
class Phase:
    """Prefill or decode: number of transformer calls, tokens computed in them, cycles spent.

    A call shared by several sequences is charged to each by its share of the tokens. `matrix_cycles` (products with
    weights) and `attention_cycles` are parts of `cycles`; the rest is norms, rotations and activations.
    """

    calls: int
    tokens: int
    cycles: int
    matrix_cycles: int
    attention_cycles: int
    cycles_per_second: int = field(repr=False)

    @property
    def cycles_per_token(self) -> float | None:
        """None if no token was computed."""
        return self.cycles / self.tokens if self.tokens else None

    @property
    def tokens_per_second(self) -> float | None:
        """None if no token was computed."""
        return self.tokens * self.cycles_per_second / self.cycles if self.tokens and self.cycles else None

    @property
    def seconds(self) -> float:
        """Cycles over the calibrated frequency of the time-stamp counter."""
        return self.cycles / self.cycles_per_second

    def as_dict(self) -> dict[str, float | int | None]:
        """For JSON."""
        return {
            "calls": self.calls,
            "tokens": self.tokens,
            "cycles": self.cycles,
            "matrix_cycles": self.matrix_cycles,
            "attention_cycles": self.attention_cycles,
            "cycles_per_token": self.cycles_per_token,
            "tokens_per_second": self.tokens_per_second,
        }


@dataclass(frozen=True)
class Speculation:
    """Speculative decoding: decode calls that verified draft tokens, tokens drafted, tokens accepted."""

    calls: int
    drafted: int
    accepted: int

    @property
    def acceptance(self) -> float | None:
        """Share of accepted draft tokens; None if there were none."""
        return self.accepted / self.drafted if self.drafted else None

    def as_dict(self) -> dict[str, float | int | None]:
        """For JSON."""
        return {
            "calls": self.calls,
            "drafted": self.drafted,
            "accepted": self.accepted,
            "acceptance": self.acceptance,
        }


@dataclass(frozen=True)
class Metrics:
    """One generation, counted in cycles of the time-stamp counter (contract 2).

    `cached_tokens` of the prompt were not computed: they were in the session's cache or, `shared_tokens` of them, in
    the model's prefix cache.
    """

    prefill: Phase
    decode: Phase
    speculation: Speculation
    sample_cycles: int
    prompt_tokens: int
    cached_tokens: int
    shared_tokens: int
    generated_tokens: int
    first_token_cycles: int
    total_cycles: int
    cycles_per_second: int

    @classmethod
    def from_counts(cls, counts: GenerationCounts, cycles_per_second: int) -> Metrics:
        """From the core's numbers."""
        return cls(
            prefill=Phase(**counts["prefill"], cycles_per_second=cycles_per_second),
            decode=Phase(**counts["decode"], cycles_per_second=cycles_per_second),
            speculation=Speculation(**counts["speculation"]),
            sample_cycles=counts["sample_cycles"],
            prompt_tokens=counts["prompt_tokens"],
            cached_tokens=counts["cached_tokens"],
            shared_tokens=counts["shared_tokens"],
            generated_tokens=counts["generated_tokens"],
            first_token_cycles=counts["first_token_cycles"],
            total_cycles=counts["total_cycles"],
            cycles_per_second=cycles_per_second,
        )

    @classmethod
    def of_nothing(cls, prompt_tokens: int, cached_tokens: int, generated_tokens: int) -> Metrics:
        """Of an answer that was not computed: lengths, and no cycles."""
        cycles_per_second = _core.cycles_per_second()
        nothing = Phase(0, 0, 0, 0, 0, cycles_per_second)
        lengths = (prompt_tokens, cached_tokens, 0, generated_tokens)
        return cls(nothing, nothing, Speculation(0, 0, 0), 0, *lengths, 0, 0, cycles_per_second)

    @property
    def first_token_ms(self) -> float:
        """Milliseconds from the start of the call to its first token; 0 if there was none."""
        return 1e3 * self.first_token_cycles / self.cycles_per_second

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "prefill": self.prefill.as_dict(),
            "decode": self.decode.as_dict(),
            "speculation": self.speculation.as_dict(),
            "sample_cycles": self.sample_cycles,
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.cached_tokens,
            "shared_tokens": self.shared_tokens,
            "generated_tokens": self.generated_tokens,
            "first_token_cycles": self.first_token_cycles,
            "first_token_ms": self.first_token_ms,
            "total_cycles": self.total_cycles,
            "cycles_per_second": self.cycles_per_second,
        }


@dataclass(frozen=True)
class SessionMetrics:
    """Totals over all generations of a session.

    The guard ended `guard_trips` answers; `governor_decisions` counts guard's and autotune's decisions by reason.
    """

    prefill: Phase
    decode: Phase
    speculation: Speculation
    sample_cycles: int
    cache_resets: int
    generations_started: int
    generations_completed: int
    last_first_token_cycles: int
    guard_trips: int = 0
    governor_decisions: dict[str, int] = field(default_factory=dict)

    @classmethod
    def from_counts(cls, counts: SessionCounts, cycles_per_second: int) -> SessionMetrics:
        """From the core's numbers."""
        return cls(
            prefill=Phase(**counts["prefill"], cycles_per_second=cycles_per_second),
            decode=Phase(**counts["decode"], cycles_per_second=cycles_per_second),
            speculation=Speculation(**counts["speculation"]),
            sample_cycles=counts["sample_cycles"],
            cache_resets=counts["cache_resets"],
            generations_started=counts["generations_started"],
            generations_completed=counts["generations_completed"],
            last_first_token_cycles=counts["last_first_token_cycles"],
            guard_trips=counts["guard_trips"],
            governor_decisions=json.loads(counts["governor_decisions"]),
        )

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        phases = {name: getattr(self, name).as_dict() for name in ("prefill", "decode", "speculation")}
        return {f.name: getattr(self, f.name) for f in fields(self)} | phases


@dataclass(frozen=True)
class Decision:
    """A decision of the governor, after `position` tokens of the answer. See docs/reasons.md."""

    position: int
    reason_id: str
    data: dict[str, Any]


@dataclass(frozen=True)
class LastDecision:
    """A decision in or after the session's answer number `turn`, from 1."""

    turn: int
    reason_id: str
    data: dict[str, Any]


@dataclass(frozen=True)
class GovernorState:
    """A session's governor: its settings and its measured baseline.

    A plain decode step costs `rest_cycles`, plus `attention_cycles` per 1,024 tokens in the cache. The bounds on
    answers are tightened by `tightness` steps; safe mode lasts for `safe_turns_left` more answers. `last_guard_stop`:
    when the guard last ended an answer, or would have; `last_autotune`: the last change of bounds or threads, or what
    kept it. None: not yet.
    """

    settings: dict[str, str | int]
    calibrated: bool
    rest_cycles: int
    attention_cycles: int
    tightness: int
    safe_turns_left: int
    last_guard_stop: LastDecision | None = None
    last_autotune: LastDecision | None = None


@dataclass(frozen=True)
class Tuned:
    """The thread counts that Model.tune() chose.

    `candidates`: (threads, prefill, decode) in nanoseconds per prompt token and per decode step; 0: not measured, as
    the time was up. Empty if the result comes from the cache file.
    """

    threads: int
    decode_threads: int
    cached: bool
    seconds: float
    probes: int
    candidates: list[tuple[int, int, int]]


class TopLogprob(NamedTuple):
    """One of the likeliest tokens at a position: its id, its text (control tokens too), its natural-log probability.

    Probabilities are those under the raw logits: before bias, penalties, temperature and the like. A text that is not
    UTF-8 by itself has U+FFFD; Model.detokenize_bytes([token], special=True) has the bytes.
    """

    token: int
    text: str
    logprob: float


@dataclass(frozen=True)
class Piece:
    """One step of a stream. `text` has only whole characters and may be empty; the last piece may have no token.

    `top_logprobs`: the likeliest tokens where `token` was chosen, best first, as many as asked for.
    """

    text: str
    token: int | None
    logprob: float
    top_logprobs: tuple[TopLogprob, ...] = ()


def make_piece(core: GenerationCore, token: int | None, logprob: float, text: str) -> Piece:
    """The Piece of a generation's last step."""
    top = core.top_logprobs(core.n_tokens - 1) if token is not None and core.n_top_logprobs else ()
    return Piece(text, token, logprob, tuple(map(TopLogprob._make, top)))


@dataclass(frozen=True)
class Score:
    """How likely a model finds a text: `logprobs[i]` is the natural-log probability of `tokens[i + 1]` after the tokens
    before it, under the raw logits. The first token follows nothing and has none.

    `top_logprobs[i]`: the likeliest tokens in the place of `tokens[i + 1]`, best first; () if none were asked for.
    """

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    top_logprobs: tuple[tuple[TopLogprob, ...], ...]

    @property
    def total(self) -> float:
        """The natural-log probability of the text after its first token: the sum of `logprobs`, rounded once."""
        return math.fsum(self.logprobs)

    @property
    def perplexity(self) -> float:
        """exp of the mean negative log-probability; 1 for a text of one token."""
        return math.exp(-self.total / len(self.logprobs)) if self.logprobs else 1.0


@dataclass(frozen=True)
class Result:
    """One finished answer.

    `tokens` are the generated ids (with the token that ended the answer), `logprobs` their natural-log probabilities
    under the raw logits. `top_logprobs` has for each of `tokens` the likeliest ones in its place, best first; () if
    none were asked for. `seed` drew the tokens. `stop_reason` is eos, max_tokens, stop_string, stop_token,
    context_full, interrupted, deadline, or the governor's: budget_guard, loop_guard, memory_guard; `decisions` are
    those of the governor. `digest` and `receipt` are computed on first access; a model's first one hashes its file.
    A Result keeps neither model nor session: without the model, that first access reads the file, and raises FileError
    if it has changed.
    """

    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    stop_reason: str
    metrics: Metrics
    prompt: tuple[int, ...] = field(repr=False)
    decisions: tuple[Decision, ...]
    seed: int
    top_logprobs: tuple[tuple[TopLogprob, ...], ...] = field(repr=False)
    _draft: str | Error = field(repr=False, compare=False)  # the receipt without fingerprint and digest, or why not
    _file: ModelFile = field(repr=False, compare=False)

    @cached
    def _sealed(self) -> tuple[str, Receipt]:
        if isinstance(self._draft, Error):
            raise self._draft
        digest, receipt = _core.receipt_seal(self._draft, self._file.fingerprint())
        return digest, Receipt(receipt)

    @property
    def digest(self) -> str:
        """A SHA-256 in hexadecimal over model, settings, prompt, tokens and logits (contract 1)."""
        return self._sealed[0]

    @property
    def request_key(self) -> str:
        """A SHA-256 in hexadecimal over what was asked for: the digest's fields without the answer."""
        return self.receipt.request_key

    @property
    def receipt(self) -> Receipt:
        """What flyball.verify() needs to check the answer."""
        return self._sealed[1]

    @classmethod
    def given_again(cls, receipt: Receipt, pieces: Sequence[Piece], cached_tokens: int, file: ModelFile) -> Result:
        """The Result of an answer that is known from its receipt and pieces: nothing was computed, as its metrics say.

        `cached_tokens`: of the prompt, when the answer was computed.
        """
        drawn = [piece for piece in pieces if piece.token is not None]
        result = cls(
            text=receipt["text"],
            tokens=tuple(receipt["tokens"]),
            logprobs=tuple(piece.logprob for piece in drawn),
            stop_reason=receipt["stop"]["reason"],
            metrics=Metrics.of_nothing(len(receipt["prompt_tokens"]), cached_tokens, len(drawn)),
            prompt=tuple(receipt["prompt_tokens"]),
            decisions=(),
            seed=receipt["sampler"]["seed"],
            top_logprobs=tuple(piece.top_logprobs for piece in drawn) if any(p.top_logprobs for p in drawn) else (),
            _draft=receipt.json,
            _file=file,
        )
        result.__dict__["_sealed"] = (receipt.digest, receipt)
        return result

    def __getstate__(self) -> dict[str, object]:
        """For pickle: with the receipt, which another machine could not make."""
        return {**self.__dict__, "_sealed": self._sealed}

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class ModelInfo:
    """A model file's metadata, and how it was loaded. Sizes of layers that differ are the largest."""

    path: str
    name: str
    architecture: str
    quantization: str
    n_parameters: int
    file_bytes: int
    weight_bytes: int
    in_file_bytes: int  # of the weights, that kernels read as the file has them: in no memory of their own
    packed_copy: str  # path of the file in the cache folder that holds its packed weights; empty: they are in memory
    no_packed_copy: str = field(repr=False)  # why none was made although one was to be
    n_vocab: int
    n_embd: int
    n_layer: int
    n_head: int
    n_head_kv: int
    head_dim: int
    value_dim: int
    n_ff: int
    n_expert: int  # 0: no mixture of experts; else n_ff is each expert's width
    n_expert_used: int
    context_length: int
    sliding_window: int
    cache_heads: tuple[tuple[int, int, int], ...] = field(repr=False)  # heads of some layers, sizes of key and value
    state_bytes: int  # that a token reads and writes, of a sequence's recurrent layers; 0: there are none
    state_memory: int  # that a session holds for them: an earlier state, too, and what tokens brought since then
    tokenizer: str
    pre_tokenizer: str
    bos: int
    eos: int
    eot: int
    add_bos: bool
    add_eos: bool
    chat_template: str = field(repr=False)
    gguf_version: int
    isa: str
    threads: int
    decode_threads: int
    vocab_only: bool
    model_select_ms: float
    model_prepare_ms: float
    _source: InitVar[ModelFile | None] = None

    def __post_init__(self, source: ModelFile | None) -> None:
        object.__setattr__(self, "_source", source)

    @property
    def _file(self) -> ModelFile:
        source: ModelFile | None = self.__dict__["_source"]
        if source is None:
            raise InvalidArgument("model info", "was made without a model; ask a loaded model's info")
        return source

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal over the SHA-256 of each MiB of the file; computed on first access."""
        return self._file.fingerprint()

    def cache_bytes(self, context: int, cache_type: str = "f16") -> int:
        """Bytes of a session's keys and values for `context` tokens."""
        return sum(_core.cache_bytes(*heads, context, cache_type) for heads in self.cache_heads)

    def __getstate__(self) -> dict[str, object]:
        """For pickle: with the fingerprint, which another machine could not compute."""
        self._file.fingerprint()
        return self.__dict__
