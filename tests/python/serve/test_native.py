"""llama-server's own interface."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

import flyball

from .conftest import Running, Start

PROMPT = "Once upon a time"


@pytest.fixture(scope="module")
def model() -> flyball.Model:
    return flyball.Model.load(flyball.demo_model_path())


def ask(server: Running, **members: Any) -> httpx.Response:
    return server.post("/completion", {"prompt": PROMPT, "n_predict": 12, "seed": 3} | members)


def events(response: httpx.Response) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line]
    return [json.loads(line) for line in lines]


def test_answer_is_that_of_the_library(server: Running, model: flyball.Model) -> None:
    expected = model.generate(PROMPT, 12, seed=3, top_logprobs=2)
    said = ask(server, n_probs=2, return_tokens=True).json()
    assert said["content"] == expected.text
    assert said["tokens"] == list(expected.tokens)
    assert (said["stop"], said["stop_type"], said["stopping_word"]) == (True, "limit", "")
    assert said["tokens_predicted"] == said["timings"]["predicted_n"] == 12
    assert said["tokens_evaluated"] == len(expected.prompt)
    assert said["prompt"] == PROMPT
    assert said["generation_settings"]["seed"] == 3
    assert said["generation_settings"]["n_predict"] == 12
    assert said["flyball"]["digest"] == expected.digest
    probabilities = said["completion_probabilities"]
    assert [each["id"] for each in probabilities] == list(expected.tokens)
    assert [each["logprob"] for each in probabilities] == pytest.approx(expected.logprobs)
    assert [each["id"] for each in probabilities[0]["top_logprobs"]] == [
        each.token for each in expected.top_logprobs[0]
    ]
    assert b"".join(bytes(each["bytes"]) for each in probabilities).decode() == expected.text


def test_stream_has_the_parts_of_the_whole_answer(server: Running) -> None:
    whole = ask(server, return_tokens=True, n_probs=1).json()
    *parts, last = events(ask(server, stream=True, n_probs=1))
    assert "".join(part["content"] for part in parts) == whole["content"]
    assert [token for part in parts for token in part["tokens"]] == whole["tokens"]
    assert [each for part in parts for each in part["completion_probabilities"]] == whole["completion_probabilities"]
    assert [part["stop"] for part in parts] == [False] * len(parts)
    assert (last["stop"], last["content"], last["tokens"]) == (True, "", [])
    assert last["flyball"]["digest"] == whole["flyball"]["digest"]


def test_forms_of_prompts(server: Running, model: flyball.Model) -> None:
    ids = model.tokenize(PROMPT)
    plain = ask(server).json()["content"]
    for form in (ids, {"prompt_string": PROMPT}, [*ids[:1], model.detokenize(ids[1:])]):
        assert ask(server, prompt=form).json()["content"] == plain
    many = ask(server, prompt=[PROMPT, ids, [*ids], {"prompt_string": PROMPT}]).json()
    assert [each["content"] for each in many] == [plain] * 4
    assert [each["index"] for each in many] == [0, 1, 2, 3]
    streamed = events(ask(server, prompt=[PROMPT, "The fox"], stream=True))
    text = "".join(each["content"] for each in streamed if each["index"] == 1)
    assert text == model.generate("The fox", 12, seed=3).text


def test_control_tokens_of_a_prompt(server: Running, model: flyball.Model) -> None:
    """A program's own prompt has them; text of a user's is for parse_special: false."""
    said = server.post("/apply-template", {"messages": [{"role": "user", "content": "What is 2 + 3?"}]}).json()
    chat = server.post(
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": "What is 2 + 3?"}], "max_tokens": 12, "seed": 3},
    ).json()
    answer = ask(server, prompt=said["prompt"]).json()
    assert answer["flyball"]["digest"] == chat["flyball"]["digest"]
    assert (answer["stop_type"], answer["tokens_evaluated"]) == ("eos", chat["usage"]["prompt_tokens"])
    plain = ask(server, prompt=said["prompt"], parse_special=False).json()
    assert plain["tokens_evaluated"] == len(model.tokenize(said["prompt"])) > answer["tokens_evaluated"]


def test_stop_word_is_told(server: Running) -> None:
    said = ask(server, stop=["zzz", "ther", "there"]).json()
    assert said["content"] == ", "
    assert (said["stop_type"], said["stopping_word"]) == ("word", "ther")


@pytest.mark.parametrize("bias", [[[" there", False]], [[" there", -1e4]], {" there": False}])
def test_bias_of_text(server: Running, bias: Any) -> None:
    assert "there" in ask(server).json()["content"]
    said = ask(server, logit_bias=bias, n_predict=3).json()
    assert "there" not in said["content"].split()
    assert said["generation_settings"]["logit_bias"]


def test_bias_of_ids(server: Running, model: flyball.Model) -> None:
    first = model.generate(PROMPT, 1, temperature=0).tokens[0]
    for form in ([[first, False]], {str(first): False}):
        said = ask(server, logit_bias=form, temperature=0, n_predict=1, return_tokens=True).json()
        assert said["tokens"] != [first]
        assert said["generation_settings"]["logit_bias"] == [{"token": first, "bias": None}]


def test_no_tokens_only_fill_the_cache(server: Running) -> None:
    prompt = "A prompt that nobody else has asked about, with a fox, a hen and a crow. " * 15
    said = ask(server, prompt=prompt, n_predict=0).json()
    assert (said["content"], said["tokens_predicted"], said["stop_type"]) == ("", 0, "limit")
    assert said["timings"]["cache_n"] == 0
    assert ask(server, prompt=prompt, n_predict=1).json()["timings"]["cache_n"] > 0
    assert events(ask(server, prompt=prompt, n_predict=0, stream=True))[-1]["tokens_predicted"] == 0


def test_all_that_has_room(server: Running) -> None:
    said = ask(server, n_predict=-1, ignore_eos=True, temperature=0).json()
    assert said["tokens_evaluated"] + said["tokens_predicted"] >= 512
    assert said["truncated"] is True
    assert [each["bias"] for each in said["generation_settings"]["logit_bias"]] == [None] * len(
        said["generation_settings"]["logit_bias"]
    )


def test_fields_of_the_response(server: Running) -> None:
    fields = ["content", "generation_settings/n_predict", "nothing/here", "content/x"]
    assert set(ask(server, response_fields=fields).json()) == {"content", "generation_settings/n_predict"}


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt[0]"),
        ({"prompt": [True]}, "prompt[0]"),
        ({"prompt": {"prompt_string": "x", "multimodal_data": ["y"]}}, "prompt[0]"),
        ({"prompt": [99999]}, "prompt[0]"),
        ({"prompt": [1, [2]]}, "prompt[0]"),
        ({"prompt": "\ud800"}, "text"),
        ({"n_predict": -3}, "n_predict"),
        ({"n_probs": 129}, "n_probs"),
        ({"mirostat": 2}, "mirostat"),
        ({"typical_p": "x"}, "typical_p"),
        ({"grammar": "root ::= x"}, "grammar"),
        ({"json_schema": {"not": {}}}, "json_schema"),
        ({"json_schema": {}, "grammar": 'root ::= "a"'}, "grammar"),
        ({"post_sampling_probs": True}, "post_sampling_probs"),
        ({"logit_bias": "x"}, "logit_bias"),
        ({"logit_bias": [[1]]}, "logit_bias"),
        ({"logit_bias": [[1, True]]}, "logit_bias"),
        ({"logit_bias": [[1, 1e300]]}, "logit_bias"),
        ({"logit_bias": [[99999, 1]]}, "logit_bias"),
        ({"logit_bias": [[-1, 1]]}, "logit_bias"),
        ({"response_fields": [1]}, "response_fields"),
        ({"stream": 1}, "stream"),
    ],
)
def test_what_cannot_be_honored_is_refused_by_name(server: Running, members: dict[str, Any], param: str) -> None:
    said = ask(server, **members)
    assert said.status_code == 400, said.text
    assert said.json()["error"]["param"] == param


def test_long_prompt_is_told(server: Running) -> None:
    said = ask(server, prompt="fox " * 2000, stream=True)
    assert said.status_code == 400
    assert said.json()["error"]["type"] == "exceed_context_size_error"


def test_tokens_and_text(server: Running, model: flyball.Model) -> None:
    text = "The fox, a hen: 媽 🤗"
    ids = server.post("/tokenize", {"content": text}).json()["tokens"]
    assert ids == model.tokenize(text)
    assert server.post("/detokenize", {"tokens": ids}).json() == {"content": text, "prompt": text}
    pieces = server.post("/tokenize", {"content": text, "with_pieces": True}).json()["tokens"]
    raw = [piece["piece"].encode() if isinstance(piece["piece"], str) else bytes(piece["piece"]) for piece in pieces]
    assert b"".join(raw).decode() == text
    assert any(isinstance(piece["piece"], list) for piece in pieces)
    control = "<|im_end|>"
    assert len(server.post("/tokenize", {"content": control}).json()["tokens"]) == 1
    assert len(server.post("/tokenize", {"content": control, "parse_special": False}).json()["tokens"]) > 1
    mixed = server.post("/tokenize", {"content": ["The", 300, " fox"]}).json()["tokens"]
    assert mixed == [*model.tokenize("The"), 300, *model.tokenize(" fox")]
    assert server.post("/tokenize", {}).json() == {"tokens": []}
    long = "fox " * 4000
    assert server.post("/detokenize", {"tokens": model.tokenize(long)}).json()["content"] == long


def test_tokens_as_vllm_gives_them(server: Running, model: flyball.Model) -> None:
    info = server.get("/tokenizer_info").json()
    assert info["eos_token"] == "<|im_end|>"
    assert info["chat_template"] == model.info.chat_template
    plain = {"prompt": "The fox", "add_special_tokens": False}
    said = server.post("/tokenize", plain).json()
    assert said == {"tokens": model.tokenize("The fox"), "count": len(said["tokens"]), "max_model_len": 512}
    whole = server.post("/tokenize", {"prompt": "The fox"}).json()["tokens"]
    assert whole == model.tokenize("The fox", True)
    assert server.post("/tokenize", {"prompt": ["The"]}).status_code == 400


@pytest.mark.parametrize(
    ("path", "members", "param"),
    [
        ("/tokenize", {"content": 3.5}, "content"),
        ("/tokenize", {"content": [99999]}, "content"),
        ("/tokenize", {"content": "\udfff"}, "text"),
        ("/detokenize", {"tokens": [99999]}, "tokens"),
        ("/detokenize", {"tokens": [True]}, "tokens"),
        ("/detokenize", {"tokens": "x"}, "tokens"),
        ("/apply-template", {"messages": []}, "messages"),
        ("/embedding", {"content": "fox " * 2000}, "content[0]"),
        ("/embedding", {}, "input"),
    ],
)
def test_bad_input_is_refused_by_name(server: Running, path: str, members: dict[str, Any], param: str) -> None:
    said = server.post(path, members)
    assert (said.status_code, said.json()["error"]["param"]) == (400, param), said.text


def test_embedding(server: Running, model: flyball.Model) -> None:
    said = server.post("/embedding", {"content": ["a careful fox", model.tokenize("a bold hen")]}).json()
    for row, text in zip(said, ("a careful fox", "a bold hen"), strict=True):
        assert row["embedding"][0] == pytest.approx(list(model.embed(text)))


def test_props_and_slots(start: Start) -> None:
    server = start("first,second=" + str(flyball.demo_model_path()), "--set", "serve.parallel=2", "--seed", "7")
    props = server.get("/props").json()
    assert (props["model_alias"], props["total_slots"]) == ("first", 2)
    assert props["default_generation_settings"]["n_ctx"] == 512
    assert props["default_generation_settings"]["params"]["seed"] == 7
    assert props["model_path"] == "flyball-demo.gguf"
    listed = server.get("/v1/models").json()["data"]
    assert [(each["id"], each["aliases"]) for each in listed] == [("first", ["second"])]
    assert ask(server, seed=None, model="second").json()["flyball"]["seed"] == 7
    body = {"prompt": PROMPT, "n_predict": -1, "ignore_eos": True, "stream": True}
    with (
        server.client() as client,
        client.stream("POST", "/completion", json=body) as stream,
    ):
        lines = stream.iter_lines()
        next(lines)
        busy = server.get("/slots").json()
        assert [slot["is_processing"] for slot in busy] in ([True, False], [False, False])
    assert len(server.get("/slots").json()) == 2


@pytest.mark.parametrize(
    "path", ["/infill", "/rerank", "/v1/rerank", "/slots/0?action=erase", "/props", "/lora-adapters"]
)
def test_what_is_missing_says_so(server: Running, path: str) -> None:
    said = server.post(path, {"prompt": "x"})
    assert said.status_code == 400
    assert said.json()["error"]["message"].startswith(path.partition("?")[0])


def test_an_answer_goes_on_from_the_last_message(server: Running, model: flyball.Model) -> None:
    messages = [{"role": "user", "content": "What is 2 + 3?"}, {"role": "assistant", "content": "2 + 3"}]
    how = {"messages": messages, "continue_final_message": True, "max_tokens": 8, "temperature": 0}
    said = server.post("/v1/chat/completions", how | {"verbose": True}).json()
    prompt = model.chat_format().ids(messages[:1]) + model.tokenize("2 + 3", add_special=False)
    assert said["flyball"]["digest"] == model.generate(prompt, 8, temperature=0, seed=said["flyball"]["seed"]).digest
    assert said["choices"][0]["message"]["content"].strip() == "= 5."
    assert said["__verbose"]["prompt"].endswith("<|im_start|>assistant\n2 + 3")
    assert "__verbose" not in server.post("/v1/chat/completions", how).json()
    counted = server.post("/v1/chat/completions/input_tokens", how).json()["input_tokens"]
    assert counted == said["usage"]["prompt_tokens"] == len(prompt)


@pytest.mark.parametrize("more", [{"add_generation_prompt": True}, {"messages": [{"role": "user", "content": "x"}]}])
def test_nothing_to_go_on_from_is_refused(server: Running, more: dict[str, Any]) -> None:
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    said = server.post("/v1/chat/completions", {"messages": messages, "continue_final_message": True} | more)
    assert (said.status_code, said.json()["error"]["param"]) == (400, "continue_final_message")


def test_a_prompt_without_its_beginning_of_an_answer(server: Running) -> None:
    body = {"messages": [{"role": "user", "content": "x"}], "add_generation_prompt": False}
    assert server.post("/apply-template", body).json()["prompt"] == "<|im_start|>user\nx<|im_end|>\n"
