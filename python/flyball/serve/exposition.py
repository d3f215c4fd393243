"""A server's metrics in Prometheus' words. Where the meaning is vLLM's or llama-server's, the name is theirs.

Imported when the first reader comes: prometheus_client takes longer to import than all of Flyball.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from .. import __version__, _core
from .adapter_exposition import AdapterExposition
from .distributions import DISTRIBUTIONS
from .guarding import ALL
from .observing import FINISH_REASONS, ORIGINS, OUTCOMES, REASONS, VERDICTS, ModelCounts

if TYPE_CHECKING:
    from .server import Server

_Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
_MODEL = "model_name"
_STOP_REASONS = (
    "eos", "stop_string", "stop_token", "max_tokens", "context_full", "interrupted", "deadline", "budget_guard",
    "loop_guard", "memory_guard",
)  # fmt: skip
_DECISIONS = tuple(row[0] for row in _core.reasons() if row[1] in ("AUTOTUNE", "GUARD", "SPECULATION"))
_TRIPS = tuple(reason for reason in _DECISIONS if reason.startswith("GUARD_") and reason.endswith("_STOP"))

# Counters of a model: name without _total, meaning, value.
_OF_MODELS: tuple[tuple[str, str, Callable[[ModelCounts], float]], ...] = (
    ("vllm:prompt_tokens", "Tokens of prompts whose answer has begun", lambda c: c.prompt_tokens),
    ("vllm:prefix_cache_queries", "Tokens of prompts that were looked for in caches", lambda c: c.prompt_tokens),
    ("vllm:prefix_cache_hits", "Tokens of prompts that were found in caches", lambda c: c.cached_tokens),
    ("vllm:num_preemptions", "Always 0: an answer that has begun keeps its place", lambda c: 0),
    ("flyball:prefill_tokens", "Tokens computed in prefill, of finished answers", lambda c: c.prefill.tokens),
    ("flyball:prefill_cycles", "Cycles of prefill, of finished answers", lambda c: c.prefill.cycles),
    ("flyball:prefill_seconds", "Seconds of prefill, of finished answers", lambda c: c.prefill.seconds),
    ("flyball:decode_tokens", "Tokens computed in decode, of finished answers", lambda c: c.decode.tokens),
    ("flyball:decode_cycles", "Cycles of decode, of finished answers", lambda c: c.decode.cycles),
    ("flyball:decode_seconds", "Seconds of decode, of finished answers", lambda c: c.decode.seconds),
)

# Of answers given again: name without _total, meaning.
_OF_RESPONSES = {
    "hits": "Answers that were given again",
    "misses": "Answers that were looked for, and computed",
    "stored": "Answers that were kept",
    "broken": "Kept answers that were none, and were dropped",
    "errors": "Times that the cache did not do what it was asked",
    "saved_tokens": "Tokens of prompts and answers that were not computed again",
    "saved_cycles": "Cycles that the answers given again had cost",
}


class Exposition(Collector):
    """Reads what a server counts, whenever it is asked to: a registry of its own for each server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.adapters = AdapterExposition(server)
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def text(self) -> tuple[bytes, str]:
        """All metrics and their content type. The classic format alone: the library's OpenMetrics has no colons."""
        encoder, kind = choose_encoder("text/plain; version=0.0.4")
        return encoder(self._registry), kind

    def collect(self) -> Iterator[_Family]:
        """All families."""
        counts = [(served.name, self._server.observe.model(served.name)) for served in self._server.models]
        yield from self._state()
        yield from _tokens(self._server, counts)
        yield from _answers(counts)
        yield from _distributions(counts)
        yield from self._supervision()
        yield from self._memory()
        yield from self._responses()
        yield from self._models()
        yield from self.adapters.collect()
        yield from self._guardians()
        yield from _as_llama_server(self._server, counts)

    def _state(self) -> Iterator[_Family]:
        queue, models = self._server.queue, self._server.models
        share = queue.cache_bytes / queue.cache_limit if queue.cache_limit else 1.0
        # Queue and cache are the server's: each model has all of them, as it has in a server of one model.
        names = [served.name for served in models]
        yield _gauge("vllm:num_requests_running", "Answers that are computed", names, queue.n_running)
        yield _gauge("vllm:num_requests_waiting", "Requests that wait for their turn", names, queue.n_waiting)
        yield _gauge("vllm:kv_cache_usage_perc", "Share (0 to 1) of the keys' and values' bytes", names, share)
        yield GaugeMetricFamily("flyball:queue_requests_limit", "Requests that may wait", queue.most_waiting)
        yield GaugeMetricFamily("flyball:queue_tokens", "Tokens of waiting requests", queue.waiting_tokens)
        yield GaugeMetricFamily("flyball:queue_tokens_limit", "Tokens that may wait", queue.most_tokens)
        yield GaugeMetricFamily("flyball:queue_age_seconds", "How long a request has waited", queue.oldest_age())
        yield GaugeMetricFamily("flyball:processors", "Processors that the server may use", _core.n_processors())
        yield GaugeMetricFamily("flyball:cache_bytes", "Keys and values of running answers, at most", queue.cache_bytes)
        yield GaugeMetricFamily("flyball:cache_limit_bytes", "Keys and values that are allowed", queue.cache_limit)
        yield GaugeMetricFamily("flyball:receipts", "Receipts that are kept", len(self._server.records))
        yield GaugeMetricFamily("flyball:draining", "1 while the server ends", float(self._server.draining))
        ages = GaugeMetricFamily("flyball:step_age_seconds", "How long the running step has taken", labels=[_MODEL])
        for name, age in self._server.step_ages():
            ages.add_metric([name], age)
        yield ages

    def _memory(self) -> Iterator[_Family]:
        counts = self._server.remembering
        for name, meaning, n in (
            ("prompts", "Prompts that asked for what is remembered", counts.n_prompts),
            ("recalled_prompts", "Of them, those that got facts or documents", counts.n_recalled),
            ("example_prompts", "Of them, those that got approved corrections", counts.n_examples),
            ("repeated_questions", "Of them, those that asked a corrected question again", counts.n_repeats),
        ):
            yield CounterMetricFamily(f"flyball:memory_{name}", meaning, n)

    def _guardians(self) -> Iterator[_Family]:
        if self._server.routing is not None:
            names, verdicts = self._server.routing.guardians, self._server.guarding.verdicts
            yield _counter(
                "flyball:guardian_verdicts", "What guardians said of answers", ["guardian", "verdict"],
                (([name, verdict], verdicts[name, verdict]) for name in names for verdict in ALL),
            )  # fmt: skip

    def _supervision(self) -> Iterator[_Family]:
        observe = self._server.observe
        yield _counter(
            "flyball:refusals", "Requests that got an error instead of an answer", ["reason"],
            (([reason], observe.refusals[reason]) for reason in REASONS),
        )  # fmt: skip
        yield _counter(
            "flyball:governor_decisions", "Decisions in finished answers", ["reason_id"],
            (([reason], n) for reason, n in (dict.fromkeys(_DECISIONS, 0) | observe.decisions).items()),
        )  # fmt: skip
        yield CounterMetricFamily(
            "flyball:known_tokens_refused", "Kept tokens that were not the answer's", observe.n_known_refused
        )
        yield CounterMetricFamily(
            "flyball:records_lost", "What could not be signed or stored", self._server.records.n_errors
        )
        trips = sum(observe.decisions[reason] for reason in _TRIPS)
        yield CounterMetricFamily("flyball:guard_trips", "Answers that the guard ended", trips)
        yield _counter(
            "flyball:verifications", "Receipts that were computed again", ["receipt", "outcome"],
            (
                ([origin, verdict], observe.verifications[origin, verdict])
                for origin in ORIGINS
                for verdict in VERDICTS
            ),
        )  # fmt: skip

    def _responses(self) -> Iterator[_Family]:
        responses = self._server.responses
        answers, counts = responses.answers, responses.counts
        if answers is None:
            return
        for name, meaning in _OF_RESPONSES.items():
            yield CounterMetricFamily(f"flyball:response_cache_{name}", meaning, counts[name])
        yield CounterMetricFamily("flyball:response_cache_evicted", "Answers that made room", answers.n_evicted)
        if (n_bytes := answers.n_bytes) is not None:
            yield GaugeMetricFamily("flyball:response_cache_bytes", "Answers that are kept, in bytes", n_bytes)

    def _models(self) -> Iterator[_Family]:
        build = GaugeMetricFamily("flyball:build_info", "What runs", labels=["version", "isa"])
        build.add_metric([__version__, self._server.isa], 1)
        yield build
        about = GaugeMetricFamily(
            "flyball:model_info", "What answers: system_fingerprint names build, model and settings",
            labels=[_MODEL, "fingerprint", "system_fingerprint"],
        )  # fmt: skip
        caches = GaugeMetricFamily(
            "vllm:cache_config_info", "Types of caches", labels=[_MODEL, "cache_dtype", "context"]
        )
        for served in self._server.models:
            about.add_metric([served.name, served.model.info.fingerprint, self._server.system_fingerprint(served)], 1)
            caches.add_metric([served.name, served.cache_type, str(served.context)], 1)
        yield about
        yield caches


_Counts = list[tuple[str, ModelCounts]]


def _gauge(name: str, meaning: str, models: list[str], value: float) -> GaugeMetricFamily:
    """The same value for each of these models."""
    family = GaugeMetricFamily(name, meaning, labels=[_MODEL])
    for model in models:
        family.add_metric([model], value)
    return family


def _counter(
    name: str, meaning: str, labels: list[str], values: Iterable[tuple[list[str], float]]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, meaning, labels=labels)
    for words, value in values:
        family.add_metric(words, value)
    return family


def _tokens(server: Server, counts: _Counts) -> Iterator[_Family]:
    for name, meaning, value in _OF_MODELS:
        yield _counter(name, meaning, [_MODEL], (([model], value(each)) for model, each in counts))
    yield _counter(
        "vllm:generation_tokens", "Tokens of answers, running ones too", [_MODEL],
        (([model], each.generated_tokens + server.observe.running_tokens(model)) for model, each in counts),
    )  # fmt: skip


def _answers(counts: _Counts) -> Iterator[_Family]:
    yield _counter(
        "flyball:answers", "Answers that have ended", [_MODEL, "outcome"],
        (([model, outcome], each.outcomes[outcome]) for model, each in counts for outcome in OUTCOMES),
    )  # fmt: skip
    yield _counter(
        "vllm:request_success", "Answers that have ended, by vLLM's reasons", [_MODEL, "finished_reason"],
        (([model, reason], each.finish_reasons[reason]) for model, each in counts for reason in FINISH_REASONS),
    )  # fmt: skip
    yield _counter(
        "flyball:stop_reasons", "Finished answers, by Flyball's reasons", [_MODEL, "stop_reason"],
        (
            ([model, reason], n)
            for model, each in counts
            for reason, n in (dict.fromkeys(_STOP_REASONS, 0) | each.stop_reasons).items()
        ),
    )  # fmt: skip


def _distributions(counts: _Counts) -> Iterator[_Family]:
    for name, (_, meaning) in DISTRIBUTIONS.items():
        family = HistogramMetricFamily(f"vllm:{name}", meaning, labels=[_MODEL])
        for model, each in counts:
            spread = each.distributions[name]
            family.add_metric([model], spread.cumulative(), spread.sum)
        yield family


def _as_llama_server(server: Server, counts: _Counts) -> Iterator[_Family]:
    """llama-server's names: of all models together, for it has one."""
    queue = server.queue
    prefill, decode = server.observe.last_minute.work()
    every = [each for _, each in counts]
    running = sum(server.observe.running_tokens(model) for model, _ in counts)
    for name, meaning, value in (
        ("prompt_tokens", "Number of prompt tokens processed.", sum(each.prefill.tokens for each in every)),
        ("prompt_seconds", "Prompt process time.", sum(each.prefill.seconds for each in every)),
        (
            "tokens_predicted",
            "Number of generation tokens processed.",
            running + sum(e.generated_tokens for e in every),
        ),
        ("tokens_predicted_seconds", "Predict process time.", sum(each.decode.seconds for each in every)),
    ):
        yield CounterMetricFamily(f"llamacpp:{name}", meaning, value)
    for name, meaning, value in (
        ("prompt_tokens_seconds", "Prompt tokens/s of the last minute's answers.", prefill.tokens_per_second or 0),
        ("predicted_tokens_seconds", "Generated tokens/s of the last minute's answers.", decode.tokens_per_second or 0),
        ("requests_processing", "Number of requests processing.", queue.n_running),
        ("requests_deferred", "Number of requests deferred.", queue.n_waiting),
        ("n_tokens_max", "Most tokens of a prompt and its answer.", max((e.most_tokens for e in every), default=0)),
    ):
        yield GaugeMetricFamily(f"llamacpp:{name}", meaning, value)
