"""A server that is killed while it writes: what it had committed is there, and the store opens."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from flyball.store import NewItem, Request, Store

# Several threads write; a line is printed after each commit.
WRITER = """
import sys, threading
from flyball.store import Request, Store

store = Store.open(sys.argv[1], instance="one")
project = store.project()

def said(*words):
    sys.stdout.write(" ".join(words) + "\\n")
    sys.stdout.flush()

def answer(thread):
    for number in range(100_000):
        id = f"{thread}-{number}"
        project.requests.begin(Request(id=id, api="native", model="demo", state="running"))
        said("begun", id)
        project.receipts.put(id, '{"padding": "' + "x" * 5000 + '"}')
        said("receipt", id)
        project.requests.finish(id, "done", digest=id)
        said("done", id)

def work():
    while items := project.items.claim(2, 3_600_000):
        for item in items:
            project.items.complete(item, "{}")
            said("item", str(item.line))

def upload():
    for number in range(100_000):
        file = project.files.put("a", "batch", [b"x" * 3_000_000])
        said("file", file.id)

for target, arguments in ((answer, ("a",)), (answer, ("b",)), (work, ()), (upload, ())):
    threading.Thread(target=target, args=arguments, daemon=True).start()
threading.Event().wait()
"""
ROUNDS = int(os.environ.get("FLYBALL_KILLS", "2"))


def killed(path: Path, n_lines: int) -> list[list[str]]:
    """What a writer said before it was killed, after this many lines."""
    with subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        said = [writer.stdout.readline() for _ in range(n_lines)]
        writer.kill()
        said += writer.stdout.readlines()
    return [line.split() for line in said if line.endswith("\n")]


@pytest.mark.soak
def test_a_killed_server_loses_nothing_that_it_committed(tmp_path: Path) -> None:
    path, draw = tmp_path / "store.sqlite", random.Random()
    for round in range(ROUNDS):
        path = tmp_path / f"{round}.sqlite"
        with Store.open(path) as store:
            project = store.project()
            batch = project.batches.create("/v1/x", "file-1", 1 << 50)
            project.batches.set_items(batch.id, [NewItem(line, f"c{line}", "{}") for line in range(1, 1001)])
            project.batches.advance(batch.id, "in_progress")
        said = killed(path, draw.randrange(1, 150))
        assert said
        check(path, batch.id, said)


def check(path: Path, batch: str, said: list[list[str]]) -> None:
    def ids(what: str) -> set[str]:
        return {id for word, id in said if word == what}

    with Store.open(path, instance="one") as store:
        project = store.project()
        with store._database.reading() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
            assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
        requests = {request.id: request for request in project.requests.between(0, 1 << 62)}
        assert ids("begun") <= set(requests)
        assert {request.state for request in requests.values()} <= {"done", "interrupted"}
        assert all(requests[id].state == "done" and requests[id].digest == id for id in ids("done"))
        receipts = {receipt.id: receipt.json for receipt in project.receipts.between(0, 1 << 62)}
        assert ids("receipt") <= set(receipts)
        assert all(len(json) == 5015 for json in receipts.values())
        files = {file.id: file for file in project.files.all()}
        assert ids("file") <= set(files)
        for id in files:
            assert sum(map(len, project.files.content(id))) == 3_000_000
        completed = {str(item.line) for item in project.items.of(batch, ["completed"])}
        assert ids("item") <= completed
        n_left = 0
        while claimed := project.items.claim(100, 1000):  # those that were claimed are free at once
            n_left += len(claimed)
        assert n_left == 1000 - len(completed)
        project.requests.begin(Request(id="next", api="native", model="demo"))
        with store._database.reading() as connection:
            assert connection.execute(sa.text("SELECT count(*) FROM projects")).scalar() == 1
