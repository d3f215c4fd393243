"""Feedback: whose it is, what it is on, what it proposes."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from flyball.errors import InvalidArgument, NotFound
from flyball.store import Feedback, Project, Request, Store, migrate
from flyball.store.feedback import TooMany, answer_id
from flyball.store.question import as_json, is_held_out, key_of, of_json, plain
from tests.python.store.conftest import Clock, OpenStore

DIGEST, OTHER = "d" * 64, "e" * 64
EVER = (0, 1 << 62)


def vote(**values: object) -> Feedback:
    return Feedback(**{"answer_id": DIGEST, "rating": "good"} | values)  # type: ignore[arg-type]


def begin(project: Project, id: str, digest: str | None = None, **facts: str) -> None:
    project.requests.begin(Request(id=id, api="native", model="demo"))
    project.requests.finish(id, "done", digest=digest, fingerprint="f" * 64, **facts)  # type: ignore[arg-type]


def test_one_vote_of_each_voter_on_an_answer(project: Project, clock: Clock) -> None:
    first = project.feedback.put(vote())
    clock.now += 1
    second = project.feedback.put(vote(voter="key_2", rating="bad", reason="wrong \0 \udc00"))
    assert project.feedback.get(DIGEST) == first == vote(created=clock.now - 1)
    assert project.feedback.of_answer(DIGEST) == [first, second]
    clock.now += 1
    last = project.feedback.put(vote(rating=None, score=2, correction="better"))
    assert list(project.feedback.between(*EVER)) == [second, last]
    project.feedback.put(vote(rating=None))
    assert list(project.feedback.between(*EVER)) == [second]
    assert project.feedback.get(DIGEST) is None


def test_merging_keeps_what_is_not_given(project: Project) -> None:
    project.feedback.put(vote(rating="bad", reason="too long"))
    merged = project.feedback.put(vote(rating=None, correction="short", source="chat"), merge=True)
    assert (merged.rating, merged.reason, merged.correction, merged.source) == ("bad", "too long", "short", "chat")
    assert project.feedback.get(DIGEST) == merged


def test_what_the_store_knows_completes_a_vote(open_store: OpenStore) -> None:
    project = open_store(keep_text=True).project()
    begin(project, "r1", DIGEST, prompt="2 + 3?", answer="6")
    rated = project.feedback.rate(vote(answer_id="", rating="bad", request_id="r1"))
    assert (rated.answer_id, rated.model, rated.fingerprint) == (DIGEST, "demo", "f" * 64)
    assert (rated.question, rated.answer) == (as_json("2 + 3?"), "6")
    begin(project, "r2", DIGEST)  # the same answer again is the same thing
    project.feedback.rate(vote(answer_id="", request_id="r2", question=as_json("2 + 3?")))
    assert [each.request_id for each in project.feedback.of_answer(DIGEST)] == ["r2"]
    begin(project, "r3")
    assert project.feedback.rate(vote(answer_id="", request_id="r3")).answer_id == "request:r3"
    with pytest.raises(NotFound, match="unknown: no request"):
        project.feedback.rate(vote(answer_id="", request_id="unknown"))


def test_feedback_outlives_its_request(project: Project, clock: Clock) -> None:
    begin(project, "r1", DIGEST)
    given = project.feedback.rate(vote(answer_id="", request_id="r1"))
    assert project.requests.purge(clock.now + 1) == 1
    assert project.feedback.of_request("r1") == [given]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rating": "great"}, "rating: is 'great', must be one of good, bad"),
        ({"score": 6}, "score: is 6, must be 1 to 5"),
        ({"score": True}, "score: is True"),
        ({"source": "rumor"}, "source: is 'rumor', must be one of chat"),
        ({"voter": ""}, "voter: has 0 characters"),
        ({"answer_id": "a\0"}, "answer_id: has a NUL"),
        ({"correction": 7}, "correction: is int"),
    ],
)
def test_bad_feedback_is_refused(project: Project, wrong: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        project.feedback.put(vote(**wrong))
    assert list(project.feedback.between(*EVER)) == []


def test_a_voter_has_so_many_votes_a_day(project: Project, clock: Clock) -> None:
    clock.now = 1_800_000_000_000 // 86_400_000 * 86_400_000  # midnight
    for number in range(3):
        project.feedback.put(vote(answer_id=f"a{number}"), most_a_day=3)
    with pytest.raises(TooMany, match="local has given 3 votes today, at most 3 count"):
        project.feedback.put(vote(answer_id="a3"), most_a_day=3)
    project.feedback.put(vote(answer_id="a2", rating="bad"), most_a_day=3)  # another word on the same
    project.feedback.put(vote(answer_id="a3", voter="key_2"), most_a_day=3)
    project.feedback.put(vote(answer_id="a4"), most_a_day=None)
    clock.now += 86_400_000
    project.feedback.put(vote(answer_id="a3"), most_a_day=3)
    assert len(list(project.feedback.between(*EVER))) == 6


def test_a_vote_proposes_an_example_and_takes_it_back(project: Project) -> None:
    question = as_json([{"role": "user", "content": "2 + 3?"}])
    project.feedback.put(vote(rating="bad", question=question, answer="6", reason="arithmetic"))
    (bad,) = project.examples.all()
    assert (bad.kind, bad.answer, bad.rejected, bad.reason) == ("bad", "", "6", "arithmetic")
    project.feedback.put(vote(rating=None, correction="5", answer="6", question=question), merge=True)
    (right,) = project.examples.all()
    assert (right.kind, right.answer, right.rejected, right.state) == ("correction", "5", "6", "proposed")
    project.feedback.put(vote(question=question, answer="6"))
    (good,) = project.examples.all()
    assert (good.kind, good.answer, good.rejected) == ("good", "6", None)
    project.feedback.put(vote(rating=None))
    assert list(project.examples.all()) == []
    project.feedback.put(vote())  # without its question nothing can be learned
    assert list(project.examples.all()) == []


def test_what_a_person_has_decided_outlives_the_vote(project: Project) -> None:
    question = as_json("2 + 3?")
    project.feedback.put(vote(rating=None, correction="5", question=question))
    (example,) = project.examples.all()
    project.examples.change(example.id, 1, by="local", state="approved")
    project.feedback.put(vote(rating=None))
    assert [each.state for each in project.examples.all()] == ["approved"]


def test_four_writers_lose_nothing(store: Store) -> None:
    project, failures = store.project(), list[BaseException]()

    def write(number: int) -> None:
        try:
            for each in range(10):
                for answer in (f"own {number} {each}", f"of all {each}"):
                    given = vote(answer_id=answer, voter=f"v{number}", question=as_json(answer), answer="x")
                    project.feedback.put(replace(given, reason="a" * each))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(list(project.feedback.between(*EVER))) == len(list(project.examples.all())) == 80
    assert [len(project.feedback.of_answer(f"of all {each}")) for each in range(10)] == [4] * 10


def test_feedback_of_the_first_schema_is_kept(
    open_store: OpenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tmp_path / "first"
    shutil.copytree(migrate.FOLDER, first, ignore=shutil.ignore_patterns("r000[2-9]*", "r00[1-9]*", "__pycache__"))
    with monkeypatch.context() as patched:
        patched.setattr(migrate, "FOLDER", first)
        with open_store(instance=None) as store, store._database.writing() as connection:
            for number, digest in enumerate((DIGEST, DIGEST, None), 1):
                values = {"n": f"r{number}", "d": digest, "t": number, "text": b"\xed\xa0\x80?"}
                request = "INSERT INTO requests (project_id, id, api, model, state, created, digest, prompt, answer)"
                connection.execute(
                    sa.text(f"{request} VALUES (1, :n, 'a', 'demo', 'done', :t, :d, :text, :text)"), values
                )
                given = "INSERT INTO feedback (project_id, request_id, rating, correction, created)"
                connection.execute(sa.text(f"{given} VALUES (1, :n, 'bad', :text, :t)"), values)
            connection.execute(sa.text(f"{given} VALUES (1, 'gone', 'good', NULL, 4)"))
    kept = {each.answer_id: each for each in open_store().project().feedback.between(*EVER)}
    assert {name: (each.request_id, each.rating) for name, each in kept.items()} == {
        DIGEST: ("r2", "bad"), "request:r3": ("r3", "bad"), "request:gone": ("gone", "good"),
    }  # fmt: skip
    assert (kept[DIGEST].correction, kept[DIGEST].answer, kept[DIGEST].model) == ("\ud800?", "\ud800?", "demo")
    assert of_json(str(kept[DIGEST].question)) == "\ud800?"


def test_answers_without_a_digest_have_names() -> None:
    assert answer_id(None, None, "r1") == "request:r1"
    assert answer_id("q", "a") != answer_id("q", "b")
    assert answer_id("\ud800", None).startswith("text:")


def test_questions_that_count_as_one() -> None:
    same = ["IŞIK nedir?", "ışık  nedir", "isik NEDİR ?!", [{"role": "user", "content": "Işık nedir."}]]
    assert len({key_of(as_json(each)) for each in same}) == 1  # type: ignore[arg-type]
    others = [
        "12 - 3",
        "12 + 3",
        "1 2 - 3",
        [{"role": "system", "content": "12 - 3"}, {"role": "user", "content": "?"}],
    ]
    assert len({key_of(as_json(each)) for each in others}) == 4  # type: ignore[arg-type]
    hostile = "\0 \ud800 😀"
    assert of_json(as_json(hostile)) == plain(as_json(hostile)) == hostile
    parts = [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]
    assert plain(as_json(parts)) == "ab"
    share = sum(is_held_out(key_of(as_json(f"question {n}"))) for n in range(1000))
    assert 150 < share < 250


@pytest.mark.parametrize(
    "question", ["", [], [7], [{"role": "user"}], [{"content": "x"}], 7, [{"role": "u", "content": 7}]]
)
def test_what_is_no_question(question: object) -> None:
    with pytest.raises(InvalidArgument):
        as_json(question)  # type: ignore[arg-type]
