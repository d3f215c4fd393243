"""What was forgotten is gone: rows, index, vectors, and on SQLite the bytes of the file; records say what it was."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from flyball import errors
from flyball.memory import Memory
from flyball.store import Project, Store
from flyball.store.chain import first_broken
from flyball.store.memory import hash_of

from .test_memory import Directions

SECRET = "zanzibar quokka 4711 xylophone"


def bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file())


def test_nothing_is_left_of_it(store: Store, project: Project) -> None:
    memory = Memory(project, embedder=Directions())
    kept, gone = memory.add("kept", "A dog and a lamp."), memory.add("gone", f"A cat, {SECRET}. " * 100)
    old = memory.remember(f"My name is {SECRET.split()[0]}")
    memory.remember("My name is Ada")
    record = memory.forget([gone.id, old.id]).as_dict()
    assert record["items"] == {gone.id: gone.hash, old.id: old.hash}
    assert (record["n_vectors"], record["owner"]) == (record["n_chunks"] - 1, "local")
    assert record["n_chunks"] > 2
    assert Memory(project).search("quokka") == Memory(project).search("xyl") == []
    assert [each.item_id for each in memory.search("quokka")] == [kept.id]  # the nearest vector of those that are left
    assert {item.id for item in memory.items(replaced=True)} > {kept.id}
    with store._database.reading() as connection:
        for table in ("memory_items", "memory_chunks", "memory_vectors"):
            said = repr(connection.exec_driver_sql(f"SELECT * FROM {table}").all())
            assert "quokka" not in said
            assert gone.id not in said
    with pytest.raises(errors.NotFound, match=f"{gone.id}: no memory of this project has this id"):
        memory.text(gone.id)


def test_the_bytes_are_gone_from_the_file(tmp_path: Path) -> None:
    """Also where pages were split, merged and moved since; of the index no run of its letters is left either."""
    with Store.open(tmp_path / "a") as store:
        memory = Memory(store.project())
        gone = []
        for number in range(60):
            text = f"{'lamp river stone ' * (number % 7 * 40)} {SECRET} {number} {'tree ' * 50}"
            gone.append(memory.add(f"{number}", text).id)
            memory.add(f"kept {number}", "An ordinary text of lamps and rivers. " * (number % 5 * 20 + 1))
        memory.remember("Benim adım Quokka")
        assert b"zanzibar" in bytes_of(tmp_path)
        assert memory.forget(gone).wiped is True
        memory.forget([item.id for item in memory.items("fact")])
        left = bytes_of(tmp_path)
        for word in ("zanzibar", "quokka", "Quokka", "xylophone", "xyl", "quo"):
            assert word.encode() not in left, word
        assert len(list(memory.items())) == 60
        with store._database.writing() as connection:
            connection.exec_driver_sql("INSERT INTO memory_index(memory_index, rank) VALUES ('integrity-check', 1)")


def test_a_reader_that_stays_is_told(tmp_path: Path) -> None:
    """Its view of the log cannot be overwritten; the next deletion does it."""
    with Store.open(tmp_path / "a", busy_seconds=0.05) as store:
        memory = Memory(store.project())
        first, second = memory.add("a", SECRET), memory.add("b", "lamp")
        reader = sqlite3.connect(tmp_path / "a", isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM memory_items").fetchone()
        assert memory.forget([first.id]).wiped is False
        reader.execute("ROLLBACK")
        reader.close()
        assert memory.forget([second.id]).wiped is True
        assert b"quokka" not in bytes_of(tmp_path)


def test_what_is_not_the_users_is_not_deleted(project: Project) -> None:
    mine, theirs = Memory(project, "a"), Memory(project, "b")
    kept, other = mine.add("x", "lamp"), theirs.add("y", "lamp")
    for ids in ([kept.id, other.id], ["mem_0"], ["\0"], ["' OR '1'='1"]):
        with pytest.raises(errors.NotFound):
            mine.forget(ids)
    with pytest.raises(errors.InvalidArgument, match="ids: are 0"):
        mine.forget([])
    with pytest.raises(errors.NotFound, match="nobody: nothing of this user has this id, or nothing is remembered"):
        Memory(project, "nobody").forget()
    assert len(list(mine.items())) == len(list(theirs.items())) == 1
    assert project.deletions.all() == []


def test_records_are_a_chain(store: Store, project: Project) -> None:
    memory = Memory(project)
    for number in range(3):
        item = memory.add(str(number), f"text {number}")
        salt = item.salt
        made = memory.forget()
        assert made.as_dict()["items"] == {item.id: hash_of(salt, f"text {number}")}
    chain = project.deletions.all()
    assert [each.number for each in chain] == [1, 2, 3]
    assert chain[2].as_dict()["previous"] == chain[1].hash
    assert first_broken(chain) is None
    assert first_broken(chain[1:]) == 2
    assert first_broken([chain[0], chain[2]]) == 3
    assert first_broken([chain[0], replace(chain[1], json=chain[1].json.replace("local", "lokal")), chain[2]]) == 2
    assert first_broken([]) is None
    other = store.create_project("other")
    Memory(other).add("x", "x")
    assert Memory(other).forget().number == 1
    with store._database.writing() as connection:
        change = "UPDATE memory_deletions SET json = replace(json, 'local', 'lokal') WHERE number = 2"
        connection.execute(sa.text(change))
    assert first_broken(project.deletions.all()) == 2


def test_a_user_is_forgotten_whole(project: Project) -> None:
    memory = Memory(project, "a")
    for number in range(5):
        memory.add(str(number), f"lamp {number}")
        memory.remember(f"My name is Ada{number}")
    record = memory.forget().as_dict()
    assert len(record["items"]) == 10
    assert list(memory.items(replaced=True)) == []
    assert "lamp" not in str(record)
