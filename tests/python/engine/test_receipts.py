"""Receipts: an honest one holds anywhere, and each kind of tampering is found and named."""

from __future__ import annotations

import copy
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flyball


@pytest.fixture(scope="module")
def result(demo: flyball.Model) -> flyball.Result:
    return demo.generate("Once upon a time", 12, seed=9, stop=["never-said"], logit_bias={5: -1.5})


def tampered(result: flyball.Result, change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    members: dict[str, Any] = json.loads(result.receipt.json)
    change(members)
    return members


def logits_hash(logits: np.ndarray) -> str:
    """The definition in docs/contracts.md, written down a second time."""
    mask = 2**64 - 1
    seeds = (0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89)
    keys = (0x452821E638D01377, 0xBE5466CF34E90C6C, 0xC0AC29B7C97C50DD, 0x3F84D5B5B5470917)

    def fold(x: int, y: int) -> int:
        return (x * y & mask) ^ (x * y >> 64)

    def avalanche(h: int) -> int:
        for _ in range(2):
            h = (h ^ h >> 32) * 0xD6E8FEB86659FD93 & mask
        return h ^ h >> 32

    patterns = np.zeros(-(-len(logits) // 16) * 16, np.uint32)
    patterns[: len(logits)] = logits.view(np.uint32)
    words = [int(word) for word in patterns.view(np.uint64)]
    lanes = list(seeds)
    for block in range(0, len(words), 8):
        for i in range(4):
            turned = (lanes[i] << 23 | lanes[i] >> 41) & mask
            product = fold(words[block + 2 * i] ^ keys[i], words[block + 2 * i + 1] ^ lanes[i])
            lanes[i] = (turned + product) & mask
    low, high = avalanche(len(logits) ^ keys[0]), avalanche(len(logits) ^ keys[1])
    for i in range(4):
        low = (avalanche(low ^ lanes[i]) + keys[i]) & mask
    for i in reversed(range(4)):
        high = avalanche((high + lanes[i]) & mask) ^ keys[i]
    return f"{high:016x}{low:016x}"


def test_hashes_are_of_the_logits_as_documented(result: flyball.Result, demo: flyball.Model) -> None:
    rows = demo.logits([*result.prompt, *result.tokens])[len(result.prompt) - 1 : -1]
    assert [logits_hash(row) for row in rows] == result.receipt["logits_hashes"]


def test_hash_of_a_length_that_needs_padding(model_file: Callable[..., Path]) -> None:
    with flyball.Model.load(model_file("qwen3", "Q8_0"), context=64) as model:
        assert model.info.n_vocab % 16 != 0
        result = model.generate([1, 2, 3], 2, ignore_eos=True)
        rows = model.logits([1, 2, 3, *result.tokens])[2:4]
        assert [logits_hash(row) for row in rows] == result.receipt["logits_hashes"]


def test_an_honest_receipt_holds_on_every_table_and_thread_count(result: flyball.Result) -> None:
    for isa in flyball.isas():
        for threads in (1, 3):
            assert flyball.verify(result.receipt, model=flyball.demo_model_path(), isa=isa, threads=threads)


def test_receipt_survives_a_file(result: flyball.Result, demo: flyball.Model, tmp_path: Path) -> None:
    path = result.receipt.save(tmp_path / "deep" / "receipt.json")
    loaded = flyball.Receipt.load(path)
    assert loaded == result.receipt
    assert loaded.digest == result.digest == loaded["digest"]
    assert flyball.verify(path, model=demo)
    assert flyball.verify(str(path))  # no model: the bundled one
    assert flyball.verify(dict(loaded), model=demo)
    assert [p.name for p in path.parent.iterdir()] == ["receipt.json"]


@pytest.mark.parametrize(
    ("name", "change", "position"),
    [
        ("token", lambda r: r["tokens"].__setitem__(4, (r["tokens"][4] + 1) % 2048), 4),
        ("logits", lambda r: r["logits_hashes"].__setitem__(7, "0" * 32), 7),
        ("prompt", lambda r: r["prompt_tokens"].__setitem__(1, 99), 0),
        ("text", lambda r: r.__setitem__("text", r["text"] + "!"), None),
        ("digest", lambda r: r.__setitem__("digest", "0" * 64), None),
        ("model", lambda r: r["model"].__setitem__("fingerprint", "0" * 64), None),
        ("seed", lambda r: r["sampler"].__setitem__("seed", 10), None),
        ("temperature", lambda r: r["sampler"].__setitem__("temperature", 3.0), None),
        ("bias", lambda r: r["sampler"].__setitem__("logit_bias", []), None),
        ("cache", lambda r: r["settings"].__setitem__("cache_type", "q8_0"), None),
        ("context", lambda r: r["settings"].__setitem__("context", 300), None),
        ("stop reason", lambda r: r["stop"].__setitem__("reason", "eos"), None),
        (
            "shortened",
            lambda r: (r["tokens"].pop(), r["logits_hashes"].pop(), r["stop"].__setitem__("position", 11)),
            None,
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_tampering_is_found(
    demo: flyball.Model,
    result: flyball.Result,
    name: str,
    change: Callable[[dict[str, Any]], object],
    position: int | None,
) -> None:
    with pytest.raises((flyball.VerificationError, flyball.FormatError)) as caught:
        flyball.verify(tampered(result, change), model=demo)
    if position is not None:
        assert isinstance(caught.value, flyball.VerificationError)
        assert caught.value.position == position
        assert str(position) in str(caught.value)


def test_receipt_of_another_model_is_told(result: flyball.Result, small: flyball.Model) -> None:
    with pytest.raises(flyball.VerificationError, match="model"):
        flyball.verify(result.receipt, model=small)
    other = small.generate([1, 2, 3], 3, ignore_eos=True)
    with pytest.raises(flyball.InvalidArgument, match="bundled"):
        flyball.verify(other.receipt)
    assert flyball.verify(other.receipt, model=small)


def test_an_answer_cut_short_still_verifies(demo: flyball.Model) -> None:
    with demo.stream("Once upon a time", 60, seed=1, ignore_eos=True) as stream:
        for _ in range(5):
            next(stream)
    assert stream.result.stop_reason == "interrupted"
    assert flyball.verify(stream.result.receipt, model=demo)
    empty = demo.generate("Once", 5, deadline=0)
    assert flyball.verify(empty.receipt, model=demo)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "{}", '{"schema_version": 1}', '{"schema_version": 99}', "\x00", '"' * 1000, "[" * 100000],
)
def test_hostile_texts_are_format_errors(text: str) -> None:
    with pytest.raises(flyball.Error):
        flyball.Receipt(text)


def test_hostile_files(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b'{"text": "\xff"}')
    with pytest.raises(flyball.FormatError, match="UTF-8"):
        flyball.Receipt.load(tmp_path / "bad")
    with pytest.raises(flyball.NotFound):
        flyball.Receipt.load(tmp_path / "none")
    with pytest.raises(flyball.FileError):
        flyball.Receipt.load(tmp_path)


def test_mutated_receipts_never_do_more_than_fail(result: flyball.Result, demo: flyball.Model) -> None:
    """A receipt whose bytes were changed is refused, or mismatches, or differs only in what is information."""
    good = result.receipt.json
    draw = random.Random(3)
    for _ in range(150):
        position = draw.randrange(len(good))
        bad = good[:position] + draw.choice(['"', "9", "{", "}", "-1", "e400", "\\", ""]) + good[position + 1 :]
        try:
            receipt = flyball.Receipt(bad)
            flyball.verify(receipt, model=demo)
        except flyball.Error:
            continue
        changed, original = copy.deepcopy(dict(receipt)), dict(result.receipt)
        for members in (changed, original):
            for key in ("flyball", "environment", "metrics"):
                members.pop(key, None)
            members["model"] = members["model"]["fingerprint"]
        assert changed == original


def test_a_receipt_never_replaces_a_device(demo: flyball.Model, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(flyball.FileError, match="not a regular file"):
        demo.generate("a", 2).receipt.save(pipe)
    assert pipe.is_fifo()


def test_a_request_key_needs_no_answer(demo: flyball.Model, model_file: Callable[..., Path]) -> None:
    options: dict[str, Any] = {"seed": 4, "stop": ["the"], "stop_token_ids": [7], "logit_bias": {5: 1.5}}
    key = demo.request_key("Once upon a time", 20, **options)
    session = demo.session()
    assert key == session.request_key("Once upon a time", 20, **options)
    result = demo.generate("Once upon a time", 20, batch=7, speculate="always", top_logprobs=2, **options)
    assert result.request_key == result.receipt.request_key == key
    assert "request_key" not in result.receipt
    assert flyball.Receipt(result.receipt.json).request_key == key
    longer = demo.generate("Once upon a time", 9, seed=4)
    assert longer.request_key == demo.request_key(longer.prompt, 9, seed=4)
    others = [
        demo.request_key("Once upon a time", 21, **options),
        demo.request_key("Once upon a tim", 20, **options),
        demo.request_key("Once upon a time", 20),
        demo.session(sequence=1).request_key("Once upon a time", 20, **options),
        demo.session(context=200).request_key("Once upon a time", 20, **options),
        demo.session(cache_type="f32").request_key("Once upon a time", 20, **options),
    ]
    with flyball.Model.load(model_file("llama", "Q8_0")) as other:
        others.append(other.request_key([1], 20, **options))
    assert len({key, *others}) == 1 + len(others)
    with pytest.raises(flyball.InvalidArgument, match="seed"):
        demo.request_key("a", 4, seed=None)
    with pytest.raises(flyball.ContextFull):
        demo.request_key([1] * 10_000, 4)


def test_a_cut_answer_has_the_key_of_its_request(demo: flyball.Model) -> None:
    stream = demo.stream("Once upon a time", 200, ignore_eos=True)
    next(stream)
    assert stream.close().request_key == demo.request_key("Once upon a time", 200, ignore_eos=True)
