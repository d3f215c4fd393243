"""A time limit that leaves out what a process waits for a processor."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from flyball.image.patience import Patience

SPIN = "while True: pass"


def test_a_process_at_rest_uses_its_time() -> None:
    with subprocess.Popen(["sleep", "1000"]) as process:
        patience = Patience(process.pid, 10)
        time.sleep(0.5)
        assert patience.left() < 10 - 0.4
        process.kill()


def test_waiting_for_a_processor_does_not_count() -> None:
    one = {min(os.sched_getaffinity(0))}

    def bound() -> None:
        os.sched_setaffinity(0, one)

    processes = [subprocess.Popen([sys.executable, "-c", SPIN], preexec_fn=bound) for _ in range(4)]
    try:
        patience = Patience(processes[0].pid, 10)
        while patience.elapsed() < 2:
            time.sleep(0.1)
        elapsed = patience.elapsed()
        assert 10 - patience.left() < 0.75 * elapsed  # it runs for a quarter of the time at most
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_a_process_that_has_ended_is_no_error() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert Patience(process.pid, 5).left() <= 5
