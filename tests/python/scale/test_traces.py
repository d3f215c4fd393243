"""Traces over several replicas: whoever computes an answer, its spans are in the trace of who asked."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tests.python.serve.conftest import Running, Start
from tests.python.serve.receiving import Receiver
from tests.python.serve.receiving import receiver as receiver  # a fixture
from tests.python.serve.scraping import scrape, value

from .conftest import MakeEdge, until

STORY = {"prompt": "Once upon a time", "seed": 1, "temperature": 0.7, "ignore_eos": True}
SLOW = ("--isa", "scalar", "--threads", "1")


@pytest.fixture
def replicas(start: Start, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> list[Running]:
    """Two servers that send their spans to the receiver."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")  # milliseconds
    started = []
    for name in ("a", "b"):
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", f"service.instance.id={name}")
        started.append(start(*SLOW))
    return started


def ask(url: str, receiver: Receiver, *bodies: dict[str, Any], on_first: Any = None) -> tuple[str, list[str]]:
    """Stream answers within one span of a caller; its id, and the answers' lines."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{receiver.url}/v1/traces")))
    texts = []
    with (
        provider.get_tracer("caller").start_as_current_span("ask") as span,
        Running(None, url).client() as client,  # type: ignore[arg-type]
    ):
        headers: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(headers)
        for body in bodies:
            with client.stream(
                "POST", "/v1/completions", json=STORY | body | {"stream": True}, headers=headers
            ) as said:
                lines = said.iter_lines()
                texts.append(next(lines))
                if on_first is not None:
                    on_first()
                texts[-1] += "".join(lines)
        identity = f"{span.get_span_context().span_id:016x}"
    provider.shutdown()
    return identity, texts


def below(receiver: Receiver) -> dict[str, list[Any]]:
    """The spans by the id of their parent; those of questions that the edge itself asks have none."""
    found: dict[str, list[Any]] = {}
    for _, span in receiver.spans():
        found.setdefault(span.parent_span_id.hex(), []).append(span)
    return found


def test_spans_of_both_replicas_are_below_the_callers(
    replicas: list[Running], receiver: Receiver, make_edge: MakeEdge
) -> None:
    edge = make_edge(*(replica.url for replica in replicas))
    bodies = [{"prompt": f"Story {i}", "max_tokens": 2} for i in range(16)]
    caller, _ = ask(edge.url, receiver, *bodies)
    assert [replica.stop() for replica in replicas] == [0, 0]  # which sends what is left
    spans = below(receiver)
    answers = spans[caller]
    assert [span.name for span in answers] == ["text_completion flyball-demo"] * len(bodies)
    for answer in answers:
        assert {span.name for span in spans[answer.span_id.hex()]} == {"queue", "prefill", "decode"}
    (ask_span,) = (span for span in spans[""] if span.name == "ask")
    in_trace = [(names, span) for names, span in receiver.spans() if span.trace_id == ask_span.trace_id]
    assert len(in_trace) == 1 + 4 * len(bodies)
    assert {names.get("service.instance.id") for names, span in in_trace if span.name == "decode"} == {"a", "b"}


def test_an_answer_that_another_replica_goes_on_with_stays_in_its_trace(
    replicas: list[Running], receiver: Receiver, make_edge: MakeEdge
) -> None:
    edge = make_edge(*(replica.url for replica in replicas))
    lost: list[Running] = []

    def lose() -> None:
        """The replica that computes."""
        lost.extend(each for each in replicas if value(scrape(each), "vllm:num_requests_running") == 1)
        lost[0].process.kill()

    caller, (text,) = ask(edge.url, receiver, {"max_tokens": 200}, on_first=lose)
    assert "[DONE]" in text
    until(lambda: edge.metric("flyball_edge_continued_total") == 1)
    (other,) = (replica for replica in replicas if replica not in lost)
    assert other.stop() == 0
    (answer,) = below(receiver)[caller]
    assert {each.key: each.value.int_value for each in answer.attributes}["gen_ai.usage.output_tokens"] == 200
