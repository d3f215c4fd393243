"""/metrics: what readers of vLLM's and llama-server's metrics find, and what only Flyball has."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from flyball.serve.distributions import DISTRIBUTIONS, Distribution, LastMinute, Work
from flyball.serve.observing import percentile

from .conftest import WAIT, Running, Start
from .scraping import scrape, value

STORY = {"prompt": "Once upon a time", "max_tokens": 12, "seed": 1, "ignore_eos": True}
SLOW = ("--isa", "scalar", "--threads", "1")


def complete(server: Running, **members: Any) -> dict[str, Any]:
    response = server.post("/v1/completions", STORY | members)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def until(server: Running, name: str, least: float, **labels: str) -> None:
    """Wait until a counter has this value: what ends an answer comes after its last byte."""
    end = time.monotonic() + WAIT
    while value(scrape(server), name, **labels) < least:
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(scope="module")
def counted(start: Start) -> Running:
    """A server that nobody else asks."""
    return start("--set", "serve.parallel=1", "--set", "serve.waiting=2")


def test_counts_are_those_of_the_answers(counted: Running) -> None:
    before = scrape(counted)
    answers = [complete(counted), complete(counted, max_tokens=7)]
    text = counted.post("/v1/completions", STORY | {"stream": True, "stream_options": {"include_usage": True}}).text
    answers.append(json.loads(text.split("data: ")[-2]))
    until(counted, "flyball:answers_total", 3, outcome="finished")
    after = scrape(counted)

    def grown(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    prompt = sum(each["usage"]["prompt_tokens"] for each in answers)
    generated = sum(each["usage"]["completion_tokens"] for each in answers)
    model = {"model_name": "flyball-demo"}
    assert generated == 12 + 7 + 12
    assert grown("vllm:prompt_tokens_total", **model) == prompt
    assert grown("vllm:generation_tokens_total", **model) == generated
    assert grown("llamacpp:tokens_predicted_total") == generated
    assert grown("vllm:request_success_total", finished_reason="length", **model) == 3
    assert grown("flyball:stop_reasons_total", stop_reason="max_tokens", **model) == 3
    assert grown("vllm:inter_token_latency_seconds_count", **model) == generated - 3
    for name in DISTRIBUTIONS:
        if name != "inter_token_latency_seconds":
            assert grown(f"vllm:{name}_count", **model) == 3, name
    assert grown("vllm:request_prompt_tokens_sum") == prompt
    assert grown("vllm:request_generation_tokens_sum") == generated
    assert grown("vllm:request_generation_tokens_bucket", le="10.0") == 1
    assert grown("vllm:request_params_max_tokens_sum") == generated
    cached = sum(each["usage"]["prompt_tokens_details"]["cached_tokens"] for each in answers)
    assert grown("vllm:prefix_cache_hits_total") == cached
    for phase, member in (("prefill", "prompt"), ("decode", "predicted")):
        cycles = sum(
            each["timings"][f"{member}_cycles_per_token"] * n
            for each in answers
            if (n := each["timings"]["prompt_n"] if phase == "prefill" else each["usage"]["completion_tokens"] - 1)
        )
        assert grown(f"flyball:{phase}_cycles_total") > 0
        if phase == "prefill":
            assert grown("flyball:prefill_cycles_total") == pytest.approx(cycles)
    first, whole, inference, queue = (
        grown(f"vllm:{name}_sum", **model)
        for name in (
            "time_to_first_token_seconds", "e2e_request_latency_seconds", "request_inference_time_seconds",
            "request_queue_time_seconds",
        )
    )  # fmt: skip
    assert 0 < first < whole
    assert queue + inference <= whole
    between, decode = (grown(f"vllm:{n}_sum") for n in ("inter_token_latency_seconds", "request_decode_time_seconds"))
    assert between == pytest.approx(decode)


def test_buckets_are_cumulative_and_end_with_all(counted: Running) -> None:
    complete(counted)
    samples = scrape(counted)
    for name in DISTRIBUTIONS:
        buckets = sorted(
            (float(dict(labels)["le"]), number)
            for (each, labels), number in samples.items()
            if each == f"vllm:{name}_bucket"
        )
        assert buckets[-1] == (math.inf, value(samples, f"vllm:{name}_count"))
        assert [n for _, n in buckets] == sorted(n for _, n in buckets)
    assert value(samples, "vllm:inter_token_latency_seconds_bucket", le="0.0005") >= 0


def test_an_answer_is_seen_while_it_runs_and_after_it_was_canceled(start: Start) -> None:
    server = start(*SLOW)
    before = value(scrape(server), "vllm:generation_tokens_total")
    with (
        server.client() as client,
        client.stream("POST", "/v1/completions", json=STORY | {"stream": True, "max_tokens": -1}) as response,
    ):
        lines = response.iter_lines()
        next(lines)
        during = scrape(server, client)
        assert value(during, "vllm:num_requests_running") == 1
        assert value(during, "llamacpp:requests_processing") == 1
        assert value(during, "flyball:cache_bytes") > 0
        assert value(during, "vllm:generation_tokens_total") > before
        status = client.get("/v1/status").json()
        assert status["requests"]["running"] == 1
        assert status["cache"]["used_bytes"] > 0
        assert status["tokens"]["generated"] >= 1
    until(server, "flyball:answers_total", 1, outcome="canceled")
    after = scrape(server)
    assert value(after, "vllm:generation_tokens_total") >= value(during, "vllm:generation_tokens_total")
    assert value(after, "vllm:request_success_total", finished_reason="abort") == 1
    assert value(after, "vllm:num_requests_running") == 0
    assert value(after, "flyball:step_age_seconds") >= 0


def test_refusals_are_counted_by_reason(counted: Running) -> None:
    before = scrape(counted)
    answers_before = value(before, "flyball:answers_total")
    cases: list[tuple[str, dict[str, Any]]] = [
        ("model", {"model": "of-nobody"}),
        ("context", {"prompt": [5] * 100_000}),
        ("invalid", {"temperature": "hot"}),
    ]
    for reason, members in cases:
        assert counted.post("/v1/completions", STORY | members).status_code >= 400, reason
    with counted.client() as client:
        assert client.get("/nothing").status_code == 404
        assert client.post("/v1/completions", content=b"x", headers={"content-type": "text/plain"}).status_code == 415
        assert client.get("/health", headers={"host": "example.org"}).status_code == 403
        assert client.get("/health", headers={"origin": "http://example.org"}).status_code == 403
    after = scrape(counted)
    for reason in ("model", "context", "invalid", "not_found", "type", "host", "origin"):
        assert value(after, "flyball:refusals_total", reason=reason) == 1, reason
    assert value(after, "flyball:refusals_total", reason="defect") == 0
    assert value(after, "flyball:answers_total") == answers_before


def test_series_do_not_grow_with_what_clients_send(counted: Running) -> None:
    complete(counted)
    before = scrape(counted)
    for number in range(5):
        complete(counted, user=f"somebody {number}", model="flyball-demo:latest")
        assert counted.post("/v1/completions", STORY | {"model": f'no"\n{number}'}).status_code == 404
        assert counted.get(f"/of/{number}").status_code == 404
    assert scrape(counted).keys() == before.keys()


def test_verifications_are_counted_by_whose_receipt_it_is(counted: Running) -> None:
    answer = complete(counted)
    receipt = counted.get(f"/v1/receipts/{answer['flyball']['receipt']}").json()["receipt"]
    assert counted.post("/v1/verify", {"id": answer["id"]}).json()["verified"]
    forged = receipt | {"tokens": [receipt["tokens"][0] ^ 1, *receipt["tokens"][1:]]}
    assert not counted.post("/v1/verify", {"receipt": forged}).json()["verified"]
    samples = scrape(counted)
    assert value(samples, "flyball:verifications_total", receipt="own", outcome="verified") == 1
    assert value(samples, "flyball:verifications_total", receipt="own", outcome="mismatch") == 0
    assert value(samples, "flyball:verifications_total", receipt="given", outcome="mismatch") == 1
    assert value(samples, "flyball:receipts") >= 1


def test_strangers_and_a_full_queue(start: Start) -> None:
    server = start("--set", "serve.waiting=0", "--set", "serve.parallel=1", key="a-long-secret-key")
    response = server.get("/metrics")
    assert abs(int(response.headers["process-start-time-unix"]) - time.time()) < 2 * WAIT
    with httpx.Client(base_url=server.url, timeout=WAIT) as stranger:
        assert stranger.get("/metrics").status_code == 401
        assert stranger.get("/v1/status").status_code == 401
    samples = scrape(server)
    assert value(samples, "flyball:refusals_total", reason="key") == 2
    with ThreadPoolExecutor(12) as crowd:
        asked = [
            crowd.submit(server.post, "/v1/completions", STORY | {"seed": seed, "max_tokens": 400})
            for seed in range(12)
        ]
        codes = [each.result().status_code for each in asked]
    assert 1 <= codes.count(429) <= 11
    samples = scrape(server)
    assert value(samples, "flyball:refusals_total", reason="busy") == codes.count(429)
    assert value(samples, "flyball:answers_total") == codes.count(200)
    assert value(samples, "flyball:queue_requests_limit") == 0
    assert "a-long-secret-key" not in server.get("/metrics").text


def test_every_family_has_help_and_type(counted: Running) -> None:
    lines = counted.get("/metrics").text.splitlines()
    helped = {line.split()[2] for line in lines if line.startswith("# HELP") and len(line.split()) > 3}
    typed = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    assert helped == typed
    assert {name.split(":")[0] for name in typed if ":" in name} == {"vllm", "flyball", "llamacpp"}


def test_serving_imports_neither_the_metrics_nor_the_traces_library() -> None:
    code = (
        "import sys, flyball.serve.app, flyball.serve.server, flyball.serve.tracing;"
        "late = {'prometheus_client', 'opentelemetry', 'flyball.journal.explain'};"
        "print(sorted(late & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=WAIT, check=True)
    assert said.stdout == "[]\n"


def test_a_distribution_counts_like_a_list() -> None:
    draw = random.Random(1)
    values = [draw.choice((0.0, 0.5, 0.7, 1.0, 4.9, 5.0, 5.1, 1e9)) for _ in range(200)]
    spread = Distribution((0.5, 1.0, 5.0))
    for each in values:
        spread.add(each)
    assert spread.cumulative() == [
        (str(bound) if bound < math.inf else "+Inf", sum(each <= bound for each in values))
        for bound in (0.5, 1.0, 5.0, math.inf)
    ]
    assert spread.sum == sum(values)


def test_gaps_lie_between_neighbors() -> None:
    spread = Distribution((0.25, 1.0))
    spread.add_gaps([10.0, 10.125, 10.25, 12.25])
    assert spread.cumulative() == [("0.25", 2.0), ("1.0", 2.0), ("+Inf", 3.0)]
    assert spread.sum == 2.25


class Took:
    """What LastMinute reads of a Phase."""

    def __init__(self, tokens: int) -> None:
        self.tokens, self.cycles, self.seconds = tokens, 100 * tokens, tokens / 10


def test_the_last_minute_forgets_and_stays_small() -> None:
    now = 0.0
    minute = LastMinute(lambda: now)
    for second in range(200):
        for part in range(3):
            now = second + part / 4
            minute.add(Took(1), Took(2))  # type: ignore[arg-type]
    prefill, decode = minute.work()
    assert prefill.tokens == 60 * 3
    assert decode.tokens == 2 * 60 * 3
    assert decode.cycles_per_token == 100
    assert decode.tokens_per_second == pytest.approx(10)
    assert len(minute._cells) == 60
    now += 30
    assert minute.work()[0].tokens == 30 * 3
    now += 31
    assert minute.work()[0].tokens_per_second is None
    assert Work().cycles_per_token is None


def test_percentiles_are_values_that_were_seen() -> None:
    assert percentile([], 0.95) is None
    assert percentile([3.0], 0.5) == 3.0
    assert percentile([4.0, 1.0, 3.0, 2.0], 0.5) == 2.0
    assert percentile(list(map(float, range(1, 101))), 0.95) == 95.0
    assert percentile([1.0, 2.0], 1.0) == 2.0
