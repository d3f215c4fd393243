"""Traces: spans in memory, and sent over HTTP to a receiver that reads OpenTelemetry's protocol."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import flyball
from flyball.config.configuration import resolve
from flyball.errors import InvalidArgument, NotFound
from flyball.serve.app import create_app
from flyball.serve.models import Entry, Models, Served
from flyball.serve.server import Server
from flyball.serve.settings import ServeSettings
from flyball.serve.tracing import Traces, is_wanted, traces_of

from .conftest import Start
from .receiving import Receiver
from .receiving import receiver as receiver  # a fixture

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALLER = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
SECRET = "the moon is a lantern"
STORY = {"prompt": SECRET, "max_tokens": 5, "seed": 1, "temperature": 0.5, "ignore_eos": True}


@dataclass
class Traced:
    """A server in this process, and the spans that it made."""

    server: Server
    spans: InMemorySpanExporter

    def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> httpx.Response:
        async def asking() -> httpx.Response:
            transport = httpx.ASGITransport(create_app(self.server), raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                return await client.post(path, json=body, headers=headers)

        return asyncio.run(asking())

    def taken(self) -> dict[str, ReadableSpan]:
        found = {span.name: span for span in self.spans.get_finished_spans()}
        self.spans.clear()
        return found


@pytest.fixture
def traced(demo: flyball.Model) -> Traced:
    settings = ServeSettings.of(resolve(None, {}), ())
    served = Served("demo", demo)
    entry = Entry("demo", flyball.demo_model_path(), lambda: demo, ("other-name",), served=served)
    server = Server(settings, Models([entry]))
    spans = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    server.observe.traces = Traces(provider)
    return Traced(server, spans)


def test_a_span_for_an_answer_and_its_phases(traced: Traced) -> None:
    answer = traced.post("/v1/completions", STORY | {"model": "other-name"}, CALLER).json()
    spans = traced.taken()
    assert set(spans) == {"text_completion demo", "queue", "prefill", "decode"}
    span = spans["text_completion demo"]
    assert span.attributes is not None
    assert dict(span.attributes) == {
        "gen_ai.operation.name": "text_completion",
        "gen_ai.provider.name": "flyball",
        "gen_ai.request.model": "demo",
        "gen_ai.request.max_tokens": 5,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": span.attributes["gen_ai.request.top_p"],
        "gen_ai.request.top_k": span.attributes["gen_ai.request.top_k"],
        "gen_ai.request.seed": 1,
        "gen_ai.request.presence_penalty": 0.0,
        "gen_ai.request.frequency_penalty": 0.0,
        "gen_ai.response.model": "demo",
        "gen_ai.response.id": answer["flyball"]["receipt"],
        "gen_ai.response.finish_reasons": ("max_tokens",),
        "gen_ai.usage.input_tokens": answer["usage"]["prompt_tokens"],
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": answer["usage"]["prompt_tokens_details"]["cached_tokens"],
        "flyball.digest": answer["flyball"]["digest"],
        "flyball.receipt": answer["flyball"]["receipt"],
        "flyball.prefill.cycles": span.attributes["flyball.prefill.cycles"],
        "flyball.decode.cycles": span.attributes["flyball.decode.cycles"],
        "url.path": "/v1/completions",
    }
    assert span.kind == SpanKind.SERVER
    assert span.parent is not None
    assert f"{span.parent.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == PARENT
    queue, prefill, decode = (spans[name] for name in ("queue", "prefill", "decode"))
    times = [span.start_time, queue.start_time, queue.end_time, prefill.end_time, decode.end_time, span.end_time]
    assert all(isinstance(time, int) for time in times)
    assert times == sorted(times)  # type: ignore[type-var]
    assert queue.end_time == prefill.start_time
    assert prefill.end_time == decode.start_time
    for phase in (queue, prefill, decode):
        assert phase.parent is not None
        assert span.context is not None
        assert phase.parent.span_id == span.context.span_id
    assert SECRET not in "".join(each.to_json() for each in spans.values())


def test_a_chat_is_a_chat_and_each_choice_has_a_span(traced: Traced) -> None:
    body = {"messages": [{"role": "user", "content": SECRET}], "max_tokens": 3, "seed": 2**64 - 1, "n": 2}
    assert traced.post("/v1/chat/completions", body).status_code == 200
    names = [span.name for span in traced.spans.get_finished_spans()]
    assert names.count("chat demo") == 2
    assert SECRET not in "".join(each.to_json() for each in traced.spans.get_finished_spans())


def test_a_refusal_is_a_span_with_its_kind(traced: Traced) -> None:
    assert traced.post("/v1/completions", STORY | {"model": SECRET}, CALLER).status_code == 404
    (span,) = traced.taken().values()
    assert span.name == "text_completion"
    assert span.attributes is not None
    assert span.attributes["error.type"] == "model_not_found"
    assert span.attributes["http.response.status_code"] == 404
    assert span.status.status_code == StatusCode.ERROR
    assert span.parent is not None
    assert SECRET not in span.to_json()
    assert traced.post("/v1/embeddings", {"model": SECRET, "input": SECRET}).status_code == 404
    assert traced.taken() == {}


def test_an_answer_that_fails_is_one_span_and_one_failure(traced: Traced, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaking(*given: Any) -> None:
        raise ZeroDivisionError(SECRET)

    monkeypatch.setattr(traced.server.records, "keep", breaking)
    assert traced.post("/v1/completions", STORY).status_code == 500
    span = traced.taken()["text_completion demo"]
    assert span.attributes is not None
    assert span.attributes["error.type"] == "ZeroDivisionError"
    assert SECRET not in span.to_json()
    assert traced.server.observe.total("failed") == 1
    assert traced.server.observe.refusals.total() == 0
    assert traced.server.observe.failed_share == (1.0, 1)


@pytest.mark.parametrize(
    "header", ["", "00-zz", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "ff-" + "1" * 52, "x" * 5000]
)
def test_a_malformed_traceparent_is_passed_over(traced: Traced, header: str) -> None:
    assert traced.post("/v1/completions", STORY, {"traceparent": header}).status_code == 200
    assert traced.taken()["text_completion demo"].parent is None


def test_a_caller_that_samples_nothing_gets_no_spans(traced: Traced) -> None:
    assert traced.post("/v1/completions", STORY, {"traceparent": f"00-{TRACE}-{PARENT}-00"}).status_code == 200
    assert traced.taken() == {}


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, False),
        ({"OTEL_SDK_DISABLED": "TRUE", "OTEL_TRACES_EXPORTER": "otlp"}, False),
        ({"OTEL_SERVICE_NAME": "mine"}, False),
    ],
)
def test_traces_are_made_where_they_are_asked_for(environment: dict[str, str], wanted: bool) -> None:
    assert is_wanted(environment) == wanted


@pytest.mark.parametrize(
    ("variable", "word"), [("OTEL_TRACES_EXPORTER", "zipkin"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]
)
def test_what_cannot_be_sent_is_refused_at_the_start(variable: str, word: str) -> None:
    environment = {"OTEL_TRACES_EXPORTER": "otlp", variable: word}
    with pytest.raises(InvalidArgument, match=f"{variable}: is '{word}'"), traces_of(environment):
        pass


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(NotFound, match=r"flyball\[otel\]"), traces_of({"OTEL_TRACES_EXPORTER": "otlp"}):
        pass
    with traces_of({}) as none:
        assert none is None


def test_spans_reach_a_receiver_before_the_server_ends(
    start: Start, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    server = start()
    with server.client() as client:
        answer = client.post("/v1/completions", json=STORY, headers=CALLER).json()
        with client.stream("POST", "/v1/completions", json=STORY | {"stream": True, "max_tokens": -1}) as response:
            next(response.iter_lines())
    assert server.stop() == 0
    spans = receiver.spans()
    assert {names["service.name"] for names, _ in spans} == {"flyball"}
    assert {names["service.version"] for names, _ in spans} == {flyball.__version__}
    answers = [span for _, span in spans if span.name == "text_completion flyball-demo"]
    of_caller = next(span for span in answers if span.trace_id.hex() == TRACE)
    attributes = {each.key: each.value for each in of_caller.attributes}
    assert attributes["flyball.digest"].string_value == answer["flyball"]["digest"]
    (canceled,) = [span for span in answers if span.trace_id.hex() != TRACE]
    assert {each.key: each.value for each in canceled.attributes}["error.type"].string_value == "canceled"
    assert all(SECRET.encode() not in body for body in receiver.requests)
    assert json.dumps(SECRET).encode() not in b"".join(receiver.requests)


def test_no_receiver_harms_no_answer(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")  # discard: nobody listens
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    server = start()
    assert server.post("/v1/completions", STORY).status_code == 200
    assert server.stop() == 0
