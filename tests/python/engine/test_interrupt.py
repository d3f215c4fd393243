"""Ctrl-C, deadlines and cancelling: a running prefill or decode ends within a step, and the session stays usable."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import flyball

# A child interrupts itself: the timer's signal arrives while the core works without the GIL.
CHILD = """
import os, signal, sys, threading, time
import flyball
model = flyball.Model.load({path!r}, context=4096, threads=1)
session = model.session()
prompt = [(7 * i + 3) % model.info.n_vocab for i in range({n_prompt})]
threading.Timer({delay}, os.kill, (os.getpid(), signal.SIGINT)).start()
start = time.monotonic()
try:
    session.generate(prompt, {n_answer}, ignore_eos=True, batch=512)
    print("not interrupted", time.monotonic() - start)
except KeyboardInterrupt:
    print("interrupted", time.monotonic() - start)
usable = session.generate(prompt[:40], 3, ignore_eos=True)
fresh = model.generate(prompt[:40], 3, ignore_eos=True)
print("usable" if usable.digest == fresh.digest else "damaged")
"""


def heed_interrupts() -> None:
    """A test run in the background ignores Ctrl-C, and its children would, too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run_child(path: Path, n_prompt: int, n_answer: int, delay: float) -> list[str]:
    code = CHILD.format(path=str(path), n_prompt=n_prompt, n_answer=n_answer, delay=delay)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, preexec_fn=heed_interrupts
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def slow_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Large enough that a prefill of thousands of tokens takes seconds on one thread."""
    from tests.reference.models import write_model

    path = tmp_path_factory.mktemp("slow") / "slow.gguf"
    return write_model(
        path, "llama", "F32", n_embd=768, n_ff=2048, n_layer=6, n_head=12, n_head_kv=4, n_ctx_train=4096
    ).path


@pytest.mark.parametrize(("n_prompt", "n_answer"), [(3000, 1), (8, 3000)], ids=["prefill", "decode"])
def test_control_c_stops_within_a_step(slow_model: Path, n_prompt: int, n_answer: int) -> None:
    first, last = run_child(slow_model, n_prompt, n_answer, delay=0.5)
    word, seconds = first.rsplit(" ", 1)
    assert word == "interrupted"
    assert float(seconds) > 0.4
    assert last == "usable"


def test_control_c_during_chat_stops_the_answer_only(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-u", "-m", "flyball", "chat", "-n", "400"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=heed_interrupts,
        cwd=tmp_path,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(b"Tell me a story about a fox and a lamp.\n")
    child.stdin.flush()
    seen = b""
    while b"> " not in seen:
        seen += child.stdout.read(1)
    child.stdout.read(12)  # the answer has begun
    child.send_signal(signal.SIGINT)
    time.sleep(0.3)
    _, err = child.communicate(b"What is 2 + 3?\n/quit\n", timeout=300)
    assert child.returncode == 0, err
    assert b"Traceback" not in err


def test_control_c_in_run_still_writes_a_receipt(tmp_path: Path, slow_model: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-u", "-m", "flyball", "run", str(slow_model), "-p", "x", "-n", "900", "--ignore-eos",
         "--receipt", "r.json", "--threads", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=heed_interrupts,
        cwd=tmp_path,
    )  # fmt: skip
    assert child.stdout is not None
    child.stdout.read(3)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=300)
    assert child.returncode == 0, err
    assert b"interrupted" in out
    assert flyball.Receipt.load(tmp_path / "r.json")["stop"]["reason"] == "interrupted"


def test_deadline_ends_a_prefill(slow_model: Path) -> None:
    with flyball.Model.load(slow_model, threads=1, context=4096) as model:
        session = model.session()
        prompt = [(5 * i + 1) % model.info.n_vocab for i in range(4000)]
        result = session.generate(prompt, 5, deadline=0.3)
        assert (result.stop_reason, result.tokens) == ("deadline", ())
        assert len(session.tokens) < 4000
        assert (
            session.generate(prompt[:20], 3, ignore_eos=True).digest
            == model.generate(prompt[:20], 3, ignore_eos=True).digest
        )


def test_cancel_from_another_thread(demo: flyball.Model) -> None:
    stream = demo.stream("Once upon a time", 400, ignore_eos=True)
    next(stream)
    thread = threading.Thread(target=stream.cancel)
    thread.start()
    thread.join()
    rest = list(stream)
    assert stream.result.stop_reason == "interrupted"
    assert len(rest) <= 2


def test_generation_outside_the_main_thread_works(demo: flyball.Model) -> None:
    digests: list[str] = []
    thread = threading.Thread(target=lambda: digests.append(demo.generate("Once", 5).digest))
    thread.start()
    thread.join()
    assert digests == [demo.generate("Once", 5).digest]
