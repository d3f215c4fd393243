"""Odd surroundings: closed and full streams, other encodings, users without a home. No verdict's code, no lost JSON."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import flyball
from flyball.cli import main
from flyball.journal.journal import Journal

Done = subprocess.CompletedProcess[bytes]


def shell(command: str, cwd: Path, env: Mapping[str, str] | None = None, stdin: bytes = b"") -> Done:
    """Run a line of shell in which $F is the command."""
    there = os.environ | {"F": f"{sys.executable} -m flyball"} | dict(env or {})
    return subprocess.run(["sh", "-c", command], cwd=cwd, env=there, input=stdin, capture_output=True, timeout=120)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, demo: flyball.Model) -> Path:
    """good.json holds, forged.json does not; run.jsonl is a journal, damaged.jsonl has a changed line."""
    made = tmp_path_factory.mktemp("surroundings")
    result = demo.generate("Once upon a time", 6, seed=1)
    result.receipt.save(made / "good.json")
    forged = json.loads(result.receipt.json)
    forged["tokens"][3] += 1
    (made / "forged.json").write_text(json.dumps(forged))
    with (
        Journal(made / "run.jsonl") as journal,
        flyball.Model.load(flyball.demo_model_path(), journal=journal) as model,
    ):
        model.generate("Once", 4)
    lines = (made / "run.jsonl").read_text().replace('"stop_reason":"max_tokens"', '"stop_reason":"eos"')
    (made / "damaged.jsonl").write_text(lines)
    return made


def one_line(done: Done) -> bool:
    return done.stderr.startswith(b"flyball: ") and done.stderr.count(b"\n") == 1


WITH_OUTPUT = (
    "verify good.json",
    "verify forged.json",
    "verify good.json --json",
    "replay run.jsonl",
    "journal verify run.jsonl",
    "journal verify damaged.jsonl --json",
    "journal show run.jsonl",
    "journal tail damaged.jsonl --json",
    "journal explain run.jsonl",
    "journal stats run.jsonl",
    "run -p x -n 3",
    "run -p x -n 3 --json --no-receipt",
    "info --json",
    "models",
    "config",
)


@pytest.mark.parametrize("words", WITH_OUTPUT)
def test_a_full_disk_is_an_error_and_no_verdict(words: str, folder: Path) -> None:
    done = shell(f"$F {words} >/dev/full", folder)
    assert done.returncode == 2
    assert b"standard output: cannot be written: No space left" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("words", ["verify forged.json", "journal show run.jsonl --json", "info --metadata", "--help"])
def test_a_reader_that_leaves_is_no_verdict(words: str, folder: Path) -> None:
    done = shell(f"(sleep 0.3; $F {words}; echo $? >code-$$) | true; sleep 0.1; cat code-*; rm code-*", folder)
    assert done.stdout.strip() in (b"0", b"2")
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("words", "code"),
    [("verify good.json", 0), ("verify forged.json", 1), ("run -q -p x -n 3", 0), ("run -p x", 0), ("verify none", 2)],
)
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_closed_streams_do_not_change_the_exit_code(words: str, code: int, closed: str, folder: Path) -> None:
    done = shell(f"$F {words} {closed}", folder)
    assert done.returncode == code
    assert b"Traceback" not in done.stderr
    if "2>" not in closed:
        assert one_line(done) == (code == 2)
    if code == 2:
        assert done.stdout == b""  # Python prints to standard output where standard error is closed


def test_errors_into_a_full_disk_keep_the_exit_code(folder: Path) -> None:
    assert shell("$F verify forged.json 2>/dev/full", folder).returncode == 1
    assert shell("$F verify none 2>/dev/full", folder).returncode == 2
    assert shell("$F journal verify damaged.jsonl 2>/dev/full", folder).returncode == 1


def test_a_journal_does_not_get_the_number_of_a_closed_stream(folder: Path) -> None:
    done = shell("$F run -q -p x -n 3 --no-receipt --journal own.jsonl >&- 2>&-; $F journal verify own.jsonl", folder)
    assert done.returncode == 0
    assert done.stdout.startswith(b"verified: ")


def test_a_prompt_from_closed_input_is_empty(folder: Path) -> None:
    done = shell("$F run -q -f - <&-", folder)
    assert (done.returncode, one_line(done)) == (2, True)
    assert b"empty" in done.stderr


# ---------------------------------------------------------------- encodings

ENCODINGS: list[dict[str, str]] = [
    {"LC_ALL": "C"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "latin-1"},
    {"PYTHONIOENCODING": "utf-16"},
    {"PYTHONIOENCODING": "utf-8:strict"},
]


@pytest.mark.parametrize("env", ENCODINGS, ids=lambda env: " ".join(env.values()))
def test_json_is_json_in_every_locale(env: dict[str, str], folder: Path) -> None:
    prompt = "Caf\u00e9 \u201cx\u201d \U0001f600 "
    done = shell(f"$F run --json -p '{prompt}' -n 3 --no-receipt", folder, env)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["prompt"] == prompt
    for raw in ("m\u00f6del \U0001f600.gguf".encode(), b"odd \xff.gguf"):
        named = folder / os.fsdecode(raw)
        named.symlink_to(flyball.demo_model_path())
        done = shell("$F models . --json", folder, env)
        named.unlink()
        assert [os.fsencode(Path(row["file"]).name) for row in json.loads(done.stdout)] == [raw]


def test_numbers_that_json_lacks_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    from flyball.cli import common

    common.write_json({"a": [1.5, float("nan")], "b": {"c": float("-inf")}, "d": (float("inf"), "\u00e9")})
    assert json.loads(capsys.readouterr().out) == {"a": [1.5, None], "b": {"c": None}, "d": [None, "\u00e9"]}


def test_a_bad_byte_of_the_input_costs_one_character(folder: Path) -> None:
    said = shell("$F chat", folder, {"PYTHONIOENCODING": "utf-8:strict"}, b"bad \xff\nWhat is 3 + 4?\n")
    assert said.returncode == 0
    assert b"3 + 4 = 7" in said.stdout


def test_bytes_of_the_command_line_that_are_not_utf8(folder: Path) -> None:
    done = shell("$F run -p \"$(printf 'a\\377')\"", folder)
    assert (done.returncode, one_line(done)) == (2, True)


# ---------------------------------------------------------------- folders


HOMES: list[dict[str, str]] = [
    {"HOME": "/proc"},
    {"HOME": "relative"},
    {"HOME": "/etc/passwd"},
    {"HOME": ""},
    {"XDG_STATE_HOME": "relative", "XDG_CACHE_HOME": "relative", "XDG_CONFIG_HOME": "relative", "HOME": "/proc"},
    {"XDG_STATE_HOME": "/etc/passwd", "XDG_CACHE_HOME": "/etc/passwd", "XDG_CONFIG_HOME": "/etc/passwd"},
]


@pytest.mark.parametrize("env", HOMES, ids=lambda env: " ".join(env.values()))
def test_a_folder_that_cannot_be_written_does_not_stop_a_command(env: dict[str, str], tmp_path: Path) -> None:
    unset = "unset " + " ".join(f"XDG_{name}_HOME" for name in ("STATE", "CACHE", "CONFIG")) + "; "
    unset = "" if "XDG_STATE_HOME" in env else unset
    if env.get("HOME") == "":  # root's home stays as it is
        unset += "export XDG_STATE_HOME=/proc XDG_CACHE_HOME=/proc; "
    done = shell(f"{unset}$F run -p x -n 3", tmp_path, env)
    assert done.returncode == 0, done.stderr
    assert b"digest " in done.stdout
    assert b"none (" in done.stdout
    assert done.stderr.startswith(b"flyball: no receipt: ")
    for words in ("models", "config", "info", "run -q -n 3 --no-receipt"):
        assert shell(f"{unset}$F {words}", tmp_path, env).returncode == 0
    assert not list(tmp_path.glob("relative*"))


def test_a_user_that_no_file_knows(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import pwd

    def unknown(user: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {user}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert main(["run", "-n", "3"]) == 0
    captured = capsys.readouterr()
    assert "there is no home folder" in captured.out
    assert captured.err.startswith("flyball: no receipt: ")
    assert main(["models"]) == 0


def test_a_receipt_that_was_asked_for_and_cannot_be_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert main(["run", "-n", "3", "--json", "--receipt", str(tmp_path / "file" / "r.json")]) == 2
    captured = capsys.readouterr()
    answer = json.loads(captured.out)  # delivered all the same
    assert answer["text"]
    assert answer["receipt"] is None
    assert len(answer["digest"]) == 64
    assert "no receipt" in captured.err


def test_the_current_folder_may_be_gone(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    for words in ("run -q -n 3", "models", "config"):
        done = shell(
            f"cd gone && rmdir ../gone && $F {words}; code=$?; mkdir ../gone 2>/dev/null; exit $code", tmp_path
        )
        assert done.returncode == 0, done.stderr
        (tmp_path / "gone").mkdir(exist_ok=True)


# ---------------------------------------------------------------- crashes


@pytest.mark.parametrize(
    "error", [RuntimeError("broken\nhere"), MemoryError(), KeyError("x"), RecursionError(), OSError(5, "I/O")]
)
def test_a_defect_is_one_line_and_no_verdict(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("flyball.cli.verify.report_of", fail)
    assert main(["verify", str(folder / "good.json")]) == 2
    err = capsys.readouterr().err
    assert err.startswith("flyball: ")
    assert err.count("\n") == 1


def test_a_package_that_cannot_be_imported_is_no_verdict() -> None:
    program = "import sys; sys.modules['flyball._core'] = None; from flyball_command import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", program, "verify", "x"], capture_output=True, timeout=60)
    assert (done.returncode, one_line(done)) == (2, True)
    assert done.stderr.startswith(b"flyball: cannot start, ModuleNotFoundError: ")


@pytest.mark.parametrize(
    ("program", "wanted"),
    [("exit 0", []), ("echo x; echo bad cluster; exit 1", ["bad cluster"]), ("exit 1", None), ("kill -9 $$", None)],
)
def test_a_checker_that_fails_is_no_verdict(
    program: str, wanted: list[str] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flyball import image

    (tmp_path / "fsck.fat").write_text(f"#!/bin/sh\n{program}\n")
    (tmp_path / "fsck.fat").chmod(0o755)
    image.tools.run(["mformat", "-C", "-i", str(tmp_path / "disk"), "-f", "1440", "::"], tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    if wanted is None:
        with pytest.raises(flyball.FileError, match="cannot be checked"):
            image.check(tmp_path / "disk")
    else:
        assert image.check(tmp_path / "disk") == wanted


def test_a_journal_that_cannot_go_on_is_set_aside_and_the_answer_given(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_bytes((folder / "damaged.jsonl").read_bytes())
    done = shell("PYTHONWARNINGS=error $F run -q -p x -n 3 --no-receipt --journal own.jsonl", tmp_path)
    assert done.returncode == 0
    assert done.stdout.strip()
    [told] = done.stderr.splitlines()
    assert re.fullmatch(rb"flyball: warning: own.jsonl: cannot go on, .*; it was set aside as .*-1, and .*", told)
    assert shell("$F journal verify own.jsonl", tmp_path).returncode == 0
    assert shell("$F journal verify own.jsonl.broken-1", tmp_path).returncode == 1


@pytest.mark.parametrize("where", ["own.jsonl", "/proc/no/own.jsonl"])
def test_an_answer_that_cannot_be_recorded_is_given(where: str, tmp_path: Path) -> None:
    """A full disk (here: a limit of bytes), a folder that takes no file."""
    words = f"run -q -p x -n 3 --no-receipt --journal {where}"
    done = shell(f"$F {words}; echo $?; ulimit -f 0; $F {words}; echo $?", tmp_path)
    first, second = done.stdout.split(b"0\n")[:2]
    assert first == second != b""
    told = done.stderr.splitlines()
    assert all(line.startswith(b"flyball: warning: ") for line in told)
    assert told[-1].endswith(b" events are not recorded" if where == "own.jsonl" else b"nothing is recorded")
    if where == "own.jsonl":
        assert shell("$F journal verify own.jsonl", tmp_path).stdout.startswith(b"verified: 6 lines")
        assert shell(f"$F {words}; $F journal verify own.jsonl", tmp_path).stdout.count(b"verified: 12 lines") == 1


def test_output_left_for_a_terminal_that_is_gone_changes_no_exit_code() -> None:
    program = (
        "import os, pty, sys; ours, its = pty.openpty(); os.dup2(its, 1); os.close(its); os.close(ours);"
        "sys.stdout.write('left'); from flyball.cli import main; sys.exit(main(['info', '/does/not/exist']))"
    )
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, env=buffered)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(b"flyball: /does/not/exist: ")
