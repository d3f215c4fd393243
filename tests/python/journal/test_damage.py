"""One thing removed or altered at a time: found and told, and nothing healthy lost."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import flyball
from flyball import journal
from flyball.cli import main

Files = dict[str, bytes]


class Kind(NamedTuple):
    """How a journal is made."""

    n_lines: int
    max_bytes: int = 8 << 20
    files: int = 8
    log: bool = False


KINDS = {
    "single": Kind(9),
    "rotated": Kind(30, 2000),
    "oldest_deleted": Kind(40, 2000, 3),
    "with_log": Kind(12, log=True),
}


def made(folder: Path, kind: Kind, text: str = "here") -> Files:
    """The files of a journal whose events name `text`."""
    folder.mkdir()
    log = folder / "log.txt" if kind.log else None
    with flyball.Journal(folder / "j", kind.max_bytes, kind.files, log=log) as kept:
        for n in range(kind.n_lines):
            kept.tell("HEAL_ACTIVE", {"streak": n, "text": text})
            kept.flush()
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def kinds_of_damage(files: Files, other: Files) -> Iterator[tuple[str, Files]]:
    """Each name says what was done to which file."""
    for name, content in files.items():
        yield f"{name} removed", {key: value for key, value in files.items() if key != name}

        def altered(changed: bytes, name: str = name) -> Files:
            return {**files, name: changed}

        if content:
            yield f"{name} empty", altered(b"")
        yield f"{name} of another journal", altered(other[name])
        if name == "j.head":
            head = json.loads(content)
            for key, value in head.items():
                changed = value + 1 if isinstance(value, int) else value[:-1] + ("0" if value[-1] != "0" else "1")
                yield f"head with another {key}", altered(json.dumps({**head, key: changed}).encode())
                yield f"head without {key}", altered(json.dumps({k: v for k, v in head.items() if k != key}).encode())
            yield "head cut off", altered(content[:40])
            continue
        yield f"{name} without its last newline", altered(content[:-1])
        yield f"{name} with a letter for its last newline", altered(content[:-1] + b"x")
        lines = content.splitlines(keepends=True)
        for i, line in enumerate(lines):
            before, behind = lines[:i], lines[i + 1 :]
            yield f"{name}:{i + 1} removed", altered(b"".join(before + behind))
            yield f"{name}:{i + 1} altered", altered(b"".join([*before, line.replace(b"streak", b"strike"), *behind]))
            yield f"{name}:{i + 1} twice", altered(b"".join([*before, line, line, *behind]))
            if behind:
                yield f"{name}:{i + 1} without newline", altered(b"".join([*before, line[:-1], *behind]))
                yield f"{name}:{i + 1} swapped", altered(b"".join([*before, behind[0], line, *behind[1:]]))


def whole_lines(files: Files) -> set[bytes]:
    """The lines of a journal's files, each with its newline, but for the last one of a file."""
    return {
        line.removesuffix(b"\n")
        for name, content in files.items()
        if name != "log.txt" and not name.endswith(".head")
        for line in content.splitlines(keepends=True)
    }


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory, where there is such a folder: thousands of flushes cost nothing there."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as name:
        yield Path(name)


def write(folder: Path, files: Files) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder / "j"


def verify(folder: Path, kind: Kind) -> int:
    log = ["--log", str(folder / "log.txt")] if kind.log else []
    return main(["journal", "verify", str(folder / "j"), *log])


def check_case(folder: Path, kind: Kind, good: Files, damaged: Files, output: Callable[[], str]) -> Iterator[str]:
    """What is wrong with how this damage is treated."""
    path = write(folder, damaged)
    code = verify(folder, kind)
    told = output()
    if code not in ((2,) if "j.head" not in damaged or (kind.log and "log.txt" not in damaged) else (1,)):
        yield f"verify ends with {code}: {told}"
    if code == 1 and not told.startswith("mismatch: "):
        yield f"verify tells {told!r}"
    lines = whole_lines(good) & whole_lines(damaged)
    seen = {event.hash.encode() for event in journal.read(path)}
    if lost := [line for line in lines if line[-66:-2] not in seen]:
        yield f"read() does not give {lost}"

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with flyball.Journal(path) as kept:
            kept.tell("HEAL_ACTIVE", {"streak": 99})
    left = {file.name: file.read_bytes() for file in folder.iterdir()}
    if not lines <= whole_lines(left):
        yield "a new writer loses lines"
    last = list(journal.read(path))
    if last[-1].data != {"streak": 99}:
        yield "a new writer records nothing"
    reasons = [event.reason_id for event in last]
    if "j.broken-1.head" in left or "j.broken-1" in left:
        if not journal.check(path).verified or reasons != ["JOURNAL_SET_ASIDE", "HEAL_ACTIVE"] or len(warned) != 1:
            yield f"the new journal has {reasons}, warnings {[str(each.message) for each in warned]}"
        if any(left[name.replace("j", "j.broken-1", 1)] != damaged[name] for name in damaged if name != "log.txt"):
            yield "what was set aside is not what was there"
        if journal.check(folder / "j.broken-1").verified:
            yield "what was set aside is verified"
    elif "j.head" not in damaged:
        if reasons[-2] != "JOURNAL_HEAD_MISSING":
            yield f"the journal goes on with {reasons[-2:]}"
    elif damaged["j"] == good["j"][:-1]:
        if not journal.check(path).verified:
            yield "a completed line is not verified"
    elif damaged.get("log.txt") == good.get("log.txt") and journal.check(path).verified:
        yield "the damage is covered by going on"
    output()


@pytest.mark.parametrize(
    ("name", "least"), [("single", 55), ("rotated", 140), ("oldest_deleted", 110), ("with_log", 130)]
)
def test_whatever_is_removed_or_altered_is_found_and_nothing_healthy_is_lost(
    name: str, least: int, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = KINDS[name]
    good, other = made(folder / "good", kind), made(folder / "other", kind, "elsewhere")
    write(folder / "as_it_was", good)
    assert verify(folder / "as_it_was", kind) == 0
    wrong, n = [], 0
    for what, damaged in kinds_of_damage(good, other):
        capsys.readouterr()
        found = check_case(folder / str(n), kind, good, damaged, lambda: "".join(capsys.readouterr()))
        wrong += [f"{what}: {text}" for text in found]
        n += 1
    assert wrong == []
    assert n >= least, n
