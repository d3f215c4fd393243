"""One caller's mistake is that caller's alone, told before anything is computed, as a flyball.Error."""

from __future__ import annotations

import asyncio
import threading
import time
import warnings
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

import flyball
from flyball import _core
from flyball.engine.batching import Job
from flyball.engine.options import GenerateKeywords
from flyball.engine.session import Request

Answers = list[flyball.Result | BaseException]
INNOCENT = [f"Once upon a time {n}" for n in range(4)]


def beside(model: flyball.Model, *guilty: Callable[[], Awaitable[Any]]) -> Answers:
    """What the guilty calls give, made at once while others compute: these must end as if they had been alone."""

    async def main() -> tuple[Answers, Answers]:
        others = [asyncio.create_task(model.agenerate(prompt, 60, seed=2, ignore_eos=True)) for prompt in INNOCENT]
        await asyncio.sleep(0.02)
        told = await asyncio.gather(*(call() for call in guilty), return_exceptions=True)
        return list(await asyncio.gather(*others, return_exceptions=True)), list(told)

    others, told = asyncio.run(main())
    expected = [model.generate(prompt, 60, seed=2, ignore_eos=True).digest for prompt in INNOCENT]
    assert [other.digest if isinstance(other, flyball.Result) else other for other in others] == expected
    return told


def test_two_sends_on_one_chat(demo: flyball.Model) -> None:
    chat = demo.chat()
    first, second = beside(demo, lambda: chat.asend("hi", 20), lambda: chat.asend("hello", 20))
    assert isinstance(first, flyball.Result)
    assert isinstance(second, flyball.SessionBusy)
    assert [message.content for message in chat.history] == ["hi", first.text]
    assert first.digest == demo.chat().send("hi", 20).digest
    asyncio.run(chat.asend("again", 4))  # the session is free


def test_two_answers_of_one_session(demo: flyball.Model) -> None:
    session = demo.session()

    async def streamed() -> int:
        return len([piece async for piece in session.astream("Lily", 20, ignore_eos=True)])

    first, second, third = beside(demo, lambda: session.agenerate("Tom", 20), streamed, lambda: session.agenerate("x"))
    assert isinstance(first, flyball.Result)
    assert isinstance(second, flyball.SessionBusy)
    assert isinstance(third, flyball.SessionBusy)


def test_work_of_a_session_that_computes_an_answer(demo: flyball.Model) -> None:
    session = demo.session()
    old = session.stream("An old stream", 50)
    next(old)
    refused: list[Callable[[], object]] = [
        lambda: session.generate("x", 1),
        lambda: session.stream("x", 1),
        session.reset,
        lambda: session.logits([1, 2]),
        lambda: session.embed("x"),
        lambda: session.govern({}),
        lambda: session.save("/dev/null"),
        lambda: next(old),
    ]

    inside, go_on = threading.Event(), threading.Event()

    def hold(_: flyball.Piece) -> None:
        inside.set()
        assert go_on.wait(60)

    async def mistakes() -> None:
        options: GenerateKeywords = {"seed": 1, "ignore_eos": True}
        answer = asyncio.wrap_future(session._submit("Once upon a time", 400, options, hold))
        assert await asyncio.to_thread(inside.wait, 60)  # the batch thread stands at the answer's first piece
        assert session.tokens  # to look is no mistake
        for call in refused:
            with pytest.raises(flyball.SessionBusy):
                call()
        assert session.metrics.generations_started
        assert old.close().stop_reason == "interrupted"
        go_on.set()
        expected = demo.generate("Once upon a time", 400, seed=1, ignore_eos=True).digest
        assert (await answer).digest == expected

    assert beside(demo, mistakes) == [None]
    session.reset()


def test_another_thread_that_looks_all_the_time(demo: flyball.Model) -> None:
    session, done = demo.session(), threading.Event()

    def look() -> None:
        while not done.is_set():
            _ = session.tokens, session.metrics, session.governor

    thread = threading.Thread(target=look)
    thread.start()
    try:
        (answer,) = beside(demo, lambda: session.agenerate("Once", 60, ignore_eos=True))
    finally:
        done.set()
        thread.join()
    assert isinstance(answer, flyball.Result)


def test_a_call_in_another_thread_that_was_first(demo: flyball.Model) -> None:
    session, inside, go_on = demo.session(), threading.Event(), threading.Event()

    def wait(*_: object) -> None:
        inside.set()
        go_on.wait(10)

    thread = threading.Thread(target=lambda: session.generate("Once upon a time", 2, progress=wait))
    thread.start()
    assert inside.wait(10)
    (told,) = beside(demo, lambda: session.agenerate("x", 2))
    go_on.set()
    thread.join()
    assert isinstance(told, flyball.SessionBusy)


class Piecemeal:
    """A reader of pieces that fails."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __call__(self, piece: flyball.Piece) -> None:
        raise self.error


@pytest.mark.parametrize("error", [ZeroDivisionError("reader"), SystemExit(7)], ids=["error", "exit"])
def test_a_reader_that_fails(demo: flyball.Model, error: BaseException) -> None:
    async def guilty() -> flyball.Result:
        request = demo._request("Once", 20, {"ignore_eos": True})
        future = demo._submit(request, Piecemeal(error))
        while not future.done():
            await asyncio.sleep(0.001)
        raised = future.exception()
        assert raised is error
        return demo.generate("Once", 1)

    assert isinstance(beside(demo, guilty)[0], flyball.Result)


def test_a_policy_whose_warning_is_an_error(demo: flyball.Model) -> None:
    class Failing:
        _core = None

        def _turn_ended(self, generation: object) -> None:
            raise flyball.InvalidArgument("policy", "failed")

        def _wanted_cache(self) -> tuple[int, str]:
            return 512, "f16"

    session = demo.session()
    session.policy = Failing()  # type: ignore[assignment]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (told,) = beside(demo, lambda: session.agenerate("x", 2))
    assert isinstance(told, RuntimeWarning)
    session.policy = None
    session.generate("x", 1)


def test_a_defect_of_the_thread_itself_leaves_nobody_waiting(
    demo: flyball.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(*_: object) -> None:
        raise MemoryError("defect")

    with flyball.Model.load(flyball.demo_model_path()) as model:
        batcher = model._handle.batcher
        monkeypatch.setattr(threading, "excepthook", lambda *_: None)
        monkeypatch.setattr(type(batcher), "_step", defect)
        with pytest.raises(MemoryError):
            model.generate_many(["a", "b", "c"], 3, parallel=2)
        monkeypatch.undo()
        assert len(model.generate_many(["a", "b", "c"], 3)) == 3


def test_the_call_of_all_that_fails(demo: flyball.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(_core, "step_many", refuse)
        with pytest.raises(MemoryError):
            demo.generate_many(["a"], 3)
    assert demo.generate_many(["a"], 3)[0].digest == demo.generate("a", 3).digest


def test_a_long_call_does_not_hold_up_a_short_one(demo: flyball.Model) -> None:
    long = demo.generate_as_completed(["Once upon a time"] * 200, 100, parallel=64, ignore_eos=True)
    next(long)
    short = demo.generate_many(["x"], 1)
    assert len(short) == 1
    rest = sum(1 for _ in long)
    assert rest == 199


# --- At the door: before anything is computed, with the number of the prompt ----------------------------------------

WRONG_PROMPTS: list[tuple[Any, type[flyball.Error]]] = [
    ([5] * 600, flyball.ContextFull),
    ("", flyball.InvalidArgument),
    ([], flyball.InvalidArgument),
    (None, flyball.InvalidArgument),
    (5, flyball.InvalidArgument),
    (b"bytes", flyball.InvalidArgument),
    ([1, "2"], flyball.InvalidArgument),
    ([1.5], flyball.InvalidArgument),
    ([-1], flyball.InvalidArgument),
    ([2**70], flyball.InvalidArgument),
    ("\ud800", flyball.InvalidArgument),
]


@pytest.mark.parametrize(("wrong", "kind"), WRONG_PROMPTS, ids=[repr(wrong)[:12] for wrong, _ in WRONG_PROMPTS])
def test_a_wrong_prompt(demo: flyball.Model, wrong: Any, kind: type[flyball.Error]) -> None:
    with flyball.Model.load(flyball.demo_model_path(), context=512) as model:
        before = model.session().metrics.generations_started
        with pytest.raises(kind, match=r"^prompts\[3\]: prompt"):
            model.generate_many(["a", "b", "c", wrong], 30)
        assert model._handle.batcher._thread is None  # nothing has begun
        assert before == 0
        for call in (model.agenerate, model.session().agenerate):
            with pytest.raises(kind):
                asyncio.run(call(wrong, 5))
        with pytest.raises(kind):
            model.generate(wrong, 5)


WRONG_OPTIONS: dict[str, list[Any]] = {
    "logit_bias": [{"15": 1}, {1.5: 1}, {15: "x"}, [1, 2], 5, {10**9: 1}, {-1: 1}],
    "stop": [5, [1], [None], [""], ["x"] * 17, "x" * 300],
    "draft": [5, "model.gguf"],
    "temperature": ["hot", -1, float("nan"), None],
    "top_k": [1.5, "x", -1],
    "top_p": [2, []],
    "seed": ["x", -1, 2**64, 1.5],
    "max_tokens": [0, "x", 2**32],
    "deadline": ["soon", -1, float("inf")],
    "batch": [0, None],
    "speculate": [None, 1, "sometimes", []],
    "no_such_option": [1],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG_OPTIONS.items() for value in values], ids=repr
)
def test_a_wrong_option(demo: flyball.Model, name: str, value: Any) -> None:
    options: Any = {name: value}
    session = demo.session()
    with pytest.raises(flyball.InvalidArgument, match=name.split("_")[0]):
        demo.generate("x", **options)
    for call in (demo.agenerate, session.agenerate, demo.chat().asend):
        with pytest.raises(flyball.InvalidArgument):
            asyncio.run(call("x", **options))

    async def stream() -> None:
        demo.astream("x", **options)

    with pytest.raises(flyball.InvalidArgument):
        asyncio.run(stream())
    with pytest.raises(flyball.InvalidArgument, match=r"^prompts\[0\]"):
        demo.generate_many(["x", "y"], **options)
    with pytest.raises(flyball.InvalidArgument, match=r"^prompts\[1\]"):
        demo.generate_many(["x", "y"], each=[{}, options])


def test_no_stop_is_none(demo: flyball.Model) -> None:
    assert demo.generate("x", 3, stop=None).digest == demo.generate("x", 3).digest


def test_an_unknown_option_is_a_type_error_too(demo: flyball.Model) -> None:
    wrong: Any = {"temprature": 1}
    with pytest.raises(TypeError, match=r"temprature: is not an option.*temperature") as raised:
        demo.generate("x", **wrong)
    assert isinstance(raised.value, flyball.UnknownArgument)


def test_progress_that_is_no_function(demo: flyball.Model) -> None:
    wrong: Any = 5
    for call in (
        lambda: demo.generate("x", 1, progress=wrong),
        lambda: demo.logits([1], progress=wrong),
        lambda: flyball.Model.load(flyball.demo_model_path(), progress=wrong),
    ):
        with pytest.raises(flyball.InvalidArgument, match="progress"):
            call()


def test_options_are_read_once_and_in_the_callers_thread(demo: flyball.Model) -> None:
    threads: set[int] = set()

    def ids() -> Iterator[int]:
        threads.add(threading.get_ident())
        yield from demo.tokenize("Once upon a time")

    def stops() -> Iterator[str]:
        threads.add(threading.get_ident())
        yield "the"

    prompt: Any = ids()
    result = asyncio.run(demo.agenerate(prompt, 20, stop=stops()))
    assert result.digest == demo.generate("Once upon a time", 20, stop="the").digest
    assert threads == {threading.get_ident()}


def test_an_async_stream_that_is_refused_leaves_no_trace(demo: flyball.Model) -> None:
    async def main() -> None:
        with pytest.raises(flyball.ContextFull):
            demo.astream([1] * 5000)

    asyncio.run(main())  # an error in its __del__ would be one here


# --- Streams: whose error is it? -------------------------------------------------------------------------------------


def test_leaving_a_with_keeps_the_users_own_error(demo: flyball.Model) -> None:
    session = demo.session()

    def leave() -> None:
        with session.stream("Once upon a time", 50) as stream:
            next(stream)
            session.generate("x", 2)
            raise KeyError("own")

    with pytest.raises(KeyError, match="own"):
        leave()


def test_an_old_stream_ends_with_what_it_had(demo: flyball.Model) -> None:
    session = demo.session()
    stream = session.stream("Once upon a time", 50, seed=3)
    pieces = [next(stream).text for _ in range(5)]
    kept = session.generate("x", 2)
    tokens = session.tokens
    result = stream.close()
    assert (result.stop_reason, len(result.tokens)) == ("interrupted", 5)
    assert result.text.startswith("".join(pieces))
    assert flyball.verify(result.receipt, model=demo)
    assert session.tokens == tokens  # the other answer's
    assert kept.digest == demo.generate("x", 2).digest


def test_close_from_another_thread(demo: flyball.Model) -> None:
    for _ in range(10):
        stream = demo.stream("Once upon a time", 400, ignore_eos=True)
        results: list[flyball.Result] = []
        thread = threading.Thread(target=lambda s=stream, r=results: r.append(s.close()))
        next(stream)
        thread.start()
        for _ in stream:
            pass
        thread.join()
        assert results == [stream.result]
        assert stream.result.stop_reason == "interrupted"


def test_close_in_when_done(demo: flyball.Model) -> None:
    stream = demo.stream("Once", 3)
    stream.when_done(lambda result: results.append(stream.close()))
    results: list[flyball.Result] = []
    list(stream)
    assert results == [stream.result]


# --- Canceling -------------------------------------------------------------------------------------------------------


def test_cancel_while_the_prompt_is_computed(small: flyball.Model) -> None:
    """The answer leaves between two of its prompt's batches, and gives back its session."""
    prompt = [(13 * i + 7) % 300 for i in range(250)]
    session = small.session(context=256)
    job = Job(_recorded(session, prompt, batch=1))
    small._handle.batcher.submit([job])
    while not job._cores:
        time.sleep(0)
    job.future.cancel()
    limit = time.monotonic() + 60
    while True:
        try:
            session.reset()
            break
        except flyball.SessionBusy:
            assert time.monotonic() < limit
    assert ENDED[-1].tokens == []
    assert ENDED[-1].metrics()["prefill"]["tokens"] < len(prompt)
    assert ENDED[-1].stop_reason == "interrupted"
    ENDED.clear()


ENDED: list[_core.GenerationCore] = []


def _recorded(session: flyball.Session, prompt: list[int], batch: int) -> Any:
    from flyball.engine.session import _SessionWork

    class Recorded(_SessionWork):
        def finish(self, core: _core.GenerationCore) -> flyball.Result:
            ENDED.append(core)
            return super().finish(core)

    return Recorded(session, Request.of(session._model, prompt, 4, {"batch": batch}))


def test_cancel_all_stops_inside_a_call(small: flyball.Model) -> None:
    """With nobody left to wait, the call itself stops: between two matrices, not after 250 tokens."""
    cores = [small.session()._begin(Request.of(small._handle, [n + 1] * 250, 4, {}), compute=False) for n in range(2)]
    thread = threading.Thread(target=_core.step_many, args=(cores, 60_000_000_000))
    thread.start()
    for core in cores:
        core.cancel()
    thread.join(60)
    assert not thread.is_alive()
    for core in cores:
        assert core.stop_reason in ("interrupted", "max_tokens", "none")
