"""One model under many threads, one session under two (contract 5)."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import flyball

PROMPT = "Once upon a time"


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
