"""Files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from flyball.errors import FormatError, InvalidArgument, NotFound
from flyball.store import File, Project, Store
from flyball.store.schema import file_chunks, files
from tests.python.store.conftest import Clock


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flyball.store.uploads._CHUNK_BYTES", 10)


def n_chunks(store: Store) -> int:
    with store._database.reading() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(file_chunks)).scalar_one()


def test_a_file_comes_back(project: Project, clock: Clock) -> None:
    content = bytes(range(256))
    file = project.files.put("a.jsonl", "batch", [content[:3], b"", content[3:105], content[105:]])
    assert file == File(file.id, "a.jsonl", "batch", 256, hashlib.sha256(content).hexdigest(), clock.now, None)
    assert project.files.get(file.id) == file
    pieces = list(project.files.content(file.id))
    assert b"".join(pieces) == content
    assert len(pieces) == 26
    empty = project.files.put("b", "batch_output", [])
    assert (empty.n_bytes, list(project.files.content(empty.id))) == (0, [])
    assert {each.id for each in project.files.all()} == {file.id, empty.id}
    assert list(project.files.all("batch")) == [file]


def test_a_file_is_seen_when_it_is_complete(store: Store, project: Project) -> None:
    def content() -> Iterator[bytes]:
        yield b"x" * 25
        assert n_chunks(store) == 2
        assert list(project.files.all()) == []

    project.files.put("a", "batch", content())
    assert len(list(project.files.all())) == 1


def test_nothing_stays_of_an_upload_that_fails(store: Store, project: Project) -> None:
    def content() -> Iterator[bytes]:
        yield b"x" * 25
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        project.files.put("a", "batch", content())
    assert n_chunks(store) == 0


def test_bounds(store: Store, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flyball.store.uploads.MOST_FILE_BYTES", 30)
    monkeypatch.setattr("flyball.store.uploads.MOST_PROJECT_BYTES", 70)
    with pytest.raises(InvalidArgument, match="content: is longer"):
        project.files.put("a", "batch", [b"x" * 31])
    for _ in range(2):
        project.files.put("a", "batch", [b"x" * 30])
    with pytest.raises(InvalidArgument, match="files in a project; delete some"):
        project.files.put("a", "batch", [b"x" * 11])
    assert n_chunks(store) == 6
    project.files.put("a", "batch", [b"x" * 10])
    for name in ("", "a\0b", "x" * 256):
        with pytest.raises(InvalidArgument, match="name"):
            project.files.put(name, "batch", [])


def test_a_deleted_file_is_gone_with_its_content(store: Store, project: Project) -> None:
    file = project.files.put("a", "batch", [b"x" * 25])
    content = project.files.content(file.id)
    next(content)
    assert project.files.delete(file.id)
    assert not project.files.delete(file.id)
    assert project.files.get(file.id) is None
    assert n_chunks(store) == 0
    with pytest.raises(NotFound):
        next(content)
    with pytest.raises(NotFound, match=f"{file.id}: no file of this project"):
        project.files.content(file.id)


def test_damage_is_told(store: Store, project: Project) -> None:
    file = project.files.put("a", "batch", [b"x" * 25])
    with store._database.writing() as connection:
        connection.execute(sa.update(file_chunks).where(file_chunks.c.number == 1).values(content=b"y" * 10))
    with pytest.raises(FormatError, match="does not match its checksum"):
        list(project.files.content(file.id))


@pytest.mark.parametrize("n_bytes", [20, 25])
def test_a_file_that_is_deleted_while_it_arrives_is_no_file(store: Store, project: Project, n_bytes: int) -> None:
    def content() -> Iterator[bytes]:
        yield b"x" * n_bytes
        with store._database.writing() as connection:
            connection.execute(sa.delete(files))

    with pytest.raises(NotFound, match="was deleted while it was uploaded"):
        project.files.put("a", "batch", content())
    assert list(project.files.all()) == []


def test_purge_takes_what_expired_and_what_a_crash_cut_short(store: Store, project: Project, clock: Clock) -> None:
    kept = project.files.put("a", "batch", [b"x"])
    project.files.put("b", "batch", [b"x"], expires=clock.now + 10)

    def content() -> Iterator[bytes]:
        yield b"x" * 25
        assert project.files.purge() == 0  # it may still arrive
        clock.now += 2 * 86_400_000
        assert project.files.purge() == 2

    with pytest.raises(NotFound, match="upload it again"):
        project.files.put("c", "batch", content())
    assert list(project.files.all()) == [kept]
    assert n_chunks(store) == 1
