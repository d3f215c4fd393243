"""Approved corrections in prompts: which ones, where, and when one has the very question."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import event

import flyball
from flyball import errors
from flyball.constraints.constraint import Constraint
from flyball.memory import Example, FileExamples, Memory, StoredExamples
from flyball.memory.examples import choose
from flyball.store import Project, Store, schema
from flyball.store.examples import Example as Row
from flyball.store.examples import Examples as Rows
from flyball.store.question import as_json

SUBTRACTIONS = [Example(str(n), f"What is {n} - 7?", f"{n} - 7 = {n - 7}.") for n in (42, 51, 60)]
OTHER = Example("o", "Who wrote the old book about the sea?", "A sailor.")


def fits(_: Example) -> bool:
    return True


def chosen(question: str, examples: list[Example], most: int = 3) -> list[str]:
    return [example.id for example in choose(question, examples, most, fits).examples]


def test_numbers_count_as_equal() -> None:
    assert chosen("What is 83 - 9?", [*SUBTRACTIONS, OTHER]) == ["42", "51", "60"]
    assert chosen("Who wrote the book about the river?", [*SUBTRACTIONS, OTHER]) == ["o"]
    assert chosen("Tell me a story", [*SUBTRACTIONS, OTHER]) == []
    assert chosen("", [*SUBTRACTIONS, OTHER]) == []
    assert chosen("What is 83 - 9?", SUBTRACTIONS, 0) == []


def test_the_very_question_goes_last_and_its_newest_correction_counts() -> None:
    again = [*SUBTRACTIONS, Example("new", "what is  42 - 7?", "35.")]
    picked = choose("What is 42 - 7?", again, 3, fits)
    assert [example.id for example in picked.examples] == ["51", "60", "new"]
    assert picked.repeats
    assert not choose("What is 43 - 7?", again, 3, fits).repeats


def test_what_does_not_fit_is_left_out() -> None:
    picked = choose("What is 42 - 7?", SUBTRACTIONS, 3, lambda example: example.id == "60")
    assert [example.id for example in picked.examples] == ["60"]
    assert not picked.repeats


def line(**members: Any) -> str:
    whole = {"id": "e1", "prompt": "What is 9 - 4?", "answer": "9 - 4 = 5.", "rejected": None, "kind": "correction"}
    return json.dumps(whole | members)


def test_examples_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "examples.jsonl"
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    turns = [*chat, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "And?"}]
    rows = [line(), line(id="e2", messages=chat), line(id="e3", messages=turns), line(id="e4", kind="replay"), ""]
    path.write_text("\n".join(rows))
    read = FileExamples(path).all()
    assert [(each.id, each.question, each.right) for each in read] == [
        ("e1", "What is 9 - 4?", "9 - 4 = 5."), ("e2", "Hi", "9 - 4 = 5."),
    ]  # fmt: skip
    for bad in ("{", "[]", "1", line(answer=None), line(answer=""), line(messages=[1]), '{"id": "x"}', "\xff"):
        path.write_text(line() + "\n" + bad)
        with pytest.raises(errors.FormatError, match=r"examples.jsonl:2: is no training example"):
            FileExamples(path)


def test_a_very_question_has_its_answer_only_where_nothing_was_asked_before(memory: Memory) -> None:
    cache = cast(Any, SimpleNamespace(all=lambda: [OTHER, *SUBTRACTIONS]))
    asked = [{"role": "user", "content": "what is 51 - 7?"}]
    recalled = memory.recall(asked, len, 1000, cache, 2)
    assert recalled.answer == "51 - 7 = 44."
    assert recalled.ids == ("60", "51")
    made = recalled.into(asked)
    assert [message["role"] for message in made] == ["user", "assistant"] * 2 + ["user"]
    assert made[3]["content"] == "51 - 7 = 44."
    before = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    later = memory.recall([*before, *asked], len, 1000, cache, 2)
    assert later.answer is None
    assert later.examples
    assert later.into([*before, *asked])[:2] == before
    assert memory.recall(asked, len, 10, cache, 2).answer is None  # no room


def test_the_hit_rate_is_counted(memory: Memory, project: Project) -> None:
    cache = cast(Any, SimpleNamespace(all=lambda: SUBTRACTIONS))
    for question in ("What is 42 - 7?", "What is 43 - 7?", "Tell me a story"):
        memory.recall([{"role": "user", "content": question}], len, 1000, cache, 2)
    counts = project.memory.counts()
    assert (counts.n_asked_examples, counts.n_examples, counts.n_repeats) == (3, 2, 1)


def test_the_very_question_is_answered_right(demo: flyball.Model, memory: Memory) -> None:
    """The bundled model gets these wrong, with and without the correction in its prompt; the receipt has the form."""
    wrong = Example("w", "What is 75 - 16?", "75 - 16 = 59.")
    asked = [{"role": "user", "content": wrong.question}]
    assert demo.generate(demo.chat_format().ids(asked), 24, temperature=0).text != wrong.right
    recalled = memory.recall(asked, len, 1000, cast(Any, SimpleNamespace(all=lambda: [wrong])), 1)
    assert recalled.answer is not None
    prompt = demo.chat_format().ids(recalled.into(asked))
    result = demo.generate(prompt, 24, temperature=0, constraint=Constraint.choice([recalled.answer]))
    assert (result.text, result.stop_reason) == (wrong.right, "eos")
    assert flyball.verify(result.receipt, model=demo)


def test_examples_of_the_store_count_from_their_approval_on(project: Project) -> None:
    cache = StoredExamples(project)
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    for question in ("What is 42 - 7?", [{"role": "user", "content": "What is 51 - 7?"}], turns):
        project.examples.propose(Row(id="", kind="correction", question=as_json(question), answer="right"))
    assert list(cache.all()) == []
    for row in list(project.examples.all()):
        project.examples.change(row.id, row.version, by="reviewer", state="approved")
    assert {each.question for each in cache.all()} == {"What is 42 - 7?", "What is 51 - 7?"}


@dataclass
class Statements:
    """Those that asked a store for examples, and the rows that they gave."""

    n: int = 0
    n_rows: int = 0

    def counted(self, store: Store, work: Callable[[], object]) -> tuple[int, int]:
        self.n = self.n_rows = 0
        event.listen(store._database.engine, "after_cursor_execute", self._executed)
        original = Rows.changed_since

        def counting(rows: Rows, revision: int) -> Iterator[Row]:
            for row in original(rows, revision):
                self.n_rows += 1
                yield row

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Rows, "changed_since", counting)
            work()
        event.remove(store._database.engine, "after_cursor_execute", self._executed)
        return self.n, self.n_rows

    def _executed(self, connection: object, cursor: object, statement: str, *_: object) -> None:
        self.n += "FROM examples" in statement


def test_a_prompt_reads_only_what_was_decided_since(store: Store, project: Project) -> None:
    for number in range(300):
        project.examples.propose(Row(id="", kind="correction", question=as_json(f"{number} - 7?"), answer="right"))
    made = list(project.examples.all())
    for row in made[:250]:
        project.examples.change(row.id, 1, by="reviewer", state="approved")
    cache, statements = StoredExamples(project), Statements()
    assert statements.counted(store, cache.all) == (2, 250), "two pages"
    assert len(cache.all()) == 250
    assert statements.counted(store, cache.all) == (1, 1), "the last decision, by which nothing is seen to be new"
    project.examples.change(made[0].id, 2, by="reviewer", answer="left")
    project.examples.change(made[1].id, 2, by="reviewer", state="rejected")
    assert statements.counted(store, cache.all) == (1, 3)
    now = {each.id: each.right for each in cache.all()}
    assert len(now) == 249
    assert (now[made[0].id], made[1].id in now) == ("left", False)
    assert [each.id for each in cache.all()] == [each.id for each in StoredExamples(project).all()], "the same order"


def test_a_project_that_was_made_again_has_its_own(project: Project) -> None:
    """As its number may be that of the one before, and so may be the numbers of its decisions."""
    cache = StoredExamples(project)
    for number in range(2):
        project.examples.propose(Row(id="", kind="correction", question=as_json(f"{number} - 7?"), answer="right"))
    first, second = project.examples.all()
    project.examples.change(first.id, 1, by="reviewer", state="approved")
    assert [each.id for each in cache.all()] == [first.id]
    scope = project.examples._scope
    with scope.database.writing() as connection:
        connection.execute(scope.delete(schema.examples, schema.examples.c.id == first.id))
    assert list(cache.all()) == []
    project.examples.change(second.id, 1, by="reviewer", state="approved")
    assert [each.id for each in cache.all()] == [second.id]


def test_a_store_that_fails_halfway_loses_nothing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        project.examples.propose(Row(id="", kind="correction", question=as_json(f"{number} - 7?"), answer="right"))
    for row in list(project.examples.all()):
        project.examples.change(row.id, 1, by="reviewer", state="approved")
    cache, original = StoredExamples(project), Rows.changed_since

    def failing(rows: Rows, revision: int) -> Iterator[Row]:
        yield next(original(rows, revision))
        raise errors.Unavailable("store", "is locked")

    with monkeypatch.context() as patch:
        patch.setattr(Rows, "changed_since", failing)
        with pytest.raises(errors.Unavailable):
            cache.all()
    assert len(cache.all()) == 3
