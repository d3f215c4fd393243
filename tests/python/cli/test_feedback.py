"""`flyball feedback`, and the chat's commands that give some."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import flyball
from flyball.cli import main
from flyball.errors import InvalidArgument
from flyball.learn.giving import of_failed_items
from flyball.store import NewItem, Store

from .test_cli import fails, flyball_command

Capture = pytest.CaptureFixture[str]
DIGEST = "d" * 64


def run(capsys: Capture, *words: str, code: int = 0) -> str:
    assert main(["feedback", *words]) == code, capsys.readouterr().err
    return capsys.readouterr().out


def rows(capsys: Capture, *words: str) -> Any:
    return json.loads(run(capsys, *words, "--json"))


def give(capsys: Capture, question: str, correction: str, *more: str) -> None:
    run(capsys, "add", "--question", question, "--answer", "wrong", "--correction", correction, *more)


def test_adding_merges_what_one_voter_says(capsys: Capture) -> None:
    run(capsys, "add", DIGEST, "--rating", "bad", "--source", "guardian", "--reason", "no JSON")
    run(capsys, "add", DIGEST, "--score", "2", "--source", "guardian", "--question", "Işık nedir?", "--answer", "x")
    run(capsys, "add", DIGEST, "--rating", "good", "--voter", "ada")
    (ada, guardian) = sorted(rows(capsys, "list"), key=lambda vote: str(vote["voter"]))
    assert (ada["rating"], ada["source"]) == ("good", "api")
    assert (guardian["rating"], guardian["score"], guardian["reason"]) == ("bad", 2, "no JSON")
    counted = rows(capsys, "stats")
    assert (counted["n"], counted["ratings"], counted["examples"]["proposed"]) == (2, {"good": 1, "bad": 1}, 1)
    assert "voter ada" in run(capsys, "stats")
    assert "Işık nedir?" in run(capsys, "list")


def test_wrong_uses_say_what_is_right(capsys: Capture, tmp_path: Path) -> None:
    assert "is missing; without one, --question" in fails(capsys, "feedback", "add", "--rating", "good")
    assert "--rating: is missing" in fails(capsys, "feedback", "add", DIGEST)
    assert "score: is 9" in fails(capsys, "feedback", "add", DIGEST, "--score", "9")
    assert "does not exist" in fails(capsys, "feedback", "add", "nothing.json", "--rating", "good")
    assert "no example of this project" in fails(capsys, "feedback", "approve", "ex-0")
    assert "data set: is empty" in fails(capsys, "feedback", "dataset", str(tmp_path / "d"))
    assert "feedback is kept in a store" in fails(capsys, "feedback", "list", "--set", "serve.store=none")
    assert "no project has this name" in fails(capsys, "feedback", "list", "--project", "other")
    (tmp_path / "m.json").write_text("{")
    assert "has no messages" in fails(capsys, "feedback", "add", "--messages", str(tmp_path / "m.json"))
    for text, message in (
        ("{", "f:1: is not JSON"),
        ('{"a": 1}', "f:1: is no line"),
        ('{"answer_id": 7}', "answer_id"),
    ):
        (tmp_path / "f").write_text(text)
        assert message in fails(capsys, "feedback", "import", str(tmp_path / "f"))
    assert "There is no feedback" in run(capsys, "list")


def test_from_corrections_to_a_data_set(capsys: Capture, tmp_path: Path) -> None:
    for n in range(12):
        give(capsys, f"What is {n} + {n}?", f"{2 * n}")
    give(capsys, "What is 1 + 1?", "eleven", "--voter", "troll")
    said = run(capsys, "analyze")
    assert "13 corrections; at least 10" in said
    assert "contradictory corrections: 1" in said
    assert rows(capsys, "analyze")["families"][0]["family"] == "what is # + #"
    ids = [each["id"] for each in rows(capsys, "examples", "--state", "proposed")]
    run(capsys, "approve", *ids[1:])
    run(capsys, "reject", ids[0])
    assert "2 examples are held out" in run(capsys, "hold-out", *ids[1:3])
    assert "this question is held out" in fails(capsys, "feedback", "approve", ids[0], ids[1])
    file, held = tmp_path / "train.jsonl", tmp_path / "held.jsonl"
    made = rows(capsys, "dataset", str(file), "--held-out", str(held))
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["id"] for line in lines] == made["rows"]
    assert {line["kind"] for line in lines} == {"correction"}
    assert set(ids[1:3]) <= set(made["held_out"]) == {json.loads(line)["id"] for line in held.read_text().splitlines()}
    assert f"digest {made['digest']}" in run(capsys, "dataset", str(file))


def test_decisions_are_all_or_none(capsys: Capture) -> None:
    give(capsys, "Who?", "I.")
    (example,) = rows(capsys, "examples")
    fails(capsys, "feedback", "approve", example["id"], "ex-0")
    assert rows(capsys, "examples") == [example]


def test_feedback_moves_to_another_store(capsys: Capture, tmp_path: Path) -> None:
    give(capsys, "Kim? 😀", "Ben.", "--reason", "a\nb")
    file, other = str(tmp_path / "f.jsonl"), f"serve.store={tmp_path / 'other.sqlite'}"
    run(capsys, "export", file)
    assert run(capsys, "export", "-") == Path(file).read_text()
    assert "1 votes were read" in run(capsys, "import", file, "--set", other)
    run(capsys, "import", file, "--set", other)
    assert rows(capsys, "list", "--set", other) == rows(capsys, "list")
    bad = Path(file).read_text() + '{"answer_id": "x", "rating": "great"}\n'
    (tmp_path / "bad.jsonl").write_text(bad)
    third = f"serve.store={tmp_path / 'third.sqlite'}"
    assert "bad.jsonl:2: rating: is 'great'" in fails(
        capsys, "feedback", "import", str(tmp_path / "bad.jsonl"), "--set", third
    )
    assert rows(capsys, "list", "--set", third) == []


def test_a_chat_is_judged(capsys: Capture) -> None:
    said = "What is 45 - 17?\n/bad too\tlarge\n/correct It is 28.\nAnd 44 - 17?\n/good\n/undo\n/good\n/correct\n/bye\n"
    done = flyball_command("chat", "--temp", "0", "-n", "12", "--set", "tune=off", stdin=said)
    assert done.returncode == 0
    assert done.stdout.count(b"(kept; flyball feedback lists it)") == 3
    assert done.stderr.count(b"need an answer") == 1
    assert b"/correct: needs the right answer" in done.stderr
    good, bad = rows(capsys, "list")
    assert (bad["rating"], bad["reason"], bad["correction"], bad["source"]) == (
        "bad",
        "too\tlarge",
        "It is 28.",
        "chat",
    )
    assert json.loads(bad["question"]) == [{"role": "user", "content": "What is 45 - 17?"}]
    assert bad["answer"] != "It is 28."
    assert [each["content"] for each in json.loads(good["question"])] == [
        "What is 45 - 17?",
        "It is 28.",
        "And 44 - 17?",
    ]
    assert len(bad["answer_id"]) == len(bad["fingerprint"]) == 64


def test_feedback_of_a_result_and_its_receipt(demo: flyball.Model, capsys: Capture, tmp_path: Path) -> None:
    result = demo.generate("Once upon a time", 4, seed=1)
    kept = flyball.feedback(result, "good", question="Once upon a time", score=5)
    assert (kept.answer_id, kept.answer, kept.source) == (result.digest, result.text, "python")
    again = flyball.feedback(result.receipt, reason="rhymes")
    assert (again.rating, again.reason, again.question) == ("good", "rhymes", kept.question)
    with pytest.raises(InvalidArgument, match="give a rating"):
        flyball.feedback(result)
    run(capsys, "add", str(result.receipt.save(tmp_path / "r.json")), "--rating", "bad")
    (vote,) = rows(capsys, "list")
    assert (vote["rating"], vote["score"], vote["reason"]) == ("bad", 5, "rhymes")


def test_failed_items_of_a_batch_are_feedback(capsys: Capture, tmp_path: Path) -> None:
    url = tmp_path / "s.sqlite"
    chat = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    lines = [chat, {"model": "m", "input": "x"}, {"prompt": [1, 2]}]
    with Store.open(url, instance="one") as store:
        project = store.project()
        batch = project.batches.create("/v1/chat/completions", "file-1", 1 << 50)
        project.batches.set_items(batch.id, [NewItem(n, f"c{n}", json.dumps(line)) for n, line in enumerate(lines, 1)])
        project.batches.advance(batch.id, "in_progress")
        for item in project.items.claim(3, 1000):
            project.items.fail(item, '{"message": "no"}')
        assert of_failed_items(project, batch.id) == of_failed_items(project, batch.id) == 3
        votes = list(project.feedback.between(0, 1 << 62))
        assert [(vote.source, vote.rating, vote.reason) for vote in votes] == [("task", "bad", '{"message": "no"}')] * 3
        examples = project.examples.all()  # a list of ids is no question
        assert [(each.kind, each.model, each.rejected) for each in examples] == [("bad", "m", None)] * 2
    assert "3 failed items" in run(capsys, "add", "--batch", batch.id, "--set", f"serve.store={url}")


def test_synthetic_examples_of_the_bundled_model(capsys: Capture, tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        'name = "sums"\nmax_tokens = 12\nask = "What is {a} + {b}?"\nanswer = "What is {b} + {a}?"\n'
        '[slots]\na = ["1", "2"]\nb = ["3"]\n[check]\nquestion = [3, 100]\nanswer = [3, 100]\n'
    )
    words = ("synthesize", "--recipe", str(recipe), "--count", "2", "--set", "tune=off")
    assert "2 examples are proposed" in run(capsys, *words)
    examples = rows(capsys, "examples")
    assert [each["kind"] for each in examples] == ["synthetic"] * 2
    assert len(examples[0]["answer_id"]) == 64
    assert "another" not in fails(capsys, "feedback", "synthesize", "--recipe", str(recipe), "--key-env", "X")
    assert "must be 1 or more" in fails(capsys, "feedback", "synthesize", "--recipe", str(recipe), "--count", "0")
