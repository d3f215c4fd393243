"""Performance per day, and its histogram."""

from __future__ import annotations

import datetime
import random
import threading

import pytest

from flyball.errors import InvalidArgument
from flyball.store import Histogram, Performance, Project
from flyball.store.histogram import BOUNDS_MS
from tests.python.store.conftest import Clock

DAY = datetime.date(2027, 1, 15)  # of the test's clock
ALWAYS = (datetime.date.min, datetime.date.max)


def add(project: Project, fingerprint: str = "f", *times: float) -> None:
    project.performance.add(
        fingerprint, n_answers=1, n_prompt_tokens=10, n_generated_tokens=20, prefill_cycles=1 << 40, decode_cycles=7,
        first_token_ms=times,
    )  # fmt: skip


def test_answers_add_up_per_model_and_day(project: Project, clock: Clock) -> None:
    add(project, "f", 1.0, 1.0, 50.0)
    add(project, "f", 1.0)
    add(project, "g")
    clock.now += 86_400_000
    add(project, "f")
    first, other, next_day = project.performance.between(*ALWAYS)
    assert first == Performance(DAY, "f", 2, 20, 40, 2 << 40, 14, Histogram.of([1.0, 1.0, 50.0, 1.0]))
    assert other == Performance(DAY, "g", 1, 10, 20, 1 << 40, 7, Histogram())
    assert (next_day.day, next_day.n_answers) == (DAY + datetime.timedelta(days=1), 1)
    assert project.performance.between(DAY, DAY) == []
    assert project.performance.between(DAY, next_day.day, "g") == [other]
    assert project.performance.between(*ALWAYS, fingerprint="h") == []


def test_threads_lose_no_answer(project: Project) -> None:
    def adding() -> None:
        for _ in range(5):
            add(project, "f", 1.0, 3.0)

    threads = [threading.Thread(target=adding) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (sums,) = project.performance.between(*ALWAYS)
    assert (sums.n_answers, sums.first_token.n) == (30, 60)


def test_bad_sums_are_refused(project: Project) -> None:
    for bad in (-1, 1 << 60, 0.5):
        with pytest.raises(InvalidArgument, match="decode_cycles"):
            project.performance.add(
                "f", n_answers=1, n_prompt_tokens=0, n_generated_tokens=0, prefill_cycles=0, decode_cycles=bad,  # type: ignore[arg-type]
            )  # fmt: skip
    for time in (-0.1, float("nan")):
        with pytest.raises(InvalidArgument, match="times_ms"):
            add(project, "f", time)
    assert project.performance.between(*ALWAYS) == []


def test_quantiles_are_near_the_true_ones() -> None:
    draw = random.Random(1)
    times = sorted(draw.lognormvariate(4, 1.5) for _ in range(1000))
    histogram = Histogram.of(times)
    for share in (0.01, 0.5, 0.95, 1.0):
        true = times[max(0, round(share * 1000) - 1)]
        estimate = histogram.quantile(share)
        assert estimate is not None
        assert true <= estimate < true * 2**0.25 * 1.0001


def test_merging_is_counting_all() -> None:
    draw = random.Random(2)
    a, b = ([draw.expovariate(0.001) for _ in range(n)] for n in (100, 7))
    assert Histogram.of(a) + Histogram.of(b) == Histogram.of(a + b)
    assert (Histogram.of(a) + Histogram()).counts == Histogram.of(a).counts


def test_edges_of_the_histogram() -> None:
    assert Histogram().quantile(0.5) is None
    assert Histogram.of([0.0]).quantile(0.5) == BOUNDS_MS[0]
    assert Histogram.of([1e12, float("inf")]).quantile(0.5) == BOUNDS_MS[-1]
    assert [Histogram.of([bound]).counts for bound in BOUNDS_MS] == [{n: 1} for n in range(len(BOUNDS_MS))]
    assert BOUNDS_MS[-1] > 3600 * 1000
    with pytest.raises(InvalidArgument, match="share"):
        Histogram().quantile(2)
