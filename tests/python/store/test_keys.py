"""API keys."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flyball.errors import InvalidArgument, NotFound
from flyball.store import Project, Store
from tests.python.store.conftest import Clock


def test_a_key_is_found_by_its_secret_alone(store: Store, project: Project) -> None:
    new = project.keys.create("laptop")
    assert re.fullmatch(r"fb-[\w-]{43}", new.secret)
    assert project.keys.find(new.secret) == new.key
    assert project.keys.all() == [new.key]
    found = store.authenticate(new.secret)
    assert found is not None
    assert (found.project.name, found.key) == ("default", new.key)
    wrong = new.secret[:-1] + ("A" if new.secret[-1] != "A" else "B")
    for secret in (wrong, new.secret[3:], new.key.id, "", "fb-", "\0\ud800", "' OR 1=1 --"):
        assert project.keys.find(secret) is None
        assert store.authenticate(secret) is None


def test_keys_whose_hints_are_equal_are_told_apart(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flyball.store.keys.hint", lambda secret: "00000000")
    first, second = project.keys.create("a"), project.keys.create("b")
    assert project.keys.find(first.secret) == first.key
    assert project.keys.find(second.secret) == second.key
    assert project.keys.find("fb-other") is None


def test_the_secret_is_stored_nowhere(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.sqlite") as store:
        new = store.project().keys.create("laptop")
        assert new.secret not in repr(new)
    assert not any(new.secret[3:].encode() in path.read_bytes() for path in tmp_path.iterdir())
    assert any(b"laptop" in path.read_bytes() for path in tmp_path.iterdir())


def test_a_revoked_key_is_refused(store: Store, project: Project, clock: Clock) -> None:
    new = project.keys.create("laptop")
    clock.now += 5
    assert project.keys.revoke(new.key.id).revoked == clock.now
    clock.now += 5
    assert project.keys.revoke(new.key.id).revoked == clock.now - 5
    assert project.keys.find(new.secret) is None
    assert store.authenticate(new.secret) is None
    assert [key.id for key in project.keys.all()] == [new.key.id]
    with pytest.raises(NotFound, match="no key of this project"):
        project.keys.revoke("key_0")


def test_a_key_expires(project: Project, clock: Clock) -> None:
    new = project.keys.create("guest", expires=clock.now + 10)
    clock.now += 9
    assert project.keys.find(new.secret)
    clock.now += 1
    assert project.keys.find(new.secret) is None


def test_rotation_leaves_the_old_key_its_grace(project: Project, clock: Clock) -> None:
    old = project.keys.create("laptop")
    clock.now += 1
    new = project.keys.rotate(old.key.id, grace_ms=100)
    assert new.key.name == "laptop"
    assert new.secret != old.secret
    clock.now += 99
    assert project.keys.find(old.secret)
    clock.now += 1
    assert project.keys.find(old.secret) is None
    assert project.keys.find(new.secret) == new.key
    with pytest.raises(NotFound):
        project.keys.rotate("key_0")


def test_rotation_never_prolongs_a_key(project: Project, clock: Clock) -> None:
    old = project.keys.create("guest", expires=clock.now + 10)
    new = project.keys.rotate(old.key.id, grace_ms=100)
    clock.now += 10
    assert project.keys.find(old.secret) is None
    assert project.keys.find(new.secret) is None


def test_bad_names_are_refused(project: Project) -> None:
    for name in ("", "x" * 256, "a\0b", "\ud800", 7):
        with pytest.raises(InvalidArgument, match="name"):
            project.keys.create(name)  # type: ignore[arg-type]
    assert project.keys.all() == []
