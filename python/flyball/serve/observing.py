"""What a server sees of its answers: told once of each step of an answer's life, read by metrics, status and traces.

A token costs one time in a list; all else is counted when an answer begins, gives its first token, or ends. Nothing
here grows with the number of answers: sums, distributions, and the latest few.
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .adapter_counts import AdapterCounts
from .distributions import DISTRIBUTIONS, Distribution, LastMinute, Work
from .failures import Failure

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from ..engine.results import Result
    from .answering import Answering
    from .tracing import Traces

_LATEST = 512  # answers that percentiles and shares are taken over
_DECISIONS = 20  # of the governor, that the status shows

OUTCOMES = ("finished", "canceled", "failed")
FINISH_REASONS = ("stop", "length", "abort", "error")  # vLLM's words
VERDICTS = ("verified", "mismatch", "undecided")
ORIGINS = ("own", "given", "cached")  # receipts of this server, of a client, and of answers given again
_STOPPED = ("eos", "stop_string", "stop_token")

# Why a request was refused: by its failure's code, else by its status. The set is closed, for it is a label.
_REASONS_BY_CODE = {
    "busy": "busy",
    "context_length_exceeded": "context",
    "deadline": "deadline",
    "draining": "draining",
    "out_of_memory": "memory",
    "model_not_found": "model",
    "invalid_api_key": "key",
    "host_refused": "host",
    "origin_refused": "origin",
}
_REASONS_BY_STATUS = {
    401: "key",
    403: "forbidden",
    404: "not_found",
    413: "size",
    415: "type",
    429: "busy",
    431: "size",
}
REASONS = tuple(
    dict.fromkeys([*_REASONS_BY_CODE.values(), *_REASONS_BY_STATUS.values(), "invalid", "unavailable", "defect"])
)


class Decided(NamedTuple):
    """A decision of the governor in an answer, whose receipt has that id. `time`: seconds since 1970."""

    time: float
    reason_id: str
    data: dict[str, Any]
    receipt: str
    project: str


class ModelCounts:
    """What was counted of one model's answers."""

    def __init__(self) -> None:
        self.prompt_tokens = 0  # of prompts that were computed
        self.cached_tokens = 0  # of them, found in a cache
        self.generated_tokens = 0  # of answers that have ended
        self.most_tokens = 0  # of prompt and answer together
        self.outcomes: Counter[str] = Counter()
        self.finish_reasons: Counter[str] = Counter()
        self.stop_reasons: Counter[str] = Counter()
        self.prefill = Work()
        self.decode = Work()
        self.distributions = {name: Distribution(bounds) for name, (bounds, _) in DISTRIBUTIONS.items()}


class Observer:
    """Counts of a server: for the event loop's thread alone."""

    def __init__(self) -> None:
        self.started = time.time()
        self.traces: Traces | None = None
        self.models: dict[str, ModelCounts] = {}  # by the name that they are served under
        self.adapters = AdapterCounts()
        self.refusals: Counter[str] = Counter()
        self.decisions: Counter[str] = Counter()  # of the governor, by reason
        self.verifications: Counter[tuple[str, str]] = Counter()
        self.last_minute = LastMinute()
        self.n_known_refused = 0  # kept tokens that were not the answer's
        self.first_token_seconds: deque[float] = deque(maxlen=_LATEST)
        self.latest_decisions: deque[Decided] = deque(maxlen=_DECISIONS)  # latest first
        self._latest_failed: deque[bool] = deque(maxlen=_LATEST)
        self._running: set[Answering] = set()

    @property
    def running(self) -> list[Answering]:
        """The answers that run, in the order in which they were asked for."""
        return sorted(self._running, key=lambda answering: answering.times.asked)

    def model(self, name: str) -> ModelCounts:
        """The counts of a served model."""
        if (counts := self.models.get(name)) is None:
            counts = self.models[name] = ModelCounts()
        return counts

    def begun(self, answering: Answering) -> None:
        """Its turn has come."""
        times = answering.times
        assert times.begun is not None
        self._running.add(answering)
        counts = self.model(answering.ask.served.name)
        counts.distributions["request_queue_time_seconds"].add(times.begun - times.asked)

    def first(self, answering: Answering) -> None:
        """Its first token is there."""
        times, counts = answering.times, self.model(answering.ask.served.name)
        seconds = times.tokens[0] - times.asked
        self.first_token_seconds.append(seconds)
        counts.distributions["time_to_first_token_seconds"].add(seconds)
        counts.prompt_tokens += len(answering.ask.prompt)

    def ended(self, answering: Answering, result: Result | None, error: BaseException | None = None) -> None:
        """It is complete, or has ended for this error; without both, it was left."""
        self._running.discard(answering)
        outcome = _outcome(answering, result, error)
        if outcome == "refused":
            return
        counts = self.model(answering.ask.served.name)
        counts.outcomes[outcome] += 1
        counts.generated_tokens += len(answering.times.tokens)
        self.adapters.ended(answering.ask.served.name, answering.ask.adapter, outcome, len(answering.times.tokens))
        if outcome == "finished" and result is not None:
            self._finished(counts, answering, result)
        else:
            counts.finish_reasons["abort" if outcome == "canceled" else "error"] += 1
        if outcome != "canceled":
            self._latest_failed.append(outcome == "failed")
        _measure(counts, answering)
        if self.traces is not None:
            self.traces.answered(answering, result, error if outcome == "failed" else None)
        if isinstance(error, Exception):
            error.__dict__["flyball_told"] = True  # so that refused() does not count it again

    def refused(self, error: Exception, scope: MutableMapping[str, Any] | None = None) -> None:
        """A request got this error instead of an answer. With its scope, it is traced."""
        if error.__dict__.get("flyball_told"):
            return
        failure = Failure.of(error)
        self.refusals[_reason(failure)] += 1
        if self.traces is not None and scope is not None:
            self.traces.refused(scope, failure)

    def verified(self, origin: str, verdict: str) -> None:
        """A receipt was computed again: one of ORIGINS, one of VERDICTS."""
        self.verifications[origin, verdict] += 1

    def running_tokens(self, name: str) -> int:
        """Tokens that the running answers of a model have so far."""
        return sum(len(each.times.tokens) for each in self._running if each.ask.served.name == name)

    def total(self, outcome: str) -> int:
        """Answers of all models with this outcome."""
        return sum(counts.outcomes[outcome] for counts in self.models.values())

    @property
    def failed_share(self) -> tuple[float | None, int]:
        """Of the latest answers those that failed, and how many answers that is taken over."""
        n = len(self._latest_failed)
        return (sum(self._latest_failed) / n if n else None), n

    def _finished(self, counts: ModelCounts, answering: Answering, result: Result) -> None:
        metrics, spread = result.metrics, counts.distributions
        counts.cached_tokens += metrics.cached_tokens if answering.known is None else len(result.prompt)
        counts.most_tokens = max(counts.most_tokens, len(result.prompt) + len(result.tokens))
        counts.finish_reasons["stop" if result.stop_reason in _STOPPED else "length"] += 1
        counts.stop_reasons[result.stop_reason] += 1
        counts.prefill.add(metrics.prefill)
        counts.decode.add(metrics.decode)
        self.last_minute.add(metrics.prefill, metrics.decode)
        spread["request_prompt_tokens"].add(len(result.prompt))
        spread["request_generation_tokens"].add(len(result.tokens))
        spread["request_params_max_tokens"].add(answering.ask.max_tokens)
        for decision in result.decisions:
            self.decisions[decision.reason_id] += 1
            said = Decided(time.time(), decision.reason_id, decision.data, answering.ask.id, answering.ask.project)
            self.latest_decisions.appendleft(said)


def _outcome(answering: Answering, result: Result | None, error: BaseException | None) -> str:
    if isinstance(error, Exception):
        return "refused" if answering.times.begun is None else "failed"
    return "finished" if result is not None else "canceled"  # by a client that went: an asyncio.CancelledError


def _measure(counts: ModelCounts, answering: Answering) -> None:
    """Its times into the distributions."""
    times, spread = answering.times, counts.distributions
    if times.ended is not None:
        spread["e2e_request_latency_seconds"].add(times.ended - times.asked)
    if times.begun is None or not times.tokens:
        return
    first, last = times.tokens[0], times.tokens[-1]
    spread["request_prefill_time_seconds"].add(first - times.begun)
    spread["request_decode_time_seconds"].add(last - first)
    spread["request_inference_time_seconds"].add(last - times.begun)
    if len(times.tokens) > 1:
        spread["request_time_per_output_token_seconds"].add((last - first) / (len(times.tokens) - 1))
        spread["inter_token_latency_seconds"].add_gaps(times.tokens)


def _reason(failure: Failure) -> str:
    if failure.code in _REASONS_BY_CODE:
        return _REASONS_BY_CODE[failure.code]
    if failure.status >= 500:
        return "unavailable" if failure.status == 503 else "defect"
    return _REASONS_BY_STATUS.get(failure.status, "invalid")


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least this share of the values do not exceed; None of none."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else None
