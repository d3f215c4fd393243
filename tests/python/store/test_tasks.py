"""Performance at tasks, and corrections of routes."""

from __future__ import annotations

import datetime
import threading

import pytest

from flyball.errors import InvalidArgument, NotFound
from flyball.route.history import History
from flyball.store import Project, Request, Store, TaskPerformance
from flyball.store.feedback import Feedback
from tests.python.store.conftest import Clock

DAY = datetime.date(2027, 1, 15)  # of the test's clock
ALWAYS = datetime.date.min


def add(project: Project, task: str = "math", model: str = "m", **how: object) -> None:
    about = {"ok": True, "n_prompt_tokens": 10, "n_generated_tokens": 20, "cycles": 1 << 40, "ms": 7}
    project.tasks.add(task, model, "f", **about | how)  # type: ignore[arg-type]


def test_answers_add_up_per_task_model_and_day(project: Project, clock: Clock) -> None:
    add(project)
    add(project, ok=False, n_prompt_tokens=0, n_generated_tokens=0, cycles=0, ms=0)
    add(project, adapter="a" * 64)
    add(project, "history")
    clock.now += 86_400_000
    add(project)
    history, plain, adapted, next_day = project.tasks.since(ALWAYS)
    assert plain == TaskPerformance(DAY, "math", "m", "f", "", 2, 1, 0, 0, 10, 20, 1 << 40, 7)
    assert (history.task, adapted.adapter) == ("history", "a" * 64)
    assert project.tasks.since(next_day.day) == [next_day]


def test_a_rating_counts_once_and_is_taken_back(project: Project) -> None:
    project.requests.begin(Request(id="1", api="x", model="m", state="running", task="math"))
    project.requests.finish("1", "done", fingerprint="f", digest="d")
    add(project)

    def rated(rating: str | None, voter: str = "local") -> tuple[int, int]:
        project.feedback.rate(Feedback(answer_id="", voter=voter, request_id="1", rating=rating))
        (row,) = project.tasks.since(ALWAYS)
        assert row.n_answers == 1
        return row.n_judged, row.n_good

    assert rated("good") == (1, 1)
    assert rated("good") == (1, 1)
    assert rated("bad") == (1, 0)
    assert rated("good", "other") == (2, 1)
    assert rated(None) == (1, 1)
    assert rated(None, "other") == (0, 0)


def test_threads_lose_no_answer(project: Project) -> None:
    def adding() -> None:
        for _ in range(5):
            add(project)

    threads = [threading.Thread(target=adding) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (row,) = project.tasks.since(ALWAYS)
    assert (row.n_answers, row.ms) == (20, 140)


def test_other_projects_see_nothing(store: Store, project: Project) -> None:
    other = store.create_project("other")
    add(project)
    project.route_corrections.put("a text", "math")
    assert other.tasks.since(ALWAYS) == []
    assert other.route_corrections.all() == []
    assert other.route_corrections.version() == (0, 0)
    with pytest.raises(NotFound):
        other.route_corrections.remove("a text")


def test_a_text_has_one_correction(project: Project, clock: Clock) -> None:
    project.route_corrections.put("a text", "math")
    clock.now += 1
    project.route_corrections.put(" a text ", "history")
    project.route_corrections.put("another", "math")
    assert [(each.text, each.intent) for each in project.route_corrections.all()] in (
        [("a text", "history"), ("another", "math")],
        [("another", "math"), ("a text", "history")],
    )
    assert project.route_corrections.version() == (2, clock.now)
    project.route_corrections.remove("a text")
    assert [each.text for each in project.route_corrections.all()] == ["another"]


def test_what_no_database_takes_is_refused(project: Project) -> None:
    for text in ("", "  ", "x" * 2001, "a\0b", "\ud800"):
        with pytest.raises(InvalidArgument, match="text"):
            project.route_corrections.put(text, "math")
    with pytest.raises(InvalidArgument, match="ms"):
        add(project, ms=-1)


def row(day: int, task: str, model: str, **sums: int) -> TaskPerformance:
    found = dict.fromkeys(
        ("n_answers", "n_ok", "n_judged", "n_good", "n_prompt_tokens", "n_generated_tokens", "cycles", "ms"), 0
    )
    return TaskPerformance(DAY - datetime.timedelta(days=day), task, model, "f", "", **found | sums)


def test_older_days_count_less() -> None:
    rows = [
        row(14, "t", "m", n_answers=4, n_ok=2, n_judged=4, n_good=2),
        row(0, "t", "m", n_answers=1, n_ok=1, n_judged=1),
    ]
    candidate = History.read(rows, DAY, 14).candidate("t", "m")
    assert (candidate.judged, candidate.good, candidate.failed) == (3.0, 1.0, 1.0)


def test_time_follows_from_tokens_and_not_from_who_got_the_long_answers() -> None:
    rows = [
        row(0, "t", "fast", n_answers=1, n_ok=1, n_generated_tokens=1000, ms=10_000),
        row(0, "t", "slow", n_answers=1, n_ok=1, n_generated_tokens=10, ms=1000),
    ]
    history = History.read(rows, DAY, 14)
    assert history.ms("t", "fast", "") == 5050.0
    assert history.ms("t", "slow", "") == 50500.0
    assert history.ms("t", "new", "") is None
    assert history.ms("other", "fast", "") == 1280.0


def test_a_replaced_file_begins_anew() -> None:
    old = row(1, "t", "m", n_answers=9, n_ok=9, n_judged=9, n_good=9)
    new = row(0, "t", "m", n_answers=1, n_ok=1)
    candidate = History.read([old, TaskPerformance(**vars(new) | {"fingerprint": "g"})], DAY, 14).candidate("t", "m")
    assert (candidate.prior, candidate.good) == (0.5, 0.0)
