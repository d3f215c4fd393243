"""The settings of a generation: names, defaults, and the checks that need Python's types."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, SupportsFloat, SupportsIndex, TypeAlias, TypedDict

from .. import _core
from ..constraints.constraint import Constraint, one_of
from ..errors import InvalidArgument, UnknownArgument
from .adapter import Adapter, adapter_core

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

LogitsProcessor: TypeAlias = (
    "Callable[[npt.NDArray[np.int32], npt.NDArray[np.float32]], npt.NDArray[np.float32] | None]"
)

DEFAULT_MAX_TOKENS = 512  # of an answer; the core has the same default
MAX_TOP_LOGPROBS = 128  # the core has the same bound
_TIME_BYTES = 32
_U32 = 2**32 - 1
_U64 = 2**64 - 1


class DraftSource(Protocol):
    """The part of Model that a draft model needs."""

    def _new_draft(self, context: int) -> _core.SessionCore: ...


class GenerateKeywords(TypedDict, total=False):
    """Keyword arguments that generate(), stream() and Chat take. See GenerateOptions for their meaning."""

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    seed: int | None
    stop: str | Iterable[str] | None
    stop_token_ids: Iterable[int]
    repeat_penalty: float
    repeat_window: int
    presence_penalty: float
    frequency_penalty: float
    no_repeat_ngram: int
    logit_bias: Mapping[int, float] | None
    logits_processor: LogitsProcessor | None
    constraint: Constraint | None
    json_schema: Mapping[str, Any] | str | bool | None
    grammar: str | None
    top_logprobs: int
    deadline: float | None
    ignore_eos: bool
    batch: int
    speculate: str
    draft: DraftSource | None
    adapter: Adapter | str | None
    adapter_scale: float
    template_time: str
    prefix_root: bytes
    known: Iterable[int]


@dataclass(frozen=True, kw_only=True)
class GenerateOptions:
    """Settings of one generation.

    max_tokens       maximum tokens of the answer
    temperature      0: always the likeliest token
    top_k            only the k likeliest tokens; 0: all
    top_p            only the likeliest tokens that together reach p; 1: all
    min_p            only tokens at least p times as likely as the likeliest; 0: all
    seed             the same seed draws the same tokens, whatever was generated earlier; None: a random one for each
                     answer, which Result.seed and the receipt report
    stop             text or texts; the answer ends before the first occurrence of any of them
    stop_token_ids   ids that end the answer, beside the model's own and even with ignore_eos
    repeat_penalty   divides positive and multiplies negative logits of tokens in the last `repeat_window`; 1: off
    presence_penalty   subtracted from the logit of each token that the answer has (not the prompt), -100 to 100; 0: off
    frequency_penalty  subtracted from a token's logit as many times as the answer has the token, -100 to 100; 0: off
    no_repeat_ngram  bans tokens that would repeat an n-gram of this length; 0: off
    logit_bias       token id -> number added to its logit; float("-inf") bans the token
    logits_processor   f(ids, logits), called once for each token of the answer before the other options apply: ids are
                     prompt and answer so far (int32, read only), logits (float32, shape (n_vocab,)) the function's own
                     to change, and it returns None or other logits; -inf bans a token. What it raises ends its answer
                     alone. The receipt has its name, and only with the same function can it be verified
    constraint       a Constraint: the answer's text is what it describes, or a beginning of it where something else
                     ends the answer; not with ignore_eos
    json_schema      the constraint of a JSON Schema: a mapping, or JSON text
    grammar          the constraint of a grammar in GBNF
    top_logprobs     for each token of the answer, keep this many of the likeliest tokens there (at most 128), under the
                     raw logits: before bias, penalties, temperature and the like; never changes a result
    deadline         seconds from the call after which the answer ends with stop_reason "deadline"
    ignore_eos       continue after an end-of-generation token
    batch            prompt tokens per transformer call; never changes a result
    speculate        draft tokens and verify several in one call: "auto" (if it pays), "off" or "always"; the answer is
                     the same, bit for bit
    template_time    the time that the prompt's chat template was given, for the receipt; never changes a result
    prefix_root      bytes, at most 64: cached prefixes are shared only between answers with the same; never changes a
                     result, and tells others nothing of one
    known            ids that this answer is said to begin with: checked many at a time, which is faster than computing
                     them again, and part of the answer like all its tokens; VerificationError with the position if
                     it is another answer
    draft            a smaller Model with the same vocabulary as draft model; None: prompt lookup
    adapter          an Adapter of the model; None: none; "session": that of the session, if it has one
    adapter_scale    factor of what the adapter adds; only with an Adapter
    """

    max_tokens: int = DEFAULT_MAX_TOKENS
    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    seed: int | None = 0
    stop: str | Iterable[str] | None = ()
    stop_token_ids: Iterable[int] = ()
    repeat_penalty: float = 1.0
    repeat_window: int = 64
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    no_repeat_ngram: int = 0
    logit_bias: Mapping[int, float] | None = None
    logits_processor: LogitsProcessor | None = None
    constraint: Constraint | None = None
    json_schema: Mapping[str, Any] | str | bool | None = None
    grammar: str | None = None
    top_logprobs: int = 0
    deadline: float | None = None
    ignore_eos: bool = False
    batch: int = 192
    speculate: str = "auto"
    draft: DraftSource | None = None
    adapter: Adapter | str | None = "session"
    adapter_scale: float = 1.0
    template_time: str = ""
    prefix_root: bytes = b""
    known: Iterable[int] = ()

    def one_constraint(self) -> Constraint | None:
        """The constraint, however it was given."""
        return one_of(self.constraint, self.json_schema, self.grammar)

    def for_core(self) -> dict[str, object]:
        """Validated values under the binding's names; the caller adds the draft model's session, and compiles the
        constraint."""
        if self.draft is not None and not hasattr(self.draft, "_new_draft"):
            raise InvalidArgument("draft", f"is {self.draft!r}, must be a Model or None")
        return {
            "max_tokens": integer("max_tokens", self.max_tokens, 1),
            "temperature": real("temperature", self.temperature),
            "top_k": integer("top_k", self.top_k),
            "top_p": real("top_p", self.top_p),
            "min_p": real("min_p", self.min_p),
            "seed": random_seed() if self.seed is None else integer("seed", self.seed, most=_U64),
            "stop": _stops(self.stop),
            "stop_token_ids": _token_ids("stop_token_ids", self.stop_token_ids),
            "repeat_penalty": real("repeat_penalty", self.repeat_penalty),
            "repeat_window": integer("repeat_window", self.repeat_window),
            "presence_penalty": real("presence_penalty", self.presence_penalty),
            "frequency_penalty": real("frequency_penalty", self.frequency_penalty),
            "no_repeat_ngram": integer("no_repeat_ngram", self.no_repeat_ngram),
            "logit_bias": _biases(self.logit_bias),
            "logits_processor": processor(self.logits_processor),
            "logits_processor_name": processor_name(self.logits_processor),
            "top_logprobs": integer("top_logprobs", self.top_logprobs, most=MAX_TOP_LOGPROBS),
            "ignore_eos": bool(self.ignore_eos),
            "batch": integer("batch", self.batch, 1),
            "speculate": speculation(self.speculate),
            "adapter": adapter_core(self.adapter),
            "adapter_scale": real("adapter_scale", self.adapter_scale),
            "template_time": template_time(self.template_time),
        } | circumstances(self.known, self.deadline, self.prefix_root)


def circumstances(known: Iterable[int], deadline: float | None, root: bytes) -> dict[str, object]:
    """Validated values, under the binding's names, of what may differ where one question is answered again."""
    return {
        "known": _token_ids("known", known),
        "deadline_ns": deadline_ns(deadline),
        "prefix_root": prefix_root(root),
    }


def integer(name: str, value: SupportsIndex, least: int = 0, most: int = _U32) -> int:
    """`value` as an int; raises InvalidArgument if it is none or out of range."""
    try:
        number = operator.index(value)
    except TypeError:
        raise InvalidArgument(name, f"is {value!r}, must be an integer") from None
    if not least <= number <= most:
        raise InvalidArgument(name, f"is {number}, must be from {least} to {most}")
    return number


def processor(function: LogitsProcessor | None) -> LogitsProcessor | None:
    """`function` if it can be called, else InvalidArgument."""
    if function is not None and not callable(function):
        raise InvalidArgument("logits_processor", f"is {function!r}, must be a function of (ids, logits)")
    return function


def processor_name(function: LogitsProcessor | None) -> str:
    """The name for the receipt: module and name of the function, or of the class of a callable object."""
    if function is None:
        return ""
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"[:200].encode(errors="replace").decode()


def random_seed() -> int:
    """A seed from the system's randomness: 53 bits, so that every reader of JSON keeps it exactly."""
    return int.from_bytes(os.urandom(8), "little") >> 11


def real(name: str, value: SupportsFloat) -> float:
    """`value` as a float; the core checks the range and NaN."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise InvalidArgument(name, f"is {value!r}, must be a number") from None


def utf8(name: str, text: str) -> bytes:
    """`text` as UTF-8; raises InvalidArgument for lone surrogates."""
    if not isinstance(text, str):
        raise InvalidArgument(name, f"is {type(text).__name__}, must be text")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(name, f"has no UTF-8 form: lone surrogate at character {error.start}") from None


def template_time(time: str) -> str:
    """`time` in ISO 8601, or empty; raises InvalidArgument."""
    try:
        text = time and datetime.fromisoformat(time).isoformat()
    except (TypeError, ValueError):
        text = None
    if text is None or len(text) > _TIME_BYTES:
        raise InvalidArgument("template_time", f"is {time!r}, must be a time such as 2026-11-29T18:30:00")
    return text


def prefix_root(root: bytes) -> bytes:
    """`root` if it is bytes, else InvalidArgument; the core checks the length."""
    if not isinstance(root, bytes):
        raise InvalidArgument("prefix_root", f"is {root!r}, must be bytes")
    return root


def speculation(choice: str) -> str:
    """`choice` if it is valid, else InvalidArgument."""
    if choice not in ("auto", "off", "always"):
        raise InvalidArgument("speculate", f"is {choice!r}, must be auto, off or always")
    return choice


def governor_words(governor: Mapping[str, object] | None) -> dict[str, str]:
    """Governor settings as (key, text); the core validates them."""
    return {str(key): str(value) for key, value in (governor or {}).items()}


_NAMES = dict.fromkeys(field.name for field in fields(GenerateOptions))


def make_options(max_tokens: int, options: GenerateKeywords) -> GenerateOptions:
    """GenerateOptions from keyword arguments; raises UnknownArgument for one that there is not."""
    for name in options:
        if name not in _NAMES:
            raise UnknownArgument(name, f"is not an option of an answer; there are {', '.join(_NAMES)}")
    return GenerateOptions(max_tokens=max_tokens, **options)


def _stops(stop: str | Iterable[str] | None) -> list[bytes]:
    if stop is None:
        return []
    if not isinstance(stop, Iterable):
        raise InvalidArgument("stop", f"is {stop!r}, must be text or texts")
    return [utf8("stop", text) for text in ([stop] if isinstance(stop, str) else stop)]


def _token_ids(name: str, ids: Iterable[int]) -> list[int]:
    if isinstance(ids, (str, bytes)) or not isinstance(ids, Iterable):
        raise InvalidArgument(name, f"is {ids!r}, must be a list of token ids")
    return [integer(name, token) for token in ids]  # the core checks them against the vocabulary


def _biases(biases: Mapping[int, float] | None) -> dict[int, float]:
    if biases is None:
        return {}
    if not isinstance(biases, Mapping):
        raise InvalidArgument("logit_bias", f"is {biases!r}, must map token ids to numbers")
    return {integer("logit_bias", token): real(f"logit_bias[{token}]", bias) for token, bias in biases.items()}


def deadline_ns(seconds: float | None) -> int:
    """The time on the core's clock that is so many seconds from now; 0: none."""
    if seconds is None:
        return 0
    value = real("deadline", seconds)
    if not 0 <= value <= 1e9:
        raise InvalidArgument("deadline", f"is {value}, must be from 0 to 1e9 seconds from now")
    return max(1, _core.now_ns() + int(value * 1e9))
