"""What an image is made of is checked before anything is written, with the file and the remedy."""

from __future__ import annotations

import os
import pty
import select
import shutil
import sys
import time
from pathlib import Path

import pytest

import flyball
from flyball import image
from flyball.cli import main
from flyball.image import tools
from tests.reference import models

pytestmark = pytest.mark.usefixtures("needs_tools")


def model(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(flyball.demo_model_path(), path)
    return path


def text(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refusal(folder: Path, *words: object) -> str:
    """Why `image build` refuses; nothing is written."""
    path = folder / "made.img"
    before = sorted(folder.rglob("*"))
    models: list[Path] = []
    files: list[Path] = []
    config = None
    for word in words:
        if isinstance(word, list):
            files += word
        elif str(word).endswith(".toml"):
            config = Path(str(word))
        else:
            models.append(Path(str(word)))
    with pytest.raises(flyball.Error) as error:
        image.build(path, models, config, files)
    assert sorted(folder.rglob("*")) == before
    return str(error.value)


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    one, other = model(tmp_path / "a/m.gguf"), model(tmp_path / "b/M.GGUF")
    why = refusal(tmp_path, one, other)
    assert str(one) in why
    assert str(other) in why
    assert "would be models/M.GGUF" in why
    assert "rename one" in why
    assert "would be models/m.gguf" in refusal(tmp_path, one, one)
    notes = text(tmp_path / "a/notes", "x")
    assert "would be NOTES" in refusal(tmp_path, [notes, text(tmp_path / "b/NOTES", "y")])
    settings = text(tmp_path / "settings.toml", "threads = 1\n")
    assert "would be flyball.toml" in refusal(tmp_path, settings, [text(tmp_path / "FlyBall.TOML", "")])
    assert "a folder of the image" in refusal(tmp_path, [text(tmp_path / "c/efi", "x")])
    assert "a folder of the image" in refusal(tmp_path, [text(tmp_path / "d/Models", "x")])


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("mod\u00e8le.gguf", "not printable ASCII"),
        ("a\tb.gguf", "not printable ASCII"),
        ("what?.gguf", "the character ?"),
        ("a:b.gguf", "the character :"),
        ("m" * 210 + ".gguf", "at most 200"),
        (" m.gguf", "FAT drops"),
        ("model.bin", "would not find it"),
        ("._m.gguf", "would not find it"),
    ],
)
def test_names_that_fat_or_the_boot_program_cannot_take(tmp_path: Path, name: str, why: str) -> None:
    said = refusal(tmp_path, model(tmp_path / name))
    assert why in said
    assert "rename" in said
    assert str(tmp_path / name) in said


@pytest.mark.parametrize("name", ["with space.gguf", "(a) [b]+{c}='d'~1%&$#@!^,;.gguf", "-o.gguf", "m" * 180 + ".GGUF"])
def test_names_that_both_can_take(tmp_path: Path, name: str) -> None:
    path = tmp_path / "i.img"
    image.build(path, [model(tmp_path / name)])
    listed = tools.run(["mdir", "-b", "-i", str(path), "::/models"], path)
    assert listed.strip() == f"::/models/{name}"


def test_models_that_cannot_be_run_are_refused(tmp_path: Path) -> None:
    demo = flyball.demo_model_path().read_bytes()
    assert "not a GGUF file" in refusal(tmp_path, text(tmp_path / "notes.gguf", "this is no model"))
    assert "is empty" in refusal(tmp_path, text(tmp_path / "empty.gguf", ""))
    why = refusal(tmp_path, text(tmp_path / "cut.gguf", demo[: len(demo) // 2]))
    assert str(tmp_path / "cut.gguf") in why
    assert "cut off or damaged" in why
    other = demo.replace(b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0llama", b"", 1)
    assert "cannot be run" in refusal(tmp_path, text(tmp_path / "other.gguf", other))
    assert "does not exist" in refusal(tmp_path, tmp_path / "absent.gguf")
    (tmp_path / "folder.gguf").mkdir()
    assert "is not a file" in refusal(tmp_path, tmp_path / "folder.gguf")
    (tmp_path / "folder.gguf").rmdir()


def test_a_split_model_comes_whole(tmp_path: Path) -> None:
    parts = models.write_split(tmp_path / "split")
    path = tmp_path / "i.img"
    image.build(path, [parts[0]])
    listed = tools.run(["mdir", "-b", "-i", str(path), "::/models"], path).split()
    assert listed == [f"::/models/{part.name}" for part in parts]
    path.unlink()
    assert "is not the first part" in refusal(tmp_path, parts[1])
    parts[1].unlink()
    why = refusal(tmp_path, parts[0])
    assert str(parts[1]) in why
    assert "No such file" in why


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("threads = 1\nthreads = 2", ":2: threads: is already set in line 1"),
        ("treads = 1", ":1: treads: is not a configuration key; did you mean threads?"),
        ('isa = "sse9"', ":1: isa 'sse9' is not an instruction set"),
        ("guard.turn_ms = -1", ":1: guard.turn_ms: "),
        ('model = "/home/me/m.gguf"', ":1: model: /home/me/m.gguf is not on the image; add it with --model"),
        ('draft = "models/absent.gguf"', ":1: draft: models/absent.gguf is not on the image"),
        ('journal = "/var/log/flyball.jsonl"', ":1: journal: the image has no folder var/log"),
        ('log = "caf\u00e9.txt"', ":1: log: the name 'caf\u00e9.txt' has a character that is not printable ASCII"),
        ("[guard]", ":1: table: is not used here"),
    ],
)
def test_configurations_that_would_fail_at_boot(tmp_path: Path, line: str, why: str) -> None:
    settings = text(tmp_path / "settings.toml", line + "\n")
    assert f"{settings}{why}" in refusal(tmp_path, settings)
    beside = text(tmp_path / "b/FLYBALL.toml", line + "\n")  # is read at boot, too
    assert f"{beside}{why}" in refusal(tmp_path, [beside])


def test_a_configuration_that_holds_at_boot(tmp_path: Path) -> None:
    lines = (
        '\ufeff# from Windows\r\nmodel = "/Models/M.bin"\r\nisa = "amx"\r\njournal = "fs0:/models/j.jsonl"\r\n'
        'draft = "fs2:/x.gguf"\r\nlog = ""\r\nguard.mode = "on"\r\n'
    )
    path = tmp_path / "i.img"
    image.build(path, [model(tmp_path / "m.bin")], text(tmp_path / "settings.toml", lines))
    [kept] = image.extract(path, tmp_path / "out")
    assert kept.read_bytes() == lines.encode()


def test_what_an_image_may_be_written_to(tmp_path: Path) -> None:
    given = model(tmp_path / "m.gguf")
    with pytest.raises(flyball.InvalidArgument, match="is also a file that the image is made of"):
        image.build(given, [given])
    assert given.stat().st_size == flyball.demo_model_path().stat().st_size
    with pytest.raises(flyball.InvalidArgument, match="is a folder"):
        image.build(tmp_path)
    with pytest.raises(flyball.InvalidArgument, match="is a device; build a file"):
        image.build("/dev/null")


def in_a_terminal(*words: str, seconds: float = 120) -> tuple[int | None, str]:
    """Exit status of Python, None if it waits for an answer, and what it says on a terminal where nobody types."""
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, *words])
    shown = b""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not select.select([terminal], [], [], 0.2)[0]:
            continue
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # the other end is closed
            piece = b""
        if not piece:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shown.decode()
        shown += piece
    os.kill(child, 9)
    os.waitpid(child, 0)
    return None, shown.decode()


def test_nothing_asks_on_the_terminal(tmp_path: Path) -> None:
    """mtools asks on /dev/tty, whatever its input is: a question that nobody sees is for ever."""
    one, other = model(tmp_path / "a/m.gguf"), model(tmp_path / "b/m.gguf")
    words = ["image", "build", str(tmp_path / "i.img"), "--model", str(one), "--model", str(other)]
    status, shown = in_a_terminal("-m", "flyball", *words)
    assert status == 2, shown
    assert "would be models/m.gguf" in shown.replace("\r\n", "")
    path = tmp_path / "i.img"
    image.build(path)
    for command in (["mcopy", "-i", str(path), str(one), "::/EFI"], ["mmd", "-i", str(path), "::/EFI"]):
        run = f"from flyball.image import tools; raise SystemExit(tools.ended({command!r}).returncode)"
        tools.ended(command)
        status, shown = in_a_terminal("-c", run)
        assert status == 1, shown


def test_a_preflight_looks_at_the_model(tmp_path: Path) -> None:
    assert image.preflight(tmp_path, model=flyball.demo_model_path(), memory_mb=2048) == []
    bad = text(tmp_path / "bad.gguf", "no model")
    [wanting] = image.preflight(tmp_path, model=bad, memory_mb=2048)
    assert wanting.what == str(bad)
    assert "not a GGUF file" in wanting.why
    [wanting] = image.preflight(tmp_path, model=flyball.demo_model_path(), memory_mb=64)
    assert "needs a machine with" in wanting.why
    script = text(tmp_path / "script.txt", "/quit\n")
    assert main(["image", "test", str(tmp_path / "t"), "--model", str(bad), "--script", str(script)]) == 2
