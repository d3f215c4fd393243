"""The stable surface of the Python package (contract 5), on the bundled model and on small random ones."""

from __future__ import annotations

import dataclasses
import math
import pickle
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flyball

PROMPT = "Once upon a time"


def log_softmax(row: np.ndarray) -> np.ndarray:
    x = row.astype(np.float64)
    x -= x.max()
    return x - math.log(np.exp(x).sum())


# ---------------------------------------------------------------- loading


def test_isas_are_best_first_and_end_with_the_reference() -> None:
    names = flyball.isas()
    assert names[-1] == "scalar"
    assert len(set(names)) == len(names)


def test_version_is_that_of_the_package() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert flyball.__version__ == project["project"]["version"]


def test_info_of_the_bundled_model(demo: flyball.Model) -> None:
    info = demo.info
    assert info.architecture == "llama"
    assert info.file_bytes == flyball.demo_model_path().stat().st_size <= 8 << 20
    assert info.isa == flyball.isas()[0]
    assert info.chat_template
    assert len(info.fingerprint) == 64
    assert info.n_parameters > 1_000_000
    with pytest.raises(dataclasses.FrozenInstanceError):
        info.name = "other"  # type: ignore[misc]


def test_fingerprint_is_the_documented_hash(small: flyball.Model) -> None:
    import hashlib

    content = Path(small.info.path).read_bytes()
    chunks = [content[i : i + (1 << 20)] for i in range(0, len(content), 1 << 20)]
    outer = hashlib.sha256(b"".join(hashlib.sha256(chunk).digest() for chunk in chunks))
    assert small.info.fingerprint == outer.hexdigest()


def test_metadata_and_tensors(demo: flyball.Model) -> None:
    metadata = demo.metadata(limit=4)
    assert metadata["general.architecture"] == "llama"
    tokens = metadata["tokenizer.ggml.tokens"]
    assert isinstance(tokens, list)
    assert len(tokens) == 5
    assert tokens[-1] is None
    names = {name for name, _, _, _ in demo.tensors()}
    assert "token_embd.weight" in names
    shapes = {name: shape for name, _, shape, _ in demo.tensors()}
    assert shapes["token_embd.weight"] == (demo.info.n_vocab, demo.info.n_embd)


def test_vocab_only_has_a_tokenizer_and_refuses_the_rest() -> None:
    with flyball.Model.load(flyball.demo_model_path(), vocab_only=True) as model:
        assert model.detokenize(model.tokenize(PROMPT)) == PROMPT
        with pytest.raises(flyball.InvalidArgument, match="vocab_only"):
            model.generate(PROMPT)


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"isa": "mmx"}, flyball.Error),
        ({"threads": -1}, flyball.InvalidArgument),
        ({"threads": 2**40}, flyball.InvalidArgument),
        ({"threads": 1.5}, flyball.InvalidArgument),
        ({"context": -1}, flyball.InvalidArgument),
        ({"context": 2**33}, flyball.InvalidArgument),
    ],
)
def test_hostile_load_arguments(arguments: dict[str, Any], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        flyball.Model.load(flyball.demo_model_path(), **arguments)


def test_unknown_instruction_set_lists_what_there_is() -> None:
    with pytest.raises(flyball.Error, match="scalar"):
        flyball.Model.load(flyball.demo_model_path(), isa="mmx")


def test_unknown_cache_type_is_named() -> None:
    with flyball.Model.load(flyball.demo_model_path(), cache="f8") as model, pytest.raises(flyball.Error, match="f8"):
        model.generate(PROMPT, 1)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(flyball.NotFound) as caught:
        flyball.Model.load(tmp_path / "none.gguf")
    assert isinstance(caught.value, FileNotFoundError)
    assert "none.gguf" in str(caught.value)


def test_file_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"hello, I am no model at all" * 10)
    with pytest.raises(flyball.FormatError):
        flyball.Model.load(tmp_path / "x.gguf")


def test_load_reports_progress() -> None:
    seen: list[tuple[str, int, int]] = []
    with flyball.Model.load(flyball.demo_model_path(), progress=lambda *call: seen.append(call)):
        pass
    assert all(0 <= done <= total for _, done, total in seen)
    assert {phase for phase, _, _ in seen} <= {"load"}
    assert seen


def test_exception_in_progress_stops_the_load_and_is_raised() -> None:
    def refuse(phase: str, done: int, total: int) -> None:
        raise LookupError(phase)

    with pytest.raises(LookupError):
        flyball.Model.load(flyball.demo_model_path(), progress=refuse)


def test_closed_model_says_so(model_file: Callable[..., Path]) -> None:
    model = flyball.Model.load(model_file())
    session = model.session(context=64)
    model.close()
    with pytest.raises(flyball.InvalidArgument, match="closed"):
        model.tokenize("x")
    with pytest.raises(flyball.InvalidArgument, match="closed"):
        model.generate([1, 2], 1)
    assert session.generate([1, 2], 2, ignore_eos=True).tokens  # a session keeps what it needs


def test_owners_outlive_what_python_forgets_first(model_file: Callable[..., Path]) -> None:
    stream = flyball.Model.load(model_file()).session(context=64).stream([1, 2, 3], 4, ignore_eos=True)
    assert len(list(stream)) == 4


def test_errors_are_one_family_and_survive_pickling() -> None:
    error = flyball.FormatError("file", "is torn", 12)
    assert isinstance(error, (flyball.Error, ValueError))
    assert str(error) == "file at byte 12: is torn"
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.offset, again.code) == (str(error), 12, "corrupt")
    for kind in (flyball.NotFound, flyball.FileError, flyball.OutOfMemory):
        assert "where: what" in str(kind("where", "what"))


# ---------------------------------------------------------------- text and ids


@pytest.mark.parametrize(
    "text", ["", " ", "Hello, world!", "Zażółć gęślą 世界 🦊", "a\r\n\tb\x00c", "é" * 300, "1234567"]
)
def test_round_trip_of_text(demo: flyball.Model, text: str) -> None:
    assert demo.detokenize(demo.tokenize(text)) == text


def test_text_never_becomes_a_control_token_unless_asked(demo: flyball.Model) -> None:
    plain = demo.tokenize("<|im_end|>", add_special=False)
    parsed = demo.tokenize("<|im_end|>", add_special=False, parse_special=True)
    assert len(parsed) == 1
    assert parsed[0] not in plain
    assert demo.is_end(parsed[0])
    assert demo.detokenize(parsed) == ""
    assert demo.detokenize(parsed, special=True) == "<|im_end|>"
    assert demo.detokenize(plain) == "<|im_end|>"


def test_lone_surrogates_are_refused(demo: flyball.Model) -> None:
    for call in (demo.tokenize, demo.generate, lambda text: demo.generate("x", stop=text)):
        with pytest.raises(flyball.InvalidArgument, match="surrogate"):
            call("bad \ud800 text")


@pytest.mark.parametrize("ids", [[-1], [10**6], [2**31], [2**70], [0, -(2**70)]])
def test_wrong_ids_are_named(demo: flyball.Model, ids: list[int]) -> None:
    for call in (demo.detokenize, demo.logits, demo.generate):
        with pytest.raises(flyball.InvalidArgument, match="token ids go from 0 to"):
            call(ids)


@pytest.mark.parametrize("ids", ["text", b"bytes", [1.5], [None], 7])
def test_ids_of_wrong_types(demo: flyball.Model, ids: Any) -> None:
    with pytest.raises((TypeError, flyball.InvalidArgument)):
        demo.logits(ids)


def test_prompt_as_ids_array_or_text_is_the_same(demo: flyball.Model) -> None:
    ids = demo.tokenize(PROMPT)
    digests = {
        demo.generate(prompt, 4).digest for prompt in (PROMPT, ids, tuple(ids), np.array(ids), np.array(ids, np.uint16))
    }
    assert len(digests) == 1
    for wrong in (np.array([ids]), np.array(ids, np.float32), b"bytes"):
        with pytest.raises(flyball.InvalidArgument):
            demo.generate(wrong, 1)  # type: ignore[arg-type]


def test_empty_prompt_is_refused(demo: flyball.Model) -> None:
    for prompt in ("", []):
        with pytest.raises(flyball.InvalidArgument, match="empty"):
            demo.generate(prompt)


# ---------------------------------------------------------------- logits and embeddings


def test_logits_shape_type_and_batches(demo: flyball.Model) -> None:
    ids = demo.tokenize("The fox went to the mill and asked for bread.")
    logits = demo.logits(ids)
    assert logits.dtype == np.float32
    assert logits.shape == (len(ids), demo.info.n_vocab)
    assert np.isfinite(logits).all()
    assert (demo.logits(ids, batch=3).view(np.uint32) == logits.view(np.uint32)).all()
    assert (demo.logits(ids[:5]).view(np.uint32) == logits[:5].view(np.uint32)).all()
    logits[0, 0] = 1  # it is the caller's own memory


def test_logits_refuses_what_cannot_be(small: flyball.Model) -> None:
    with pytest.raises(flyball.InvalidArgument):
        small.logits([])
    with pytest.raises(flyball.InvalidArgument, match="batch"):
        small.logits([1], batch=0)
    with pytest.raises(flyball.ContextFull):
        small.logits([1] * 257)


def test_logprobs_are_the_log_softmax_of_the_logits(demo: flyball.Model) -> None:
    ids = demo.tokenize(PROMPT)
    result = demo.generate(ids, 12, seed=3)
    logits = demo.logits([*ids, *result.tokens])
    for i, (token, logprob) in enumerate(zip(result.tokens, result.logprobs, strict=True)):
        assert logprob == pytest.approx(log_softmax(logits[len(ids) + i - 1])[token], abs=2e-5)


def test_greedy_takes_the_first_maximum(demo: flyball.Model) -> None:
    ids = demo.tokenize(PROMPT)
    result = demo.generate(ids, 8, temperature=0)
    logits = demo.logits([*ids, *result.tokens])
    assert list(result.tokens) == [int(logits[len(ids) + i - 1].argmax()) for i in range(len(result.tokens))]


def test_embeddings(small: flyball.Model) -> None:
    ids = [5, 9, 200, 33]
    for pooling in ("mean", "last", "first"):
        vector = small.embed(ids, pooling)
        assert vector.shape == (small.info.n_embd,)
        assert vector.dtype == np.float32
        assert np.linalg.norm(vector.astype(np.float64)) == pytest.approx(1, abs=1e-5)
        assert (small.embed(ids, pooling, batch=1) == vector).all()
    raw = small.embed(ids, "mean", normalise=False)
    unit = small.embed(ids, "mean")
    assert np.allclose(raw / np.linalg.norm(raw), unit, atol=1e-6)
    assert (small.embed(ids[:1], "last") == small.embed(ids[:1], "first")).all()
    with pytest.raises(flyball.InvalidArgument, match="median"):
        small.embed(ids, "median")
    assert small.embed("text works, too").shape == (small.info.n_embd,)


# ---------------------------------------------------------------- generating


def test_result_is_complete_and_frozen(demo: flyball.Model) -> None:
    result = demo.generate(PROMPT, 16, seed=1)
    assert result.text == demo.detokenize(result.tokens)
    assert result.prompt == tuple(demo.tokenize(PROMPT))
    assert len(result.tokens) == len(result.logprobs) == 16
    assert result.stop_reason == "max_tokens"
    assert len(result.digest) == 64
    assert str(result) == result.text
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.text = ""  # type: ignore[misc]


def test_metrics_count_prefill_and_decode_apart(demo: flyball.Model) -> None:
    metrics = demo.generate(PROMPT, 16, ignore_eos=True).metrics
    n_prompt = len(demo.tokenize(PROMPT))
    assert (metrics.prefill.tokens, metrics.prefill.calls) == (n_prompt, 1)
    assert (metrics.decode.tokens, metrics.decode.calls) == (15, 15)  # the last token is never fed
    assert metrics.decode.cycles_per_token == metrics.decode.cycles / 15
    assert 0 < metrics.first_token_cycles < metrics.total_cycles
    assert metrics.prefill.cycles + metrics.decode.cycles + metrics.sample_cycles <= metrics.total_cycles
    assert metrics.decode.tokens_per_second == pytest.approx(15 / metrics.decode.seconds)
    assert demo.generate(PROMPT, 1, batch=1).metrics.prefill.calls == n_prompt
    assert demo.generate(PROMPT, 1).metrics.decode.cycles_per_token is None


def test_same_seed_same_answer_whatever_came_before(demo: flyball.Model) -> None:
    first = demo.generate(PROMPT, 20, seed=11)
    demo.generate("Something else entirely", 20, seed=5)
    assert demo.generate(PROMPT, 20, seed=11).digest == first.digest
    assert len({demo.generate(PROMPT, 20, seed=seed, temperature=1.5).tokens for seed in range(6)}) > 1


def test_sequences_draw_apart(demo: flyball.Model) -> None:
    tokens = {demo.session(sequence=n).generate(PROMPT, 20, temperature=1.5).tokens for n in range(6)}
    assert len(tokens) > 1


def test_stream_gives_the_same_as_generate(demo: flyball.Model) -> None:
    whole = demo.generate(PROMPT, 20, seed=2)
    stream = demo.stream(PROMPT, 20, seed=2)
    with pytest.raises(flyball.InvalidArgument, match="not at its end"):
        _ = stream.result
    pieces = list(stream)
    assert "".join(piece.text for piece in pieces) == whole.text
    assert tuple(piece.token for piece in pieces) == whole.tokens
    assert tuple(piece.logprob for piece in pieces) == whole.logprobs
    assert stream.result.digest == whole.digest
    assert list(stream) == []


def test_closed_stream_keeps_what_was_said(demo: flyball.Model) -> None:
    with demo.stream(PROMPT, 50, seed=2) as stream:
        first = [next(stream) for _ in range(3)]
    result = stream.result
    assert result.stop_reason == "interrupted"
    assert result.tokens[:3] == tuple(piece.token for piece in first)
    assert len(result.tokens) < 50
    assert flyball.verify(result.receipt, model=demo)


def test_stream_never_emits_half_a_character(model_file: Callable[..., Path]) -> None:
    """A random model draws single bytes of all kinds; whole characters come out, invalid bytes as U+FFFD."""
    for variant in ("llama", "mistral"):
        with flyball.Model.load(model_file(variant, "F32"), context=256) as model:
            wanted = model.tokenize("世界🦊é", add_special=False)
            for seed in range(3):
                bias = dict.fromkeys(wanted, 6.0)
                stream = model.stream(
                    [1, 2, 3], 120, seed=seed, temperature=2, top_k=0, top_p=1, min_p=0, logit_bias=bias
                )
                text = "".join(piece.text for piece in stream)
                raw = model.detokenize_bytes([t for t in stream.result.tokens if not model.is_end(t)])
                whole = raw.decode("utf-8", "replace")
                assert text == stream.result.text
                assert whole.startswith(text)
                assert len(whole) - len(text) <= 1  # at most an unfinished character at the very end


def test_an_answer_cut_inside_a_character_does_not_show_it(model_file: Callable[..., Path]) -> None:
    with flyball.Model.load(model_file("llama", "F32"), context=64) as model:
        fox = model.tokenize("🦊", add_special=False)
        assert len(fox) == 4
        result = model.generate([1, 2], 1, logit_bias={fox[0]: 1000.0})
        assert (result.tokens, result.text) == ((fox[0],), "")
        assert model.generate([1, 2], 1, logit_bias={fox[1]: 1000.0}).text == "\ufffd"  # begins no character


# ---------------------------------------------------------------- ending


def test_stop_string_across_token_boundaries(demo: flyball.Model) -> None:
    free = demo.generate(PROMPT, 30, seed=1, temperature=0)
    middle = len(free.text) // 2
    stop = free.text[middle - 2 : middle + 3]  # cut without regard to tokens
    stream = demo.stream(PROMPT, 30, seed=1, temperature=0, stop=[stop, "never-said"])
    streamed = "".join(piece.text for piece in stream)
    assert stream.result.stop_reason == "stop_string"
    assert streamed == stream.result.text == free.text[: free.text.index(stop)]
    assert demo.generate(PROMPT, 30, temperature=0, stop=stop).text == streamed
    assert flyball.verify(stream.result.receipt, model=demo)


def test_text_that_only_begins_like_a_stop_string_is_not_lost(demo: flyball.Model) -> None:
    free = demo.generate(PROMPT, 12, temperature=0)
    almost = free.text[-3:] + "\x00"
    result = demo.generate(PROMPT, 12, temperature=0, stop=almost)
    assert (result.text, result.stop_reason) == (free.text, "max_tokens")


@pytest.mark.parametrize("stop", [[""], ["x"] * 1000, ["y" * 10**6]])
def test_hostile_stop_strings(demo: flyball.Model, stop: list[str]) -> None:
    with pytest.raises(flyball.InvalidArgument, match="stop"):
        demo.generate(PROMPT, 1, stop=stop)


def test_end_of_turn_ends_and_can_be_ignored(demo: flyball.Model) -> None:
    eos = demo.info.eos
    ended = demo.generate(PROMPT, 20, logit_bias={eos: 1000.0})
    assert (ended.stop_reason, ended.tokens, ended.text) == ("eos", (eos,), "")
    assert len(demo.generate(PROMPT, 5, logit_bias={eos: 1000.0}, ignore_eos=True).tokens) == 5


def test_context_full_is_a_clear_stop(small: flyball.Model) -> None:
    result = small.generate([3] * 250, 100, ignore_eos=True)
    assert result.stop_reason == "context_full"
    assert len(result.tokens) == 7  # six fit, and one more needs no room
    with pytest.raises(flyball.ContextFull, match="256"):
        small.generate([3] * 257, 1)


def test_deadline_in_the_past_stops_at_once(demo: flyball.Model) -> None:
    result = demo.generate(PROMPT, 100, deadline=0)
    assert (result.stop_reason, result.tokens, result.text) == ("deadline", (), "")


def test_deadline_ends_a_long_answer(demo: flyball.Model) -> None:
    result = demo.generate(PROMPT, 400, deadline=0.2, ignore_eos=True)
    if result.stop_reason == "deadline":  # a fast machine may be done before
        seconds = result.metrics.total_cycles / result.metrics.cycles_per_second
        assert 0.15 < seconds < 5
        assert flyball.verify(result.receipt, model=demo)
    else:
        assert result.stop_reason == "max_tokens"


# ---------------------------------------------------------------- sampling


def test_bans_and_biases(demo: flyball.Model) -> None:
    greedy = demo.generate(PROMPT, 1, temperature=0).tokens[0]
    assert demo.generate(PROMPT, 1, temperature=0, logit_bias={greedy: float("-inf")}).tokens[0] != greedy
    assert demo.generate(PROMPT, 1, temperature=0, logit_bias={77: 1000.0}).tokens == (77,)


def test_no_repeat_ngram(small: flyball.Model) -> None:
    tokens = small.generate([1, 2, 3], 60, temperature=0, no_repeat_ngram=2, ignore_eos=True).tokens
    pairs = list(pairwise(tokens))
    assert len(set(pairs)) == len(pairs)


def test_repeat_penalty_changes_the_answer(small: flyball.Model) -> None:
    free = small.generate([1, 2, 3], 40, temperature=0, ignore_eos=True).tokens
    punished = small.generate([1, 2, 3], 40, temperature=0, repeat_penalty=5, ignore_eos=True).tokens
    assert len(set(punished)) > len(set(free)) or punished != free


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -1},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"temperature": "hot"},
        {"top_k": -1},
        {"top_k": 2**32},
        {"top_k": 1.5},
        {"top_p": 0},
        {"top_p": 1.5},
        {"top_p": float("nan")},
        {"min_p": -0.1},
        {"min_p": 2},
        {"seed": -1},
        {"seed": 2**64},
        {"max_tokens": 0},
        {"max_tokens": -5},
        {"max_tokens": 2**32},
        {"repeat_penalty": 0},
        {"repeat_penalty": float("inf")},
        {"repeat_window": -1},
        {"no_repeat_ngram": -1},
        {"no_repeat_ngram": 1000},
        {"batch": 0},
        {"deadline": -1},
        {"deadline": float("nan")},
        {"logit_bias": {10**6: 1.0}},
        {"logit_bias": {-1: 1.0}},
        {"logit_bias": {1: float("nan")}},
        {"logit_bias": {1: float("inf")}},
        {"logit_bias": {1: "much"}},
    ],
    ids=lambda options: next(f"{k}={v}" for k, v in options.items()),
)
def test_hostile_options_name_themselves(demo: flyball.Model, options: dict[str, Any]) -> None:
    with pytest.raises(flyball.InvalidArgument) as caught:
        demo.generate(PROMPT, **({"max_tokens": 1} | options))
    assert next(iter(options)) in str(caught.value)


def test_unknown_option_is_a_type_error(demo: flyball.Model) -> None:
    with pytest.raises(TypeError, match="temprature"):
        demo.generate(PROMPT, temprature=1)  # type: ignore[call-arg]


def test_huge_limits_cost_nothing(demo: flyball.Model) -> None:
    result = demo.generate(
        PROMPT, 2**32 - 1, top_k=2**32 - 1, repeat_window=2**32 - 1, repeat_penalty=1.1, deadline=0.05
    )
    assert result.stop_reason in ("deadline", "eos", "context_full")


# ---------------------------------------------------------------- threads


def test_eight_threads_get_equal_digests(demo: flyball.Model) -> None:
    alone = [demo.generate(PROMPT, 12, seed=seed).digest for seed in range(4)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda n: demo.generate(PROMPT, 12, seed=n % 4).digest, range(16)))
    assert together == [alone[n % 4] for n in range(16)]


def test_a_session_used_by_two_threads_raises(demo: flyball.Model) -> None:
    session = demo.session()
    inside, go_on = threading.Event(), threading.Event()

    def wait(phase: str, done: int, total: int) -> None:
        inside.set()
        go_on.wait(10)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(session.generate, PROMPT, 2, progress=wait)
        assert inside.wait(10)
        for call in (session.reset, lambda: session.tokens, lambda: session.generate(PROMPT, 1)):
            with pytest.raises(flyball.SessionBusy, match="another thread"):
                call()
        go_on.set()
        assert running.result().tokens
    session.reset()


def test_other_python_threads_run_while_the_core_works(demo: flyball.Model) -> None:
    done = threading.Event()
    count = 0

    def count_up() -> None:
        nonlocal count
        while not done.is_set():
            count += 1

    thread = threading.Thread(target=count_up)
    thread.start()
    demo.logits(demo.tokenize("word " * 100))
    done.set()
    thread.join()
    assert count > 100


def test_examples_of_the_documentation_run(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "python.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) >= 5
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    assert "tokens were not computed again" in capsys.readouterr().out
    names["model"].close()
