"""Feedback over HTTP, whose it is, and examples for two who label."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from flyball.store import Feedback, Store

from .conftest import WAIT, Running, Start

QUESTION = {"messages": [{"role": "user", "content": "What is 2 + 3?"}], "max_tokens": 8}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store") / "store.sqlite"


@pytest.fixture(scope="module")
def secrets(store: Path) -> tuple[str, str, str]:
    """Two of one project, one of another."""
    with Store.open(store) as opened:
        keys = opened.project().keys
        other = opened.create_project("other").keys.create("theirs")
        return keys.create("ada").secret, keys.create("james").secret, other.secret


@pytest.fixture(scope="module")
def keyed(start: Start, store: Path, secrets: tuple[str, str, str]) -> Running:
    return start("--ctx", "256", "--set", f"serve.store={store}")


@pytest.fixture
def clients(keyed: Running, secrets: tuple[str, str, str]) -> Iterator[tuple[httpx.Client, ...]]:
    with ExitStack() as stack:
        headers = [{"authorization": f"Bearer {secret}"} for secret in secrets]
        each = [httpx.Client(base_url=keyed.url, timeout=WAIT, headers=header) for header in headers]
        yield tuple(stack.enter_context(client) for client in each)


def answered(client: httpx.Client, seed: int) -> dict[str, Any]:
    said: dict[str, Any] = client.post("/v1/chat/completions", json=QUESTION | {"seed": seed}).json()
    return said


def test_each_voter_has_one_vote_on_an_answer(clients: tuple[httpx.Client, ...], store: Path) -> None:
    ada, james, theirs = clients
    said = answered(ada, 1)
    about = {"id": said["id"], "messages": QUESTION["messages"], "answer": "6", "source": "page"}
    given = {"rating": "bad", "score": 1, "correction": "5", "reason": "a sum"}
    assert ada.post("/v1/feedback", json=about | given).json() == {"id": said["id"], **given}
    assert james.post("/v1/feedback", json={"id": said["id"], "rating": "good"}).status_code == 200
    again = answered(ada, 1)  # the same answer: the same thing that is judged
    assert ada.post("/v1/feedback", json={"id": again["id"], "rating": "bad"}).status_code == 200
    assert theirs.post("/v1/feedback", json={"id": said["id"], "rating": "bad"}).status_code == 404
    with Store.open(store) as opened:
        project = opened.project()
        votes = project.feedback.of_answer(said["flyball"]["digest"])
        assert len({vote.voter for vote in votes}) == len(votes) == 2
        mine = next(vote for vote in votes if vote.rating == "bad")
        assert (mine.correction, mine.score, mine.answer, mine.request_id) == (
            None,
            None,
            "6",
            again["flyball"]["receipt"],
        )
        assert mine.question is not None
        assert len(str(mine.fingerprint)) == 64
        for vote in votes:
            assert {key.id for key in project.keys.all()} > {vote.voter}


def test_wrong_feedback_is_refused(clients: tuple[httpx.Client, ...]) -> None:
    ada = clients[0]
    identity = answered(ada, 2)["id"]
    bodies: list[dict[str, Any]] = [{"score": 6}, {"score": "good"}, {"source": "rumor"}, {"reason": 1}]
    bodies += [{"messages": []}, {"messages": [7]}]
    for wrong in bodies:
        said = ada.post("/v1/feedback", json={"id": identity, "rating": "good"} | wrong)
        assert (said.status_code, said.json()["error"]["param"]) == (400, next(iter(wrong)))
    hostile = ada.post("/v1/feedback", content=b'{"id": "%s", "correction": "\\ud800 \\u0000"}' % identity.encode(),
                       headers={"content-type": "application/json"})  # fmt: skip
    assert hostile.json()["correction"] == "\ud800 \0"


def test_examples_are_labeled_and_nobody_overwrites(clients: tuple[httpx.Client, ...]) -> None:
    ada, james, theirs = clients
    said = answered(ada, 3)
    judged = {"id": said["id"], "rating": "bad", "messages": QUESTION["messages"], "answer": "6"}
    ada.post("/v1/feedback", json=judged)
    listed = james.get("/v1/examples", params={"state": "proposed"}).json()
    (example,) = (each for each in listed["data"] if each["digest"] == said["flyball"]["digest"])
    assert listed["counts"]["proposed"] == len(listed["data"])
    assert (example["kind"], example["rejected"], example["messages"]) == ("bad", "6", QUESTION["messages"])
    path = f"/v1/examples/{example['id']}"
    changed = james.patch(path, json={"version": 1, "answer": "It is 5.", "state": "approved"}).json()
    assert (changed["kind"], changed["state"], changed["version"]) == ("correction", "approved", 2)
    late = ada.patch(path, json={"version": 1, "state": "rejected"})
    assert (late.status_code, late.json()["error"]["code"]) == (409, "conflict")
    assert ada.get(path).json() == changed
    assert theirs.get(path).status_code == theirs.patch(path, json={"version": 2}).status_code == 404
    assert theirs.get("/v1/examples").json()["data"] == []
    bodies: list[dict[str, Any]] = [{}, {"version": "2"}, {"version": 2, "state": "lost"}, {"version": 2, "answer": 5}]
    for wrong in bodies:
        assert ada.patch(path, json=wrong).status_code == 400
    assert ada.get("/v1/examples", params={"state": "lost"}).status_code == 400
    assert ada.get("/v1/examples", params={"limit": "1"}).json()["has_more"] is (len(listed["data"]) > 1)


def test_a_voter_has_so_many_votes_a_day(clients: tuple[httpx.Client, ...], store: Path) -> None:
    ada = clients[0]
    identity = answered(ada, 4)["id"]
    with Store.open(store) as opened, opened.together():
        project = opened.project()
        voter = next(key.id for key in project.keys.all() if key.name == "ada")
        for number in range(1000):
            project.feedback.put(Feedback(answer_id=f"a{number}", voter=voter, rating="good"), most_a_day=None)
    said = ada.post("/v1/feedback", json={"id": identity, "rating": "good"})
    assert (said.status_code, said.json()["error"]["code"]) == (429, "too_many")
    assert clients[1].post("/v1/feedback", json={"id": identity, "rating": "good"}).status_code == 200
