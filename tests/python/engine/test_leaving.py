"""Leaving a program while answers are computed ends it with its own exit code, and a fork's child works."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import flyball

START = """
import asyncio, atexit, os, signal, sys, threading, time
import flyball
from flyball import demo_model_path as demo

model = flyball.Model.load(demo())
long = dict(max_tokens=400, ignore_eos=True)
submit = lambda **more: model._submit(model._request("Once upon a time", 400, {"ignore_eos": True}), **more)

def daemons(work, n=2):
    begun = threading.Barrier(n + 1)
    def run():
        begun.wait()
        while True: work()
    for _ in range(n): threading.Thread(target=run, daemon=True).start()
    begun.wait()
    time.sleep(0.03)
"""

# How a program leaves while something runs, and its exit code.
WAYS: dict[str, tuple[str, int]] = {
    "the batch thread computes": ("submit(); time.sleep(0.03)", 0),
    "the batch thread hands out pieces": ("submit(on_piece=lambda piece: None); time.sleep(0.03)", 0),
    "asyncio.run cancels a task": (
        "async def main():\n    task = asyncio.create_task(model.agenerate('Once', **long))\n"
        "    await asyncio.sleep(0.03)\nasyncio.run(main())",
        0,
    ),
    "asyncio.run leaves a stream": (
        "async def main():\n    async for piece in model.astream('Once', **long): return\nasyncio.run(main())",
        0,
    ),
    "threads generate": ("daemons(lambda: model.generate('Once', **long))", 0),
    "threads stream": ("daemons(lambda: [piece for piece in model.stream('Once', **long)])", 0),
    "threads report progress": (
        "daemons(lambda: model.generate('the fox ' * 150, 4, batch=1, progress=lambda *a: sum(range(500))))",
        0,
    ),
    "threads read ids from Python": (
        "daemons(lambda: model.generate((i % 99 for i in range(400)), 1))",
        0,
    ),
    "threads raise errors": (
        "def wrong():\n    try: model.tokenize('x'); model.generate([9**9], 1)\n    except flyball.Error: pass\n"
        "daemons(wrong)",
        0,
    ),
    "threads load": ("daemons(lambda: flyball.Model.load(demo()).generate('x', 1))", 0),
    "threads compute logits": ("daemons(lambda: model.logits([5] * 300, batch=16))", 0),
    "threads hash": ("daemons(lambda: flyball.Model.load(demo(), vocab_only=True).info.fingerprint)", 0),
    "threads wait for many": ("daemons(lambda: model.generate_many(['Once'] * 4, **long))", 0),
    "sys.exit": ("submit(); daemons(lambda: model.generate('Once', **long)); sys.exit(3)", 3),
    "an uncaught exception": ("submit(); daemons(lambda: model.generate('Once', **long)); 1 / 0", 1),
    "os._exit": ("submit(); daemons(lambda: model.generate('Once', **long)); os._exit(5)", 5),
    "SIGTERM": ("submit(); time.sleep(0.03); os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", -signal.SIGTERM),
    "Ctrl-C in a list of prompts": (
        "threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "model.generate_many(['Once'] * 2000, **long)",
        -signal.SIGINT,
    ),
    "Ctrl-C in asyncio": (
        "threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "async def main(): await asyncio.gather(*(model.agenerate('Once', **long) for _ in range(200)))\n"
        "asyncio.run(main())",
        -signal.SIGINT,
    ),
    "atexit computes": ("atexit.register(lambda: model.generate_many(['x'], 3)[0].digest); submit()", 0),
    "open streams": (
        "kept = [model.stream('Once', **long), model.chat().stream('hi', **long)]\nfor s in kept: next(s)\n"
        "more = model.generate_as_completed(['x'] * 9, each=[{'max_tokens': 1}] + [{}] * 8, ignore_eos=True)\n"
        "next(more)",
        0,
    ),
    "a destructor computes": (
        "class Last:\n    def __del__(self, model=model): model.generate('x', 3)\n"
        "sys.modules['kept'] = Last(); submit()",
        0,
    ),
    "a destructor wants what the batch thread held": (
        "session = model.session()\n"
        "future = session._submit('Once', 400, {'ignore_eos': True})\n"
        "class Last:\n    def __del__(self, model=model, session=session):\n"
        "        for call in (lambda: session.tokens, lambda: model.generate_many(['x'], 1), session.reset):\n"
        "            try: call()\n            except Exception: pass\n"
        "sys.modules['kept'] = Last(); time.sleep(0.03)",
        0,
    ),
}


def heed_interrupts() -> None:
    """A test run in the background ignores Ctrl-C, and its children would, too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run(code: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", START + code],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=tmp_path,
        preexec_fn=heed_interrupts,
    )


@pytest.mark.soak
@pytest.mark.parametrize("way", WAYS)
def test_leaving_gives_the_programs_own_exit_code(way: str, tmp_path: Path) -> None:
    code, expected = WAYS[way]
    for _ in range(int(os.environ.get("FLYBALL_LEAVINGS", "2"))):
        left = run(code, tmp_path)
        assert left.returncode == expected, left.stderr[-2000:]
        assert "terminate" not in left.stderr
        assert ("Traceback" in left.stderr) == (expected in (1, -signal.SIGINT)), left.stderr[-2000:]


# --- fork ------------------------------------------------------------------------------------------------------------

FORKS = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of fork() beside threads, from Python 3.12 on

def answers():
    async def two():
        pieces = [piece async for piece in model.astream("Once", 12, seed=3)]
        return await model.agenerate("Once", 12, seed=3)
    found = [
        model.generate("Once", 12, seed=3),
        *model.generate_many(["Once", "Once"], 12, seed=3),
        asyncio.run(two()),
        flyball.Model.load(demo()).generate("Once", 12, seed=3),
    ]
    assert len(model.logits([5] * 200)) == 200
    return {result.digest for result in found}

def fork(n):
    "How many children do not give the expected answers."
    bad = 0
    for _ in range(n):
        child = os.fork()
        if child == 0:
            signal.alarm(60)  # a child that hangs
            try:
                os._exit(0 if answers() == expected else 3)
            except BaseException as error:
                print(type(error).__name__, error, flush=True)
                os._exit(4)
        bad += os.waitpid(child, 0)[1] != 0
        between()
    return bad

between = lambda: None
expected = {model.generate("Once", 12, seed=3).digest}
"""

# What the program does when it forks.
BESIDE = {
    "an idle batch thread": "model.generate_many(['a', 'b'], 4)",
    "a busy batch thread": "submit(); between = submit",
    "threads that generate": "daemons(lambda: model.generate('the fox ' * 40, 8))",
    "threads that use and fill the prefix cache": (
        "import random\ndaemons(lambda: model.generate([random.randrange(3) for _ in range(70)] + [5] * 140, 1), 3)"
    ),
    "threads that load": "daemons(lambda: flyball.Model.load(demo()).info.fingerprint)",
    "a thread that hashes": "daemons(lambda: flyball.Model.load(demo()).generate('x', 1).digest)",
    "a lock that is being used": (
        "def look():\n    for _ in range(200): model._handle.batcher.submit([])\n    model.generate_many(['x'], 1)\n"
        "daemons(look)"
    ),
}


@pytest.mark.soak
@pytest.mark.parametrize("beside", BESIDE)
def test_the_child_of_a_fork_works(beside: str, tmp_path: Path) -> None:
    n = int(os.environ.get("FLYBALL_FORKS", "5"))
    done = run(FORKS + BESIDE[beside] + f"\nbad = fork({n})\nprint('bad', bad, flush=True)\nos._exit(0)", tmp_path)
    assert done.stdout == "bad 0\n", done.stdout + done.stderr


def test_a_child_in_the_middle_of_its_parents_answers(tmp_path: Path) -> None:
    """What another thread was using stays in use; everything else works, and the parent goes on."""
    code = """
session = model.session()
inside, go_on = threading.Event(), threading.Event()
def wait(*_):
    inside.set()
    go_on.wait(60)
thread = threading.Thread(target=lambda: session.generate("Once", 2, progress=wait))
thread.start()
inside.wait()
child = os.fork()
if child == 0:
    signal.alarm(300)
    try:
        session.generate("x", 1)
    except flyball.SessionBusy:
        os._exit(0 if answers() == expected else 3)
    os._exit(4)
status = os.waitpid(child, 0)[1]
go_on.set()
thread.join()
session.generate("x", 1)
assert answers() == expected
sys.exit(status)
"""
    done = run(FORKS + code, tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_child_does_not_write_its_parents_journal(tmp_path: Path) -> None:
    code = """
import warnings
journal = flyball.Journal("journal.jsonl")
model = flyball.Model.load(demo(), journal=journal)
model.generate("x", 1)
child = os.fork()
if child == 0:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        model.generate("x", 1)
        model.close()
        journal.close()
    os._exit(0 if seen and "process" in str(seen[0].message) else 3)
status = os.waitpid(child, 0)[1]
model.generate("x", 1)
model.close()
journal.close()
sys.exit(status)
"""
    done = run(code, tmp_path)
    assert done.returncode == 0, done.stderr
    from flyball.journal.journal import check

    assert check(tmp_path / "journal.jsonl").verified


# --- A thread that cannot start ------------------------------------------------------------------------------------


def test_no_thread_for_the_batch_is_an_error_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with flyball.Model.load(flyball.demo_model_path()) as model:
        session = model.session()
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(flyball.OutOfMemory, match="thread"):
                model.generate_many(["a", "b"], 2)
            with pytest.raises(flyball.OutOfMemory, match="thread"):
                next(model.generate_as_completed(["a", "b"], 2))
            for call in (model.agenerate, session.agenerate, model.chat(session=session).asend):
                with pytest.raises(flyball.OutOfMemory, match="thread"):
                    asyncio.run(call("a", 2))
            assert len(model.generate("a", 2).tokens) == 2  # needs none
            assert len(session.generate("a", 2).tokens) == 2  # is not reserved any more
        assert len(model.generate_many(["a", "b"], 2)) == 2
        assert len(asyncio.run(session.agenerate("a", 2)).tokens) == 2
