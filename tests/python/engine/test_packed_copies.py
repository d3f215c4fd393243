"""Packed copies in the cache folder: equal bits, hostile until checked, never needed."""

from __future__ import annotations

import base64
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

import flyball
from flyball import _core
from flyball.cli import main
from flyball.engine.packed_copies import folder, packed_copies
from tests.python.conftest import ModelFile
from tests.reference.models import write_model

PROMPT = "Once upon a time"
HEADER = 4096


def answer(path: Path | str, use: str) -> tuple[str, str]:
    """Digest of an answer, and the path of the copy that gave the weights."""
    with flyball.Model.load(path, packed_copy=use, context=64) as model:
        return model.generate(PROMPT, max_tokens=4, temperature=0).digest, model.info.packed_copy


def only_copy() -> Path:
    [copy] = packed_copies()
    return copy.path


@pytest.mark.parametrize(
    ("variant", "wtype"),
    [
        ("llama", "Q8_0"),
        ("llama", "Q4_K"),
        ("qwen3moe", "Q4_K"),
        ("deepseek2", "Q8_0"),  # turns some matrices
        ("qwen35", "Q4_K"),
        ("gemma4-shared", "Q8_0"),
        ("gemma3n", "Q8_0"),
        ("gpt-oss", "MXFP4"),
    ],
)
def test_an_answer_from_a_copy_is_the_same(variant: str, wtype: str, model_file: ModelFile) -> None:
    path = model_file(variant, wtype)
    in_memory, no_copy = answer(path, "off")
    assert no_copy == ""
    assert answer(path, "auto") == (in_memory, "")  # memory can hold it
    made = answer(path, "on")
    assert made == (in_memory, str(only_copy()))
    mapped = answer(path, "auto")
    assert mapped == made
    assert only_copy().stat().st_mode & 0o111 == 0


def own_kib(path: Path, use: str, isa: str) -> tuple[int, flyball.ModelInfo]:
    """What a process that answers takes of memory for itself, and its model."""
    program = """
import base64, pickle, re, sys, flyball
path, use, isa = sys.argv[1:]
with flyball.Model.load(path, packed_copy=use, isa=isa, threads=1, context=64) as model:
    model.generate("a", max_tokens=2)
    status = open("/proc/self/status").read()
    assert model.info.packed_copy in open("/proc/self/maps").read()
    print(re.search("RssAnon:\\s*([0-9]+)", status)[1], base64.b64encode(pickle.dumps(model.info)).decode())
"""
    ran = subprocess.run([sys.executable, "-c", program, path, use, isa], capture_output=True, text=True, check=True)
    kib, info = ran.stdout.split()
    return int(kib), pickle.loads(base64.b64decode(info))


def first_zen() -> bool:
    """Whether this processor executes 256 bits in two steps."""
    told = dict(re.findall(r"^(cpu family|model)\s*: ([0-9]+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE))
    family, model = int(told["cpu family"]), int(told["model"])
    return (family == 0x17 and model < 0x30) or family == 0x18


def test_weights_of_a_copy_are_not_in_memory() -> None:
    """The system may take their pages, since they are a file's."""
    path = flyball.demo_model_path()
    answer(path, "on")
    packed, info = own_kib(path, "off", "scalar")
    copied, copied_info = own_kib(path, "auto", "scalar")
    assert info.packed_copy == "" != copied_info.packed_copy
    assert info.in_file_bytes == copied_info.in_file_bytes == 0
    assert packed - copied > 0.8 * (info.weight_bytes >> 10)


@pytest.mark.skipif("avx2" not in flyball.isas(), reason="this processor has no table that reads the file's weights")
def test_weights_that_kernels_take_as_the_file_has_them_are_not_in_memory(tmp_path: Path) -> None:
    """Wide ones; narrow ones are packed."""
    path = write_model(tmp_path / "wide.gguf", "llama", "Q8_0", n_embd=2048, n_head=32, n_ff=256, n_layer=2).path
    packed, info = own_kib(path, "off", "scalar")
    mapped, mapped_info = own_kib(path, "off", "avx2")
    assert answer(path, "off") == (*answer(path, "on")[:1], "")
    if first_zen():
        assert mapped_info.in_file_bytes == 0
        return
    assert mapped_info.weight_bytes == info.weight_bytes > mapped_info.in_file_bytes > info.weight_bytes / 2
    assert packed - mapped > 0.8 * (mapped_info.in_file_bytes >> 10)
    with flyball.Model.load(path, isa="avx2") as model:
        digest = model.generate(PROMPT, max_tokens=4).digest
        assert "scalar" in model.autoselect_isa()
        assert model.generate(PROMPT, max_tokens=4).digest == digest


def test_every_change_of_a_copy_is_seen() -> None:
    """It is set aside and made anew; the answer is the same."""
    path = flyball.demo_model_path()
    right = answer(path, "on")
    copy = only_copy()
    whole = copy.read_bytes()
    random = Random(7)
    checked = 16 + 4 + 4 + 8 + 3 * 32  # the model's name follows, for people
    at = [*range(0, 20, 3), *range(24, checked, 5), *(random.randrange(HEADER, len(whole)) for _ in range(20))]
    for position in at:
        changed = bytearray(whole)
        changed[position] ^= 1 << random.randrange(8)
        copy.write_bytes(changed)
        assert answer(path, "on") == right, position
        assert copy.read_bytes() == whole, position
    for broken in (b"", whole[:100], whole[:HEADER], whole[:-1], whole + b"\0", bytes(len(whole))):
        copy.write_bytes(broken)
        assert answer(path, "on") == right
        assert copy.read_bytes() == whole


def test_a_copy_of_another_model_is_not_taken(model_file: ModelFile) -> None:
    """Under the right name, of the right size."""
    path = Path(flyball.demo_model_path())
    right = answer(path, "on")
    own = only_copy()
    whole = own.read_bytes()
    other = bytearray(whole)
    other[HEADER:] = bytes(len(whole) - HEADER)
    own.write_bytes(other)
    assert answer(path, "auto")[0] == right[0]
    assert packed_copies() == []  # removed
    answer(model_file("llama", "Q8_0"), "on")
    stranger = only_copy()
    stranger.rename(own)
    assert answer(path, "on") == right


@pytest.mark.parametrize("change", ["write", "cut"])
def test_a_copy_that_changes_while_it_is_mapped_gives_no_answer(change: str) -> None:
    path = flyball.demo_model_path()
    answer(path, "on")
    with flyball.Model.load(path, packed_copy="auto", context=64) as model:
        copy = Path(model.info.packed_copy)
        if change == "write":
            with copy.open("r+b") as file:
                file.seek(HEADER + 1000)
                file.write(b"\1")
        else:
            os.truncate(copy, copy.stat().st_size // 2)
        with pytest.raises(flyball.FileError, match="packed copy"):
            _ = model.generate(PROMPT, max_tokens=4).digest


def test_a_removed_copy_stays_with_who_has_it() -> None:
    path = flyball.demo_model_path()
    right = answer(path, "on")
    with flyball.Model.load(path, packed_copy="auto", context=64) as model:
        only_copy().unlink()
        assert model.generate(PROMPT, max_tokens=4, temperature=0).digest == right[0]


def unwritable(place: Path) -> None:
    place.parent.mkdir(parents=True)
    place.write_text("a file where the folder should be")


def missing(place: Path) -> None:
    del place


@pytest.mark.parametrize("obstacle", [unwritable, missing])
def test_what_hinders_a_copy_hinders_no_answer(obstacle: Callable[[Path], None], tmp_path: Path) -> None:
    path = flyball.demo_model_path()
    right = answer(path, "off")
    place = tmp_path / "cache" / "flyball" / "packed"
    obstacle(place)
    core_folder = b"/nowhere/packed/" if obstacle is missing else os.fsencode(place)
    core = _core.ModelCore.load(os.fsencode(path), "auto", 1, 1, 0, False, None, None, b"", core_folder, "on", 1 << 30)
    info = core.info()
    assert info["packed_copy"] == ""
    assert "make a file in it" in info["no_packed_copy"] or "cannot list" in info["no_packed_copy"]
    core.close()
    if obstacle is unwritable:
        assert answer(path, "on") == right


def test_the_oldest_copies_make_room(model_file: ModelFile) -> None:
    place = folder()
    assert place is not None
    place.mkdir(parents=True)

    def load(path: Path | str, most: int) -> str:
        core = _core.ModelCore.load(
            os.fsencode(path), "auto", 1, 1, 0, False, None, None, b"", os.fsencode(place), "on", most
        )
        problem: str = core.info()["no_packed_copy"]
        core.close()
        return problem

    paths = [model_file("llama", "Q8_0"), model_file("qwen2", "Q8_0"), model_file("qwen3", "Q8_0")]
    for at, path in enumerate(paths):
        assert load(path, 1 << 30) == ""
        os.utime(packed_copies()[-1].path, (at, at))
    sizes = [copy.path.stat().st_size for copy in packed_copies()]
    names = [copy.path.name for copy in packed_copies()]
    assert load(flyball.demo_model_path(), 0) != ""
    assert [copy.path.name for copy in packed_copies()] == names  # one that cannot fit takes no other's place
    demo_bytes = 5 << 20
    assert load(flyball.demo_model_path(), sum(sizes) + demo_bytes + (2 << 20) - 1) == ""
    assert [copy.path.name for copy in packed_copies()][:3] == names
    only_copy_bytes = packed_copies()[-1].path.stat().st_size
    packed_copies()[-1].path.unlink()
    assert load(flyball.demo_model_path(), sizes[2] + only_copy_bytes) == ""
    assert packed_copies()[0].path.name == names[2]
    assert len(packed_copies()) == 2


def test_two_that_make_the_same_copy_leave_one() -> None:
    program = "import sys, flyball; print(flyball.Model.load(sys.argv[1], packed_copy='on').info.packed_copy)"
    makers = [
        subprocess.Popen([sys.executable, "-c", program, flyball.demo_model_path()], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    told = {maker.communicate()[0].strip() for maker in makers}
    assert [maker.returncode for maker in makers] == [0] * 4
    assert told == {str(only_copy())}
    place = folder()
    assert place is not None
    assert list(place.iterdir()) == [only_copy()]


def test_a_copy_that_the_system_cannot_name_is_no_success(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It serves the model that is loaded, and nobody after it."""
    model = flyball.Model.load(flyball.demo_model_path(), packed_copy="on")
    object.__setattr__(model.info, "no_packed_copy", "the file system gave it no name")
    monkeypatch.setattr(flyball.Model, "load", lambda *args, **how: model)
    assert main(["cache", "add", str(flyball.demo_model_path())]) == 1
    assert "gave it no name" in capsys.readouterr().err


def test_the_command_lists_checks_and_removes(capsys: pytest.CaptureFixture[str], model_file: ModelFile) -> None:
    def said(*words: str, code: int = 0) -> str:
        assert main(["cache", *words]) == code
        return capsys.readouterr().out

    assert "no packed copies" in said("list")
    said("add", str(flyball.demo_model_path()), str(model_file("llama", "Q8_0")))
    listed = said("list")
    assert "Flyball Demo" in listed
    assert "2 in " in listed
    assert said("verify").count("whole") == 2
    demo = next(copy for copy in packed_copies() if copy.model == "Flyball Demo")
    with demo.path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\xff")
    assert "checksum" in said("verify", code=1)
    said("remove", demo.fingerprint[:6])
    assert len(packed_copies()) == 1
    assert main(["cache", "remove", "0123456789"]) == 2
    assert main(["cache", "remove"]) == 2
    said("remove", "--all")
    assert packed_copies() == []
