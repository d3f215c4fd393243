"""Teachers over HTTP: servers that limit, refuse keys, send what is no answer, cut answers off, or say nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from flyball.cli import main
from flyball.errors import FormatError, Unavailable
from flyball.learn import teachers
from flyball.learn.teachers import Rotation, server_with_keys
from flyball.scorecard.openai_server import OpenAIServer, Refused
from flyball.store import Store
from flyball.store.question import plain
from tests.python.scorecard.conftest import Serve, send, serve, stream_of

__all__ = ["serve"]

RECIPE = """
name = "sums"
count = 3
ask = "Write a question about {topic}."
answer = "{question} Be brief."
[slots]
topic = ["tea", "bread", "rain", "iron", "salt", "milk"]
[check]
question = [8, 60]
answer = [8, 80]
"""
TOPICS = ("tea", "bread", "rain", "iron", "salt", "milk")
Answer = Callable[[BaseHTTPRequestHandler, str], None]


class School:
    """A server's side: what it was asked with which key; `wrong`: what it does instead of its next answers."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.wrong: list[Answer] = []
        self.of_keys: dict[str, Answer] = {}

    def respond(self, handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        prompt, key = body["messages"][0]["content"], handler.headers.get("authorization", "").removeprefix("Bearer ")
        self.asked.append((key, prompt))
        if key in self.of_keys:
            self.of_keys[key](handler, prompt)
        elif self.wrong:
            self.wrong.pop(0)(handler, prompt)
        else:
            send(handler, stream_of(said(prompt), tokens=9))


def said(prompt: str) -> str:
    topic = next(each for each in TOPICS if each in prompt)
    return f"Who sells the {topic} here?" if prompt.startswith("Write") else f"The {topic} is sold by a neighbor."


def refusing(status: int, **headers: str) -> Answer:
    def refuse(handler: BaseHTTPRequestHandler, _: str) -> None:
        raw = json.dumps({"error": {"message": "not now", "type": "rate_limit_error"}}).encode()
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("content-length", str(len(raw)))
        handler.end_headers()
        handler.wfile.write(raw)

    return refuse


def sending(body: str | bytes) -> Answer:
    return lambda handler, _: send(handler, body)


def cut(handler: BaseHTTPRequestHandler, prompt: str) -> None:
    """Ends in the middle, as a server that dies behind a proxy does: cleanly, but for the answer."""
    send(handler, stream_of(said(prompt)[:15]).removesuffix("data: [DONE]\n\n"))


def silent(handler: BaseHTTPRequestHandler, _: str) -> None:
    time.sleep(2)


@pytest.fixture
def school() -> School:
    return School()


@pytest.fixture
def url(school: School, serve: Serve) -> str:
    return serve(school.respond)


@pytest.fixture
def asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> Callable[..., int]:
    """asking("--count", "2") runs the command against the server; its exit code."""
    (tmp_path / "sums.toml").write_text(RECIPE)
    monkeypatch.setattr(teachers, "_REST_S", 0.05)
    monkeypatch.setattr(teachers, "_SILENCE_S", 0.5)
    for name in "AB":
        monkeypatch.setenv(f"KEY_{name}", f"key-{name}")
    words = ("--recipe", str(tmp_path / "sums.toml"), "--teacher", url, "--per-minute", "60000")
    keys = ("--key-env", "KEY_A", "--key-env", "KEY_B")
    return lambda *more: main(["feedback", "synthesize", *words, *keys, *more])


def proposed() -> list[tuple[str, str]]:
    with Store.open(store_path()) as store:
        return [(plain(each.question), each.answer) for each in store.project().examples.all()]


def store_path() -> Path:
    from flyball.files import state_folder

    folder = state_folder()
    assert folder is not None
    return folder / "serve" / "store.sqlite"


RIGHT = {(said(f"Write {topic}"), said(topic)) for topic in TOPICS}


def test_a_teacher_is_asked_with_its_keys_in_turn(
    asking: Callable[..., int], school: School, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asking("--json") == 0
    assert json.loads(capsys.readouterr().out) == {"proposed": 3, "tries": 3, "refused": {}}
    assert len(proposed()) == 3
    assert set(proposed()) <= RIGHT
    assert [key for key, _ in school.asked] == ["key-A", "key-B"] * 3
    with Store.open(store_path()) as store:
        (origin,) = {json.loads(str(each.origin))["teacher"] for each in store.project().examples.all()}
        assert origin == "m"


def test_a_limit_is_kept_for_as_long_as_the_server_says(asking: Callable[..., int], school: School) -> None:
    school.of_keys["key-A"] = refusing(429, retry_after="1.5")
    begun = time.monotonic()
    assert asking() == 0
    assert time.monotonic() - begun < 1.4, "the other key goes on meanwhile"
    assert len(proposed()) == 3
    assert set(proposed()) <= RIGHT
    assert [key for key, _ in school.asked].count("key-A") == 1
    school.of_keys["key-B"] = school.of_keys.pop("key-A")
    school.wrong = [refusing(503, retry_after="0.4"), refusing(429, retry_after="Thu, 01 Jan 1970 00:00:00 GMT")]
    begun = time.monotonic()
    assert asking("--count", "1") == 0, "a date that is over is at once"
    assert 0.4 <= time.monotonic() - begun < 10


def test_a_server_that_wants_to_be_left_alone_for_long_ends_it(
    asking: Callable[..., int], school: School, capsys: pytest.CaptureFixture[str]
) -> None:
    school.wrong = [sending(stream_of("Who sells the tea here?")), sending(stream_of("A neighbor sells the tea."))]
    school.wrong += [refusing(429, retry_after="86400")] * 2
    assert asking() == 2
    told = capsys.readouterr().err
    assert "1 examples are proposed, and stay; of 3 that are wanted" in told
    assert "is to be asked again in 86" in told
    assert [question for question, _ in proposed()] == ["Who sells the tea here?"]


def test_a_key_that_is_refused_is_asked_no_more(
    asking: Callable[..., int], school: School, capsys: pytest.CaptureFixture[str]
) -> None:
    school.of_keys["key-A"] = refusing(401)
    assert asking() == 0
    assert [key for key, _ in school.asked].count("key-A") == 1
    school.of_keys["key-B"] = refusing(403)
    assert asking() == 2
    assert "accepts none of the keys: answered 403: not now" in capsys.readouterr().err


def test_what_no_key_would_change_is_told_at_once(
    asking: Callable[..., int], school: School, capsys: pytest.CaptureFixture[str]
) -> None:
    school.wrong = [refusing(400)]
    assert asking() == 2
    assert "answered 400: not now" in capsys.readouterr().err
    assert len(school.asked) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        sending("<html>busy</html>"),
        sending(""),
        sending('data: {"choices": [{"delta": {"content": "Who se'),
        sending("data: {]\n\n"),
        sending("data: 5\n\n"),
        sending('data: {"choices": {}}\n\n'),
        sending('data: {"choices": [{"message": {"content": "x"}}]}\n\n'),
        sending(b"data: \xff\xfe\n\n"),
        sending('data: {"error": {"message": "overloaded"}}\n\n'),
        sending("data: " + "x" * (1 << 19)),
        cut,
    ],
)
def test_a_malformed_answer_is_a_refused_one(
    asking: Callable[..., int], school: School, capsys: pytest.CaptureFixture[str], wrong: Answer
) -> None:
    school.wrong = [wrong]
    assert asking("--json") == 0
    assert json.loads(capsys.readouterr().out) == {"proposed": 3, "tries": 4, "refused": {"malformed answer": 1}}
    assert len(proposed()) == 3
    assert set(proposed()) <= RIGHT, "nothing that was cut off is an example"


def test_a_server_that_never_sends_an_answer_ends_it(
    asking: Callable[..., int], school: School, capsys: pytest.CaptureFixture[str]
) -> None:
    school.wrong = [sending("<html>busy</html>")] * 50
    assert asking() == 2
    assert "so were the 9 before" in capsys.readouterr().err
    assert len(school.asked) == 10


def test_a_server_that_hangs_is_asked_again(
    asking: Callable[..., int], school: School, capsys: pytest.CaptureFixture[str]
) -> None:
    school.wrong = [silent]
    assert asking("--count", "1") == 0
    assert set(proposed()) <= RIGHT
    school.wrong = [silent] * 10
    assert asking("--count", "1") == 2
    assert "was silent for" in capsys.readouterr().err
    assert len(school.asked) == 13, "five times with each key"


def test_what_the_server_has_is_asked_with_a_key_that_it_accepts(
    serve: Serve, school: School, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = serve(school.respond)
    refused: list[str] = []

    def opening(url: str, name: str, key: str, answer_s: float, silence_s: float) -> OpenAIServer:
        if key != "good":
            refused.append(key)
            error = Refused(url, "answered 401", code="unavailable")
            error.status = 401 if key == "bad" else 404
            raise error
        return OpenAIServer(url, name, key, answer_s, silence_s)

    monkeypatch.setattr(teachers, "OpenAIServer", opening)
    made = server_with_keys(url, "", ["bad", "good", "late"])
    assert refused == ["bad"]
    school.of_keys["bad"] = refusing(401)
    rotation = Rotation(made, 60_000)
    assert rotation.answer("Write tea", 1, 9).text == "Who sells the tea here?"
    assert [key for key, _ in school.asked] == ["bad", "good"]
    with pytest.raises(Refused):
        server_with_keys(url, "", ["bad"])
    with pytest.raises(Refused):
        server_with_keys(url, "", ["none", "good"])  # 404: no other key would change it


def test_a_cut_answer_is_no_answer(serve: Serve, school: School) -> None:
    school.wrong = [cut]
    (server,) = server_with_keys(serve(school.respond), "", [""])
    with pytest.raises(FormatError, match=r"without a finish_reason or \[DONE\]: it was cut off"):
        server.answer("Write tea", 1, 9)
    ended = 'data: {"choices": [{"delta": {"content": "Yes."}, "finish_reason": "stop"}]}\n\n'
    school.wrong = [sending(ended)]
    assert server.answer("Write tea", 1, 9).text == "Yes."


def test_servers_that_are_away_are_unavailable(url: str) -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        server_with_keys("http://127.0.0.1:9", "", ["a", "b"])
