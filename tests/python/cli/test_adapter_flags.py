"""Adapters on the command line: flags, configuration, verification, replay, description."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import flyball
from flyball.cli import main
from flyball.learn import folders
from tests.reference.adapters import write_adapter
from tests.reference.models import write_model

Capture = pytest.CaptureFixture[str]
RUN = ["run", "-p", "a b c", "-n", "6", "--temp", "0", "--ignore-eos", "--ctx", "64", "--json"]


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """A small model and an adapter of it."""
    model = write_model(tmp_path / "m.gguf", "llama", "Q8_0", n_ff=256).path
    return str(model), str(write_adapter(tmp_path / "a.gguf", "llama", "F16", n_ff=256))


def shown(capsys: Capture, *args: str, code: int = 0) -> str:
    assert main(args) == code
    return capsys.readouterr().out


def test_run_verify_and_replay_with_an_adapter(capsys: Capture, files: tuple[str, str], tmp_path: Path) -> None:
    model, adapter = files
    receipt, journal = str(tmp_path / "r.json"), str(tmp_path / "j.jsonl")
    run = [RUN[0], model, *RUN[1:]]
    plain = json.loads(shown(capsys, *run))["digest"]
    recorded = ["--receipt", receipt, "--journal", journal, "--journal-content"]
    half = json.loads(shown(capsys, *run, "--adapter", f"{adapter}:0.5", *recorded))["digest"]
    whole = json.loads(shown(capsys, *run, "--adapter", adapter))["digest"]
    (tmp_path / "f.toml").write_text(f"adapter = '{adapter}:0.5'\n")
    assert json.loads(shown(capsys, *run, "--config", str(tmp_path / "f.toml")))["digest"] == half
    assert len({plain, half, whole}) == 3
    with flyball.Model.load(model, context=64) as loaded:
        used = loaded.load_adapter(adapter)
        again = loaded.generate("a b c", 6, temperature=0, ignore_eos=True, adapter=used, adapter_scale=0.5)
        assert again.digest == half

    assert "verified" in shown(capsys, "verify", receipt, "--model", model, "--adapter", adapter)
    assert main(["verify", receipt, "--model", model]) == 2
    digest = json.loads(shown(capsys, "info", adapter, "--json"))["fingerprint"]
    missing = f"adapter {digest}: is not here, and the answer was made with it; --adapter FILE gives its file"
    assert main(["verify", receipt, "--model", model]) == 2
    assert missing in capsys.readouterr().err
    out = shown(capsys, "replay", journal, "--model", model, "--adapter", adapter)
    assert "answers: 1 of 1 have the same bits" in out
    out = shown(capsys, "replay", journal, "--model", model, code=2)
    assert "cannot be repeated" in out
    assert missing in out
    explained = shown(capsys, "journal", "tail", journal, "-n", "100")
    assert "MODEL_ADAPTER_LOADED" in explained


def test_adapters_are_found_by_their_digest(capsys: Capture, files: tuple[str, str], tmp_path: Path) -> None:
    """In this user's folder of adapters, whichever of several an answer was made with; and a damaged one is told."""
    model, adapter = files
    other = write_adapter(tmp_path / "b.gguf", "llama", "F16", n_ff=256, edit=lambda name, values: values * 2)
    receipt, journal = str(tmp_path / "r.json"), str(tmp_path / "j.jsonl")
    for used in (adapter, str(other)):
        recorded = ("--adapter", used, "--receipt", receipt, "--journal", journal, "--journal-content")
        shown(capsys, RUN[0], model, *RUN[1:], *recorded)
    with flyball.Model.load(model, context=64) as loaded:
        places = [folders.installed(file, loaded)[0] / folders.FILE for file in (adapter, other)]
    assert "verified" in shown(capsys, "verify", receipt, "--model", model)
    assert "answers: 2 of 2 have the same bits" in shown(capsys, "replay", journal, "--model", model)
    places[0].write_bytes(other.read_bytes())
    out = shown(capsys, "replay", journal, "--model", model, code=2)
    assert "was changed: it is adapter" in out
    assert "answers: 1 of 2 have the same bits" in out
    out = shown(capsys, "replay", journal, "--model", model, "--adapter", adapter)
    assert "answers: 2 of 2 have the same bits" in out, "what is given goes first"
    places[1].write_bytes(b"GGUF" + b"\xff" * 60)
    out = shown(capsys, "replay", journal, "--model", model, "--adapter", adapter, code=2)
    assert "cannot be repeated" in out
    assert str(places[1]) in out


def test_an_adapter_that_changes_nothing_is_told(capsys: Capture, files: tuple[str, str], tmp_path: Path) -> None:
    model, _ = files
    zero = write_adapter(tmp_path / "z.gguf", "llama", n_ff=256, edit=lambda name, values: values * 0)
    assert main([RUN[0], model, *RUN[1:], "--adapter", str(zero)]) == 0
    assert "changes no logits" in capsys.readouterr().err


def test_wrong_files_are_named(capsys: Capture, files: tuple[str, str], tmp_path: Path) -> None:
    model, adapter = files
    for argument, why in [(str(tmp_path / "none.gguf"), "none.gguf"), (model, "an adapter is needed")]:
        assert main([RUN[0], model, *RUN[1:], "--adapter", argument]) == 2
        assert why in capsys.readouterr().err
    assert main([RUN[0], adapter, *RUN[1:]]) == 2
    assert "is an adapter: load the model that it belongs to" in capsys.readouterr().err


def test_info_describes_an_adapter(capsys: Capture, files: tuple[str, str]) -> None:
    _, adapter = files
    out = shown(capsys, "info", adapter)
    assert "LoRA adapter for a model of architecture llama" in out
    assert "8, alpha 16" in out
    described = json.loads(shown(capsys, "info", adapter, "--json"))
    assert (described["type"], described["rank"], described["n_pairs"]) == ("adapter", 8, 16)
    assert described["quantization"] == "F16"
    with flyball.Model.load(files[0], context=64) as loaded:
        assert loaded.load_adapter(adapter).fingerprint == described["fingerprint"]


def test_chat_takes_an_adapter(files: tuple[str, str], tmp_path: Path) -> None:
    import subprocess
    import sys

    model, adapter = files
    (tmp_path / "t.jinja").write_text("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    template = ["--template", str(tmp_path / "t.jinja")]
    command = [sys.executable, "-m", "flyball", "chat", model, "-n", "6", "--temp", "0", "--ctx", "64", *template]
    typed = f"a b c\n/clear\n/adapter {adapter}\na b c\n/adapter -\n".encode()
    out = subprocess.run(command, input=typed, capture_output=True, timeout=300, check=True).stdout.decode()
    assert f"adapter {adapter}, scale 1" in out
    assert "no adapter" in out
    answers = {
        subprocess.run([*command, *more], input=b"a b c\n", capture_output=True, timeout=300, check=True).stdout
        for more in ([], ["--adapter", adapter])
    }
    assert len(answers) == 2
