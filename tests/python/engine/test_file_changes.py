"""A model file that changes while it is in use: a clear error or a true statement, never a wrong one or a crash."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import flyball
from flyball.cli import main
from flyball.journal.journal import Journal
from tests.reference import models

PROMPT = "Once upon a time"
Change = Callable[[Path], None]


def flip_a_weight(path: Path) -> None:
    """One byte, in place, as a download that resumes or an editor of metadata does it."""
    with path.open("r+b") as file:
        file.seek(-3000, os.SEEK_END)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 0x55]))


def flip_and_set_the_time_back(path: Path) -> None:
    times = path.stat()
    flip_a_weight(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0" * 100_000)


def rename_over(path: Path) -> None:
    other = path.with_suffix(".new")
    shutil.copy(path, other)
    flip_a_weight(other)
    other.rename(path)


IN_PLACE: list[Change] = [flip_a_weight, append, lambda path: path.touch()]
BY_NAME: list[Change] = [rename_over, Path.unlink, lambda path: os.link(path, path.with_suffix(".link"))]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    shutil.copy(flyball.demo_model_path(), path)
    return path


@pytest.fixture(scope="module")
def original() -> str:
    with flyball.Model.load(flyball.demo_model_path(), vocab_only=True) as model:
        return model.fingerprint()


@pytest.mark.parametrize("change", IN_PLACE)
def test_a_file_that_was_written_answers_no_more(change: Change, copy: Path) -> None:
    with flyball.Model.load(copy) as model:
        before = model.generate(PROMPT, 8, seed=1)
        change(copy)
        assert before.text  # delivered all the same
        for statement in (
            lambda: before.receipt,
            lambda: before.digest,
            lambda: model.info.fingerprint,
            lambda: model.generate(PROMPT, 8),
            lambda: model.stream(PROMPT, 8),
            lambda: model.generate_many([PROMPT, "The fox"], 4),
            lambda: model.logits([1, 2, 3]),
            lambda: model.embed(PROMPT),
            lambda: model.session().save(copy.with_suffix(".session")),
        ):
            with pytest.raises(flyball.FileError, match=r"model\.gguf.*since it was loaded.*load"):
                statement()
    with flyball.Model.load(copy) as again:
        assert again.generate(PROMPT, 8, seed=1).receipt


@pytest.mark.parametrize("change", BY_NAME)
def test_a_file_that_lost_or_won_a_name_goes_on(change: Change, copy: Path, original: str) -> None:
    with flyball.Model.load(copy) as model:
        before = model.generate(PROMPT, 8, seed=1)
        change(copy)
        assert model.info.fingerprint == original
        after = model.generate(PROMPT, 8, seed=1)
        assert after.tokens == before.tokens
        for result in (before, after):
            assert flyball.verify(result.receipt, model=flyball.demo_model_path())
        assert flyball.verify(after.receipt, model=model)


def test_a_time_set_back_does_not_hide_a_change(copy: Path, original: str) -> None:
    with flyball.Model.load(copy) as model:
        before = model.generate(PROMPT, 8, seed=1)
        flip_and_set_the_time_back(copy)
        with pytest.raises(flyball.FileError, match="may have been written"):
            _ = before.receipt
        with pytest.raises(flyball.FileError, match="may have been written"):
            model.fingerprint()
    with flyball.Model.load(copy) as model:
        assert model.fingerprint() != original


def test_an_answer_of_before_keeps_its_receipt(copy: Path) -> None:
    """If the fingerprint was known before the file was written."""
    with flyball.Model.load(copy) as model:
        before = model.generate(PROMPT, 8, seed=1)
        known = model.fingerprint()
        flip_a_weight(copy)
        assert model.fingerprint() == known
        assert flyball.verify(before.receipt, model=flyball.demo_model_path())


def test_an_answer_that_the_change_came_into_has_no_receipt(copy: Path) -> None:
    with flyball.Model.load(copy) as model:
        model.fingerprint()
        stream = model.stream(PROMPT, 20, seed=1)
        next(stream)
        flip_a_weight(copy)
        text = "".join(piece.text for piece in stream)
        assert stream.result.text.endswith(text)
        with pytest.raises(flyball.FileError, match="was written since it was loaded"):
            _ = stream.result.receipt


def test_a_receipt_against_a_file_that_was_written(copy: Path) -> None:
    with flyball.Model.load(copy) as model:
        receipt = model.generate(PROMPT, 8, seed=1).receipt
        flip_a_weight(copy)
        with pytest.raises(flyball.FileError, match="since it was loaded"):  # no verdict
            flyball.verify(receipt, model=model)
    with pytest.raises(flyball.VerificationError, match="another model"):
        flyball.verify(receipt, model=copy)


def test_saved_sessions_of_a_file_that_was_written(copy: Path, tmp_path: Path) -> None:
    with flyball.Model.load(copy) as model:
        session = model.session()
        session.generate(PROMPT, 4)
        session.save(tmp_path / "s")
        flip_a_weight(copy)
        for act in (session.save, session.restore):
            with pytest.raises(flyball.FileError, match="since it was loaded"):
                act(tmp_path / "s")


def test_a_part_of_a_split_model_that_was_written(tmp_path: Path) -> None:
    first, last = models.write_split(tmp_path)
    with flyball.Model.load(first) as model:
        before = model.generate([1, 2, 3], 2)
        last.touch()
        with pytest.raises(flyball.FileError, match="part 2 of 2 was written"):
            _ = before.receipt
        last.unlink()
        with pytest.raises(flyball.FileError, match="part 2 of 2 was written"):
            model.generate([1, 2, 3], 2)


def test_a_journal_has_receipts_of_answers_before_the_change_only(copy: Path, tmp_path: Path) -> None:
    from flyball.journal import read
    from flyball.journal.replay import receipts

    with Journal(tmp_path / "j", content=True) as journal, flyball.Model.load(copy, journal=journal) as model:
        model.generate(PROMPT, 4)
        stream = model.stream(PROMPT, 20, seed=1)
        next(stream)
        flip_a_weight(copy)
        list(stream)
    recorded = [text for _, text in receipts(read(tmp_path / "j"))]
    assert len(recorded) == 1
    assert flyball.verify(flyball.Receipt(recorded[0]), model=flyball.demo_model_path())


def test_run_delivers_the_answer_and_says_why_it_has_no_receipt(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from flyball.cli import run

    show = run._show

    def show_then_change(stream: flyball.Stream, silent: bool) -> flyball.Result:
        result = show(stream, silent)
        flip_a_weight(copy)
        return result

    monkeypatch.setattr(run, "_show", show_then_change)
    assert main(["run", str(copy), "-n", "8", "--receipt", str(tmp_path / "r.json")]) == 2
    captured = capsys.readouterr()
    assert "digest       none\n" in captured.out
    assert "receipt      none (" in captured.out
    assert captured.err.startswith("flyball: no receipt: ")
    assert not (tmp_path / "r.json").exists()


# ---------------------------------------------------------------- bytes that are gone


def program(text: str, *args: Path) -> subprocess.CompletedProcess[str]:
    """Run a program of its own: these would have ended pytest with SIGBUS."""
    script = "import faulthandler, os, signal, sys, flyball\nfaulthandler.disable()\n" + textwrap.dedent(text)
    command = [sys.executable, "-c", script, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


EVERY_CALL = """
    model = flyball.Model.load(sys.argv[1])
    session = model.session()
    stream = model.stream("Once upon a time", 50)
    next(stream)
    os.truncate(sys.argv[1], int(sys.argv[2]))
    calls = dict(
        fingerprint=model.fingerprint, info=lambda: model.info, metadata=model.metadata, tensors=model.tensors,
        tokenize=lambda: model.tokenize("hello there"), detokenize=lambda: model.detokenize([300, 301, 302]),
        generate=lambda: model.generate([1, 2, 3], 8), logits=lambda: model.logits([1, 2, 3]),
        embed=lambda: model.embed([300, 301]), stream=lambda: list(stream), save=lambda: session.save("s"),
        many=lambda: model.generate_many([[300, 301]], 4),
    )
    for name, call in calls.items():
        try:
            call()
            print(name, "works")
        except flyball.FileError as error:
            print(name, "fails", error)
"""


@pytest.mark.parametrize("left", ["0", "4096", "200000"])
def test_a_truncated_file_is_an_error_and_no_bus_error(left: str, copy: Path) -> None:
    done = program(EVERY_CALL, copy, Path(left))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 12
    assert all("fails" in line and "since it was loaded" in line for line in lines), done.stdout


def test_weights_that_stay_in_a_truncated_file_are_an_error(tmp_path: Path) -> None:
    """Wide matrices of Q8_0, which AVX2's kernels read there: each thread that computes meets pages that are gone."""
    path = models.write_model(tmp_path / "m.gguf", "llama", "Q8_0", n_embd=2048, n_head=32, n_ff=256, n_layer=2).path
    done = program(
        """
        model = flyball.Model.load(sys.argv[1])
        stream = model.stream([1, 2, 3], 20)
        next(stream)
        os.truncate(sys.argv[1], 200_000)
        for call in (lambda: list(stream), lambda: model.generate([1, 2, 3], 8)):
            try:
                call()
                print("works")
            except flyball.FileError as error:
                print("fails", error)
        """,
        path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("since it was loaded") == 2, done.stdout


def test_pages_that_are_gone_while_they_are_read(copy: Path) -> None:
    """Truncated in the middle of hashing, before any check can see it: the read itself must survive."""
    with copy.open("ab") as file:
        file.truncate(1 << 30)  # a hole: nothing to store, much to hash
    done = program(
        """
        model = flyball.Model.load(sys.argv[1])
        def truncate(phase, done, total):
            if done > total // 8 and os.path.getsize(sys.argv[1]) == total:
                os.truncate(sys.argv[1], 1000)
        try:
            model.fingerprint(truncate)
        except flyball.FileError as error:
            print(error)
        """,
        copy,
    )
    assert done.returncode == 0, done.stderr
    assert "since it was loaded" in done.stdout


@pytest.mark.parametrize("sent", ["kill", "fault"])
def test_other_bus_errors_end_the_program_as_ever(sent: str, copy: Path) -> None:
    done = program(
        """
        import mmap
        model = flyball.Model.load(sys.argv[1])
        if sys.argv[2] == "kill":
            os.kill(os.getpid(), signal.SIGBUS)
        else:
            with open("/tmp/" + str(os.getpid()), "w+b") as file:
                file.truncate(8192)
                own = mmap.mmap(file.fileno(), 8192)
                os.unlink(file.name)
                file.truncate(0)
                print(own[5000])
        print("alive")
        """,
        copy,
        Path(sent),
    )
    assert done.returncode == -signal.SIGBUS
    assert done.stdout == ""


def test_the_handler_of_a_program_is_called_and_comes_back(copy: Path) -> None:
    done = program(
        """
        signal.signal(signal.SIGBUS, lambda number, frame: print("handled", flush=True))
        with flyball.Model.load(sys.argv[1]) as model:
            signal.raise_signal(signal.SIGBUS)  # passed on by ours
            os.truncate(sys.argv[1], 0)
            try:
                model.generate("x", 3)
            except flyball.FileError:
                print("an error")
        del model
        import ctypes, gc
        gc.collect()
        signal.raise_signal(signal.SIGBUS)
        action = (ctypes.c_uint64 * 20)()
        ctypes.CDLL(None).sigaction(int(signal.SIGBUS), None, action)
        ctypes.pythonapi.PyOS_getsig.restype = ctypes.c_uint64
        print(hex(action[0]) == hex(ctypes.pythonapi.PyOS_getsig(int(signal.SIGBUS))))
        signal.signal(signal.SIGBUS, signal.SIG_DFL)
        faulthandler.enable()
        """,
        copy,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["handled", "an error", "handled", "True"]


def test_a_handler_that_came_later_stays_in_front(copy: Path) -> None:
    """It passes on to ours: in front of it, ours would pass on to it, and so on for ever."""
    done = program(
        """
        first = flyball.Model.load(sys.argv[1])
        faulthandler.enable()
        second = flyball.Model.load(flyball.demo_model_path())
        os.kill(os.getpid(), signal.SIGBUS)
        """,
        copy,
    )
    assert done.returncode == -signal.SIGBUS
    assert done.stderr.count("Fatal Python error: Bus error") == 1


def test_a_handler_that_was_there_before_does_not_see_our_pages(copy: Path) -> None:
    done = program(
        """
        faulthandler.enable()
        model = flyball.Model.load(sys.argv[1], threads=2)
        os.truncate(sys.argv[1], 5000)
        try:
            model.fingerprint()
        except flyball.FileError:
            print("an error")
        """,
        copy,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "an error\n", "")


def test_a_file_that_is_cut_while_it_is_loaded(copy: Path) -> None:
    done = program(
        """
        def truncate(phase, done, total):
            os.truncate(sys.argv[1], 5000)
        try:
            flyball.Model.load(sys.argv[1], progress=truncate)
        except flyball.FileError as error:
            print(error)
        """,
        copy,
    )
    assert done.returncode == 0, done.stderr
    assert "since it was loaded" in done.stdout


# ---------------------------------------------------------------- remembered fingerprints


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A model with a hole behind it: 64 MiB and a bit."""
    path = tmp_path / "large.gguf"
    shutil.copy(flyball.demo_model_path(), path)
    os.truncate(path, (64 << 20) + 1000)
    settle(path)
    return path


def settle(path: Path) -> None:
    """Wait until a second change cannot have the same times."""
    while time.time() < path.stat().st_ctime + 2.2:
        time.sleep(0.1)


def hashed(path: Path) -> tuple[str, bool]:
    """The fingerprint, and whether the file was read for it."""
    phases = []
    with flyball.Model.load(path) as model:
        return model.fingerprint(lambda phase, done, total: phases.append(phase)), "hash" in phases


def test_a_fingerprint_is_remembered(large: Path, tmp_path: Path) -> None:
    first = hashed(large)
    cache = tmp_path / "cache" / "flyball" / "fingerprints.txt"
    assert first[1]
    assert hashed(large) == (first[0], False)
    with flyball.Model.load(large) as model:
        assert model.fingerprint(anew=True) == first[0]
    known = cache.read_text()
    assert first[0] in known

    # A name more changes the time of the inode, hence the identity.
    os.link(large, tmp_path / "link.gguf")
    settle(large)
    assert hashed(large) == (first[0], True)

    # Lines that are torn or changed, and no lines at all.
    for text in (known[:100], known.replace(first[0][:8], "0" * 8), "", "\n\n", "x" * 70000, known[:-1] + "x\n"):
        cache.write_text(text)
        assert hashed(large) == (first[0], True)
        assert hashed(large) == (first[0], False)


def test_a_remembered_fingerprint_is_not_of_another_file(large: Path) -> None:
    first, _ = hashed(large)
    flip_and_set_the_time_back(large)
    settle(large)
    second = hashed(large)
    assert second[0] != first
    assert second[1]
    other = large.with_suffix(".new")
    shutil.copy2(large, other)
    other.replace(large)
    settle(large)
    assert hashed(large) == (second[0], True)


def test_a_file_that_was_just_written_is_not_remembered(large: Path) -> None:
    large.touch()
    first = hashed(large)
    assert hashed(large) == (first[0], True)


@pytest.mark.parametrize("place", ["/proc/nowhere", "/etc/passwd", "relative"])
def test_a_cache_that_cannot_be_written(
    place: str, large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", place)
    monkeypatch.setenv("HOME", place)
    monkeypatch.chdir(tmp_path)
    assert hashed(large)[1]
    assert hashed(large)[1]
    assert not (tmp_path / "relative").exists()


def test_a_small_model_leaves_no_folder(demo: flyball.Model, copy: Path, tmp_path: Path) -> None:
    hashed(copy)
    assert not (tmp_path / "cache").exists()


def test_hashing_ends_by_ctrl_c_and_goes_on_later(large: Path) -> None:
    with flyball.Model.load(large) as model:
        result = model.generate(PROMPT, 4)

        def interrupt(phase: str, done: int, total: int) -> None:
            assert (phase, total) == ("hash", (64 << 20) + 1000)
            signal.raise_signal(signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            model.fingerprint(interrupt)
        seen: list[int] = []
        model.fingerprint(lambda phase, done, total: seen.append(done))
        assert seen == sorted(seen)
        assert seen[-1] == (64 << 20) + 1000
        assert result.receipt.fingerprint == model.fingerprint()


def test_run_delivers_the_answer_when_ctrl_c_ends_its_hashing(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> str:
        assert capsys.readouterr().out.endswith("\n")  # else a progress line would hide the answer's last one
        raise KeyboardInterrupt

    monkeypatch.setattr(flyball.Model, "fingerprint", interrupted)
    assert main(["run", str(copy), "-n", "4"]) == 2
    captured = capsys.readouterr()
    assert "stopped      max_tokens" in captured.out
    assert captured.err == "flyball: no receipt: stopped while the model file was hashed\n"


def test_ctrl_c_while_a_receipt_hashes(large: Path) -> None:
    """In a program of its own, by its clock: a receipt has no progress function."""
    os.truncate(large, 8 << 30)  # seconds to hash
    done = program(
        """
        import threading, time
        model = flyball.Model.load(sys.argv[1])
        result = model.generate("x", 2)
        threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        start = time.monotonic()
        try:
            result.receipt
        except KeyboardInterrupt:
            print("stopped", result.text != "")
        """,
        large,
    )
    assert done.stdout == "stopped True\n", done.stderr
