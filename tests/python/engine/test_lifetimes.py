"""Values own what they hold: a model ends with its last user, and neither results nor errors are users."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import gc
import json
import os
import pickle
import shutil
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import flyball


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    """What only the garbage collector would free is held for as long as it does not run."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A model's file of this test alone, to be found among what is mapped."""
    return Path(shutil.copy(flyball.demo_model_path(), tmp_path / "own.gguf"))


def is_mapped(file: Path) -> bool:
    """Whether a model of this file is loaded."""
    return str(file) in Path("/proc/self/maps").read_text()


def soon(condition: Callable[[], bool]) -> bool:
    """The batch thread may hold a job for a moment after its result."""
    limit = time.monotonic() + 60
    while not condition() and time.monotonic() < limit:
        time.sleep(0.001)
    return condition()


def ask_async(model: flyball.Model) -> flyball.Result:
    async def main() -> flyball.Result:
        [piece async for piece in model.astream("Once", 3)]
        return await model.agenerate("Once", 3)

    return asyncio.run(main())


def canceled(model: flyball.Model) -> None:
    async def main() -> None:
        task = asyncio.create_task(model.agenerate("Once", 400, ignore_eos=True))
        await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(main())


def refused(model: flyball.Model) -> list[flyball.Result | Exception]:
    wrong: list[Any] = ["x", [1] * 5000, None]
    return model.generate_many(wrong, 2, return_exceptions=True)


def left(model: flyball.Model) -> None:
    next(model.generate_as_completed(["x"] * 20, 40, parallel=4))


# What a program does with a model, and keeps of it.
USES: dict[str, Callable[[flyball.Model], object]] = {
    "nothing": lambda model: None,
    "generate": lambda model: model.generate("Once", 3),
    "a digest": lambda model: model.generate("Once", 3).digest,
    "a receipt": lambda model: model.generate("Once", 3).receipt,
    "stream": lambda model: list(model.stream("Once", 3)),
    "a stream's result": lambda model: model.stream("Once", 30).close(),
    "a stream that was left": lambda model: next(model.stream("Once", 30)).text,
    "chat": lambda model: model.chat(system="s").send("hi", 3),
    "a chat's history": lambda model: [chat := model.chat(), chat.send("hi", 3), chat.history][-1],
    "a template's ids": lambda model: model.chat_template().ids([{"role": "user", "content": "x"}]),
    "own template": lambda model: model.chat(template="{{ messages[0].content }}").send("x", 2),
    "many": lambda model: model.generate_many(["a", "b", "c"], 3),
    "as completed": lambda model: list(model.generate_as_completed(["a", "b", "c"], 3)),
    "as completed, left": left,
    "asyncio": ask_async,
    "asyncio, canceled": canceled,
    "a model that drafts for itself": lambda model: model.generate("Once", 3, draft=model, speculate="always"),
    "info": lambda model: model.info,
    "metrics": lambda model: [session := model.session(), session.generate("x", 1), session.metrics][1:],
    "governor": lambda model: model.session(governor={"guard.mode": "on"}).governor,
    "logits": lambda model: model.logits([1, 2, 3]),
    "embedding": lambda model: model.embed("Once"),
    "metadata": lambda model: (model.metadata(), model.tensors(), model.tokenize("x")),
    "errors in results": refused,
    "a policy": lambda model: flyball.Policy(model).session().generate("Once", 2),
}


@pytest.mark.parametrize("use", USES)
def test_a_dropped_model_is_freed_at_once(use: str, file: Path) -> None:
    model = flyball.Model.load(file)
    assert is_mapped(file)
    kept = USES[use](model)
    alive = weakref.ref(model)
    del model
    assert soon(lambda: alive() is None)
    assert soon(lambda: not is_mapped(file))
    del kept


@pytest.mark.parametrize("use", USES)
def test_close_gives_the_memory_back(use: str, file: Path) -> None:
    with flyball.Model.load(file) as model:
        kept = USES[use](model)
    assert soon(lambda: not is_mapped(file))
    del kept


def test_a_draft_model_is_freed_before_the_model_that_it_served(file: Path, demo: flyball.Model) -> None:
    draft = flyball.Model.load(file)
    demo.generate("Once", 3, draft=draft, speculate="always")
    demo.generate_many(["Once"], 3, draft=draft, speculate="always")
    del draft
    assert soon(lambda: not is_mapped(file))


def test_close_while_answers_run(file: Path) -> None:
    async def main() -> list[flyball.Result]:
        model = flyball.Model.load(file)
        streams = [model.astream("Once", 60, seed=1, ignore_eos=True) for _ in range(3)]
        for stream in streams:
            await anext(stream)
        model.close()
        with pytest.raises(flyball.InvalidArgument, match="closed"):
            await model.agenerate("x")
        for stream in streams:
            assert len([piece async for piece in stream]) == 59
        return [stream.result for stream in streams]

    results = asyncio.run(main())
    assert soon(lambda: not is_mapped(file))
    assert {len(result.tokens) for result in results} == {60}
    assert len({result.digest for result in results}) == 1


def test_results_do_not_hold_caches(demo: flyball.Model) -> None:
    def kept() -> list[flyball.Result]:
        found = [demo.stream(f"Once {n}", 3).close() for n in range(20)]
        found += [demo.session().generate(f"Lily {n}", 3) for n in range(20)]
        return found + demo.generate_many([f"Tom {n}" for n in range(20)], 3)

    kept()  # memory that stays for the next
    before, caches = virtual_bytes(), 60 * demo.session().cache_bytes
    results = kept()
    assert virtual_bytes() - before < caches / 4
    assert len({result.digest for result in results}) == 60


def virtual_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE")


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.mark.soak
def test_a_loop_of_loading_and_dropping_is_flat(model_file: Callable[..., Path]) -> None:
    path = model_file("llama", "Q8_0")
    n = int(os.environ.get("FLYBALL_RELOADS", "30"))
    kept: list[object] = []
    sizes: list[tuple[int, int, int]] = []
    for turn in range(n):
        model = flyball.Model.load(path, context=256)
        kept += [model.generate([1, 2, turn % 99], 2), model.session().generate([3, 4], 2)]
        kept += [model.generate_many([[5, 6], [7, 8]], 2), model.stream([1], 3).close()]
        kept.append(model.info.fingerprint)
        descriptors = len(os.listdir("/proc/self/fd"))
        sizes.append((resident_bytes(), virtual_bytes(), descriptors))
    warm = n // 3
    of_results = 100_000 * (n - warm)  # more than 5 results of a turn take
    assert sizes[-1][0] - sizes[warm][0] < of_results + (4 << 20)
    assert sizes[-1][1] - sizes[warm][1] < of_results + (64 << 20)  # threads of a batch that idle for a second
    assert sizes[-1][2] <= sizes[warm][2]


@pytest.mark.soak
def test_kept_results_are_small(demo: flyball.Model) -> None:
    n = int(os.environ.get("FLYBALL_RESULTS", "300"))
    first = demo.generate_many(["x"] * 64, 8, parallel=32)
    before = resident_bytes(), virtual_bytes()
    kept = [*first]
    for _ in range(0, n, 100):
        kept += demo.generate_many(["x"] * 100, 8, parallel=32)
    grown = resident_bytes() - before[0], virtual_bytes() - before[1]
    assert grown[0] < 12_000 * len(kept) + (4 << 20)
    assert grown[1] < 12_000 * len(kept) + (64 << 20)
    assert len({result.digest for result in kept[:50]}) == 1
    _ = [result.receipt for result in kept]  # its members are read when they are asked for
    assert resident_bytes() - before[0] < 20_000 * len(kept) + (4 << 20)


# --- The receipt of an answer whose model is gone ------------------------------------------------------------------


def test_a_receipt_after_the_model(file: Path, demo: flyball.Model) -> None:
    model = flyball.Model.load(file)
    first, second = model.generate("Once", 5, seed=1), model.generate("Lily", 5, seed=1, logit_bias={5: -1.5}, stop="x")
    expected = model.generate("Once", 5, seed=1).receipt
    model.close()
    del model
    assert dict(first.receipt) | {"metrics": 0} == dict(expected) | {"metrics": 0}
    assert first.digest == demo.generate("Once", 5, seed=1).digest
    assert flyball.verify(second.receipt, model=demo)


@pytest.mark.parametrize("change", ["touched", "replaced", "removed", "longer"])
def test_a_file_that_has_changed_has_no_fingerprint(change: str, file: Path) -> None:
    with flyball.Model.load(file) as model:
        result, info = model.generate("Once", 3), model.info
    if change == "touched":
        os.utime(file, ns=(1, 1))
    elif change == "replaced":
        other = file.with_name("other")
        shutil.copy(file, other)
        shutil.copystat(file, other)
        other.replace(file)
    elif change == "removed":
        file.unlink()
    else:
        with file.open("ab") as end:
            end.write(b"0")
    for _ in range(2):
        with pytest.raises(flyball.FileError, match="has changed since the model was loaded"):
            _ = result.digest
        with pytest.raises(flyball.FileError, match=r"own\.gguf"):
            _ = info.fingerprint
        with pytest.raises(flyball.FileError):
            pickle.dumps(result)
    assert result.text


def test_a_fingerprint_that_was_asked_for_is_known(file: Path) -> None:
    with flyball.Model.load(file) as model:
        first, second = model.generate("Once", 3), model.generate("Once", 3)
        info, digest = model.info, first.digest
    file.unlink()
    assert second.digest == digest
    assert info.fingerprint == second.receipt.fingerprint


def test_a_relative_path_and_another_folder(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    with flyball.Model.load(file.name) as model:
        result = model.generate("Once", 3)
    monkeypatch.chdir("/")
    assert len(result.digest) == 64


# --- Pickle and copy ------------------------------------------------------------------------------------------------


def test_values_are_pickled_and_copied(demo: flyball.Model) -> None:
    result, info = demo.generate("Once", 5), demo.info
    for again in (pickle.loads(pickle.dumps(result)), copy.deepcopy(result), copy.copy(result)):
        assert again == result
        assert again.digest == result.digest
    for known in (pickle.loads(pickle.dumps(info)), copy.deepcopy(info), copy.copy(info)):
        assert known == info
        assert known.fingerprint == info.fingerprint
        assert known.cache_bytes(256) == info.cache_bytes(256)
    assert dataclasses.replace(result, text="x").digest == result.digest
    assert dataclasses.asdict(result)["text"] == result.text
    assert json.loads(json.dumps(dataclasses.asdict(info)))["n_layer"]
    assert hash(result) == hash(pickle.loads(pickle.dumps(result)))


def test_what_belongs_to_the_process_says_so(demo: flyball.Model) -> None:
    stream = demo.stream("x", 2)
    for thing, name in ((demo.session(), "Session"), (stream, "Stream"), (demo.chat(), "Chat")):
        for take in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(flyball.InvalidArgument, match=f"^{name}: cannot be pickled or copied"):
                take(thing)


@pytest.mark.parametrize("name", ["whole-00001-of-00003.gguf", "whole-00001-of-00002.GGUF"])
def test_a_whole_file_named_like_a_part_is_found_again(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(flyball.demo_model_path().read_bytes())
    with flyball.Model.load(path) as model:
        result = model.generate("Once", 3)
    with flyball.Model.load(flyball.demo_model_path()) as model:
        assert model.generate("Once", 3).digest == result.digest
