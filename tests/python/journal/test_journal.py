"""The journal: what is told, what a fault leaves, and what is found of it."""

from __future__ import annotations

import errno
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import flyball
from flyball import journal
from flyball.cli import main
from flyball.journal.events import Event

N_TOKENS = 4


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A journal of one model, one session and three answers."""
    path = tmp_path / "run.jsonl"
    with flyball.Journal(path) as kept, flyball.Model.load(flyball.demo_model_path(), journal=kept) as model:
        session = model.session()
        for prompt in ("One", "Two", "Three"):
            session.generate(prompt, N_TOKENS, ignore_eos=True)
        del session
    return path


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def faults_of(path: Path) -> list[tuple[int, str]]:
    return [(fault.line, fault.what) for fault in journal.check(path).faults]


# ---------------------------------------------------------------- what is told


def test_python_adds_events_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    with flyball.Journal(path, log=tmp_path / "own.log") as kept:
        kept.tell("HEAL_ACTIVE", {"streak": 3})
        with pytest.raises(flyball.FormatError, match="registry"):
            kept.tell("HEAL_SOMEHOW", {})
        with pytest.raises(flyball.InvalidArgument):
            kept.tell("HEAL_ACTIVE", {"text": "x" * 100_000})
    [event] = journal.read(path)
    assert (event.reason_id, event.data, event.session, event.is_decision) == ("HEAL_ACTIVE", {"streak": 3}, 0, False)
    assert journal.check(path, tmp_path / "own.log").verified
    assert "[heal] heal reason_id=HEAL_ACTIVE" in (tmp_path / "own.log").read_text()


def test_a_run_tells_the_model_the_session_and_its_turns(file: Path) -> None:
    told = list(journal.read(file))
    assert [(event.reason_id, event.session, event.turn) for event in told] == [
        ("MODEL_LOADED", 0, 0),
        ("SESSION_OPENED", 1, 0),
        *[(f"SESSION_{what}", 1, turn) for turn in (1, 2, 3) for what in ("TURN_BEGUN", "CALLS", "TURN_ENDED")],
        ("SESSION_CLOSED", 1, 0),
    ]
    turn = told[4].data
    assert turn["stop_reason"] == "max_tokens"
    assert turn["generated_tokens"] == N_TOKENS
    assert turn["decode"]["tokens"] == N_TOKENS - 1
    assert 0 < turn["decode"]["cycles"] < turn["total_cycles"]
    assert abs(told[0].time_ns - time.time_ns()) < 600e9
    assert all(a.cycles <= b.cycles for a, b in itertools.pairwise(told))


def test_metrics_and_journal_agree(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with flyball.Journal(path) as kept, flyball.Model.load(flyball.demo_model_path(), journal=kept) as model:
        result = model.generate("Once", 8)
        told = [event for event in journal.read(path) if event.reason_id == "SESSION_TURN_ENDED"]  # kept by now
        assert told[-1].data["decode"]["cycles"] == result.metrics.decode.cycles
        assert told[-1].data["prompt_tokens"] == result.metrics.prompt_tokens


def test_no_prompt_and_no_answer_is_told(file: Path) -> None:
    assert b"Three" not in file.read_bytes()


def test_answers_of_a_batch_and_of_two_models_share_one_chain(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with flyball.Journal(path) as kept:
        for _ in range(2):
            with flyball.Model.load(flyball.demo_model_path(), journal=kept) as model:
                model.generate_many(["a", "b", "c"], N_TOKENS, ignore_eos=True)
    report = journal.check(path)
    assert report.verified
    assert report.head == kept.head
    turns = [event for event in journal.read(path) if event.event == "turn_end"]
    assert len(turns) == 6
    assert len({(event.session, event.turn) for event in turns}) == 6  # a session may serve several of a batch


# ---------------------------------------------------------------- what is found


def test_a_flipped_byte_is_found_at_its_line(file: Path) -> None:
    good = lines_of(file)
    rng = random.Random(1)
    for _ in range(60):
        at = rng.randrange(len(good))
        bad = bytearray(good[at])
        position = rng.randrange(len(bad) - 1)
        bad[position] ^= 1 << rng.randrange(8)
        file.write_bytes(b"".join([*good[:at], bytes(bad), *good[at + 1 :]]))
        assert faults_of(file)[0][0] == at + 1


def test_a_removed_line_is_found(file: Path) -> None:
    good = lines_of(file)
    file.write_bytes(b"".join(good[:2] + good[3:]))
    assert faults_of(file) == [(3, "follows a gap: 1 missing")]


def test_swapped_lines_are_found(file: Path) -> None:
    good = lines_of(file)
    file.write_bytes(b"".join([*good[:2], good[3], good[2], *good[4:]]))
    assert faults_of(file)[0][0] == 3


def test_a_cut_tail_is_found_by_the_head(file: Path) -> None:
    good = lines_of(file)
    file.write_bytes(b"".join(good[:-2]))
    (line, what) = faults_of(file)[0]
    assert line == len(good) - 1
    assert "2 lines are missing" in what
    assert not journal.check(file).verified


def test_a_chain_written_anew_is_found_by_the_head(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    with flyball.Journal(other) as kept, flyball.Model.load(flyball.demo_model_path(), journal=kept) as model:
        for _ in range(8):
            model.generate("x", 2)
    shutil.copy(other, file)
    assert "differs" in faults_of(file)[0][1]


# ---------------------------------------------------------------- faults of the machine


@pytest.mark.parametrize(
    "damage", ["", "{}", "[1]", '{"version": 1}', '{"version": 1, "hash": 5, "n_lines": "x"}', "\xff", '{"version": 9}']
)
def test_a_damaged_head_is_found(file: Path, damage: str) -> None:
    head = file.with_name(file.name + ".head")
    head.write_text(damage, encoding="latin-1")
    report = journal.check(file)
    assert [fault.file for fault in report.faults] == [head]
    with pytest.warns(RuntimeWarning, match=r"cannot go on, .*\.head:1: .*set aside as run\.jsonl\.broken-1"):
        flyball.Journal(file).close()
    assert [event.reason_id for event in journal.read(file)] == ["JOURNAL_SET_ASIDE"]
    assert journal.check(file).verified


def test_a_journal_has_one_writer(file: Path) -> None:
    other = f"import flyball; flyball.Journal({str(file)!r}).close()"
    with flyball.Journal(file):
        with pytest.raises(flyball.FileError, match="is open in another program or journal"):
            flyball.Journal(file)
        refused = subprocess.run([sys.executable, "-c", other], capture_output=True, text=True)
        assert refused.returncode != 0
        assert "is open in another program or journal" in refused.stderr
        assert journal.check(file).verified  # reading is everybody's
    assert subprocess.run([sys.executable, "-c", other]).returncode == 0


def test_a_torn_last_line_is_cut_off_and_told(file: Path) -> None:
    whole = file.read_bytes()
    with file.open("ab") as appended:
        appended.write(lines_of(file)[-1][:50])
    assert journal.check(file).torn == 50
    with flyball.Journal(file) as kept:
        assert kept.recovered == 50
    assert file.read_bytes() == whole


def test_a_damaged_journal_is_set_aside_and_told(file: Path) -> None:
    before = journal.check(file)
    damaged = file.read_bytes().replace(b'"turn":2', b'"turn":9')
    file.write_bytes(damaged)
    for n in (1, 2):
        with pytest.warns(RuntimeWarning, match=rf"cannot go on, run.jsonl:\d+: .*broken-{n}"):
            flyball.Journal(file).close()
        [event] = journal.read(file)
        assert event.reason_id == "JOURNAL_SET_ASIDE"
        assert event.data["files"] == [f"run.jsonl.broken-{n}", f"run.jsonl.broken-{n}.head"]
        assert journal.check(file).verified
        aside = file.with_name(f"run.jsonl.broken-{n}")
        if n == 1:
            assert aside.read_bytes() == damaged
            assert event.data["n_lines"] == before.n_lines
            assert event.data["hash"] == before.head.hash
            assert "was changed" in event.data["fault"]
        assert main(["journal", "verify", str(aside)]) == 1
        file.write_bytes(file.read_bytes().replace(b"broken", b"BROKEN"))


def test_what_is_no_journal_is_left_alone(tmp_path: Path) -> None:
    """A name in the place of another: a model, a text, a folder, a pipe."""
    notes = tmp_path / "notes.txt"
    for text in ("not a journal\n", "nor this"):
        notes.write_text(text)
        with pytest.raises(flyball.FileError, match="has no line of a journal; give another name"):
            flyball.Journal(notes)
        assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]
        assert notes.read_text() == text
    os.mkfifo(tmp_path / "pipe")
    for name in (tmp_path, tmp_path / "pipe", "/dev/null"):
        with pytest.raises(flyball.FileError, match="is no regular file; give another name"):
            flyball.Journal(name)
    with pytest.raises(flyball.FileError, match="pipe: is no regular file"):
        flyball.Journal(tmp_path / "j", log=tmp_path / "pipe")
    (tmp_path / "empty").touch()
    flyball.Journal(tmp_path / "empty").close()


def test_other_programs_that_rotate_the_file_cost_no_answer_and_no_line(tmp_path: Path) -> None:
    """Between two runs: moved away, deleted, truncated, numbered as we do; the head stays behind."""

    def remove(path: Path) -> None:
        path.unlink()

    def truncate(path: Path) -> None:
        os.truncate(path, 0)

    def move(path: Path) -> None:
        path.rename(path.with_name("j-20261129"))

    def replace(path: Path) -> None:
        move(path)
        path.touch()

    def swap_in_a_folder(path: Path) -> None:
        head = path.with_name("j.head")
        head.unlink()
        head.mkdir()

    for n, change in enumerate((remove, truncate, move, replace, swap_in_a_folder)):
        path = tmp_path / str(n) / "j"
        with flyball.Journal(path) as kept:
            kept.tell("HEAL_ACTIVE", {"n": 1})
        change(path)
        with pytest.warns(RuntimeWarning, match=r"set aside as j\.broken-1"), flyball.Journal(path) as kept:
            kept.tell("HEAL_ACTIVE", {"n": 2})
        assert [event.reason_id for event in journal.read(path)] == ["JOURNAL_SET_ASIDE", "HEAL_ACTIVE"]
        assert main(["journal", "verify", str(path)]) == 0
        assert main(["journal", "verify", str(path) + ".broken-1"]) == 1


def test_a_file_that_is_moved_while_it_is_written_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with flyball.Journal(path) as kept:
        for n, name in enumerate(("j.1", "j.2")):
            kept.tell("HEAL_ACTIVE", {"n": n})
            kept.flush()
            path.rename(tmp_path / name)
        kept.tell("HEAL_ACTIVE", {"n": 2})
        kept.flush()
        assert journal.check(path).verified  # as if it had been rotated
        (tmp_path / "j.1").unlink()
        path.unlink()
        kept.tell("HEAL_ACTIVE", {"n": 3})
    report = journal.check(path)
    assert [fault.what.split(":")[0] for fault in report.faults] == ["follows a gap", "follows a gap"]
    assert [event.data["n"] for event in journal.read(path)] == [1, 3]


def test_a_journal_without_its_head_goes_on_and_says_so(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As one that the REPL of version 0.1 wrote."""
    head = journal.check(file).head
    file.with_name(file.name + ".head").unlink()
    assert main(["journal", "verify", str(file)]) == 2
    assert "inconclusive: " in (told := capsys.readouterr().out)
    assert ".head is missing" in told
    assert main(["journal", "verify", str(file), "--head", str(head.n_lines), head.hash]) == 0
    flyball.Journal(file).close()
    assert [*journal.read(file)][-1].data == {"n_lines": head.n_lines, "hash": head.hash}
    assert journal.check(file).verified


def test_a_head_that_is_older_than_the_lines_is_a_crash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, head = tmp_path / "j", tmp_path / "j.head"
    with flyball.Journal(path) as kept:
        kept.tell("HEAL_ACTIVE", {"n": 0})
        kept.flush()
        earlier = head.read_bytes()
        kept.tell("HEAL_ACTIVE", {"n": 1})
    head.write_bytes(earlier)
    with path.open("ab") as file:
        file.write(b'{"v":2,"seq":2,')
    assert main(["journal", "verify", str(path)]) == 0
    told = capsys.readouterr().out
    assert "incomplete last line of 15 bytes" in told
    assert "the last 1 lines are newer than FILE.head" in told
    with flyball.Journal(path) as kept:
        kept.tell("HEAL_ACTIVE", {"n": 2})
    assert journal.check(path).newer == 0
    assert [event.data["n"] for event in journal.read(path)] == [0, 1, 2]


def test_a_head_kept_elsewhere_proves_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "j"
    heads = []
    with flyball.Journal(path, max_bytes=2000, files=2) as kept:
        for n in range(30):
            kept.tell("HEAL_ACTIVE", {"n": n})
            kept.flush()
            heads.append(kept.head)
    assert main(["journal", "verify", str(path), "--head", str(heads[-3].n_lines), heads[-3].hash]) == 0
    assert main(["journal", "verify", str(path), "--head", str(heads[-3].n_lines), heads[-4].hash]) == 1
    assert "the chain differs from that of the given head" in capsys.readouterr().out
    first = next(iter(journal.read(path))).number
    assert main(["journal", "verify", str(path), "--head", str(first), heads[first - 1].hash]) == 0
    assert main(["journal", "verify", str(path), "--head", str(first), heads[first].hash]) == 1
    assert main(["journal", "verify", str(path), "--head", "1", heads[0].hash]) == 2  # deleted by rotation
    assert main(["journal", "verify", str(path), "--head", "31", heads[0].hash]) == 1
    for words in (["x", heads[0].hash], ["1", "abc"], ["-1", heads[0].hash]):
        assert main(["journal", "verify", str(path), "--head", *words]) == 2


def test_a_head_of_version_1_attests_no_beginning(tmp_path: Path) -> None:
    """A rotated journal of version 0.1 is no verdict until a writer of today has opened it."""
    path = tmp_path / "j"
    with flyball.Journal(path, max_bytes=2000, files=2) as kept:
        for n in range(30):
            kept.tell("HEAL_ACTIVE", {"n": n})
            kept.flush()
    head = path.with_name("j.head")
    fields = json.loads(head.read_text())
    assert fields["first"] > 0
    head.write_text(json.dumps({"version": 1, "hash": fields["hash"], "n_lines": fields["n_lines"]}))
    [doubt] = journal.check(path).doubts
    assert "no head says that rotation removed the others" in doubt
    with flyball.Journal(path) as kept:
        kept.tell("HEAL_ACTIVE", {"n": 30})
    assert journal.check(path).verified
    journal.files_of(path)[0].unlink()
    assert [fault.what for fault in journal.check(path).faults] == [
        f"follows a gap: {next(iter(journal.read(path))).number - fields['first']} missing since the beginning that"
        " j.head has"
    ]


def test_a_later_run_continues_the_chain(file: Path) -> None:
    before = journal.check(file)
    with flyball.Journal(file) as kept, flyball.Model.load(flyball.demo_model_path(), journal=kept):
        pass
    after = journal.check(file)
    assert after.verified
    assert after.n_lines == before.n_lines + 1


def test_files_are_rotated_and_the_oldest_given_up(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with (
        flyball.Journal(path, max_bytes=2000, files=2) as kept,
        flyball.Model.load(flyball.demo_model_path(), journal=kept) as model,
    ):
        for _ in range(20):
            model.generate("x", 2)
    names = [file.name for file in journal.files_of(path)]
    assert len(names) == 3
    assert names[-1] == "j"
    assert int(names[1].removeprefix("j.")) == int(names[0].removeprefix("j.")) + 1 > 2
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([*names, "j.head"])
    report = journal.check(path)
    assert report.verified
    assert report.head == kept.head
    with flyball.Journal(path) as again:
        assert again.head == kept.head


def test_a_full_disk_loses_no_answer_and_no_line(tmp_path: Path) -> None:
    class Full:
        """The journal's file on a disk without room."""

        def __init__(self, real: object) -> None:
            self.real = real

        def __getattr__(self, name: str) -> object:
            return getattr(self.real, name)

        def write(self, data: bytes) -> int:
            self.real.write(data[:10])  # type: ignore[attr-defined]
            raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "j"
    with flyball.Journal(path) as kept, flyball.Model.load(flyball.demo_model_path(), journal=kept) as model:
        real, kept._file = kept._file, Full(kept._file)  # type: ignore[assignment]
        with pytest.warns(RuntimeWarning, match="No space left"):
            assert model.generate("x", 4, ignore_eos=True).text
        with pytest.raises(flyball.FileError):
            kept.flush()
        kept._file = real
    report = journal.check(path)
    assert report.verified
    assert [event.reason_id for event in journal.read(path)].count("SESSION_TURN_ENDED") == 1


def test_a_closed_journal_keeps_nothing_and_says_so(tmp_path: Path) -> None:
    kept = flyball.Journal(tmp_path / "j")
    model = flyball.Model.load(flyball.demo_model_path(), journal=kept)
    model.generate("x", 2)
    kept.close()
    kept.close()
    with pytest.warns(RuntimeWarning, match="is closed, so this event is not recorded"):
        assert model.generate("x", 2).text
    with pytest.warns(RuntimeWarning, match="is closed"):
        model.close()
    assert journal.check(tmp_path / "j").verified


def test_the_disk_is_waited_for_as_was_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    for seconds, expected in ((0, 4), (1000, 2)):  # the first answer, and the end
        path = tmp_path / str(seconds)
        synced.clear()
        with (
            flyball.Journal(path, sync_seconds=seconds) as kept,
            flyball.Model.load(flyball.demo_model_path(), journal=kept) as model,
        ):
            for n in range(1, 4):
                model.generate("x", 2)
                assert [event.event for event in journal.read(path)].count("turn_end") == n  # for who reads the file
        assert len(synced) == expected
        assert json.loads(path.with_name(f"{seconds}.head").read_text())["n_lines"] == kept.head.n_lines


def test_a_log_that_cannot_be_written_loses_nothing_either(tmp_path: Path) -> None:
    path, log = tmp_path / "j", tmp_path / "log"
    with flyball.Journal(path, log=log) as kept, flyball.Model.load(flyball.demo_model_path(), journal=kept) as model:
        model.generate("x", 4, ignore_eos=True)
        log.rename(tmp_path / "aside")
        log.mkdir()
        with pytest.warns(RuntimeWarning, match="log: cannot be written"):
            model.generate("x", 4, ignore_eos=True)
        told = [event.reason_id for event in journal.read(path)]
        assert told.count("SESSION_TURN_ENDED") == 2  # the journal has both
        log.rmdir()
        (tmp_path / "aside").rename(log)
    assert journal.check(path, log=log).faults == ()


_WRITER = """
import sys, flyball
with flyball.Journal(sys.argv[1], max_bytes=8_000) as kept:
    model = flyball.Model.load(flyball.demo_model_path(), journal=kept, threads=1)
    while True:
        model.generate("x", 2)
        kept.flush()
        print(kept.head.n_lines, flush=True)
"""


def test_a_crash_between_two_steps_of_a_rotation_loses_nothing(file: Path) -> None:
    whole = journal.check(file)
    file.rename(file.with_name(file.name + ".1"))
    between = journal.check(file)
    assert between.verified
    assert between.head == whole.head
    with flyball.Journal(file) as kept:
        assert kept.head == whole.head


def test_a_torn_line_in_a_new_file_continues_the_older_one(file: Path) -> None:
    whole = journal.check(file)
    file.rename(file.with_name(file.name + ".1"))
    file.write_bytes(b'{"v":1,"seq"')
    with flyball.Journal(file) as kept:
        assert kept.head == whole.head
        assert kept.recovered == 12


@pytest.mark.soak
def test_killed_writers_lose_no_flushed_line(tmp_path: Path) -> None:
    path = tmp_path / "j"
    rng = random.Random(2)
    for _ in range(int(os.environ.get("FLYBALL_KILLS", "6"))):
        with subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            told = [int(writer.stdout.readline())]
            time.sleep(rng.uniform(0, 0.1))
            writer.send_signal(signal.SIGKILL)
            told += [int(line) for line in writer.stdout.read().split(b"\n")[:-1]]
        report = journal.check(path)
        assert report.verified, report.faults
        assert report.head.n_lines >= told[-1]


# ---------------------------------------------------------------- the command


def test_the_command_verifies_shows_and_counts(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["journal", "verify", str(file)]) == 0
    assert capsys.readouterr().out.startswith("verified: 12 lines\nhead 12 ")
    assert main(["journal", "tail", str(file), "-n", "2"]) == 0
    assert [line.split()[2] for line in capsys.readouterr().out.splitlines()] == [
        "SESSION_TURN_ENDED",
        "SESSION_CLOSED",
    ]
    assert main(["journal", "show", str(file), "--json"]) == 0
    assert [json.loads(line)["number"] for line in capsys.readouterr().out.splitlines()] == list(range(12))
    assert main(["journal", "stats", str(file)]) == 0
    assert capsys.readouterr().out.split()[:2] == ["3", "SESSION_TURN_BEGUN"]
    file.write_bytes(file.read_bytes().replace(b'"turn":2', b'"turn":9'))
    assert main(["journal", "verify", str(file)]) == 1
    assert f"{file}:6: was changed" in capsys.readouterr().out
    for action in ("show", "tail", "stats", "explain"):  # what they tell is not the whole
        assert main(["journal", action, str(file)]) == 1
        assert f"skipped: {file}:6: was changed" in capsys.readouterr().err
    assert main(["journal", "verify", str(file) + "x"]) == 2


def test_a_journal_is_followed_while_it_is_written(tmp_path: Path) -> None:
    """Over rotations, and with lines that are half written when they are looked at."""
    path = tmp_path / "j"
    told: list[int] = []

    def take() -> None:
        for event in iter(lambda: next(found), None):
            assert isinstance(event, Event), event
            told.append(event.number)

    with (
        flyball.Journal(path, max_bytes=2000, files=99) as kept,
        flyball.Model.load(flyball.demo_model_path(), journal=kept) as model,
    ):
        found = journal.follow(path)
        for _ in range(12):
            take()
            model.generate("x", 2)
    with path.open("ab") as half:
        half.write(b'{"v":1,"seq"')
    take()
    assert told == list(range(kept.head.n_lines))
    assert len(journal.files_of(path)) > 3


def test_tail_follows_until_it_is_stopped(file: Path) -> None:
    command = [sys.executable, "-m", "flyball", "journal", "tail", str(file), "-n", "1", "-f"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as tail:
        assert tail.stdout is not None
        assert "SESSION_CLOSED" in tail.stdout.readline()
        with flyball.Journal(file) as kept, flyball.Model.load(flyball.demo_model_path(), journal=kept):
            pass
        assert "MODEL_LOADED" in tail.stdout.readline()
        tail.send_signal(signal.SIGINT)
        assert tail.wait(10) == 0


def test_run_appends_to_a_journal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "j"
    for _ in range(2):
        assert main(["run", "-p", "a", "-n", "2", "-q", "--no-receipt", "--journal", str(path)]) == 0
    capsys.readouterr()
    assert main(["journal", "verify", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verified"]
    assert [event.event for event in journal.read(path)].count("turn_end") == 2
