"""A function that changes the logits: called once for each token; its errors end its own answer; receipts tell."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import flyball
from flyball.cli import main
from flyball.journal.journal import read
from flyball.journal.replay import receipts

PROMPT = "Once upon a time"
Ids = npt.NDArray[np.int32]
Logits = npt.NDArray[np.float32]


def even_only(ids: Ids, logits: Logits) -> None:
    """Only tokens with an even id."""
    logits[1::2] = -np.inf


class Recorder:
    """Counts its calls and keeps what it was given."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[int], Logits]] = []

    def __call__(self, ids: Ids, logits: Logits) -> None:
        assert (ids.dtype, logits.dtype) == (np.dtype(np.int32), np.dtype(np.float32))
        assert not ids.flags.writeable
        self.calls.append((ids.tolist(), logits))


class Broken(Exception):
    pass


def broken_after(n: int) -> Callable[[Ids, Logits], None]:
    calls = 0

    def processor(ids: Ids, logits: Logits) -> None:
        nonlocal calls
        calls += 1
        if calls > n:
            raise Broken(f"call {calls}")

    return processor


def test_it_changes_what_is_drawn_and_not_the_logprobs(demo: flyball.Model) -> None:
    result = demo.generate(PROMPT, 24, seed=1, logits_processor=even_only, top_logprobs=3)
    assert all(token % 2 == 0 for token in result.tokens)
    assert any(entry.token % 2 for top in result.top_logprobs for entry in top)  # of the raw logits
    score = demo.score([*result.prompt, *result.tokens], top_logprobs=3)
    assert score.logprobs[-len(result.tokens) :] == result.logprobs
    assert score.top_logprobs[-len(result.tokens) :] == result.top_logprobs


def test_one_call_for_each_token_with_all_tokens_before_it(demo: flyball.Model) -> None:
    recorder = Recorder()
    result = demo.generate(PROMPT, 12, seed=4, logits_processor=recorder, speculate="always")
    assert result.tokens == demo.generate(PROMPT, 12, seed=4).tokens
    whole = [*result.prompt, *result.tokens]
    assert [ids for ids, _ in recorder.calls] == [whole[: len(result.prompt) + i] for i in range(12)]
    rows = demo.logits(whole)[len(result.prompt) - 1 : -1]
    assert np.stack([logits for _, logits in recorder.calls]).tobytes() == rows.tobytes()


def test_options_apply_after_it(demo: flyball.Model) -> None:
    def only(ids: Ids, logits: Logits) -> Logits:
        chosen = np.full_like(logits, -np.inf)
        chosen[[10, 20, 30]] = [1, 2, 3]
        return chosen

    assert demo.generate(PROMPT, 2, temperature=0, logits_processor=only).tokens == (30, 30)
    assert demo.generate(PROMPT, 1, temperature=0, logits_processor=only, logit_bias={10: 9.0}).tokens == (10,)
    # What bans of the options leave nothing of yields to the function, never to the raw logits.
    ban = {token: float("-inf") for token in (10, 20, 30)}
    assert demo.generate(PROMPT, 1, logits_processor=only, logit_bias=ban).tokens == (30,)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64, list])
def test_what_it_gives_may_have_another_type(demo: flyball.Model, dtype: Any) -> None:
    def only_seven(ids: Ids, logits: Logits) -> Any:
        one = np.zeros(len(logits), np.float64)
        one[7] = 50
        return one.tolist() if dtype is list else one.astype(dtype)

    assert demo.generate(PROMPT, 1, temperature=0, logits_processor=only_seven).tokens == (7,)


@pytest.mark.parametrize("how", ["stream", "batch", "asyncio", "session"])
def test_the_same_on_every_path(demo: flyball.Model, how: str) -> None:
    options: dict[str, Any] = {"seed": 2, "logits_processor": even_only}
    result = demo.generate(PROMPT, 16, **options)
    if how == "stream":
        with demo.stream(PROMPT, 16, **options) as stream:
            list(stream)
        other = stream.result
    elif how == "batch":
        other, *_ = demo.generate_many([PROMPT, "The fox"], 16, **options)
    elif how == "asyncio":
        other = asyncio.run(demo.agenerate(PROMPT, 16, **options))
    else:
        other = demo.session().generate(PROMPT, 16, **options)
    assert other.digest == result.digest


def test_a_result_does_not_keep_the_function(demo: flyball.Model) -> None:
    recorder = Recorder()
    alive = weakref.ref(recorder)
    result = demo.generate(PROMPT, 4, logits_processor=recorder)
    del recorder
    gc.collect()
    assert alive() is None
    assert result.receipt["sampler"]["logits_processor"].endswith("Recorder")


# ---------------------------------------------------------------- errors


def gives(value: Any) -> Callable[[Ids, Logits], Any]:
    return lambda ids, logits: value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros(3, np.float32), "gave ndarray"),
        ("text", "gave str"),
        (7, "gave int"),
        (np.zeros((1, 2048), np.float32), "gave ndarray"),
    ],
    ids=["short", "text", "number", "two dimensions"],
)
def test_what_is_no_row_of_logits(demo: flyball.Model, value: Any, message: str) -> None:
    with pytest.raises(flyball.InvalidArgument, match=message):
        demo.generate(PROMPT, 2, logits_processor=gives(value))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_no_numbers(demo: flyball.Model, value: float) -> None:
    def spoil(ids: Ids, logits: Logits) -> None:
        logits[5] = value

    with pytest.raises(flyball.InvalidArgument, match="logit of token 5"):
        demo.generate(PROMPT, 2, logits_processor=spoil)


def test_banning_everything_and_what_cannot_be_called(demo: flyball.Model) -> None:
    def nothing(ids: Ids, logits: Logits) -> None:
        logits[:] = -np.inf

    with pytest.raises(flyball.InvalidArgument, match="every token"):
        demo.generate(PROMPT, 2, logits_processor=nothing)
    with pytest.raises(flyball.InvalidArgument, match="logits_processor"):
        demo.generate(PROMPT, 2, logits_processor=7)  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [0, 3])
def test_its_exception_is_the_callers(demo: flyball.Model, n: int) -> None:
    with pytest.raises(Broken, match=f"call {n + 1}") as caught:
        demo.generate(PROMPT, 8, logits_processor=broken_after(n))
    assert any(entry.name == "processor" for entry in caught.traceback)


def test_a_failed_stream_stays_failed(demo: flyball.Model) -> None:
    stream = demo.stream(PROMPT, 8, logits_processor=broken_after(2))
    assert [next(stream).token, next(stream).token] == list(demo.generate(PROMPT, 2).tokens)
    with pytest.raises(Broken):
        next(stream)
    with pytest.raises(flyball.InvalidArgument, match="failed before"):
        next(stream)
    assert demo.generate(PROMPT, 2).tokens  # the model goes on


def test_its_exception_ends_its_answer_alone(demo: flyball.Model) -> None:
    async def serve() -> list[flyball.Result | BaseException]:
        jobs = [demo.agenerate(PROMPT, 20, seed=seed) for seed in range(3)]
        guilty = demo.agenerate(PROMPT, 20, logits_processor=broken_after(5))
        return await asyncio.gather(guilty, *jobs, return_exceptions=True)

    failed, *others = asyncio.run(serve())
    assert isinstance(failed, Broken)
    for seed, other in enumerate(others):
        assert isinstance(other, flyball.Result)
        assert other.digest == demo.generate(PROMPT, 20, seed=seed).digest


def test_it_may_use_the_model_but_not_wait_for_its_own_batch(demo: flyball.Model) -> None:
    def nested(ids: Ids, logits: Logits) -> None:
        logits += demo.last_logits(ids) * 0

    assert demo.generate(PROMPT, 3, logits_processor=nested).tokens == demo.generate(PROMPT, 3).tokens

    def waiting(ids: Ids, logits: Logits) -> None:
        demo.generate_many(["The fox"], 1)

    assert demo.generate(PROMPT, 1, logits_processor=waiting).tokens
    with pytest.raises(flyball.InvalidArgument, match="cannot wait"):
        demo.generate_many([PROMPT], 2, logits_processor=waiting)


# ---------------------------------------------------------------- receipts


def test_the_receipt_says_so_and_verifies_with_the_function_alone(demo: flyball.Model) -> None:
    result = demo.generate(PROMPT, 10, seed=3, logits_processor=even_only)
    receipt = result.receipt
    assert receipt["schema_version"] == 2
    assert receipt["sampler"]["logits_processor"] == f"{__name__}.even_only"
    with pytest.raises(flyball.Unsupported, match="even_only"):
        flyball.verify(receipt, model=demo)
    assert flyball.verify(receipt, model=demo, logits_processor=even_only)
    with pytest.raises(flyball.VerificationError, match="position 0"):
        flyball.verify(receipt, model=demo, logits_processor=lambda ids, logits: -logits)
    with pytest.raises(Broken):
        flyball.verify(receipt, model=demo, logits_processor=broken_after(0))
    recorder = Recorder()
    assert (
        demo.generate(PROMPT, 1, logits_processor=recorder).receipt["sampler"]["logits_processor"].endswith(".Recorder")
    )


def test_the_name_cannot_be_taken_away_or_added(demo: flyball.Model) -> None:
    receipt = demo.generate(PROMPT, 10, seed=3, logits_processor=even_only).receipt
    without = dict(receipt) | {"sampler": receipt["sampler"] | {"logits_processor": ""}}
    with pytest.raises(flyball.VerificationError, match="changed after it was written"):
        flyball.verify(without, model=demo)
    plain = demo.generate(PROMPT, 4, seed=3)
    assert flyball.verify(plain.receipt, model=demo)
    with pytest.raises(flyball.InvalidArgument, match="the answer had none"):
        flyball.verify(plain.receipt, model=demo, logits_processor=even_only)


def test_commands_cannot_tell(demo: flyball.Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "journal"
    with (
        flyball.Journal(path, content=True) as journal,
        flyball.Model.load(flyball.demo_model_path(), journal=journal) as model,
    ):
        result = model.generate(PROMPT, 6, logits_processor=even_only)
        model.generate(PROMPT, 6)
    assert flyball.Receipt(next(receipts(read(path)))[1]) == result.receipt
    saved = result.receipt.save(tmp_path / "receipt.json")
    assert main(["verify", str(saved)]) == 2
    assert "logits_processor" in capsys.readouterr().err
    assert main(["replay", str(path), "--model", str(flyball.demo_model_path())]) == 2
    out = capsys.readouterr().out
    assert "1 of 2 have the same bits" in out
    assert "cannot be repeated" in out
