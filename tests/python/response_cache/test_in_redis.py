"""Answers in Redis: as in the store; and a server that is killed, full or no server costs no answer."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from flyball.cli import main
from flyball.errors import InvalidArgument, Unavailable
from flyball.response_cache import CachedAnswer, Place
from flyball.response_cache.in_redis import RedisAnswers
from flyball.store import Store

from .conftest import Redis

MODEL, OTHER, ADAPTER = "a1" * 32, "b2" * 32, "c3" * 32
HOUR_MS = 3_600_000


def place(key: str, project: str = "default", model: str = MODEL, adapter: str = "") -> Place:
    return Place(project, model, adapter, key)


def test_projects_models_and_adapters(redis: Redis) -> None:
    answers = RedisAnswers(redis.url, HOUR_MS)
    hostile = ["de*", "default:", "default:a1", "[d]efault", "d%efault", "ü \0\n*"]
    for project in ("default", "defaul", *hostile):
        answers.put(place("k", project), f"of {project}".encode())
    answers.put(place("l", model=OTHER, adapter=ADAPTER), b"x" * 100)
    for project in ("default", *hostile):
        assert answers.get(place("k", project)) == f"of {project}".encode()
    assert [(each.adapter, each.n_answers, each.n_bytes) for each in answers.groups("default")] == [
        ("", 1, 10),
        (ADAPTER, 1, 100),
    ]
    for project in hostile:
        assert answers.purge(project) == 1
    assert answers.purge("default", "ffff") == answers.purge("default", "", "ffff") == 0
    assert answers.purge("default", OTHER[:4], ADAPTER[:4]) == 1
    assert answers.get(place("k", "defaul")) == b"of defaul"
    answers.remove(place("k"))
    assert answers.get(place("k")) is None
    assert answers.purge("default") == 0
    answers.put(place("k"), b"x")
    assert 0 < answers._client.pttl(answers._client.keys("*:default:*")[0]) <= HOUR_MS
    answers.close()


def test_four_writers_lose_nothing(redis: Redis, answer: CachedAnswer) -> None:
    made = [RedisAnswers(redis.url, HOUR_MS) for _ in range(4)]

    def write(number: int) -> None:
        for n in range(50):
            identity = f"{number}-{n}"
            made[number].put(place(identity), replace(answer, id=identity).encode("default", identity))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        for n in range(50):
            raw = made[-number].get(place(f"{number}-{n}"))
            assert raw is not None
            found = CachedAnswer.decode(raw, "default", f"{number}-{n}", answer.receipt.request_key)
            assert found.id == f"{number}-{n}"
    for each in made:
        each.close()


def test_a_server_that_is_full_or_gone(redis: Redis) -> None:
    now = 0.0
    answers = RedisAnswers(redis.url, HOUR_MS, lambda: now)
    answers.put(place("k"), b"x")
    answers._client.config_set("maxmemory", 1)  # and it may evict nothing
    with pytest.raises(Unavailable, match="memory"):
        answers.put(place("l"), b"x")
    assert answers.get(place("k")) == b"x"
    redis.kill()
    with pytest.raises(Unavailable, match=r"redis\.sock"):
        answers.get(place("k"))
    redis.start()
    with pytest.raises(Unavailable, match="a moment ago"):
        answers.get(place("k"))
    now = 5.0
    assert answers.get(place("k")) is None
    answers.close()


def test_urls(tmp_path: Path) -> None:
    answers = RedisAnswers(f"unix://me:secret@{tmp_path}/none.sock?db=1", HOUR_MS)
    with pytest.raises(Unavailable) as caught:
        answers.get(place("k"))
    assert "secret" not in str(caught.value)
    with pytest.raises(InvalidArgument, match="no URL of Redis"):
        RedisAnswers("redis://localhost:port", HOUR_MS)


def test_a_deleted_project_leaves_no_answer(redis: Redis, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = RedisAnswers(redis.url, HOUR_MS)
    for project in ("lab", "other"):
        answers.put(place("k", project), b"theirs")
    with Store.open(tmp_path / "store.sqlite") as store:
        store.create_project("lab")
    settings = {"serve.store": tmp_path / "store.sqlite", "serve.response_cache": redis.url}
    words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    assert main(["project", "delete", "lab", "--yes", "--json", *words]) == 0
    assert json.loads(capsys.readouterr().out)["act"]["cached_answers"] == 1
    assert answers.get(place("k", "lab")) is None
    assert answers.get(place("k", "other")) == b"theirs"
    answers.close()
    redis.kill()
    with Store.open(tmp_path / "store.sqlite") as store:
        store.create_project("late")
    assert main(["project", "delete", "late", "--yes", *words]) == 2  # what cannot be reached is not said to be gone
    with Store.open(tmp_path / "store.sqlite") as store:
        assert store.projects() == ["default", "late"]
