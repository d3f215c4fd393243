"""Servers as subjects: Flyball's own, which gives the answers of the library, and hostile ones."""

from __future__ import annotations

import socket
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

import flyball
from flyball.scorecard.checks import all_checks
from flyball.scorecard.openai_server import OpenAIServer
from flyball.scorecard.run import run
from flyball.scorecard.subjects import LocalModel, Usage
from tests.python.serve.conftest import Running, Start

from .conftest import Serve, Ticking, send, stream_of

CHECKS = all_checks()
FEW = CHECKS[::20]
Handler = BaseHTTPRequestHandler


def test_a_server_of_flyball_gives_the_digests_of_the_library(server: Running, demo: flyball.Model) -> None:
    kept: dict[str, flyball.Receipt] = {}
    served = run(OpenAIServer(server.url), FEW, 2, "0.1.0", keep=kept.__setitem__)
    local = run(LocalModel(demo), FEW, 2, "0.1.0")
    assert served.answers == local.answers
    assert [timed.digest for timed in served.timed] == [timed.digest for timed in local.timed]
    assert all(flyball.verify(receipt, model=demo) for receipt in kept.values())
    assert len(kept) == len(served.answers) + len(served.timed)
    assert (served.subject.name, served.subject.parameters) == ("flyball-demo", demo.info.n_parameters)
    assert served.subject.place == f"{server.url}/v1"
    assert served.hardware
    assert served.peak_bytes is not None
    assert served.peak_bytes > 1e6
    assert served.processor_percent is not None
    assert served.processor_percent > 0


def test_a_key_is_sent_and_its_absence_is_explained(start: Start) -> None:
    guarded = start(key="secret-of-a-test")
    with pytest.raises(flyball.Error, match=r"answered 401.*--key-env"):
        OpenAIServer(guarded.url)
    subject = OpenAIServer(f"{guarded.url}/v1/", key="secret-of-a-test")
    assert subject.answer("What is 12 + 30?", 1, 16).text
    assert "secret" not in repr(subject.about)


def test_a_prompt_too_long_for_the_server_is_a_failed_check(server: Running) -> None:
    answer = OpenAIServer(server.url).answer("word " * 2000, 1, 16)
    assert answer.failure == "the prompt does not fit the context"


def test_what_is_asked_of_other_servers(serve: Serve) -> None:
    asked: list[dict[str, Any]] = []

    def respond(handler: Handler, body: dict[str, Any]) -> None:
        asked.append(body)
        send(handler, stream_of("Hel", "lo", tokens=7))

    answer = OpenAIServer(serve(respond), clock=Ticking(0.5)).answer("Hi", 42, 9)
    assert (answer.text, answer.tokens, answer.receipt, answer.failure) == ("Hello", 7, None, "")
    assert 0 < answer.first_s < answer.seconds
    assert asked == [
        {
            "model": "m",
            "messages": [{"role": "user", "content": "Hi"}],
            "max_tokens": 9,
            "seed": 42,
            "temperature": 0.7,
            "top_p": 0.95,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ]


def test_tokens_that_a_server_does_not_count_are_not_known(serve: Serve) -> None:
    subject = OpenAIServer(serve(lambda handler, _: send(handler, stream_of("Hello"))))
    assert subject.answer("Hi", 1, 9).tokens is None
    assert subject.usage() == Usage()


def test_a_scripted_server_is_kept(serve: Serve) -> None:
    """By the clock of the test."""
    answers = {check.prompt: check.example for check in CHECKS}

    def respond(handler: Handler, body: dict[str, Any]) -> None:
        send(handler, stream_of(answers.get(body["messages"][0]["content"], "ready"), tokens=40))

    card = run(OpenAIServer(serve(respond), clock=Ticking(0.01)), CHECKS, 1, "0.1.0")
    assert card.decision.size == "keep small"
    assert {answer.digest for answer in card.answers} == {None}


def _raw(*chunks: bytes) -> Callable[[Handler, dict[str, Any]], None]:
    def respond(handler: Handler, _: dict[str, Any]) -> None:
        handler.send_response(200)
        handler.end_headers()
        for chunk in chunks:
            handler.wfile.write(chunk)

    return respond


def _endless(handler: Handler, _: dict[str, Any]) -> None:
    handler.send_response(200)
    handler.end_headers()
    event = stream_of("word " * 1000).split("\n")[0].encode() + b"\n\n"
    while True:
        handler.wfile.write(event)


def _line_without_end(handler: Handler, _: dict[str, Any]) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b"data: " + b"x" * 65536)


def _redirect(handler: Handler, _: dict[str, Any]) -> None:
    handler.send_response(307)
    handler.send_header("location", "http://192.0.2.1/v1/chat/completions")
    handler.send_header("content-length", "0")
    handler.end_headers()


def _cut(handler: Handler, _: dict[str, Any]) -> None:
    handler.send_response(200)
    handler.send_header("content-length", "1000")
    handler.end_headers()
    handler.wfile.write(b"data: ")


HOSTILE: dict[str, tuple[Callable[[Handler, dict[str, Any]], None], str]] = {
    "no JSON": (_raw(b"data: {not json}\n\n"), "is not valid JSON"),
    "no object": (_raw(b"data: [1]\n\n"), "no JSON object; is this an OpenAI interface"),
    "no choices": (_raw(b'data: {"a": 1}\n\n'), "without choices"),
    "odd choices": (_raw(b'data: {"choices": [7]}\n\n'), "without delta"),
    "an error within": (_raw(b'data: {"error": {"message": "lost"}}\n\n'), "broke the answer off: .*lost"),
    "a page": (_raw(b"<html>hello</html>\n"), "no event of a stream"),
    "nothing": (_raw(), "no event of a stream"),
    "500": (lambda handler, _: send(handler, '{"error": {"message": "on fire"}}', 500), "answered 500: on fire"),
    "500 without words": (lambda handler, _: send(handler, b"\xff\x00", 500), "answered 500"),
    "429 with a text": (lambda handler, _: send(handler, '{"error": "slowly"}', 429), "answered 429: slowly"),
    "400": (lambda handler, _: send(handler, '{"error": {"message": "no seed", "code": 400}}', 400), "400: no seed"),
    "403": (lambda handler, _: send(handler, "no", 403), "is the key allowed"),
    "endless": (_endless, "sends without end: more than 16 MiB"),
    "a line without end": (_line_without_end, "sends a line of more than"),
    "redirect": (_redirect, "answered 307"),
    "cut": (_cut, "broke off|no event"),
}


@pytest.mark.parametrize(("respond", "said"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_server_is_an_error_that_says_what(
    serve: Serve, respond: Callable[[Handler, dict[str, Any]], None], said: str
) -> None:
    url = serve(respond)
    with pytest.raises(flyball.Error, match=said) as caught:
        OpenAIServer(url).answer("Hi", 1, 9)
    assert url in str(caught.value)


def test_an_answer_may_not_take_for_ever(serve: Serve) -> None:
    """By the client's clock, which each look moves on by a minute."""
    subject = OpenAIServer(serve(_endless), clock=Ticking(60))
    with pytest.raises(flyball.FormatError, match="did not end its answer in time"):
        subject.answer("Hi", 1, 9)


def test_a_silent_server_is_left(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        with pytest.raises(flyball.Unavailable, match=r"was silent for|does not answer"):
            OpenAIServer(url, silence_s=0.2)


def test_a_refused_connection_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(flyball.Unavailable, match="is the server running there"):
        OpenAIServer(f"http://127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://", "must be as http://"),
        ("ftp://host/v1", "must be as http://"),
        ("http://host:99999/v1", "is no address"),
        ("http://user:pass@host/v1", "--key-env"),
        ("http://host/v1?key=1", "--key-env"),
        ("http://ho st/v1", "must be as http://"),
        ("http://[::1/v1", "is no address"),
    ],
)
def test_an_address_that_is_none(url: str, said: str) -> None:
    with pytest.raises(flyball.InvalidArgument, match=said):
        OpenAIServer(url)


@pytest.mark.parametrize(
    ("models", "name", "said"),
    [
        ({"data": [{"id": "a"}, {"id": "b"}]}, "", "is needed, as the server has several: a, b"),
        ({"data": [{"id": "a"}]}, "c", "is 'c'; the server has: a"),
        ({"data": []}, "", "the server has: none"),
        ({"data": [{"name": "a"}]}, "", "no list of models"),
        ([], "", "no list of models"),
        ("text", "", "no list of models"),
    ],
)
def test_a_model_must_be_named_among_several(serve: Serve, models: object, name: str, said: str) -> None:
    with pytest.raises(flyball.Error, match=said):
        OpenAIServer(serve(lambda *_: None, models), name)


def test_a_model_is_found_by_its_alias(serve: Serve) -> None:
    models = {"data": [{"id": "a", "aliases": ["gpt"], "meta": None}, {"id": "b", "aliases": 7}]}
    assert OpenAIServer(serve(lambda *_: None, models), "gpt").about.name == "a"


def test_a_receipt_id_cannot_lead_elsewhere(serve: Serve) -> None:
    def respond(handler: Handler, _: dict[str, Any]) -> None:
        send(handler, stream_of("x", tokens=1, flyball={"receipt": "../../secrets", "digest": "ab"}))

    subject = OpenAIServer(serve(respond, {"data": [{"id": "m", "owned_by": "flyball"}]}))
    with pytest.raises(flyball.FormatError, match="receipt id that is none"):
        subject.answer("Hi", 1, 9)


def test_a_receipt_is_that_of_the_answer(serve: Serve, demo: flyball.Model) -> None:
    receipt = dict(demo.generate("Once", 2).receipt)

    def respond(handler: Handler, _: dict[str, Any]) -> None:
        send(handler, stream_of("x", tokens=1, flyball={"receipt": "abc", "digest": "of another answer"}))

    subject = OpenAIServer(serve(respond, {"data": [{"id": "m", "owned_by": "flyball"}], "receipt": receipt}))
    with pytest.raises(flyball.FormatError, match="receipt of another answer"):
        subject.answer("Hi", 1, 9)


def test_metrics_that_are_none_are_not_known(serve: Serve) -> None:
    subject = OpenAIServer(serve(lambda *_: None, {"data": [{"id": "m", "owned_by": "flyball"}]}))
    assert subject.usage() == Usage()
