"""Examples: their states, edits, and two who label at once."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from flyball.errors import InvalidArgument, NotFound
from flyball.store import Conflict, Example, Project, Store
from flyball.store.question import as_json, plain
from tests.python.store.conftest import Clock


def example(question: str = "2 + 3?", **values: object) -> Example:
    given = {"id": "", "kind": "correction", "question": as_json(question), "answer": "5", "rejected": "6"}
    return Example(**given | values)  # type: ignore[arg-type]


def propose(project: Project, *questions: str, **values: object) -> list[Example]:
    for question in questions:
        assert project.examples.propose(example(question, **values))
    return list(project.examples.all())


def test_a_proposal_is_made_once(project: Project, clock: Clock) -> None:
    (made,) = propose(project, "2 + 3?")
    assert (made.state, made.version, made.created, made.changed_by) == ("proposed", 1, clock.now, "local")
    assert not project.examples.propose(example())
    assert project.examples.propose(example(voter="key_2"))
    assert project.examples.counts() == {"proposed": 2, "approved": 0, "rejected": 0, "held_out": 0}


def test_decisions(project: Project, clock: Clock) -> None:
    (made,) = propose(project, "2 + 3?")
    clock.now += 5
    approved = project.examples.change(made.id, 1, by="key_1", state="approved")
    assert approved == replace(made, state="approved", version=2, changed=clock.now, changed_by="key_1", revision=1)
    assert project.examples.get(made.id) == approved
    with pytest.raises(Conflict, match=f"{made.id}: is at version 2, not 1: somebody changed it"):
        project.examples.change(made.id, 1, by="key_2", answer="7")
    assert list(project.examples.all(["proposed"])) == []
    assert project.examples.change(made.id, 2, by="key_2", state="rejected").version == 3
    with pytest.raises(InvalidArgument, match="state: is 'lost', must be one of proposed"):
        project.examples.change(made.id, 3, by="x", state="lost")
    with pytest.raises(NotFound, match="ex-0: no example"):
        project.examples.change("ex-0", 1, by="x", state="approved")


def test_what_is_held_out_never_trains(project: Project) -> None:
    by_question = {plain(each.question): each for each in propose(project, "IŞIK nedir?", "ışık nedir", "Kedi nedir?")}
    first, second, other = (by_question[name] for name in ("IŞIK nedir?", "ışık nedir", "Kedi nedir?"))
    held = project.examples.change(first.id, 1, by="x", state="held_out")
    assert held.held_out
    for each, version in ((first, 2), (second, 1)):
        with pytest.raises(InvalidArgument, match="this question is held out"):
            project.examples.change(each.id, version, by="x", state="approved")
    project.examples.change(first.id, 2, by="x", state="rejected")
    with pytest.raises(InvalidArgument, match="this question is held out"):
        project.examples.change(second.id, 1, by="x", state="approved")
    assert project.examples.change(other.id, 1, by="x", state="approved").state == "approved"


def test_who_writes_the_right_answer_corrects(project: Project) -> None:
    (bad,) = propose(project, "2 + 3?", kind="bad", answer="", rejected="6")
    changed = project.examples.change(bad.id, 1, by="x", answer="5 \0 \ud800", family="sums")
    assert (changed.kind, changed.answer, changed.rejected) == ("correction", "5 \0 \ud800", "6")
    assert project.examples.get(bad.id) == changed
    project.examples.propose(example("1 + 1?", kind="good", answer="2", rejected=None))
    good = next(each for each in project.examples.all() if each.kind == "good")
    corrected = project.examples.change(good.id, 1, by="x", answer="two")
    assert (corrected.kind, corrected.answer, corrected.rejected) == ("correction", "two", "2")
    project.examples.propose(example("0?", kind="bad", answer="", rejected=None))
    empty = next(each for each in project.examples.all() if each.kind == "bad")
    with pytest.raises(InvalidArgument, match="neither a right nor a wrong answer"):
        project.examples.change(empty.id, 1, by="x", state="approved")


def test_four_who_label_at_once_overwrite_nothing(store: Store) -> None:
    project = store.project()
    (made,) = propose(project, "2 + 3?")
    won, lost, failures = list[str](), list[str](), list[BaseException]()

    def label(name: str) -> None:
        try:
            for _ in range(8):
                now = project.examples.get(made.id)
                assert now
                try:
                    project.examples.change(made.id, now.version, by=name, answer=f"{now.answer}{name}")
                    won.append(name)
                except Conflict:
                    lost.append(name)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=label, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    last = project.examples.get(made.id)
    assert last
    assert len(won) + len(lost) == 32
    assert (last.version, sorted(last.answer[1:])) == (1 + len(won), sorted(won))


@pytest.mark.parametrize(
    "wrong", [{"kind": "rumor"}, {"voter": ""}, {"answer": 7}, {"source": "\0"}, {"answer_id": ""}]
)
def test_bad_examples_are_refused(project: Project, wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument):
        project.examples.propose(example(**wrong))  # type: ignore[arg-type]
    assert list(project.examples.all()) == []


def test_readers_take_what_was_decided_since(project: Project, store: Store) -> None:
    first, second, _ = propose(project, "2 + 3?", "3 + 4?", "4 + 5?")
    assert list(project.examples.changed_since(0)) == [], "proposals are nobody's decision"
    for each in (second, first):
        project.examples.change(each.id, 1, by="x", state="approved")
    seen = list(project.examples.changed_since(0))
    assert [(each.id, each.revision) for each in seen] == [(second.id, 1), (first.id, 2)]
    project.examples.change(second.id, 2, by="x", answer="7")
    assert [each.id for each in project.examples.changed_since(2)] == [second.id]
    assert list(project.examples.changed_since(3)) == []
    other = store.create_project("other")
    (theirs,) = propose(other, "2 + 3?")
    assert other.examples.change(theirs.id, 1, by="x", state="approved").revision == 1


def test_no_decision_is_missed_while_others_decide(project: Project) -> None:
    """Four decide beside each other; a reader that goes on from what it saw last sees all."""
    made = propose(project, *(f"{number} + 1?" for number in range(40)))
    seen: dict[str, int] = {}
    last = 0

    def decide(mine: list[Example]) -> None:
        for each in mine:
            project.examples.change(each.id, 1, by="x", state="approved")

    deciding = [threading.Thread(target=decide, args=(made[number::4],)) for number in range(4)]
    for thread in deciding:
        thread.start()
    while last < len(made):
        for each in project.examples.changed_since(last):
            assert each.revision is not None
            seen[each.id] = last = each.revision
    for thread in deciding:
        thread.join()
    assert seen.keys() == {each.id for each in made}
    assert sorted(seen.values()) == list(range(1, 41))
