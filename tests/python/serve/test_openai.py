"""OpenAI's API: with its own client, whose strict mode checks each response against its types."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

import flyball

from .conftest import Running

QUESTION = [{"role": "user", "content": "What is 2 + 3?"}]


@pytest.fixture(scope="module")
def client(server: Running) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"{server.url}/v1", api_key="none", max_retries=0, _strict_response_validation=True, timeout=120
    )


@pytest.fixture(scope="module")
def loose(server: Running) -> openai.OpenAI:
    """For what OpenAI's own server sends and its types forbid: null as finish_reason, null for a first token."""
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=120)


@pytest.fixture(scope="module")
def model() -> flyball.Model:
    return flyball.Model.load(flyball.demo_model_path())


def ask(server: Running, **members: Any) -> Any:
    return server.post("/v1/chat/completions", {"messages": QUESTION, "max_tokens": 12, "seed": 1} | members)


def test_answer_is_that_of_the_library(client: openai.OpenAI, model: flyball.Model) -> None:
    said = client.chat.completions.create(model="flyball-demo", messages=QUESTION, max_tokens=12, seed=1)  # type: ignore[arg-type]
    chat = model.chat()
    expected = chat.send("What is 2 + 3?", 12, seed=1)
    assert said.choices[0].message.content == chat.history[-1].content
    assert said.choices[0].finish_reason == "stop"
    assert said.usage is not None
    assert said.usage.prompt_tokens == len(expected.prompt)
    assert said.usage.completion_tokens == len(expected.tokens)
    assert said.system_fingerprint is not None
    assert said.system_fingerprint.startswith("b")
    assert said.model_extra is not None
    assert said.model_extra["flyball"]["digest"] == expected.digest


def test_stream_has_the_parts_of_the_whole_answer(client: openai.OpenAI) -> None:
    how: dict[str, Any] = {"model": "flyball-demo", "messages": QUESTION, "max_tokens": 12, "seed": 1}
    whole = client.chat.completions.create(**how)
    chunks = list(client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **how))
    first, *middle, finish, usage = chunks
    assert first.choices[0].delta.role == "assistant"
    assert first.choices[0].delta.content is None
    assert all(chunk.choices[0].delta.role is None for chunk in middle)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in middle) == whole.choices[0].message.content
    assert finish.choices[0].finish_reason == "stop"
    assert usage.choices == []
    assert usage.usage == whole.usage
    assert usage.model_extra is not None
    assert whole.model_extra is not None
    assert usage.model_extra["flyball"]["digest"] == whole.model_extra["flyball"]["digest"]
    assert len({chunk.id for chunk in chunks}) == 1


def test_logprobs_join_to_the_content(client: openai.OpenAI, model: flyball.Model) -> None:
    how: dict[str, Any] = {
        "model": "", "messages": QUESTION, "max_tokens": 12, "seed": 1, "logprobs": True, "top_logprobs": 2,
    }  # fmt: skip
    said = client.chat.completions.create(**how).choices[0]
    assert said.logprobs is not None
    assert said.logprobs.content is not None
    assert "".join(entry.token for entry in said.logprobs.content) == said.message.content
    assert all(len(entry.top_logprobs) == 2 for entry in said.logprobs.content)
    expected = model.chat()
    result = expected.send("What is 2 + 3?", 12, seed=1)
    assert [entry.logprob for entry in said.logprobs.content] == pytest.approx(result.logprobs[:-1])
    streamed = [
        entry
        for chunk in client.chat.completions.create(stream=True, **how)
        if chunk.choices[0].logprobs and chunk.choices[0].logprobs.content
        for entry in chunk.choices[0].logprobs.content
    ]
    assert streamed == said.logprobs.content


def test_choices_count_up_their_seeds(server: Running) -> None:
    whole = ask(server, n=3, temperature=2.0).json()
    alone = [ask(server, temperature=2.0, seed=seed).json() for seed in (1, 2, 3)]
    texts = [choice["message"]["content"] for choice in whole["choices"]]
    assert texts == [each["choices"][0]["message"]["content"] for each in alone]
    assert whole["choices"][2]["flyball"]["digest"] == alone[2]["flyball"]["digest"]
    streamed: dict[int, str] = {0: "", 1: "", 2: ""}
    response = ask(server, n=3, temperature=2.0, stream=True)
    lines = [line for line in response.text.splitlines() if line.startswith("data: {")]
    for line in lines:
        for choice in json.loads(line.removeprefix("data: "))["choices"]:
            streamed[choice["index"]] += choice["delta"].get("content") or ""
    assert list(streamed.values()) == texts


def test_seed_is_chosen_and_told(server: Running) -> None:
    members = {"messages": QUESTION, "max_tokens": 12, "temperature": 2.0}
    first = server.post("/v1/chat/completions", members).json()
    again = server.post("/v1/chat/completions", members | {"seed": first["flyball"]["seed"]}).json()
    assert again["flyball"]["digest"] == first["flyball"]["digest"]
    assert server.post("/v1/chat/completions", members).json()["flyball"]["seed"] != first["flyball"]["seed"]


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_both_names_bound_the_answer(server: Running, name: str) -> None:
    body = {"messages": QUESTION, name: 3, "seed": 1}
    said = server.post("/v1/chat/completions", body).json()
    assert said["usage"]["completion_tokens"] == 3
    assert said["choices"][0]["finish_reason"] == "length"


def test_stop_ends_before_the_text(server: Running) -> None:
    said = ask(server, stop=["+"]).json()["choices"][0]
    assert said["message"]["content"] == "2 "
    assert said["finish_reason"] == "stop"


def test_forms_of_messages(server: Running) -> None:
    plain = ask(server).json()["flyball"]["digest"]
    parts = [{"role": "user", "content": [{"type": "text", "text": "What is "}, {"type": "text", "text": "2 + 3?"}]}]
    assert ask(server, messages=parts).json()["flyball"]["digest"] == plain
    history = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None, "tool_calls": [], "refusal": None, "reasoning": "x"},
        *QUESTION,
    ]
    assert ask(server, messages=history).status_code == 200


def test_ignored_parameters_are_named(server: Running) -> None:
    said = ask(server, user="me", metadata={"a": "b"}, somthing=3)
    assert said.status_code == 200
    assert said.headers["flyball-ignored"] == "user, metadata, somthing"


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "nobody", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]},
         "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "messages"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 2.5}, "max_tokens"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"logit_bias": {"99999": 1}}, "logit_bias"),
        ({"stop": [1]}, "stop"),
        ({"stop": [str(i) for i in range(17)]}, "stop"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"tools": [{"type": "function"}]}, "tools[0]"),
        ({"deadline": 0}, "deadline"),
    ],
)  # fmt: skip
def test_what_cannot_be_honored_is_refused_by_name(server: Running, members: dict[str, Any], param: str) -> None:
    said = server.post("/v1/chat/completions", {"messages": QUESTION, "max_tokens": 4} | members)
    assert said.status_code == 400
    error = said.json()["error"]
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"
    assert error["message"]


def test_unknown_model_is_404(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-9", messages=QUESTION)  # type: ignore[arg-type]
    assert caught.value.code == "model_not_found"


def test_long_prompt_is_told_before_a_stream_begins(server: Running) -> None:
    said = ask(server, messages=[{"role": "user", "content": "fox " * 2000}], stream=True)
    assert said.status_code == 400
    error = said.json()["error"]
    assert (error["code"], error["type"]) == ("context_length_exceeded", "exceed_context_size_error")
    assert error["n_prompt_tokens"] > error["n_ctx"] == 512


def test_models(client: openai.OpenAI) -> None:
    listed = client.models.list().data
    assert [model.id for model in listed] == ["flyball-demo"]
    assert client.models.retrieve("flyball-demo") == listed[0]


def test_completions(loose: openai.OpenAI, model: flyball.Model) -> None:
    expected = model.generate("Once upon a time", 16, seed=3)
    said = loose.completions.create(model="", prompt="Once upon a time", seed=3)
    assert said.choices[0].text == expected.text
    assert said.usage is not None
    assert said.usage.completion_tokens == 16
    chunks = list(loose.completions.create(model="", prompt="Once upon a time", seed=3, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == expected.text
    ids = loose.completions.create(model="", prompt=list(expected.prompt), seed=3)
    assert ids.choices[0].text == expected.text


def test_completions_of_many_prompts(loose: openai.OpenAI, model: flyball.Model) -> None:
    prompts = ["Once upon a time", "The fox"]
    said = loose.completions.create(model="", prompt=prompts, seed=3, n=2)
    assert [choice.index for choice in said.choices] == [0, 1, 2, 3]
    expected = [model.generate(prompt, 16, seed=seed).text for prompt in prompts for seed in (3, 4)]
    assert [choice.text for choice in said.choices] == expected
    assert said.usage is not None
    assert said.usage.prompt_tokens == sum(len(model.tokenize(prompt)) for prompt in prompts)


@pytest.mark.parametrize("max_tokens", [0, 1])
def test_echo_scores_the_prompt(loose: openai.OpenAI, model: flyball.Model, max_tokens: int) -> None:
    """What lm-eval asks for each of its tasks."""
    ids = model.tokenize("Once upon a time there was")
    score = model.score(ids, 1)
    said = loose.completions.create(
        model="", prompt=ids, echo=True, logprobs=1, max_tokens=max_tokens, temperature=0, seed=1
    ).choices[0]
    assert said.logprobs is not None
    assert said.logprobs.token_logprobs is not None
    assert said.logprobs.tokens is not None
    assert said.logprobs.token_logprobs[0] is None
    n = len(ids)
    assert said.logprobs.token_logprobs[1:n] == pytest.approx(score.logprobs)
    assert len(said.logprobs.tokens) == n + max_tokens
    assert said.text.startswith(model.detokenize(ids))
    top = said.logprobs.top_logprobs
    assert top is not None
    assert top[1] == pytest.approx({each.text: each.logprob for each in score.top_logprobs[0]})


def test_embeddings(loose: openai.OpenAI, model: flyball.Model) -> None:
    texts = ["a careful fox", "a bold hen"]
    expected = model.embed(texts)
    for form in ("float", "base64"):
        said = loose.embeddings.create(model="", input=texts, encoding_format=form)
        assert len(said.data) == 2
    said = loose.embeddings.create(model="", input=texts)
    for row, each in zip(expected, said.data, strict=True):
        assert each.embedding == pytest.approx(list(row))
    ids = loose.embeddings.create(model="", input=model.tokenize(texts[0]))
    assert ids.data[0].embedding == pytest.approx(list(expected[0]))


@pytest.mark.parametrize(
    ("members", "param"),
    [({"input": []}, "input"), ({"input": ""}, "input[0]"), ({"input": [[99999]]}, "input[0]"),
     ({"input": "x", "dimensions": 3}, "dimensions"), ({"input": "fox " * 2000}, "input[0]")],
)  # fmt: skip
def test_embeddings_refuse(server: Running, members: dict[str, Any], param: str) -> None:
    said = server.post("/v1/embeddings", members)
    assert (said.status_code, said.json()["error"]["param"]) == (400, param)


def test_receipt_of_an_answer_verifies(server: Running) -> None:
    said = ask(server).json()
    kept = server.get(f"/v1/receipts/{said['id']}").json()
    assert kept["receipt"]["digest"] == said["flyball"]["digest"]
    assert flyball.verify(kept["receipt"], isa="scalar", threads=1)
    report = server.post("/v1/verify", {"id": said["id"]}).json()
    assert report["verified"] is True
    forged = kept["receipt"] | {"tokens": [259, *kept["receipt"]["tokens"][1:]]}
    report = server.post("/v1/verify", {"receipt": forged}).json()
    assert report["verified"] is False
    assert (report["difference"], report["position"]) == ("tokens", 0)


def test_receipts_refuse(server: Running) -> None:
    assert server.get("/v1/receipts/nothing").status_code == 404
    assert server.post("/v1/verify", {"receipt": {}}).status_code == 400
    assert server.post("/v1/verify", {}).status_code == 400
