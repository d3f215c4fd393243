"""Which model the boot program loads where none is named, as its screen shows it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

import flyball
from flyball import image
from flyball.image import tools
from flyball.image.tools import program_path

pytestmark = pytest.mark.usefixtures("needs_tools")

MIB = 1 << 20
SETTINGS = 'tune = "off"\nisa = "swar"\nmax_tokens = 2\n'


def put(volume: Path | str, files: Mapping[str, Path | bytes], aside: Path) -> None:
    """Copy files to a volume (a name for mtools), as a person does: nothing is checked."""
    for name, content in files.items():
        source = content if isinstance(content, Path) else aside / "put"
        if isinstance(content, bytes):
            source.write_bytes(content)
        tools.run(["mcopy", "-o", "-i", str(volume), str(source), f"::/{name}"], name)


def without_model(folder: Path) -> Path:
    settings = folder / "settings.toml"
    settings.write_text(SETTINGS)
    path = folder / "flyball.img"
    image.build(path, config=settings)
    tools.run(["mdel", "-i", str(path), "::/models/flyball-demo.gguf"], path)
    return path


def test_a_good_model_is_found_behind_hidden_and_broken_ones(tmp_path: Path) -> None:
    """What macOS and a broken download leave, an empty file, a folder, and a name in capital letters."""
    demo = flyball.demo_model_path()
    path = without_model(tmp_path)
    apple = b"\0\5\x16\7" + bytes(4092)
    cut = demo.read_bytes()[:60_000]
    tools.run(["mmd", "-i", str(path), "::/models/0.gguf"], path)
    files = {
        "models/._DEMO.GGUF": apple,
        "models/A-BROKEN.GGUF": cut,
        "models/B.gguf": b"no model",
        "models/C.gguf": b"",
    }
    put(path, {**files, "models/DEMO.GGUF": demo, "z.gguf": demo, "._flyball.toml": apple}, tmp_path)
    ended = image.run(path, ["/models", "Hello", "/load models/demo.gguf"])
    assert ended.well, ended  # nobody asked for those that cannot be loaded
    screen = ended.output[ended.output.index("flyball 0.") :]
    broken, junk, empty, chosen = (
        screen.index(line)
        for line in (
            "The model models/A-BROKEN.GGUF cannot be used.\ncause:    corrupt",
            "The model models/B.gguf cannot be used.\ncause:    corrupt: magic",
            "The model models/C.gguf cannot be used.\ncause:    corrupt",
            "read from models/DEMO.GGUF\n",
        )
    )
    assert broken < junk < empty < chosen
    assert screen.count("fallback: the next model that is there") == 3
    assert "._" not in screen
    assert "models:\nA-BROKEN.GGUF" in screen
    assert "/:\nz.gguf" in screen


def two_partitions(folder: Path) -> tuple[Path, str]:
    """A disk with the program on its first partition; and the name of the second for mtools."""
    path, second = folder / "disk.img", 65 * MIB
    with path.open("wb") as file:
        file.truncate(130 * MIB)
    words = ["-n", "1:2048:+64M", "-t", "1:EF00", "-n", "2:0:+60M", "-t", "2:0700"]
    tools.run(["sgdisk", *words, str(path)], path)
    for offset, size in ((MIB, 64), (second, 60)):
        at = f"{path}@@{offset}"
        tools.run(["mformat", "-i", at, "-F", "-T", str(size * 2048), "-h", "64", "-s", "32", "::"], path)
        tools.run(["mmd", "-i", at, "::/EFI", "::/EFI/BOOT", "::/models"], path)
    settings = b"\xef\xbb\xbf" + SETTINGS.replace("\n", "\r\n").encode()  # as an editor on Windows writes it
    boot: dict[str, Path | bytes] = {image.BOOT_PATH: program_path(), "FLYBALL.TOML": settings}
    put(f"{path}@@{MIB}", boot, folder)
    return path, f"{path}@@{second}"


def test_a_model_on_another_volume_is_found_and_named(tmp_path: Path) -> None:
    path, second = two_partitions(tmp_path)
    put(second, {"models/demo.gguf": flyball.demo_model_path()}, tmp_path)
    script = ["/models", "Hello", "/receipt fs1:/r.json", "/verify fs1:/r.json", "/load FS1:/MODELS/DEMO.GGUF"]
    ended = image.run(path, script)
    assert ended.well, ended
    assert "read from fs1:/models/demo.gguf\n" in ended.output
    assert "fs1:/models:\ndemo.gguf" in ended.output
    assert "[2 tokens" in ended.output  # of the configuration, whatever its case, mark and line ends
    assert "verified: the same answer" in ended.output
    left = image.extract(path, tmp_path / "out")
    assert {"journal.jsonl", "log.txt", "metrics.json"} <= {file.name for file in left}
    assert "r.json" in tools.run(["mdir", "-b", "-i", second, "::/"], path)


def test_without_a_model_the_screen_says_where_it_looked(tmp_path: Path) -> None:
    path, second = two_partitions(tmp_path)
    put(f"{path}@@{MIB}", {"models/._x.gguf": b"\0\5\x16\7"}, tmp_path)
    put(second, {"models/x.gguf": b"no model", "notes.txt": b"-"}, tmp_path)
    ended = image.run(path, ["/models /", "Hello", "/load fs9:/x.gguf"])
    assert not ended.well
    expected = """\
No model is loaded. Looked for *.gguf files in this order:
  models: no *.gguf file, 1 with a hidden name (._...: not models, macOS makes them)
  /: no *.gguf file
  fs1:/models: 1 file that cannot be loaded
  fs1:/: no *.gguf file
hint:     copy a model into the first folder, or name one: /load FILE, or model = "FILE" in flyball.toml
fallback: no model: commands work, prompts wait for /load FILE
"""
    assert expected in ended.output
    assert "The model fs1:/models/x.gguf cannot be used.\ncause:    corrupt: magic" in ended.output
    assert "error: not found: model: none is loaded" in ended.output
    assert "fs9:/x.gguf: names no volume; there are fs0: to fs1:" in ended.output
