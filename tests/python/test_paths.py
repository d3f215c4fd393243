"""A leading ~, PathLike objects and bytes, wherever a path is an argument; what is no path is a flyball.Error."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import flyball
from flyball.cli import main
from flyball.config.configuration import resolve
from flyball.image.volume import check as check_image
from flyball.journal import journal
from flyball.paths import expanded


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder, with a model in it; ~ is not in the current folder."""
    folder = tmp_path / "home"
    folder.mkdir()
    shutil.copy(flyball.demo_model_path(), folder / "model.gguf")
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def test_expanded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert expanded("~/a b") == f"{home}/a b"
    assert expanded(b"~/\xff") == f"{home}/\udcff"
    assert expanded(Path("~") / "x") == f"{home}/x"
    assert expanded("./~/x") == "./~/x"  # a folder that is named so
    assert expanded("~nobody-has-this-name/x") == "~nobody-has-this-name/x"
    monkeypatch.delenv("HOME")
    assert expanded("~/x").endswith("/x")  # from the user's entry, or unchanged


@pytest.mark.parametrize("wrong", [None, 7, 1.5, "", b"", "a\0b", ["model.gguf"]])
def test_what_is_no_path_is_an_error_of_flyball(demo: flyball.Model, wrong: Any) -> None:
    session = demo.session()
    calls: list[Callable[[Any], object]] = [
        flyball.Model.load,
        flyball.Receipt.load,
        flyball.Journal,
        flyball.verify,
        session.save,
        session.restore,
        demo.chat().save,
        demo.chat().load,
        demo.generate("Once", 1).receipt.save,
        lambda path: list(journal.read(path)),
        journal.check,
        check_image,
    ]
    for call in calls:
        with pytest.raises(flyball.InvalidArgument, match="must be a path"):
            call(wrong)


@pytest.mark.parametrize("form", [str, os.fsencode, Path], ids=["text", "bytes", "Path"])
def test_home_in_every_argument(home: Path, form: Callable[[str], Any]) -> None:
    with (
        flyball.Journal(form("~/journal"), log=form("~/log")) as events,
        flyball.Model.load(form("~/model.gguf"), journal=events) as model,
    ):
        assert model.info.path == f"{home}/model.gguf"
        result = model.generate("Once", 3)
        session = model.session()
        session.generate("Once", 3)
        session.save(form("~/saved"))
        model.session().restore(form("~/saved"))
        model.tune(cache_file=form("~/tuned.txt"))
        assert model.chat("Be brief.").save(form("~/chat.json")) == home / "chat.json"
        chat = model.chat()
        chat.load(form("~/chat.json"))
        assert chat.system == "Be brief."
        flyball.Policy(model, form("~/policy.toml"))
    assert result.receipt.save(form("~/deep/receipt.json")) == home / "deep/receipt.json"
    assert flyball.verify(form("~/deep/receipt.json"), model=form("~/model.gguf"))
    assert flyball.Receipt.load(form("~/deep/receipt.json")) == result.receipt
    assert journal.check(form("~/journal"), form("~/log")).verified
    assert len(list(journal.read(form("~/journal")))) > 3
    (home / "own.toml").write_text("threads = 1\n")
    assert resolve(form("~/own.toml"))["threads"].value == 1
    assert {"journal", "log", "saved", "tuned.txt"} <= {path.name for path in home.iterdir()}
    assert not Path("~").exists()


def test_home_in_flags_and_settings(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "own.toml").write_text('model = "~/model.gguf"\njournal = "~/journal"\n')
    (home / "prompt.txt").write_text("Once")
    assert main(["run", "--config=~/own.toml", "--file=~/prompt.txt", "-n", "2", "--receipt=~/receipt.json"]) == 0
    assert main(["run", "--set", "model=~/model.gguf", "--draft=~/model.gguf", "-n", "2", "--no-receipt"]) == 0
    assert main(["verify", "~/receipt.json", "--model=~/model.gguf"]) == 0
    assert main(["journal", "verify", "~/journal"]) == 0
    assert main(["journal", "stats", "~/journal"]) == 0
    assert main(["replay", "~/journal"]) == 0
    assert main(["info", "~/model.gguf"]) == 0
    assert main(["models", "~"]) == 0
    assert "model.gguf" in capsys.readouterr().out
    assert not Path("~").exists()
