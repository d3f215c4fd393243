"""Keys: one per folder whoever comes first, closed to others, rotated, published."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flyball import audit
from flyball.audit.primitives import is_signed
from flyball.errors import FileError, FormatError, NotFound
from tests.python.audit.world import Clock


def test_keys_are_made_once_and_are_closed_to_others(tmp_path: Path, clock: Clock) -> None:
    folder = tmp_path / "made" / "keys"
    first = audit.Keys(folder, clock).public
    clock.tick()
    assert audit.Keys(folder, clock).public.json == first.json
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "keys.json").stat().st_mode) == 0o600
    assert [path.name for path in sorted(folder.iterdir())] == ["keys.json", "lock"]
    (key,) = first
    assert key.as_dict() == {
        "id": key.id,
        "algorithm": "Ed25519",
        "public_key": key.as_dict()["public_key"],
        "created": "2027-01-15T08:00:00.000Z",
        "retired": None,
    }
    assert "private" not in first.json
    assert audit.PublicKeys.parse(first.json).json == first.json


def test_a_rotated_key_verifies_and_another_signs(tmp_path: Path, clock: Clock) -> None:
    keys = audit.Keys(tmp_path / "keys", clock)
    with keys.signing() as old:
        pass
    seed = old.seed
    beside = audit.Keys(tmp_path / "keys", clock)  # another process of the same server
    now = clock.tick()
    new = keys.rotate()
    assert [(key.id, key.retired) for key in keys.public] == [(old.id, now), (new.id, None)]
    with beside.signing() as signing:
        assert signing.id == new.id
        assert is_signed(new.public, b"text", signing.sign(b"text"))
    assert seed.hex() not in (tmp_path / "keys" / "keys.json").read_text()
    assert len(json.loads((tmp_path / "keys" / "keys.json").read_text())["keys"]) == 2
    assert "private_key" not in json.loads((tmp_path / "keys" / "keys.json").read_text())["keys"][0]
    assert stat.S_IMODE((tmp_path / "keys" / "keys.json").stat().st_mode) == 0o600


def test_a_clock_that_is_set_back_makes_no_signature_before_its_key(tmp_path: Path, clock: Clock) -> None:
    keys = audit.Keys(tmp_path / "keys", clock)
    clock.tick(-1000)
    keys.rotate()
    with keys.signing() as signing:
        assert signing.now == list(keys.public)[-1].created == "2027-01-15T08:00:00.000Z"


def test_processes_that_start_at_once_have_one_key(tmp_path: Path) -> None:
    """They wait for the end of their standard input, so that all have imported everything before one begins."""
    code = "import sys, flyball.audit as a; sys.stdin.read()\nwith a.Keys(sys.argv[1]).signing() as key: print(key.id)"
    words = [sys.executable, "-c", code, str(tmp_path / "keys")]
    started = [subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for process in started:
        assert process.stdin
        process.stdin.close()
        process.stdin = None
    found = {process.communicate()[0].strip() for process in started}
    assert found == {key.id for key in audit.Keys(tmp_path / "keys").public}


@pytest.mark.parametrize(("name", "mode"), [("", 0o750), ("", 0o701), ("keys.json", 0o640), ("keys.json", 0o606)])
def test_what_others_may_read_is_refused(tmp_path: Path, name: str, mode: int) -> None:
    folder = tmp_path / "keys"
    audit.Keys(folder)
    (folder / name).chmod(mode)
    with pytest.raises(FileError, match=rf"mode {mode:o}\).*chmod {'600' if name else '700'}"):
        audit.Keys(folder)


def test_a_private_key_behind_a_link_is_refused(tmp_path: Path) -> None:
    audit.Keys(tmp_path / "other")
    (tmp_path / "keys").mkdir(mode=0o700)
    (tmp_path / "keys" / "keys.json").symlink_to(tmp_path / "other" / "keys.json")
    with pytest.raises(FileError, match="no file of keys"):
        audit.Keys(tmp_path / "keys")


DAMAGE = {
    "empty": "",
    "cut": None,
    "list": "[]",
    "version": lambda found: found | {"version": 2},
    "no keys": lambda found: found | {"keys": []},
    "keys are no list": lambda found: found | {"keys": {}},
    "key is no object": lambda found: found | {"keys": [1]},
    "id": lambda found: _with(found, id="0" * 16),
    "algorithm": lambda found: _with(found, algorithm="RSA"),
    "public key": lambda found: _with(found, public_key=found["keys"][0]["private_key"]),
    "short public key": lambda found: _with(found, public_key="AAAA"),
    "created": lambda found: _with(found, created="yesterday"),
    "impossible day": lambda found: _with(found, created="2027-02-30T08:00:00.000Z"),
    "retired": lambda found: _with(found, retired="2030-01-01T00:00:00.000Z"),
    "retired before it was made": lambda found: _with(found, retired="2001-01-01T00:00:00.000Z"),
    "private key": lambda found: _with(found, private_key="A" * 43 + "="),
    "no private key": lambda found: _with(found, private_key=None),
    "twice": lambda found: found | {"keys": [_retired(found["keys"][0]), *found["keys"]]},
    "unknown member": lambda found: _with(found, note="x"),
}


def _with(found: dict[str, Any], **changes: object) -> dict[str, Any]:
    return found | {"keys": [found["keys"][0] | changes]}


def _retired(key: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in key.items() if name != "private_key"} | {"retired": key["created"]}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_keys_are_refused_and_kept(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "keys"
    keys = audit.Keys(folder)
    file = folder / "keys.json"
    change = DAMAGE[damage]
    whole = file.read_text()
    text = (
        change if isinstance(change, str) else whole[:-9] if change is None else json.dumps(change(json.loads(whole)))
    )
    file.write_text(text)
    with pytest.raises(FormatError, match=r"keys\.json"):
        audit.Keys(folder)
    with pytest.raises(FormatError), keys.signing():
        pass
    assert file.read_text() == text


def test_a_running_server_notices_that_its_keys_are_gone(tmp_path: Path) -> None:
    keys = audit.Keys(tmp_path / "keys")
    (tmp_path / "keys" / "keys.json").unlink()
    with pytest.raises(NotFound, match="restore"), keys.signing():
        pass


@pytest.mark.parametrize("text", ["", "{}", '{"keys":[]}', '{"keys":[1]}', '{"keys":1}', "[" * 100_000, "\xff", "null"])
def test_hostile_public_keys_are_refused(text: str) -> None:
    with pytest.raises(FormatError, match=r"^keys"):
        audit.PublicKeys.parse(text)


def test_public_keys_load_from_a_file(tmp_path: Path) -> None:
    public = audit.Keys(tmp_path / "keys").public
    (tmp_path / "published.json").write_text(public.json)
    assert audit.PublicKeys.load(tmp_path / "published.json").json == public.json
    with pytest.raises(NotFound):
        audit.PublicKeys.load(tmp_path / "nothing")
