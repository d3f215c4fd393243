"""flyball project: projects, tokens, quotas, the log, and a deletion with what proves it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flyball.cli import main
from flyball.store import Request, Store, StoredAdapter


def said(capsys: pytest.CaptureFixture[str], url: Path, *words: str, code: int = 0) -> Any:
    assert main(["project", *words, "--json", "--set", f"serve.store={url}"]) == code
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def url(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


def test_a_project_from_its_making_to_its_end(capsys: pytest.CaptureFixture[str], url: Path) -> None:
    assert said(capsys, url, "create", "lab") == {"name": "lab"}
    new = said(capsys, url, "token", "lab", "laptop", "--user", "ada", "--scope", "generate", "--days", "3")
    assert (new["project"], new["user"], new["role"], new["scopes"]) == ("lab", "ada", "member", "generate")
    with Store.open(url) as store:
        found = store.authenticate(new["secret"])
        assert found is not None
        assert found.key.granted == {"generate"}
    assert said(capsys, url, "quota", "lab", "--concurrent", "4", "--bytes", "none")["concurrent"] == 4
    quota = said(capsys, url, "quota", "lab", "--tokens-per-day", "9")
    assert {name: quota[name] for name in ("concurrent", "tokens_per_day", "bytes")} == {
        "concurrent": 4,
        "tokens_per_day": 9,
        "bytes": None,
    }
    assert [each["name"] for each in said(capsys, url, "list")] == ["default", "lab"]
    log = said(capsys, url, "log", "lab")
    assert [each["act"] for each in log["acts"]] == ["token.create", "quota.set", "quota.set"]
    assert log["first_broken"] is None
    assert log["head"] == log["acts"][-1]["hash"]
    assert new["secret"] not in json.dumps(log)
    gone = said(capsys, url, "delete", "lab", "--yes")
    assert gone["act"]["rows_before"]["api_keys"] == 1
    assert set(gone["act"]["rows_after"].values()) == {0}
    assert gone["wiped"] is True
    assert [each["name"] for each in said(capsys, url, "list")] == ["default"]
    with Store.open(url) as store:
        assert store.authenticate(new["secret"]) is None


def test_what_is_said_to_people(capsys: pytest.CaptureFixture[str], url: Path) -> None:
    where = ("--set", f"serve.store={url}")
    for words in (
        ["create", "lab"],
        ["token", "lab", "x"],
        ["list"],
        ["quota", "lab"],
        ["log"],
        ["delete", "lab", "--yes"],
    ):
        assert main(["project", *words, *where]) == 0
        assert capsys.readouterr().out
    assert main(["project", "log", *where]) == 0
    out = capsys.readouterr().out
    assert "project.delete" in out
    assert "the chain holds" in out


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["delete", "lab"], "--yes"),
        (["delete", "default", "--yes"], "cannot be deleted"),
        (["delete", "nobody", "--yes"], "no project has this name"),
        (["create", "lab"], "is a project already"),
        (["create", ""], "name"),
        (["token", "nobody", "x"], "no project has this name"),
        (["token", "lab", "x", "--role", "king"], "owner, member, auditor"),
        (["token", "lab", "x", "--scope", "admin"], "a member has"),
        (["token", "lab", "x", "--days", "0"], "must be from 1"),
        (["quota", "lab", "--concurrent", "many"], "--concurrent"),
        (["quota", "lab", "--tokens-per-day", "-1"], "--tokens-per-day"),
    ],
)
def test_what_is_refused(capsys: pytest.CaptureFixture[str], url: Path, words: list[str], what: str) -> None:
    said(capsys, url, "create", "lab")
    assert main(["project", *words, "--set", f"serve.store={url}"]) == 2
    assert what in capsys.readouterr().err
    assert [each["name"] for each in said(capsys, url, "list")] == ["default", "lab"]


def test_a_changed_log_is_found(capsys: pytest.CaptureFixture[str], url: Path) -> None:
    for name in ("a", "b"):
        said(capsys, url, "create", name)
    with Store.open(url) as store, store._database.writing() as connection:
        connection.exec_driver_sql("UPDATE admin_log SET json = replace(json, 'local', 'nobody') WHERE number = 1")
    assert said(capsys, url, "log", code=1)["first_broken"] == 1


def test_its_adapters_go_but_for_those_of_others(capsys: pytest.CaptureFixture[str], url: Path, tmp_path: Path) -> None:
    folders = {name: tmp_path / (name * 64) for name in "abc"}
    for folder in folders.values():
        folder.mkdir()
        (folder / "adapter.gguf").write_bytes(b"x")
    for name in "ab":
        (folders[name] / "manifest.json").write_text("{}")
    with Store.open(url) as store:
        lab, other = store.create_project("lab"), store.create_project("other")
        for project, names in ((lab, "abc"), (other, "b")):
            for name in names:
                row = StoredAdapter(
                    digest=name * 64, name=name, fingerprint="f", parent=None, state="trained", share=None,
                    manifest="{}", path=str(folders[name]), created=0, changed=0,
                )  # fmt: skip
                project.adapters.add(row, "ADAPTER_ADDED", {}, "ada")
    gone = said(capsys, url, "delete", "lab", "--yes")
    assert not folders["a"].exists()
    assert folders["b"].exists()
    assert folders["c"].exists()  # no adapter's folder, whatever the row says
    assert gone["act"]["rows_before"]["adapters"] == 3


def test_a_server_that_still_runs_lets_nobody_in(capsys: pytest.CaptureFixture[str], url: Path) -> None:
    """Its own store refuses what it would still write."""
    said(capsys, url, "create", "lab")
    new = said(capsys, url, "token", "lab", "x")
    with Store.open(url, instance="server") as store:
        found = store.authenticate(new["secret"])
        assert found is not None
        said(capsys, url, "delete", "lab", "--yes")
        assert store.authenticate(new["secret"]) is None
        with pytest.raises(Exception, match="FOREIGN KEY"):
            found.project.requests.begin(Request(id="late", api="a", model="m"))
