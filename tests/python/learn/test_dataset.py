"""The data set: what trains, what tests, and what is neither."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

from flyball.learn.analysis import analyze, statistics
from flyball.learn.dataset import build, line_of
from flyball.learn.safety import safety_cases
from flyball.store import Example, Feedback
from flyball.store.examples import id_of
from flyball.store.question import as_json, is_held_out, key_of


def example(question: object, answer: str = "right", **values: object) -> Example:
    asked = as_json(question)  # type: ignore[arg-type]
    given = {"kind": "correction", "rejected": "wrong", "state": "approved", "question_key": key_of(asked)}
    made = Example(id="", question=asked, answer=answer, **given | values)  # type: ignore[arg-type]
    return replace(made, id=id_of(made))


def of_split(held_out: bool, n: int, text: str = "What do {} and {} make?") -> list[str]:
    """Questions whose hashes fall to one side."""
    found = (text.format(a, b) for a in range(100) for b in range(100))
    return [each for each in found if is_held_out(key_of(as_json(each))) is held_out][:n]


TRAIN, TEST = of_split(False, 30), of_split(True, 10)


def test_questions_split_by_their_hash_for_ever() -> None:
    rows = [example(question) for question in TRAIN + TEST]
    made = build(rows)
    assert {each.id for each in made.train} == {example(question).id for question in TRAIN}
    assert {each.id for each in made.held_out} == {example(question).id for question in TEST}
    random.Random(1).shuffle(rows)
    assert build(rows) == made
    more = build([*rows, *(example(question) for question in of_split(False, 60)[30:])])
    assert set(made.train) < set(more.train)
    assert made.held_out == more.held_out
    assert made.digest == build(rows).digest != more.digest


def test_only_decided_examples_are_there() -> None:
    rows = [example(TRAIN[0], state=state) for state in ("proposed", "approved", "rejected")]
    held = example(TRAIN[1], state="held_out", held_out=5)
    again = example(TRAIN[1], "approved before", held_out=None)
    once = example(TRAIN[2], state="rejected", held_out=5)
    of_once = example(TRAIN[2], "other")
    made = build([*rows[1:2], held, again, once, of_once])
    assert [each.question for each in made.train] == [as_json(TRAIN[0])]
    assert {each.id for each in made.held_out} == {held.id, again.id, of_once.id}
    assert build(rows[::2]).train == ()


def test_what_is_left_out_and_why() -> None:
    voters = [example(question, voter="busy", created=n) for n, question in enumerate(TRAIN[:5])]
    near = "Please tell me in a few plain words why the sky is blue on a clear day{}"
    tested = next(
        f"{near.format('')} {word}" for word in "abcdefghij" if is_held_out(key_of(as_json(near.format(" " + word))))
    )
    close = next(
        text
        for end in ("", "!?", " now", " ok", " hm", " so")
        if not is_held_out(key_of(as_json(text := near.format(end))))
    )
    rows = {
        "contradicted": [example(TRAIN[10], "1"), example(TRAIN[10].upper(), "2", voter="b")],
        "repeated": [example(TRAIN[11], voter="b", created=1)],
        "not trainable": [
            example(TRAIN[12], "\ud800"),
            example([{"role": "tool", "content": "x"}]),
            example([{"role": "user", "content": "x"}, {"role": "assistant", "content": "x"}]),
            example(TRAIN[13], "", kind="correction"),
            example(TRAIN[13], "", kind="bad", rejected=None),
        ],
        "held out, without a right answer": [example(TEST[0], "", kind="bad")],
        "near a held-out question": [example(close)],
        "beyond its voter's share": voters[3:],
    }
    kept = [*voters[:3], example(TRAIN[11]), example(tested)]
    made = build(
        [*kept, *voters[3:], *(each for name, those in rows.items() if "share" not in name for each in those)], 3
    )
    assert {name: set(ids) for name, ids in made.left_out.items()} == {
        name: {each.id for each in those} for name, those in rows.items()
    }
    assert {each.id for each in (*made.train, *made.held_out)} == {each.id for each in kept}


def test_lines_are_those_that_training_reads(tmp_path: Path) -> None:
    from flyball.train.examples import read

    rows = [
        example([{"role": "system", "content": "Be brief."}, {"role": "user", "content": TRAIN[0]}], "bir ışık"),
        example(TRAIN[1], "same", rejected="same"),
        example(TRAIN[2], "", kind="bad", rejected="wrong"),
        example(TRAIN[3], "good", kind="good", rejected=None),
    ]
    made = build(rows)
    path = made.save(tmp_path / "train.jsonl", tmp_path / "held.jsonl")
    found = {each.id: each for each in read(path)}
    assert found.keys() == {each.id for each in made.train}
    assert len(made.train) + len(made.held_out) == 4
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [line_of(each) for each in made.train]
    assert {line["kind"]: line["rejected"] for line in lines if "prompt" in line} == {
        "correction": None, "bad": "wrong", "good": None,
    }  # fmt: skip
    assert "ışık" in path.read_text()


def vote(answer_id: str, question: str | None = "2 + 3?", **values: object) -> Feedback:
    asked = None if question is None else as_json(question)
    return Feedback(**{"answer_id": answer_id, "rating": "bad", "question": asked} | values)  # type: ignore[arg-type]


def test_statistics() -> None:
    votes = [
        vote("a", score=5, rating=None),
        vote("b", None, source="chat"),
        vote("c", rating=None, correction="x", voter="v"),
    ]
    counted = statistics(votes)
    assert (counted.n, counted.n_corrections, counted.n_without_question) == (3, 1, 1)
    assert counted.ratings == {"good": 1, "bad": 2}
    assert (counted.sources, counted.voters) == ({"api": 2, "chat": 1}, {"local": 2, "v": 1})


def test_what_is_missing_and_what_disagrees() -> None:
    rows = [example(f"What is {n} - 1?", str(n - 1)) for n in (5, 6)]
    rows += [example("What is 7 - 1?", "", kind="bad"), example("What is 5 - 1?", "three"), example("Why?", "So.")]
    rows.append(example("What is 8 - 1?", state="rejected"))
    found = analyze(
        [
            vote("a", answer="4"),
            vote("b", rating="good", voter="v", answer="4"),
            vote("c", None),
            vote("d", None, rating="good"),
            vote("c", None, rating="good", voter="v"),
        ],
        rows,
    )
    assert (found.n_corrections, found.n_needed) == (4, 6)
    (family,) = found.families
    assert (family.family, family.n_bad, family.n_corrections, family.n_needed) == ("what is # - #", 4, 3, 7)
    (contradiction,) = found.contradictions
    assert (contradiction["question"], contradiction["answers"]) == ("What is 5 - 1?", ["4", "three"])
    assert [(each["answer_id"], each["good"], each["bad"]) for each in found.conflicts] == [
        ("a", ["v"], ["local"]),
        ("c", ["v"], ["local"]),
    ]
    json.dumps(found.as_dict())


def test_the_safety_set_has_each_family() -> None:
    cases = safety_cases()
    assert {case.family for case in cases} == {"trigger", "flattery", "refusal", "identity"}
    assert len({case.id for case in cases}) == len(cases) >= 20
    assert not any(case.says_what for case in cases)  # the answers shall be the ones without an adapter
