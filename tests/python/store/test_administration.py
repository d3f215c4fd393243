"""Roles of keys, quotas, the log of administrative acts, and the deletion of projects."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from flyball import errors
from flyball.store import Act, Project, Quota, QuotaExceeded, Request, Store, schema
from flyball.store.chain import FIRST, first_broken
from flyball.store.roles import ROLES, SCOPES
from tests.python.store.conftest import Clock, OpenStore
from tests.python.store.test_projects import fill, rows

DAY = 86_400_000


def acts(project: Project) -> list[str]:
    return [act.act for act in project.log.all()]


def test_a_key_has_the_scopes_of_its_role(project: Project) -> None:
    for role, scopes in ROLES.items():
        assert project.keys.create("x", role=role).key.granted == scopes
    narrow = project.keys.create("x", user="ada", role="member", scopes=["memory", "generate"]).key
    assert narrow.user == "ada"
    assert narrow.granted == {"generate", "memory"}
    assert project.keys.rotate(narrow.id).key.granted == narrow.granted
    assert replace(narrow, role="king").granted == frozenset()
    assert ROLES["owner"] == set(SCOPES)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"role": "king"}, "owner, member, auditor"),
        ({"role": "member", "scopes": ["admin"]}, "a member has generate"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["fly"]}, "scopes"),
        ({"user": ""}, "user"),
        ({"user": "a\0"}, "user"),
        ({"by": ""}, "by"),
    ],
)
def test_keys_that_cannot_be(project: Project, how: dict[str, object], said: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=said):
        project.keys.create("x", **how)  # type: ignore[arg-type]
    assert project.keys.all() == []
    assert project.log.all() == []


def test_every_act_is_in_a_chain(store: Store) -> None:
    other = store.create_project("other", "ada")
    key = other.keys.create("x", by="ada").key
    other.keys.rotate(key.id, by="bob")
    other.keys.revoke(key.id)
    other.keys.revoke(key.id)  # changes nothing
    other.quotas.set(Quota(concurrent=2))
    chain = other.log.all()
    assert [act.act for act in chain] == ["token.create", "token.rotate", "token.revoke", "quota.set"]
    assert [act.as_dict()["by"] for act in chain] == ["ada", "bob", "local", "local"]
    assert acts(store.project()) == ["project.create"]
    assert first_broken(chain) is None
    assert other.log.head() == chain[-1].hash
    assert store.create_project("third").log.head() == FIRST
    changed = replace(chain[1], json=chain[1].json.replace("bob", "eve"))
    assert first_broken([chain[0], changed, *chain[2:]]) == 2
    assert first_broken([chain[0], *chain[2:]]) == 3


def test_the_log_has_no_secret(project: Project) -> None:
    new = project.keys.create("x")
    assert new.secret not in json.dumps([vars(act) for act in project.log.all()])


def test_quotas(store: Store, clock: Clock) -> None:
    project = store.project()
    assert project.quotas.get() == Quota()
    project.quotas.set(Quota(1, 2, 3, 4))
    assert project.quotas.set(Quota(bytes=9)) == project.quotas.get() == Quota(None, None, None, 9)
    assert store.create_project("other").quotas.get() == Quota()
    for bad in (-1, True, 1.5, 1 << 63):
        with pytest.raises(errors.InvalidArgument, match="concurrent"):
            project.quotas.set(Quota(concurrent=bad))  # type: ignore[arg-type]


def test_what_was_used(open_store: OpenStore, clock: Clock) -> None:
    """Of others all, of this server what it did before it was started."""
    one, two = open_store(instance="one").project(), open_store(instance="two").project()
    clock.now = 10 * DAY
    for name, project in (("a", one), ("b", two), ("c", two), ("d", two)):
        project.requests.begin(Request(id=name, api="a", model="m", state="running", n_reserved=100))
    two.requests.finish("b", "done", n_prompt_tokens=3, n_generated_tokens=4)
    two.requests.finish("c", "interrupted")
    used = one.quotas.used(10 * DAY, 10 * DAY, 10 * DAY)
    assert vars(used) == {"tokens": 207, "n_requests": 3, "n_running": 1}
    assert one.quotas.used(10 * DAY, 10 * DAY, 10 * DAY + 1).tokens == 307  # after a restart its own, too
    clock.now += 1
    assert vars(one.quotas.used(clock.now, clock.now, clock.now)) == {"tokens": 0, "n_requests": 0, "n_running": 0}
    assert one.quotas.used(clock.now, 10 * DAY, 0).tokens == 0
    assert one.quotas.used(clock.now, 10 * DAY, 0).n_requests == 3


def test_there_is_room_for_so_many_bytes(project: Project) -> None:
    project.quotas.set(Quota(bytes=100))
    file = project.files.put("a", "batch", [b"x" * 60])
    acts: list[Callable[[], object]] = [
        lambda: project.files.put("b", "batch", [b"x" * 41]),
        lambda: project.memory.put("ada", "fact", [(0, "y" * 41, "y" * 41)]),
    ]
    for act in acts:
        with pytest.raises(QuotaExceeded, match="may have 100"):
            act()
    assert [each.id for each in project.files.all()] == [file.id]
    project.files.put("results", "batch_output", [b"x" * 500], most_bytes=1 << 40)  # what was computed is kept
    assert project.quotas.n_bytes() == 560
    for each in list(project.files.all()):
        project.files.delete(each.id)
    project.memory.put("ada", "fact", [(0, "y" * 100, "y" * 100)])


def test_a_deleted_project_leaves_nothing(store: Store) -> None:
    other, kept = store.create_project("theirs"), store.create_project("kept")
    new = fill(other)["key"]
    fill(kept)
    before, own = rows(store, 3), other.log.head()
    removal = store.delete_project("theirs", "ada", {"cached_answers": 4})
    assert all(left == [] for left in rows(store, 2).values())
    assert rows(store, 3) == before
    assert store.projects() == ["default", "kept"]
    assert store.authenticate(new.secret) is None
    with pytest.raises(errors.NotFound):
        store.project("theirs")
    (*_, act) = store.project().log.all()
    said = act.as_dict()
    assert act == removal.act
    assert first_broken(store.project().log.all()) is None
    assert (said["act"], said["by"], said["subject"], said["cached_answers"]) == ("project.delete", "ada", "theirs", 4)
    assert all(said["rows_before"][table.name] > 0 for table in schema.metadata.sorted_tables)
    assert set(said["rows_after"].values()) == {0}
    assert said["log_head"] == own


def test_what_a_running_server_still_has_in_hand_is_refused(store: Store) -> None:
    """Neither name nor number is given again: it might know either from before."""
    other = store.create_project("theirs")
    store.delete_project("theirs")
    with pytest.raises(errors.Error):
        other.requests.begin(Request(id="late", api="a", model="m"))
    with pytest.raises(errors.Error):
        other.keys.create("late")
    with pytest.raises(errors.InvalidArgument, match="was a project that was deleted"):
        store.create_project("theirs")
    new = store.create_project("new")
    assert new.requests.get("late") is None
    with pytest.raises(errors.Error):
        other.files.put("late", "batch", [b"x"])
    assert all(left == [] for left in rows(store, 2).values())
    with store._database.reading() as connection:
        assert set(connection.execute(sa.select(schema.projects.c.project_id)).scalars()) == {1, 3}


def test_a_deletion_that_broke_off_is_done_by_doing_it_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from flyball.store import removal

    fill(store.create_project("theirs"))
    purge, n = removal._purge, 0

    def breaking(*about: object) -> None:
        nonlocal n
        n += 1
        if n == 5:
            raise errors.Unavailable("store", "is gone")
        purge(*about)  # type: ignore[arg-type]

    monkeypatch.setattr(removal, "_purge", breaking)
    with pytest.raises(errors.Unavailable):
        store.delete_project("theirs")
    assert store.project("theirs").keys.all() == []  # nobody gets in
    store.delete_project("theirs")
    assert all(left == [] for left in rows(store, 2).values())


@pytest.mark.parametrize(("name", "kind"), [("default", errors.InvalidArgument), ("nobody", errors.NotFound)])
def test_projects_that_cannot_be_deleted(store: Store, name: str, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        store.delete_project(name)
    assert store.projects() == ["default"]


def test_the_bytes_of_a_project_are_gone_from_the_file(tmp_path: Path) -> None:
    marker = "zanzibar-quagga"
    with Store.open(tmp_path / "a.sqlite", keep_text=True) as store:
        other = store.create_project("theirs")
        for n in range(50):
            other.files.put(f"{marker} {n}", "batch", [marker.encode() * 100])
            other.memory.put("ada", "document", [(0, f"{marker} {n} " * 20, marker)])
            other.requests.begin(Request(id=f"r{n}", api="a", model="m", prompt=marker * 50))
            other.receipts.put(f"r{n}", json.dumps(marker * 20))
        assert marker.encode() in bytes_of(tmp_path)
        assert store.delete_project("theirs").wiped is True
        assert marker.encode() not in bytes_of(tmp_path)


def bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


def test_many_make_projects_at_once(store: Store) -> None:
    from concurrent.futures import ThreadPoolExecutor

    names = [f"p{n}" for n in range(8)]
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(store.create_project, names))
    assert {each.name for each in made} == set(names)
    chain: list[Act] = store.project().log.all()
    assert first_broken(chain) is None
    assert sorted(each.subject_id or 0 for each in chain) == list(range(2, 10))
