"""No method of a project sees or changes another's rows."""

from __future__ import annotations

import datetime
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from flyball import errors
from flyball.store import Example, Feedback, NewItem, Project, Quota, Request, Store, StoredAdapter, schema
from flyball.store import memory as memories
from tests.python.store.conftest import Clock

ALWAYS = (0, 1 << 62)
DAYS = (datetime.date.min, datetime.date.max)


def fill(project: Project) -> dict[str, Any]:
    """One row of each kind, with ids that are the same in each project where the caller chooses them."""
    requests = project.requests
    requests.begin(Request(id="r1", api="native", model="demo", idempotency_key="k"))
    project.receipts.put("r1", f'"{project.name}"')
    project.feedback.put(vote(project.name))
    project.performance.add(
        "f", n_answers=1, n_prompt_tokens=1, n_generated_tokens=1, prefill_cycles=1, decode_cycles=1,
        first_token_ms=[1],
    )  # fmt: skip
    key = project.keys.create(project.name)
    file = project.files.put(project.name, "batch", [b"x"])
    batch = project.batches.create("/v1/x", file.id, 1 << 50)
    project.batches.set_items(batch.id, [NewItem(1, "c1", "{}"), NewItem(2, "c2", "{}")])
    project.batches.advance(batch.id, "in_progress")
    items = project.items.claim(1, 1)
    (example,) = project.examples.all()
    memory, _ = (project.memory.put("local", "document", [(0, project.name, project.name)]) for _ in range(2))
    project.deletions.forget("local", [memory.id])
    (memory,) = project.memory.all("local")
    project.memory.put_vectors("f", [(memory.id, 0, b"\0\0\x80?")])
    project.memory.count(memories.Counts(1))
    project.cached_answers.put("a1", b"theirs", fingerprint="f", expires=1 << 50)
    project.tasks.add("math", "demo", "f", "", ok=True)
    project.route_corrections.put(project.name, "math")
    project.quotas.set(Quota(concurrent=1))
    project.live_settings.add({"serve.routes": project.name}, 0, "ada")
    project.adapters.add(adapter(project.name), "ADAPTER_ADDED", {}, "ada")
    project.plugins.allow("weather", "a" * 64, {"name": project.name}, {}, "ada")
    return {"memory": memory} | {"example": example, "key": key, "file": file, "batch": batch, "item": items[0]}


def adapter(name: str) -> StoredAdapter:
    return StoredAdapter(
        digest="a" * 64, name=name, fingerprint="f", parent=None, state="trained", share=None, manifest="{}", path="/",
        created=0, changed=0,
    )  # fmt: skip


def vote(text: str | None) -> Feedback:
    return Feedback(answer_id="d", request_id="r1", correction=text, question='"Who?"')


def follow(project: Project) -> None:
    """What a vote does to examples."""
    with project.examples._scope.database.writing() as connection:
        project.examples.follow(connection, ("d", "local"), None)


def judge(project: Project) -> None:
    """What a rating does to the figures of a task."""
    with project.examples._scope.database.writing() as connection:
        project.tasks.judged(connection, "r1", None, "good")


def inside(project: Project, work: Callable[[sa.Connection], object]) -> object:
    """What is done in a transaction of others."""
    with project.examples._scope.database.writing() as connection:
        return work(connection)


def rows(store: Store, number: int) -> dict[str, Sequence[Any]]:
    """All rows of a project."""
    with store._database.reading() as connection:
        return {
            table.name: connection.execute(
                sa.select(table).where(table.c.project_id == number).order_by(*table.primary_key)
            ).all()
            for table in schema.metadata.sorted_tables
        }


def calls(project: Project, theirs: Mapping[str, Any]) -> dict[str, Callable[[], object]]:
    """Every public method, called for what is another project's."""
    batch, file, key, item = (theirs[name] for name in ("batch", "file", "key", "item"))
    p = project
    return {
        "keys.create": lambda: p.keys.create("x"),
        "keys.find": lambda: p.keys.find(key.secret),
        "keys.all": lambda: p.keys.all(),
        "keys.revoke": lambda: p.keys.revoke(key.key.id),
        "keys.rotate": lambda: p.keys.rotate(key.key.id),
        "log.all": lambda: p.log.all(),
        "log.head": lambda: p.log.head(),
        "log.add": lambda: inside(p, lambda connection: p.log.add(connection, "me", "act", "subject", {})),
        "quotas.check_room": lambda: inside(p, p.quotas.check_room),
        "log.append": lambda: p.log.append("me", "act", "subject", {}),
        "log.last_project": lambda: p.log.last_project("theirs, too"),
        "quotas.get": lambda: p.quotas.get(),
        "quotas.set": lambda: p.quotas.set(Quota(bytes=1 << 40)),
        "quotas.used": lambda: p.quotas.used(0, 0, 1 << 62),
        "quotas.n_bytes": lambda: p.quotas.n_bytes(),
        "live_settings.add": lambda: p.live_settings.add({"max_tokens": 1}, 0, "me"),
        "live_settings.current": lambda: p.live_settings.current(),
        "live_settings.get": lambda: p.live_settings.get(1),
        "live_settings.latest": lambda: p.live_settings.latest(9),
        "live_settings.roll_back": lambda: p.live_settings.roll_back(1, "me", "it failed"),
        "requests.begin": lambda: p.requests.begin(Request(id="r1", api="a", model="m", idempotency_key="k")),
        "requests.by_idempotency_key": lambda: p.requests.by_idempotency_key("other"),
        "requests.start": lambda: p.requests.start("r1"),
        "requests.finish": lambda: p.requests.finish("r1", "done"),
        "requests.get": lambda: p.requests.get("r1"),
        "requests.between": lambda: list(p.requests.between(*ALWAYS)),
        "requests.counts": lambda: p.requests.counts(),
        "requests.recover": lambda: p.requests.recover(),
        "requests.purge": lambda: p.requests.purge(1 << 62),
        "receipts.put": lambda: p.receipts.put("r1", '"mine"'),
        "receipts.get": lambda: p.receipts.get("r1"),
        "receipts.between": lambda: list(p.receipts.between(*ALWAYS)),
        "receipts.purge": lambda: p.receipts.purge(),
        "feedback.put": lambda: p.feedback.put(vote(None)),
        "feedback.rate": lambda: p.feedback.rate(vote("mine")),
        "feedback.get": lambda: p.feedback.get("d"),
        "feedback.of_answer": lambda: p.feedback.of_answer("d"),
        "feedback.of_request": lambda: p.feedback.of_request("r1"),
        "feedback.between": lambda: list(p.feedback.between(*ALWAYS)),
        "examples.propose": lambda: p.examples.propose(Example(id="", kind="good", question='"Who?"', answer="I.")),
        "examples.follow": lambda: follow(p),
        "examples.get": lambda: p.examples.get(theirs["example"].id),
        "examples.all": lambda: list(p.examples.all()),
        "examples.changed_since": lambda: list(p.examples.changed_since(0)),
        "examples.counts": lambda: p.examples.counts(),
        "examples.change": lambda: p.examples.change(theirs["example"].id, 1, by="me", state="approved"),
        "performance.add": lambda: p.performance.add(
            "f", n_answers=1, n_prompt_tokens=1, n_generated_tokens=1, prefill_cycles=1, decode_cycles=1,
            first_token_ms=[1],
        ),
        "performance.between": lambda: p.performance.between(*DAYS),
        "files.put": lambda: p.files.put("x", "batch", [b"y"]),
        "files.get": lambda: p.files.get(file.id),
        "files.content": lambda: list(p.files.content(file.id)),
        "files.all": lambda: list(p.files.all()),
        "files.delete": lambda: p.files.delete(file.id),
        "files.purge": lambda: p.files.purge(),
        "batches.create": lambda: p.batches.create("/v1/x", file.id, 1 << 50),
        "batches.get": lambda: p.batches.get(batch.id),
        "batches.all": lambda: list(p.batches.all()),
        "batches.set_items": lambda: p.batches.set_items(batch.id, [NewItem(1, "c", "{}")]),
        "batches.advance": lambda: p.batches.advance(batch.id, "failed"),
        "batches.lead": lambda: p.batches.lead(batch.id, 1),
        "batches.close_items": lambda: p.batches.close_items(batch.id, "cancelled"),
        "batches.purge": lambda: p.batches.purge(1 << 62),
        "items.claim": lambda: p.items.claim(10, 1),
        "items.renew": lambda: p.items.renew([item], 1),
        "items.complete": lambda: p.items.complete(item, "{}"),
        "items.fail": lambda: p.items.fail(item, "{}"),
        "items.release": lambda: p.items.release([item]),
        "items.of": lambda: list(p.items.of(batch.id)),
        "items.recover": lambda: p.items.recover(),
        "memory.put": lambda: p.memory.put("local", "fact", [(0, "x", "x")], slot="name"),
        "memory.get": lambda: p.memory.get("local", theirs["memory"].id),
        "memory.all": lambda: list(p.memory.all("local", replaced=True)),
        "memory.owners": lambda: p.memory.owners(),
        "memory.pieces": lambda: p.memory.pieces("local", [theirs["memory"].id]),
        "memory.candidates": lambda: p.memory.candidates("local", ["theirs"]),
        "memory.put_vectors": lambda: p.memory.put_vectors("f", [(theirs["memory"].id, 0, b"mine")]),
        "memory.vectors": lambda: p.memory.vectors("local", "f"),
        "memory.count": lambda: p.memory.count(memories.Counts(1)),
        "memory.counts": lambda: p.memory.counts(),
        "deletions.forget": lambda: p.deletions.forget("local", [theirs["memory"].id]),
        "deletions.all": lambda: p.deletions.all(),
        "requests.compared": lambda: list(p.requests.compared(0)),
        "receipts.keep": lambda: p.receipts.keep("r1", 1 << 50),
        "cached_answers.put": lambda: p.cached_answers.put("a1", b"mine", fingerprint="f", expires=1 << 50),
        "cached_answers.get": lambda: p.cached_answers.get("a1"),
        "cached_answers.touch": lambda: p.cached_answers.touch("a1"),
        "cached_answers.remove": lambda: p.cached_answers.remove("a1"),
        "cached_answers.purge": lambda: p.cached_answers.purge(),
        "cached_answers.purge_expired": lambda: p.cached_answers.purge_expired(),
        "cached_answers.n_bytes": lambda: p.cached_answers.n_bytes(),
        "cached_answers.trim": lambda: p.cached_answers.trim(0),
        "cached_answers.groups": lambda: p.cached_answers.groups(),
        "tasks.add": lambda: p.tasks.add("math", "demo", "f", "", ok=True),
        "tasks.judged": lambda: judge(p),
        "tasks.since": lambda: p.tasks.since(DAYS[0]),
        "route_corrections.put": lambda: p.route_corrections.put("mine", "math"),
        "route_corrections.remove": lambda: p.route_corrections.remove("theirs"),
        "route_corrections.all": lambda: p.route_corrections.all(),
        "route_corrections.version": lambda: p.route_corrections.version(),
        "adapters.add": lambda: p.adapters.add(adapter("mine"), "ADAPTER_ADDED", {}, "ada"),
        "adapters.get": lambda: p.adapters.get("theirs"),
        "adapters.all": lambda: p.adapters.all(),
        "adapters.event_counts": lambda: p.adapters.event_counts(),
        "adapters.in_use": lambda: p.adapters.in_use(),
        "adapters.move": lambda: p.adapters.move("a" * 64, "retired", "ADAPTER_RETIRED", {}, "ada"),
        "adapters.note": lambda: p.adapters.note("a" * 64, "gate", "ADAPTER_UNDECIDED", {}, "ada"),
        "adapters.events": lambda: list(p.adapters.events()),
        "plugins.allow": lambda: p.plugins.allow("weather", "b" * 64, {}, {}, "me"),
        "plugins.forbid": lambda: p.plugins.forbid("weather", "me"),
        "plugins.quarantine": lambda: p.plugins.quarantine("weather", "a" * 64, "it failed"),
        "plugins.get": lambda: p.plugins.get("weather"),
        "plugins.all": lambda: p.plugins.all(),
    }  # fmt: skip


def public_methods(project: Project) -> set[str]:
    return {
        f"{part}.{name}"
        for part, value in vars(project).items()
        if part != "name"
        for name, _ in inspect.getmembers(value, inspect.ismethod)
        if not name.startswith("_")
    }


@contextmanager
def statements(store: Store) -> Iterator[list[tuple[str, Any]]]:
    """What is sent to the database meanwhile."""
    sent: list[tuple[str, Any]] = []

    def note(_c: object, _cursor: object, statement: str, parameters: Any, _context: object, _many: object) -> None:
        sent.append((statement, parameters))

    engine = store._database.engine
    sa.event.listen(engine, "before_cursor_execute", note)
    yield sent
    sa.event.remove(engine, "before_cursor_execute", note)


def test_no_method_crosses_projects(store: Store, clock: Clock) -> None:
    other, empty = store.create_project("theirs"), store.create_project("empty")
    theirs = fill(other)
    clock.now += 1_000_000  # all leases have lapsed, all that expires has
    before = rows(store, 2)
    assert all(before[table] for table in before)
    attempts = calls(empty, theirs)
    assert set(attempts) == public_methods(empty)
    for name, call in attempts.items():
        with statements(store) as sent:
            try:
                result = call()
            except (errors.NotFound, errors.InvalidArgument) as error:
                result = error
        assert rows(store, 2) == before, name
        assert "theirs" not in repr(result), name
        for statement, parameters in sent:
            if "set_config" in statement:
                assert values(parameters) == ["3"], name
            elif not statement.startswith("BEGIN"):
                assert "project_id" in statement, name
                assert 3 in values(parameters), (name, statement)
                assert 2 not in project_ids(parameters), (name, statement)


def values(parameters: Any) -> list[Any]:
    if isinstance(parameters, Mapping):
        return list(parameters.values())
    return [each for value in parameters for each in (values(value) if isinstance(value, list | tuple) else [value])]


def project_ids(parameters: Any) -> list[Any]:
    """Of named parameters; SQLite's have no names, and its rows were compared."""
    if not isinstance(parameters, Mapping):
        return []
    return [value for name, value in parameters.items() if name.startswith("project_id")]


def test_equal_ids_in_two_projects_are_two_things(store: Store) -> None:
    a, b = store.project(), store.create_project("b")
    fill(a)
    fill(b)
    a.requests.finish("r1", "failed", error="x")
    a.feedback.put(vote(None))
    unchanged = b.requests.get("r1")
    assert unchanged
    assert unchanged.state == "waiting"
    receipt, feedback = b.receipts.get("r1"), b.feedback.get("d")
    assert receipt
    assert feedback
    assert (receipt.json, feedback.correction) == ('"b"', "b")
    assert b.requests.by_idempotency_key("k") == unchanged
    assert [day.n_answers for day in a.performance.between(*DAYS)] == [1]


def test_a_key_opens_its_own_project(store: Store) -> None:
    other = store.create_project("other")
    new = other.keys.create("laptop")
    assert store.project().keys.find(new.secret) is None
    found = store.authenticate(new.secret)
    assert found
    found.project.requests.begin(Request(id="r1", api="a", model="m", key_id=found.key.id))
    assert other.requests.get("r1")
    assert store.project().requests.get("r1") is None


@pytest.mark.parametrize(
    "part",
    [
        *("keys", "requests", "receipts", "feedback", "examples", "performance", "uploads", "batches", "items"),
        *("tasks", "corrections", "cached_answers", "quotas", "admin_log", "live_settings"),
    ],
)
def test_statements_are_built_by_the_scope_alone(part: str) -> None:
    module = __import__(f"flyball.store.{part}", fromlist=[part])
    assert (
        re.findall(r"\bsa\.(?:select|insert|update|delete|text)\(|\bexec_driver_sql", inspect.getsource(module)) == []
    )


def test_hostile_ids_are_unknown_ids(project: Project) -> None:
    """As a client may put them into a path."""
    fill(project)
    for id in ("", "\0", "r1\0", "\ud800", "x" * 100_000, "' OR '1'='1", "%", "r1' --", "../r1"):
        assert project.requests.get(id) is None
        assert project.requests.by_idempotency_key(id) is None
        assert not project.requests.finish(id, "done")
        assert project.receipts.get(id) is None
        assert project.feedback.get(id) is None
        assert project.feedback.of_request(id) == []
        assert project.examples.get(id) is None
        assert project.files.get(id) is None
        assert not project.files.delete(id)
        assert project.batches.get(id) is None
        assert not project.batches.lead(id, 1)
        assert list(project.items.of(id)) == []
        acts: list[Callable[[], object]] = [
            partial(project.keys.revoke, id),
            partial(project.files.content, id),
            partial(project.feedback.rate, Feedback(answer_id="", request_id=id, rating="good")),
            partial(project.examples.change, id, 1, by="me"),
            partial(project.batches.advance, id, "failed"),
        ]
        for act in acts:
            with pytest.raises(errors.NotFound):
                act()


def test_times_beyond_every_database_are_refused(project: Project) -> None:
    bad: list[Any] = [1 << 63, -1, 1.5]
    for time in bad:
        acts: list[Callable[[], object]] = [
            partial(project.requests.between, 0, time),
            partial(project.requests.purge, time),
            partial(project.receipts.between, time, 5),
            partial(project.receipts.put, "r1", "{}", expires=time),
            partial(project.feedback.between, 0, time),
            partial(project.files.put, "a", "batch", [], expires=time),
            partial(project.keys.create, "a", expires=time),
            partial(project.batches.create, "/v1/x", "file-1", time),
            partial(project.batches.purge, time),
        ]
        for act in acts:
            with pytest.raises(errors.InvalidArgument):
                act()
