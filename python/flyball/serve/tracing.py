"""OpenTelemetry: a span for each answer, with the attributes of its conventions for generative AI. Never any text.

Spans are made when an answer has ended, from times that are taken anyway: without traces this costs nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers

from .. import __version__
from ..errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

    from ..engine.results import Result
    from .answering import Answering
    from .failures import Failure

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
_EXPORTER = "OTEL_TRACES_EXPORTER"
_PROTOCOL = "http/protobuf"
# What the API's path asks for; other paths are not traced.
_OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/messages": "chat",
    "/v1/responses": "chat",
    "/api/chat": "chat",
    "/v1/completions": "text_completion",
    "/api/generate": "text_completion",
    "/completion": "text_completion",
    "/completions": "text_completion",
}
_OPTIONS = ("temperature", "top_p", "top_k", "seed", "presence_penalty", "frequency_penalty")


@contextmanager
def traces_of(environment: Mapping[str, str]) -> Iterator[Traces | None]:
    """Traces as OpenTelemetry's variables ask for them, or None. Leaving it sends what is left."""
    if not is_wanted(environment):
        yield None
        return
    try:
        from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        exporter = _exporter(environment)
    except ModuleNotFoundError as error:
        what = f"is missing, which traces need: pip install 'flyball[otel]' (or unset {_EXPORTER} and {_ENDPOINTS[0]})"
        raise NotFound(str(error.name), what) from None
    names = {SERVICE_VERSION: __version__}
    if not environment.get("OTEL_SERVICE_NAME") and "service.name" not in environment.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    ):
        names[SERVICE_NAME] = "flyball"
    provider = TracerProvider(resource=Resource.create(names), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    try:
        yield Traces(provider)
    finally:
        provider.shutdown()


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Whether an exporter or a place to send to is named, and the SDK not disabled."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = environment.get(_EXPORTER, "").strip()
    return exporter != "none" and bool(exporter or any(environment.get(name) for name in _ENDPOINTS))


def _exporter(environment: Mapping[str, str]) -> SpanExporter:
    name = environment.get(_EXPORTER, "").strip() or "otlp"
    if name == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter()
    if name != "otlp":
        raise InvalidArgument(_EXPORTER, f"is {name!r}, must be otlp, console or none")
    for variable in _PROTOCOLS:
        if (protocol := environment.get(variable, "").strip() or _PROTOCOL) != _PROTOCOL:
            raise InvalidArgument(variable, f"is {protocol!r}; Flyball sends {_PROTOCOL} alone")
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()


class Traces:
    """Makes spans of answers: for the event loop's thread alone; another thread sends them."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracer = provider.get_tracer("flyball", __version__)
        self._propagator = TraceContextTextMapPropagator()

    def answered(self, answering: Answering, result: Result | None, error: BaseException | None) -> None:
        """An answer has ended: the request's span, and in it one each for queue, prefill and decode."""
        ask, times = answering.ask, answering.times
        assert times.ended is not None
        operation = _OPERATIONS.get(ask.api, "text_completion")
        clock = _Clock()
        span = self._span(operation, ask.served.name, clock.ns(times.asked), ask.trace)
        span.set_attributes(_asked(answering))
        if result is not None:
            span.set_attributes(_given(answering, result))
        if error is not None:
            _fail(span, _kind(error))
        elif result is None:
            _fail(span, "canceled")
        self._phases(span, answering, clock)
        span.end(clock.ns(times.ended))

    def refused(self, scope: MutableMapping[str, Any], failure: Failure) -> None:
        """A request for an answer was refused."""
        if (operation := _OPERATIONS.get(scope["path"])) is None:
            return
        span = self._span(operation, None, time.time_ns(), Headers(scope=scope))
        span.set_attribute("http.response.status_code", failure.status)
        _fail(span, str(failure.code or failure.status))
        span.end()

    def _span(self, operation: str, model: str | None, start_ns: int, headers: Mapping[str, str]) -> Span:
        from opentelemetry.trace import SpanKind

        names = {"gen_ai.operation.name": operation, "gen_ai.provider.name": "flyball"}
        if model is not None:
            names |= {"gen_ai.request.model": model, "gen_ai.response.model": model}
        return self._tracer.start_span(
            f"{operation} {model}" if model is not None else operation,
            context=self._context(headers),
            kind=SpanKind.SERVER,
            attributes=names,
            start_time=start_ns,
        )

    def _context(self, headers: Mapping[str, str]) -> Context:
        """That of the caller's span, if the request names one."""
        from opentelemetry.context import Context

        return self._propagator.extract(headers, Context())

    def _phases(self, span: Span, answering: Answering, clock: _Clock) -> None:
        from opentelemetry.trace import set_span_in_context

        times = answering.times
        first, last = (times.tokens[0], times.tokens[-1]) if times.tokens else (None, None)
        inside = set_span_in_context(span)
        for name, start, end in (
            ("queue", times.asked, times.begun),
            ("prefill", times.begun, first),
            ("decode", first, last),
        ):
            if start is not None:
                phase = self._tracer.start_span(name, context=inside, start_time=clock.ns(start))
                phase.end(clock.ns(end if end is not None else times.ended))


class _Clock:
    """From the monotonic clock, which times answers, to the time of day."""

    def __init__(self) -> None:
        self._offset = time.time_ns() - time.monotonic_ns()

    def ns(self, seconds: float | None) -> int:
        assert seconds is not None
        return self._offset + int(1e9 * seconds)


def _asked(answering: Answering) -> dict[str, Any]:
    ask = answering.ask
    options = {f"gen_ai.request.{name}": ask.options[name] for name in _OPTIONS if ask.options.get(name) is not None}
    if options.get("gen_ai.request.seed", 0) >= 2**63:  # attributes are signed
        del options["gen_ai.request.seed"]
    return options | {"gen_ai.request.max_tokens": ask.max_tokens, "gen_ai.response.id": ask.id, "url.path": ask.api}


def _given(answering: Answering, result: Result) -> dict[str, Any]:
    metrics = result.metrics
    return {
        "gen_ai.usage.input_tokens": len(result.prompt),
        "gen_ai.usage.output_tokens": len(result.tokens),
        "gen_ai.usage.cache_read.input_tokens": metrics.cached_tokens,
        "gen_ai.response.finish_reasons": (result.stop_reason,),
        "flyball.digest": result.digest,
        "flyball.receipt": answering.ask.id,
        "flyball.prefill.cycles": metrics.prefill.cycles,
        "flyball.decode.cycles": metrics.decode.cycles,
    }


def _fail(span: Span, kind: str) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR))


def _kind(error: BaseException) -> str:
    return str(getattr(error, "code", None) or type(error).__name__)
