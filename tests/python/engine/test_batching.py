"""Many answers at once: each has the bits that it has alone, whatever joins, leaves, fails or is canceled beside it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Unpack

import pytest

import flyball
from flyball import _core
from flyball.engine.options import GenerateKeywords
from flyball.engine.session import Request

PROMPTS = ["Once upon a time", "7+5=", "Lily had a", "x", "Tom and Ben went to the park. " * 8, "note:", "One day", "A"]


def alone(model: flyball.Model, n: int = 40, **options: Unpack[GenerateKeywords]) -> list[str]:
    keywords: GenerateKeywords = {**options, "speculate": "off"}
    return [model.generate(prompt, n, **keywords).digest for prompt in PROMPTS]


@pytest.mark.parametrize("parallel", [1, 3, 16])
@pytest.mark.parametrize("options", [{"temperature": 0}, {"seed": 11}, {"seed": 3, "stop": ["the", "."]}])
def test_generate_many_gives_what_generate_gives(demo: flyball.Model, parallel: int, options: GenerateKeywords) -> None:
    results = demo.generate_many(PROMPTS, 40, parallel=parallel, **options)
    assert [result.digest for result in results] == alone(demo, **options)
    assert all(flyball.verify(result.receipt, model=demo) for result in results[:2])


def test_more_sequences_than_one_call_holds(demo: flyball.Model) -> None:
    demo._handle.batcher.parallel = 150
    try:
        results = demo.generate_many([PROMPTS[i % 8] for i in range(150)], 12, parallel=150, seed=1)
    finally:
        demo._handle.batcher.parallel = 64
    expected = alone(demo, 12, seed=1)
    assert [result.digest for result in results] == [expected[i % 8] for i in range(150)]


def test_cycles_are_shared_out(demo: flyball.Model) -> None:
    start = time.perf_counter()
    many = [r.metrics for r in demo.generate_many(["Once upon a time"] * 8, 64, ignore_eos=True)]
    seconds = time.perf_counter() - start
    assert {metrics.decode.tokens for metrics in many} == {63}
    # Each is charged its share of the calls: together no more than there were, not eight times as many.
    cycles = sum(metrics.prefill.cycles + metrics.decode.cycles for metrics in many)
    assert 0 < cycles < 1.05 * seconds * many[0].cycles_per_second


def test_async_twins(demo: flyball.Model) -> None:
    expected = alone(demo, seed=2)

    async def streamed(prompt: str) -> flyball.Result:
        async with demo.astream(prompt, 40, seed=2) as stream:
            text = "".join([piece.text async for piece in stream])
            assert text == stream.result.text
            return stream.result

    async def main() -> None:
        results = await asyncio.gather(*(demo.agenerate(prompt, 40, seed=2) for prompt in PROMPTS))
        assert [result.digest for result in results] == expected
        results = await asyncio.gather(*(streamed(prompt) for prompt in PROMPTS))
        assert [result.digest for result in results] == expected
        results = await demo.agenerate_many(PROMPTS, 40, parallel=3, seed=2)
        assert [result.digest for result in results] == expected
        chats = [demo.chat() for _ in range(3)]
        answers = await asyncio.gather(*(chat.asend("about: dog", 20, seed=4) for chat in chats))
        assert {answer.digest for answer in answers} == {demo.chat().send("about: dog", 20, seed=4).digest}
        assert all(len(chat.history) == 2 for chat in chats)

    asyncio.run(main())


def test_a_prepared_question_gives_its_pieces_to_a_function(demo: flyball.Model) -> None:
    whole = demo.generate("Once upon a time", 20, seed=5)
    prepared = demo.prepare("Once upon a time", 20, seed=5)
    assert prepared.request_key == whole.request_key

    async def taken(**options: Any) -> tuple[list[int], flyball.Result]:
        pieces: list[flyball.Piece] = []
        ended = asyncio.Event()
        future = prepared.submit(lambda piece: ended.set() if piece is None else pieces.append(piece), **options)
        await ended.wait()
        return [piece.token for piece in pieces if piece.token is not None], future.result()

    for options in ({}, {"known": whole.tokens[:7]}, {"prefix_root": b"own", "deadline": 600.0}):
        tokens, result = asyncio.run(taken(**options))
        assert (tokens, result.digest) == (list(whole.tokens), whole.digest)
    with pytest.raises(flyball.VerificationError):
        asyncio.run(taken(known=[whole.tokens[0] + 1]))
    assert asyncio.run(taken(deadline=0.0))[1].stop_reason == "deadline"
    for wrong in ({"known": "a"}, {"prefix_root": "a"}, {"deadline": -1}):
        with pytest.raises(flyball.InvalidArgument):
            asyncio.run(taken(**wrong))
    with pytest.raises(flyball.ContextFull):
        demo.prepare([1] * 10_000, 4)


def test_joining_and_leaving(demo: flyball.Model) -> None:
    async def main() -> None:
        long = asyncio.create_task(demo.agenerate("Once upon a time", 1500, seed=9, ignore_eos=True))
        await asyncio.sleep(0.01)
        assert not long.done()
        short = await demo.agenerate("Lily had a", 5, seed=9)
        assert not long.done()  # it joined and left while the other went on
        assert short.digest == demo.generate("Lily had a", 5, seed=9).digest
        reference = demo.generate("Once upon a time", 1500, seed=9, ignore_eos=True)
        assert (await long).digest == reference.digest

    asyncio.run(main())


def test_canceled_stream_leaves_the_others_alone(demo: flyball.Model) -> None:
    async def main() -> None:
        other = asyncio.create_task(demo.agenerate("Lily had a", 60, seed=1, ignore_eos=True))
        stream = demo.astream("Once upon a time", 1500, ignore_eos=True)
        async for _ in stream:
            break
        await stream.aclose()
        with pytest.raises(flyball.Interrupted):
            _ = stream.result
        task = asyncio.create_task(demo.agenerate("One day", 1500, ignore_eos=True))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        digest = demo.generate("Lily had a", 60, seed=1, ignore_eos=True).digest
        assert (await other).digest == digest

    asyncio.run(main())


def test_deadline_of_one_is_not_the_others(demo: flyball.Model) -> None:
    async def main() -> tuple[flyball.Result, flyball.Result]:
        late = demo.agenerate("Once upon a time", 2000, ignore_eos=True, deadline=0.05)
        other = demo.agenerate("Lily had a", 200, seed=1, ignore_eos=True)
        return await late, await other

    late, other = asyncio.run(main())
    assert late.stop_reason == "deadline"
    assert len(late.tokens) < 2000
    assert other.digest == demo.generate("Lily had a", 200, seed=1, ignore_eos=True).digest


def test_errors_reach_their_caller_alone(demo: flyball.Model) -> None:
    async def main() -> list[flyball.Result | BaseException]:
        answers = (demo.agenerate("Lily", 8, seed=1), demo.agenerate([1] * 5000, 8), demo.agenerate("Lily", 8, seed=1))
        return list(await asyncio.gather(*answers, return_exceptions=True))

    first, wrong, last = asyncio.run(main())
    assert isinstance(wrong, flyball.ContextFull)
    assert isinstance(first, flyball.Result)
    assert isinstance(last, flyball.Result)
    assert first.digest == last.digest
    hot: Any = "hot"
    with pytest.raises(flyball.InvalidArgument, match="temperature"):
        demo.generate_many(["a"], temperature=hot)
    with pytest.raises(flyball.InvalidArgument, match="parallel"):
        demo.generate_many(["a"], parallel=0)
    with pytest.raises(flyball.ContextFull):
        demo.generate_many(["Lily", [1] * 5000], 8)
    assert demo.generate_many([], 8) == []


def test_a_failing_sequence_fails_alone(model_file: Callable[..., Path]) -> None:
    with flyball.Model.load(model_file("llama", "F32"), context=64) as model:
        good = model.generate([1, 2, 3], 4, ignore_eos=True)
        session = model.session()
        jobs = [
            session._begin(Request.of(model._handle, [1, 2, 3], 4, {"ignore_eos": True}), compute=False),
            model.session()._begin(Request.of(model._handle, [4, 5], 4, {}), compute=False),
        ]
        steps = _core.step_many(jobs, 0)
        assert all(isinstance(step, tuple) for step in steps)
        with pytest.raises(flyball.SessionBusy):  # the same generation twice in one call
            _core.step_many([jobs[0], jobs[0]], 0)
        session.reset()  # somebody else's work ends a generation with an error, and only that one
        steps = _core.step_many(jobs, 0)
        assert isinstance(steps[0], flyball.InvalidArgument)
        assert isinstance(steps[1], tuple)
        assert good.digest == model.generate([1, 2, 3], 4, ignore_eos=True).digest


def test_from_many_threads(demo: flyball.Model) -> None:
    expected = alone(demo, 30, seed=6)
    digests: dict[int, list[str]] = {}

    def work(n: int) -> None:
        digests[n] = [result.digest for result in demo.generate_many(PROMPTS, 30, parallel=4, seed=6)]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(digests.values()) == [expected] * 4


def test_the_thread_ends_when_there_is_nothing_to_do() -> None:
    with flyball.Model.load(flyball.demo_model_path()) as model:
        model.generate_many(["a"], 2)
    deadline = time.monotonic() + 100
    while any(thread.name == "flyball-batch" for thread in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(thread.name == "flyball-batch" for thread in threading.enumerate())


@pytest.mark.parametrize("variant", ["llama", "qwen35"])
def test_long_prompts_beside_running_answers(model_file: Callable[..., Path], variant: str) -> None:
    """Measured costs split the prompts, differently each time, and no split changes a bit."""
    with flyball.Model.load(model_file(variant, "Q8_0"), context=512, prefix_cache_mb=0) as model:
        prompts = [[n + 1] for n in range(4)] + [[(31 * i + n) % 300 for i in range(400)] for n in range(3)]
        expected = [model.generate(prompt, 90, seed=1, ignore_eos=True).digest for prompt in prompts]
        for _ in range(3):
            results = model.generate_many(prompts, 90, seed=1, ignore_eos=True)
            assert [result.digest for result in results] == expected
