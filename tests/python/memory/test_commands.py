"""`flyball memory` and `flyball chat --memory`."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flyball.cli import main
from flyball.memory import Memory
from flyball.store import Store

Say = Callable[..., Any]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Say:
    """say("list") runs `flyball memory list --json`, and gives what it printed; `code`: the exit code it must have."""

    def said(action: str, *words: str, code: int = 0) -> Any:
        as_json = [] if action == "export" else ["--json"]
        assert main(["memory", action, *words, *as_json, "--set", f"serve.store={tmp_path / 'store.sqlite'}"]) == code
        out = capsys.readouterr().out
        return [json.loads(row) for row in out.splitlines()] if action == "export" else json.loads(out or "null")

    return said


def test_a_document_from_its_file_to_its_deletion(say: Say, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("Kitaplarımızdan biri ışık üzerine.")
    document, fact = say("add", str(file)), say("add", "--fact", "Benim adım Kaan")
    assert (document["kind"], document["name"], fact["slot"]) == ("document", "notes.txt", "name")
    assert [each["text"] for each in say("list")] == [None, "Benim adım Kaan"]
    assert [each["item_id"] for each in say("search", "IŞIK", "kitap")] == [document["id"]]
    assert say("search", "zürafa") == []
    assert say("show", document["id"])["text"] == file.read_text()
    assert [each["text"] for each in say("export")] == [file.read_text(), "Benim adım Kaan"]
    record = say("forget", document["id"])
    assert record["items"] == {document["id"]: document["hash"]}
    assert record["wiped"] is True
    deletions = say("deletions")
    assert deletions["first_broken"] is None
    assert deletions["records"][0]["hash"] == record["hash"]
    assert say("stats")["users"] == {"local": 1}
    assert len(say("forget", "--all")["items"]) == 1
    assert say("list", "--all") == []


def test_users_are_apart(say: Say) -> None:
    say("add", "--fact", "I like tea", "--user", "key_1/ada")
    assert say("list") == []
    assert len(say("list", "--user", "key_1/ada")) == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["add"], "needs a FILE, or --fact TEXT"),
        (["add", "absent.txt"], "does not exist"),
        (["show", "mem_0"], "no memory of this project has this id"),
        (["forget"], "needs ids, or --all"),
        (["forget", "--all"], "nothing is remembered"),
        (["list", "--project", "nobody"], "no project has this name"),
        (["list", "--set", "serve.store=none"], "memory is kept in a store"),
    ],
)
def test_what_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str], told: str) -> None:
    assert main(["memory", words[0], "--set", f"serve.store={tmp_path / 'a'}", *words[1:]]) == 2
    assert told in capsys.readouterr().err


def test_a_broken_chain_is_a_failure(say: Say, tmp_path: Path) -> None:
    say("add", "--fact", "I like tea")
    say("forget", "--all")
    with sqlite3.connect(tmp_path / "store.sqlite") as connection:
        connection.execute("UPDATE memory_deletions SET json = replace(json, 'local', 'lokal')")
    assert say("deletions", code=1)["first_broken"] == 1


def test_a_conversation_remembers(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = f"serve.store={tmp_path / 'store.sqlite'}"
    lines = "/remember Benim adım Kaan\n/remember\nWhat is 2 + 3?\nWhat is 3 + 4?\n/show messages\n/bye\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    assert main(["chat", "--memory", "--temp", "0", "-n", "8", "--set", "tune=off", "--set", store]) == 0
    out = capsys.readouterr()
    assert out.out.count("(memory: mem_") == 2
    assert "remembered as mem_" in out.out
    assert "needs a text" in out.err + out.out
    assert "Data that is remembered" not in out.out  # the history has what was said
    with Store.open(tmp_path / "store.sqlite") as opened:
        assert [each["text"] for each in Memory(opened.project()).export()] == ["Benim adım Kaan"]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"/remember x\n/bye\n")))
    assert main(["chat", "--set", "tune=off", "--set", store]) == 0
    out = capsys.readouterr()
    assert "needs a memory: flyball chat --memory" in out.err + out.out
