"""Ollama's interface: with its own client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import ollama
import pytest

import flyball
from flyball.serve.answering import Answering, Part
from flyball.serve.apis import ollama as api
from flyball.serve.app import create_app
from flyball.serve.failures import Failure
from flyball.serve.models import Entry, Models, Served
from flyball.serve.server import Server
from flyball.serve.settings import ServeSettings

from .conftest import Running

QUESTION = [{"role": "user", "content": "What is 2 + 3?"}]
NAME = "flyball-demo"
OPTIONS = {"seed": 1, "num_predict": 12}


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[ollama.Client]:
    client = ollama.Client(host=server.url, timeout=120)
    yield client
    client.close()  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def model() -> flyball.Model:
    return flyball.Model.load(flyball.demo_model_path())


def digest(server: Running, path: str, **members: Any) -> str:
    """That of an answer: the client drops members that it does not know."""
    body = {"model": NAME, "options": OPTIONS, "stream": False} | members
    whole = server.post(f"/api/{path}", body)
    lines = server.post(f"/api/{path}", body | {"stream": True}).text.splitlines()
    assert json.loads(lines[-1])["flyball"]["digest"] == whole.json()["flyball"]["digest"]
    return str(whole.headers["flyball-digest"])


def test_chat_is_that_of_the_library(client: ollama.Client, server: Running, model: flyball.Model) -> None:
    chat = model.chat()
    expected = chat.send(QUESTION[0]["content"], 12, seed=1)
    said = client.chat(NAME, QUESTION, options=OPTIONS)
    assert said.message.content == chat.history[-1].content
    assert (said.done, said.done_reason) == (True, "stop")
    assert said.prompt_eval_count == len(expected.prompt)
    assert said.eval_count == len(expected.tokens)
    for duration in (said.total_duration, said.load_duration, said.prompt_eval_duration, said.eval_duration):
        assert isinstance(duration, int)
        assert duration > 0
    assert digest(server, "chat", messages=QUESTION) == expected.digest


def test_stream_has_the_parts_of_the_whole_answer(client: ollama.Client) -> None:
    whole = client.chat(NAME, QUESTION, options=OPTIONS)
    *parts, last = client.chat(NAME, QUESTION, options=OPTIONS, stream=True)
    assert "".join(part.message.content or "" for part in parts) == whole.message.content
    assert not any(part.done for part in parts)
    assert (last.done, last.done_reason, last.eval_count) == (True, "stop", whole.eval_count)


def test_streams_by_default_in_lines_of_json(server: Running) -> None:
    said = server.post("/api/chat", {"model": NAME, "messages": QUESTION, "options": OPTIONS})
    assert said.headers["content-type"].startswith("application/x-ndjson")
    lines = said.text.split("\n")
    assert lines.pop() == ""
    assert [json.loads(line)["done"] for line in lines] == [False] * (len(lines) - 1) + [True]


def test_generate_and_its_context(client: ollama.Client, server: Running, model: flyball.Model) -> None:
    first = client.generate(NAME, "What is 2 + 3?", options=OPTIONS)
    assert first.response == client.chat(NAME, QUESTION, options=OPTIONS).message.content
    assert first.context is not None
    more = digest(server, "generate", prompt="And 4 + 9?", context=first.context)
    chat = model.chat_format()
    expected = model.generate([*first.context, *chat.ids([{"role": "user", "content": "And 4 + 9?"}])], 12, seed=1)
    assert more == expected.digest


def test_raw_prompt_is_taken_as_it_is(client: ollama.Client, model: flyball.Model) -> None:
    expected = model.generate("Once upon a time", 12, seed=1)
    said = client.generate(NAME, "Once upon a time", raw=True, options=OPTIONS)
    assert said.response == expected.text
    assert said.context is None
    assert said.done_reason == "length"
    parts = list(client.generate(NAME, "Once upon a time", raw=True, options=OPTIONS, stream=True))
    assert "".join(part.response or "" for part in parts) == expected.text


def test_system_is_a_message(server: Running) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    said = digest(server, "generate", prompt="Hello", system="Be brief.")
    assert said == digest(server, "chat", messages=messages) != digest(server, "generate", prompt="Hello")


def test_logprobs_join_to_the_content(client: ollama.Client) -> None:
    said = client.chat(NAME, QUESTION, options=OPTIONS, logprobs=True, top_logprobs=2)
    assert said.logprobs is not None
    assert "".join(entry.token or "" for entry in said.logprobs) == said.message.content
    assert all(entry.top_logprobs is not None and len(entry.top_logprobs) == 2 for entry in said.logprobs)
    parts = list(client.chat(NAME, QUESTION, options=OPTIONS, logprobs=True, top_logprobs=2, stream=True))
    assert [entry for part in parts for entry in part.logprobs or ()] == said.logprobs


def test_history_of_calls_and_thoughts(client: ollama.Client) -> None:
    history: list[dict[str, Any]] = [
        {"role": "user", "content": "What is the weather?"},
        {"role": "assistant", "thinking": "I ask.", "tool_calls": [
            {"function": {"name": "weather", "arguments": {"town": "Ulm"}}}]},
        {"role": "tool", "tool_name": "weather", "content": "sun"},
    ]  # fmt: skip
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
    assert client.chat(NAME, history, tools=[tool], options=OPTIONS).done


def test_ends_at_the_length(client: ollama.Client) -> None:
    said = client.chat(NAME, QUESTION, options={"seed": 1, "num_predict": 2})
    assert (said.done_reason, said.eval_count) == ("length", 2)


@pytest.mark.parametrize("num_predict", [-1, -2, 0, None])
def test_no_limit_is_the_context(client: ollama.Client, num_predict: int | None) -> None:
    said = client.chat(NAME, QUESTION, options={"seed": 1, "num_predict": num_predict})
    assert said.done_reason == "stop"


@pytest.mark.parametrize(("keep_alive", "reason"), [(None, "load"), ("5m", "load"), (-1, "load"), ("1h30m", "load"),
                                                    (0, "unload"), ("0s", "unload")])  # fmt: skip
def test_nothing_asked_loads(client: ollama.Client, keep_alive: Any, reason: str) -> None:
    said = client.generate(NAME, keep_alive=keep_alive)
    assert (said.response, said.done, said.done_reason) == ("", True, reason)
    chat = client.chat(NAME, [], keep_alive=keep_alive)
    assert (chat.message.content, chat.done_reason) == ("", reason)


def test_what_has_no_effect_is_named(server: Running) -> None:
    options = OPTIONS | {"num_gpu": 9, "somthing": 1}
    body = {"model": NAME, "messages": QUESTION, "options": options, "keep_alive": "5m", "other": 1, "stream": False}
    said = server.post("/api/chat", body)
    assert said.status_code == 200
    named = set(said.headers["flyball-ignored"].split(", "))
    assert named == {"options.num_gpu", "options.somthing", "other"}
    assert said.headers["flyball-digest"] == said.json()["flyball"]["digest"]


@pytest.mark.parametrize(
    ("path", "members", "word"),
    [
        ("chat", {"options": {"num_ctx": 4096}}, "num_ctx"),
        ("chat", {"options": {"temperature": "hot"}}, "options.temperature"),
        ("chat", {"options": []}, "options"),
        ("chat", {"options": {"mirostat": 1}}, "options.mirostat"),
        ("chat", {"options": {"num_predict": 2**40}}, "options.num_predict"),
        ("chat", {"messages": "hi"}, "messages"),
        ("chat", {"messages": [3]}, "messages[0]"),
        ("chat", {"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content"),
        ("chat", {"messages": [{"role": "user", "content": "x", "images": ["eA=="]}]}, "messages[0].images"),
        ("chat", {"messages": [{"role": "nobody", "content": "x"}]}, "messages"),
        ("chat", {"messages": [{"role": "user", "content": "\ud800"}]}, "messages"),
        ("chat", {"messages": [{"role": "assistant", "tool_calls": 3}]}, "tool_calls"),
        ("chat", {"messages": [{"role": "user", "content": "fox " * 2000}]}, "context"),
        ("chat", {"tools": [1]}, "tools[0]"),
        ("chat", {"think": True}, "think"),
        ("chat", {"think": "much"}, "think"),
        ("chat", {"format": 5}, "format"),
        ("chat", {"format": {"not": {}}}, "format"),
        ("chat", {"keep_alive": "soon"}, "keep_alive"),
        ("chat", {"keep_alive": True}, "keep_alive"),
        ("chat", {"stream": "yes"}, "stream"),
        ("chat", {"top_logprobs": 2}, "top_logprobs"),
        ("generate", {"prompt": "x", "suffix": "y"}, "suffix"),
        ("generate", {"prompt": "x", "template": "y"}, "template"),
        ("generate", {"prompt": "x", "images": ["eA=="]}, "images"),
        ("generate", {"prompt": 3}, "prompt"),
        ("generate", {"prompt": "x", "context": [99999]}, "context"),
        ("generate", {"prompt": "x", "context": [1] * 600}, "context"),
        ("generate", {"prompt": "fox " * 2000, "raw": True}, "context"),
        ("embed", {"input": []}, "input"),
        ("embed", {"input": "fox " * 2000}, "input[0]"),
        ("embed", {"input": "x", "dimensions": 3}, "dimensions"),
        ("embed", {"input": "x", "options": {"num_ctx": 4096}}, "num_ctx"),
        ("embeddings", {}, "prompt"),
        ("show", {"verbose": 1}, "verbose"),
        ("pull", {}, "/api/pull"),
        ("push", {}, "/api/push"),
        ("create", {}, "/api/create"),
        ("copy", {"source": "a", "destination": "b"}, "/api/copy"),
        ("delete", {}, "/api/delete"),
        ("blobs/sha256:0", {}, "/api/blobs"),
    ],
)  # fmt: skip
def test_what_cannot_be_honored_is_refused(server: Running, path: str, members: dict[str, Any], word: str) -> None:
    body = {"model": NAME} | ({"messages": QUESTION} if path == "chat" else {}) | members
    said = server.post(f"/api/{path}", body)
    assert said.status_code == 400, said.text
    assert word in said.json()["error"]


def test_refusals_reach_the_client(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="is not supported") as refused:
        client.pull(NAME)
    assert refused.value.status_code == 400
    with pytest.raises(ollama.ResponseError, match="is not supported"):
        client.delete(NAME)
    with pytest.raises(ollama.ResponseError) as unknown:
        client.chat("gpt-9", QUESTION)
    assert unknown.value.status_code == 404


def test_models(client: ollama.Client, model: flyball.Model) -> None:
    (listed,) = client.list().models
    assert listed.model == NAME
    assert listed.digest == model.info.fingerprint
    assert listed.size == model.info.file_bytes
    assert listed.details is not None
    assert listed.details.quantization_level == model.info.quantization
    (running,) = client.ps().models
    assert (running.model, running.context_length) == (NAME, 512)
    shown = client.show(NAME)
    assert shown.template == model.info.chat_template
    assert shown.capabilities == ["completion"]
    assert shown.modelinfo is not None
    assert shown.modelinfo["general.architecture"] == "llama"
    assert shown.modelinfo["llama.context_length"] == 512
    assert shown.modelinfo["tokenizer.ggml.tokens"] is None


def test_verbose_show_has_the_arrays(server: Running, model: flyball.Model) -> None:
    shown = server.post("/api/show", {"model": NAME, "verbose": True}).json()
    assert len(shown["model_info"]["tokenizer.ggml.tokens"]) == model.info.n_vocab
    assert len(shown["tensors"]) == len(model.tensors())


def test_embeddings(client: ollama.Client, server: Running, model: flyball.Model) -> None:
    texts = ["a careful fox", "a bold hen"]
    said = client.embed(NAME, texts)
    for row, text in zip(said.embeddings, texts, strict=True):
        assert list(row) == pytest.approx(list(model.embed(text)))
    assert said.prompt_eval_count == sum(len(model.tokenize(text)) for text in texts)
    assert list(client.embeddings(NAME, texts[0]).embedding) == pytest.approx(list(said.embeddings[0]))
    cut = client.embed(NAME, "fox " * 2000, truncate=True)
    assert cut.prompt_eval_count == 512


def test_version_and_the_front(server: Running) -> None:
    assert all(part.isdigit() for part in server.get("/api/version").json()["version"].split("."))
    with server.client() as client:
        for accept in ("*/*", "application/json"):
            said = client.get("/", headers={"accept": accept})
            assert (said.status_code, said.text) == (200, "Ollama is running")
        assert client.head("/").status_code == 200
        assert client.head("/api/blobs/sha256:0").status_code == 404


def test_error_in_a_stream_is_its_last_line(model: flyball.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(Answering):
        async def __aiter__(self) -> AsyncIterator[Part]:
            async for part in super().__aiter__():
                yield part
                if part.deltas:
                    raise Failure(503, "the server is ending")

    monkeypatch.setattr(api, "Answering", Failing)
    settings = ServeSettings(sampling={"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05})
    transport = httpx.ASGITransport(
        create_app(
            Server(
                settings, Models([Entry(NAME, flyball.demo_model_path(), lambda: model, served=Served(NAME, model))])
            )
        )
    )

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.post("/api/chat", json={"messages": QUESTION})

    said = asyncio.run(ask())
    *parts, last = map(json.loads, said.text.splitlines())
    assert said.status_code == 200
    assert [part["done"] for part in parts] == [False] * len(parts)
    assert len(parts) >= 1
    assert last == {"error": "the server is ending"}
